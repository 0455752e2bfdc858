"""Runs a site until it is told to stop: the gateway, its picture on the terminal, and the account at the end.

Everything that is drawn goes to stderr, so that stdout has nothing but the account.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gasan.boards.vm import VmMissing, find_vm
from gasan.host.account import Account, account
from gasan.host.compile import CompiledNode
from gasan.host.errors import TryAgainError
from gasan.host.gateway.service import Gateway
from gasan.host.i18n import _
from gasan.host.picture import Picture
from gasan.host.run_log import RunLog
from gasan.host.store.retention import KEEP_ALL, Keep

__all__ = ["Run", "check_surroundings", "check_vm", "run_site"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_QUIT_AT_ONCE = 130  # like a process that SIGINT has ended


@dataclass(frozen=True)
class Run:
    """What to run and how to show it. `seconds` None: until Ctrl-C. `note` is shown below the table.

    keep: what the database keeps of the readings.
    """

    title: str
    nodes: Sequence[CompiledNode]
    state: Path
    db: Path
    seconds: float | None = None
    note: str = ""
    screenshot: Path | None = None
    keep: Keep = KEEP_ALL


def check_surroundings(nodes: Sequence[CompiledNode], file: Path) -> None:
    """Raises TryAgainError when something that virtual nodes need is not there; `file` is the site file."""
    virtual = [node for node in nodes if node.link is None]
    if virtual:
        check_vm()
    for node in virtual:
        for port in node.uarts.values():
            if not Path(port).exists():
                said = _(
                    "{node}: the port {port} is not there; plug in the adapter, or change 'port' in {file}"
                )
                raise TryAgainError(said.format(node=node.name, port=port, file=file))
            if not os.access(port, os.R_OK | os.W_OK):
                said = _(
                    "{node}: the port {port} may not be opened; add yourself to its group "
                    "(sudo usermod -aG dialout $USER) and log in again"
                )
                raise TryAgainError(said.format(node=node.name, port=port))


def check_vm() -> None:
    """Raises TryAgainError when there is no MicroPython that can run a virtual node."""
    try:
        find_vm()
    except VmMissing as error:
        reason = str(error).rstrip(".")
        raise TryAgainError(_("a virtual node needs MicroPython: {reason}").format(reason=reason)) from None


async def run_site(run: Run, stop: asyncio.Event | None = None) -> Account:
    """Runs until Ctrl-C, SIGTERM, `stop` or the end of `run.seconds`, and draws up the account.

    A second Ctrl-C ends the process at once. Raises GasanError when the gateway cannot go on.
    """
    stop = asyncio.Event() if stop is None else stop
    loop = asyncio.get_running_loop()
    gateway = Gateway(run.nodes, state_dir=run.state, db_path=run.db, site=run.title, keep=run.keep)
    picture = Picture(run.title, run.nodes, gateway.snapshot, run.note)
    log = RunLog(run.state / "gateway.log", also_stderr=not picture.live)
    _handle_signals(loop, stop, picture)
    timer = loop.call_later(run.seconds, stop.set) if run.seconds is not None else None
    drawing = [asyncio.create_task(picture.draw()), asyncio.create_task(picture.watch(stop))]
    try:
        await gateway.run(stop)
    finally:
        for task in drawing:
            task.cancel()
        drawn = await asyncio.gather(*drawing, return_exceptions=True)
        if timer is not None:
            timer.cancel()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        log.close()
    for result in drawn:
        if isinstance(result, Exception):  # the readings had to be saved first
            raise result
    picture.leave()
    if run.screenshot is not None:
        picture.save(run.screenshot)
    log.report()
    return await asyncio.to_thread(account, run.db, None, picture.seconds(), channels=False)


def _handle_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, picture: Picture) -> None:
    """The first signal ends in good order, another one at once."""

    def end() -> None:
        if stop.is_set():
            picture.close()
            os._exit(_QUIT_AT_ONCE)  # helper processes notice that their parent is gone
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, end)
