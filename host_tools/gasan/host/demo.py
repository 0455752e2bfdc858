"""The demo: a virtual node that polls simulated equipment, which runs in a process of its own."""

import asyncio
import json
import shutil
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from pathlib import Path

from gasan.host.account import Account
from gasan.host.compile import compile_site
from gasan.host.errors import TryAgainError
from gasan.host.gateway.lock import state_lock
from gasan.host.i18n import _
from gasan.host.run import Run, check_surroundings, check_vm, run_site
from gasan.host.site import load
from gasan.host.starter import Places, demo_site

__all__ = ["Demo", "run_demo"]

_START_S = 30.0
_END_S = 3.0


@dataclass(frozen=True)
class Demo:
    """How to run the demo. Without `state` a new temporary folder is used."""

    state: Path | None = None
    db: Path | None = None
    seconds: float | None = None
    screenshot: Path | None = None


async def run_demo(demo: Demo) -> Account:
    """Runs the demo until Ctrl-C or the end of its seconds. Raises GasanError.

    A temporary state folder goes at the end, unless the database is in it.
    """
    check_vm()
    state = demo.state or Path(tempfile.mkdtemp(prefix="gasan-demo-"))
    try:
        return await _run(demo, state, demo.db or state / "gasan.sqlite")
    finally:
        if demo.state is None and demo.db is not None:
            shutil.rmtree(state, ignore_errors=True)


async def _run(demo: Demo, state: Path, db: Path) -> Account:
    folder = state / "equipment"
    with state_lock(state):  # before anything of a folder in use is touched
        folder.mkdir(exist_ok=True)
    equipment = await _start_equipment(folder)
    stop = asyncio.Event()
    watching = asyncio.create_task(equipment.wait())
    watching.add_done_callback(lambda _task: stop.set())
    try:
        places = await _places(equipment, folder)
        file = state / "site.toml"
        file.write_text(demo_site(places, str(file)), encoding="utf-8")
        nodes = compile_site(load(file))
        check_surroundings(nodes, file)
        note = _(
            "Batches are closed after 2 s so that this is live; longer ones take fewer bytes per reading."
        )
        title = _("demo with simulated equipment")
        drawn = await run_site(Run(title, nodes, state, db, demo.seconds, note, demo.screenshot), stop)
        if equipment.returncode is not None:
            raise TryAgainError(
                _("the simulated equipment ended by itself; {log} may say why").format(log=_log(folder))
            )
        return drawn
    finally:
        watching.cancel()
        await _end(equipment)


async def _start_equipment(folder: Path) -> Process:
    # A session of its own: Ctrl-C is for the gateway, which ends the equipment last.
    with (folder / "errors.log").open("wb") as errors:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gasan.hil.demo_equipment",
            "--dir",
            str(folder),
            "--json",
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=errors,
            start_new_session=True,
        )


async def _places(equipment: Process, folder: Path) -> Places:
    """Where the equipment listens: the one line that it prints when all of it is there."""
    assert equipment.stdout is not None  # it is a pipe
    try:
        line = await asyncio.wait_for(equipment.stdout.readline(), _START_S)
        ready = json.loads(line)
    except (TimeoutError, ValueError):
        raise TryAgainError(_why(folder)) from None
    return Places(
        rtu_port=ready["rtu_port"],
        tcp_host="127.0.0.1",
        tcp_port=ready["tcp_port"],
        air=ready["air"],
        ble_address=ready["ble_address"],
    )


def _why(folder: Path) -> str:
    errors = (folder / "errors.log").read_text(encoding="utf-8", errors="replace").strip()
    if "ModuleNotFoundError" in errors:
        return _("the simulated equipment needs more packages; install them with: pip install 'gasan[sim]'")
    return _("the simulated equipment did not start; {log} says why").format(log=_log(folder))


def _log(folder: Path) -> Path:
    errors = folder / "errors.log"
    return errors if errors.stat().st_size else folder / "equipment.log"


async def _end(equipment: Process) -> None:
    if equipment.returncode is not None:
        return
    equipment.terminate()
    try:
        await asyncio.wait_for(equipment.wait(), _END_S)
    except TimeoutError:
        equipment.kill()
        await equipment.wait()
