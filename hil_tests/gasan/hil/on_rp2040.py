"""Run a device program on the emulated RP2040, with the firmware's modules as .mpy in its file system."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gasan.boards.emulator import Emulator
from gasan.boards.facts import load
from gasan.boards.image import build_image, compile_mpy, firmware_files
from gasan.boards.rp2040 import Rp2040Missing, built
from gasan.boards.virtual import BoardError

__all__ = ["BOARD", "ProgramFailed", "ProgramRun", "missing", "program_files", "run"]

BOARD = "rpi_pico"

_PIECE_MS = 20_000
_BEGIN, _END, _FAILED = b"#BEGIN\r\n", b"#END\r\n", b"#FAILED\r\n"

# The USB port is there 0.1 s after the start, and what was said before is cut.
_MAIN = b"""import sys, time
time.sleep_ms(300)
print("#BEGIN")
try:
    import program
    print("#END")
except BaseException as e:
    sys.print_exception(e)
    print("#FAILED")
"""


class ProgramFailed(AssertionError):
    """The program raised; the message is its traceback."""


@dataclass(frozen=True)
class ProgramRun:
    """What a program printed, and what it cost: instructions and cycles of the core, simulated ms."""

    output: str
    instructions: int
    cycles: int
    ms: float


def missing() -> str:
    """Why nothing can run there, as a sentence; empty when it can."""
    try:
        built()
    except Rp2040Missing as e:
        return str(e)
    return ""


def program_files(program: Path, files: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """The files of an image that runs ``program`` at its start, beside the firmware's modules."""
    modules = {name: data for name, data in firmware_files().items() if name.startswith("/lib/")}
    return {**modules, "/main.py": _MAIN, "/program.mpy": compile_mpy(program, program.name), **(files or {})}


def run(
    program: Path,
    folder: Path,
    *,
    files: Mapping[str, bytes] | None = None,
    seed: str = "program",
    ms: float = 60_000,
    prepare: Callable[[Emulator], object] = lambda emulator: None,
) -> ProgramRun:
    """Run a program from power-on to its end, at most ``ms`` of simulated time.

    prepare: called before the power is given. Raises ProgramFailed with the program's traceback, BoardError
    when it does not end, Rp2040Missing.
    """
    image = folder / "flash.img"
    build_image(image, program_files(program, files), load(BOARD))
    with Emulator(image, seed=seed, log=folder / "events.jsonl") as emulator:
        prepare(emulator)
        emulator.boot()
        emulator.expect(_BEGIN, 5_000)
        before = emulator.status()
        said = b""
        end = emulator.now_ms + ms
        while not said.endswith((_END, _FAILED)):
            if emulator.now_ms >= end:
                raise BoardError(f"{program.name} did not end in {ms:.0f} simulated ms: {said[-400:]!r}.")
            left = min(end - emulator.now_ms, _PIECE_MS)  # each has a limit of wall time
            said += emulator.run(left, ("usb", "off", "reset")).usb
        after = emulator.status()
    text = said.decode(errors="replace").replace("\r\n", "\n")
    if said.endswith(_FAILED):
        raise ProgramFailed(text)
    return ProgramRun(
        text.removesuffix("#END\n"),
        after["instructions"] - before["instructions"],
        after["cycles"] - before["cycles"],
        (after["now"] - before["now"]) / 1e6,
    )
