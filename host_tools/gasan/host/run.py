"""Runs a site until it is told to stop: the gateway, its picture on the terminal, and the account at the end.

Everything that is drawn goes to stderr, so that stdout has nothing but the account.
"""

import asyncio
import io
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gasan.boards.vm import VmMissing, find_vm
from gasan.host.account import Account, account
from gasan.host.compile import CompiledNode
from gasan.host.errors import TryAgainError
from gasan.host.gateway.live import Snapshot
from gasan.host.gateway.service import Gateway
from gasan.host.i18n import _
from gasan.host.view import Labels, live_view, plain_line
from gasan.host.wording import span_text
from rich.console import Console, RenderableType
from rich.live import Live

__all__ = ["Run", "check_surroundings", "run_site"]

_REFRESH_S = 0.5
_PLAIN_EVERY_S = 5.0
_SCREENSHOT_COLUMNS = 112
_SCREENSHOT_LINES = 60
_WEB_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_QUIT_AT_ONCE = 130  # like a process that SIGINT has ended


@dataclass(frozen=True)
class Run:
    """What to run and how to show it. `seconds` None: until Ctrl-C. `note` is shown below the table."""

    title: str
    nodes: Sequence[CompiledNode]
    state: Path
    db: Path
    seconds: float | None = None
    note: str = ""
    screenshot: Path | None = None


def check_surroundings(nodes: Sequence[CompiledNode], file: Path) -> None:
    """Raises TryAgainError when something that virtual nodes need is not there; `file` is the site file."""
    virtual = [node for node in nodes if node.link is None]
    if not virtual:
        return
    try:
        find_vm()
    except VmMissing as error:
        raise TryAgainError(str(error)) from None
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


async def run_site(run: Run, stop: asyncio.Event | None = None) -> Account:
    """Runs until Ctrl-C, SIGTERM, `stop` or the end of `run.seconds`, and draws up the account.

    A second Ctrl-C ends the process at once. Raises GasanError when the gateway cannot go on.
    """
    stop = asyncio.Event() if stop is None else stop
    loop = asyncio.get_running_loop()
    gateway = Gateway(run.nodes, state_dir=run.state, db_path=run.db, site=run.title)
    picture = _Picture(run, gateway)
    _handle_signals(loop, stop, picture)
    timer = loop.call_later(run.seconds, stop.set) if run.seconds is not None else None
    drawing = [asyncio.create_task(picture.draw()), asyncio.create_task(picture.watch(stop))]
    try:
        await gateway.run(stop)
    finally:
        for task in drawing:
            task.cancel()
        await asyncio.gather(*drawing, return_exceptions=True)
        if timer is not None:
            timer.cancel()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    picture.leave()
    return await asyncio.to_thread(account, run.db, None, picture.seconds(), channels=False)


def _handle_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, picture: "_Picture") -> None:
    """The first SIGINT or SIGTERM ends in good order, another one at once."""

    def end() -> None:
        if stop.is_set():
            picture.close()
            os._exit(_QUIT_AT_ONCE)  # helper processes notice that their parent is gone
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, end)


class _Picture:
    """What stderr shows: a live table on a terminal, a line now and then anywhere else."""

    def __init__(self, run: Run, gateway: Gateway) -> None:
        self._run = run
        self._gateway = gateway
        self._labels = Labels.of(run.nodes)
        self._console = Console(stderr=True)
        self._started = time.monotonic()
        self._live: Live | None = None
        self._last: Snapshot | None = None
        self._seconds = 0.0
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def seconds(self) -> float:
        return time.monotonic() - self._started

    async def watch(self, stop: asyncio.Event) -> None:
        """Keeps the picture of the moment at which the end begins; later, nodes only hand over the rest."""
        await stop.wait()
        self._last = self._gateway.snapshot()
        self._seconds = self.seconds()

    async def draw(self) -> None:
        """Draws until it is cancelled."""
        if self._live is None:
            await self._print_lines()
            return
        self._live.start()
        try:
            while True:
                hint = _("Ctrl-C ends this with the account.")
                if self._last is not None:
                    hint = _("Ending: waiting for the last readings. Ctrl-C again quits at once.")
                view = self._view(self._gateway.snapshot(), self._console, [hint])
                self._live.update(view, refresh=True)
                await asyncio.sleep(_REFRESH_S)
        finally:
            self._live.stop()

    def close(self) -> None:
        """Gives the terminal back, whatever state it is in."""
        if self._live is not None:
            self._live.stop()

    def leave(self) -> None:
        """Leaves the last picture on the terminal, or the last line in the log, and writes the screenshot.

        Raises TryAgainError when it cannot be written.
        """
        snapshot = self._last or self._gateway.snapshot()
        if self._live is None:
            self._say(f"{span_text(self._seconds)} {plain_line(snapshot)}")
        else:
            self._console.print(self._view(snapshot, self._console, []))
        if self._run.screenshot is not None:
            self._save(snapshot, self._run.screenshot)

    def _save(self, snapshot: Snapshot, file: Path) -> None:
        console = Console(
            record=True,
            file=io.StringIO(),
            width=_SCREENSHOT_COLUMNS,
            height=_SCREENSHOT_LINES,
            force_terminal=True,
        )
        console.print(self._view(snapshot, console, []))
        # Without the fonts that rich would fetch from elsewhere: the reader's own do.
        svg = _WEB_FONTS.sub("", console.export_svg(title="gasan"))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(svg, encoding="utf-8")
        except OSError as error:
            said = _("{file} cannot be written ({reason}); name another place")
            raise TryAgainError(said.format(file=file, reason=error.strerror or error)) from None

    def _view(self, snapshot: Snapshot, console: Console, hints: list[str]) -> RenderableType:
        if self._run.note:
            hints = [self._run.note, *hints]
        seconds = self._seconds if self._last is not None else self.seconds()
        width, height = console.size
        return live_view(self._run.title, snapshot, self._labels, seconds, width, height, hints)

    async def _print_lines(self) -> None:
        if self._run.note:
            self._say(self._run.note)
        states: list[tuple[str, str]] = []
        due = 0.0
        while True:
            snapshot = self._gateway.snapshot()
            now = [(node.name, node.state) for node in snapshot.nodes]
            if now != states or self.seconds() >= due:
                states, due = now, self.seconds() + _PLAIN_EVERY_S
                self._say(f"{span_text(self.seconds())} {plain_line(snapshot)}")
            await asyncio.sleep(_REFRESH_S)

    def _say(self, text: str) -> None:
        print(f"gasan: {text}", file=sys.stderr, flush=True)
