"""A VM of each word size, device scripts on it with the stand-ins, and boards that are always stopped."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gasan.boards import standins
from gasan.boards.virtual import VirtualBoard
from gasan.boards.vm import Vm, VmMissing, find_vm

_DEVICE = Path(__file__).parent / "device"


@pytest.fixture(params=[64, 32])
def bits(request: pytest.FixtureRequest) -> int:
    """The word size of the VM; skips when there is none of that size."""
    try:
        find_vm(request.param)
    except VmMissing as e:
        pytest.skip(str(e))
    value: int = request.param
    return value


@pytest.fixture
def vm(bits: int) -> Vm:
    return find_vm(bits)


@pytest.fixture
def on_vm(vm: Vm, tmp_path: Path) -> Callable[..., str]:
    """Run a script of ``device/`` on the VM with the stand-ins on its path; what it printed."""

    def run(script: str, *args: str) -> str:
        done = subprocess.run(
            vm.command(str(_DEVICE / script), *args, heap="2m"),
            cwd=tmp_path,
            env={"MICROPYPATH": f"{standins.compiled()}:.frozen"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    return run


@pytest.fixture
def new_board(bits: int, tmp_path: Path) -> Iterator[Callable[..., VirtualBoard]]:
    """Make a virtual board from its main.py (and settings, and other files) and start it."""
    boards: list[VirtualBoard] = []

    def make(
        main: str = "",
        *,
        board: str = "virtual",
        files: dict[str, bytes] | None = None,
        start: bool = True,
        **settings: Any,
    ) -> VirtualBoard:
        made = VirtualBoard(tmp_path / f"board{len(boards)}", board, bits=bits, **settings)
        boards.append(made)
        made.install({"/main.py": main.encode(), **(files or {})})
        if start:
            made.start()
        return made

    yield make
    for board in boards:
        board.stop()
        log = (
            (board.folder / "supervisor.log").read_text()
            if (board.folder / "supervisor.log").exists()
            else ""
        )
        assert not log, log
