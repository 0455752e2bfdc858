"""The spool on the VM's littlefs: wear and outage with workload W1 a minute, speed, draining, memory."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gasan.boards import facts
from gasan.boards.facts import Board
from gasan.boards.image import firmware_files
from gasan.boards.places import FIRMWARE, STANDINS
from gasan.boards.vm import VmMissing
from gasan.hil import vmrun
from gasan.hil.bench.row import Row
from gasan.hil.drain import drain

__all__ = ["Memory", "Outage", "Speed", "Wear", "memory", "outage", "rows", "speed", "wear"]

_PROGRAM = FIRMWARE / "tests" / "vm" / "spool_bench.py"
_WORKLOAD = FIRMWARE.parent / "protocols" / "workloads" / "w1_meter_10x12.json"
_MINUTES_A_DAY = 1440
_DAYS_A_YEAR = 365.25


@dataclass(frozen=True)
class Wear:
    """Erases and programs of so many minutes, each with a batch and a health frame, delivered at once.

    worst: erases of the block that had most. resident: blocks of the firmware's files and of the folders.
    """

    board: Board
    minutes: int
    erases: int
    programs: int
    worst: int
    resident: int

    @property
    def years(self) -> float:
        """When the free blocks are worn, levelled."""
        free = self.board.flash.blocks - self.resident
        a_day = self.erases * _MINUTES_A_DAY / self.minutes
        return self.board.flash.endurance * free / a_day / _DAYS_A_YEAR

    @property
    def ahead(self) -> float:
        """Erases by which the worst block is ahead of the mean of the free ones."""
        return self.worst - self.erases / (self.board.flash.blocks - self.resident)


@dataclass(frozen=True)
class Outage:
    """Minutes without a gateway until a frame was dropped."""

    minutes: int


@dataclass(frozen=True)
class Speed:
    """Frames a second: committed, and read and acknowledged by who takes them at once."""

    committed: float
    drained: float
    frames: int


@dataclass(frozen=True)
class Memory:
    """Bytes of heap: of spool and clock with their open files, and by how much a backlog four times as large
    takes more.
    """

    frames: int
    held: int
    growth: int


def _run(board: Board, what: str, number: int, spool_bytes: int = 0, bits: int = 64) -> list[float]:
    if missing := vmrun.missing(bits):
        raise VmMissing(missing)
    columns = json.loads(Path(_WORKLOAD).read_text())["columns"]
    lines = [" ".join(map(str, column["values"])) for column in columns]
    lines += ["files", " ".join(str(len(content)) for content in firmware_files().values()), ""]
    flash = board.flash
    arguments = (flash.program, flash.block, flash.blocks, spool_bytes or board.spool_bytes, what, number)
    said = vmrun.run(
        _PROGRAM,
        STANDINS,
        *arguments,
        bits=bits,
        heap="60m",
        timeout=600,
        stdin="\n".join(lines).encode(),
    )
    return [float(figure) for figure in said.split()]


def wear(board: Board, minutes: int) -> Wear:
    """Raises VmMissing."""
    erases, programs, worst, resident, _ = _run(board, "wear", minutes)
    return Wear(board, minutes, int(erases), int(programs), int(worst), int(resident))


def outage(board: Board) -> Outage:
    """Raises VmMissing."""
    return Outage(int(_run(board, "outage", 10_000)[0]))


def speed(board: Board, frames: int) -> Speed:
    """Raises VmMissing."""
    commit_us, drain_us, drained = _run(board, "speed", frames, spool_bytes=board.flash.fs_size * 3 // 4)
    return Speed(1e6 / commit_us, 1e6 / drain_us, int(drained))


def memory(board: Board, frames: int) -> Memory:
    """On the 32-bit VM. Raises VmMissing."""
    there, parts, files, growth = _run(board, "ram", frames, bits=32)
    return Memory(int(there), int(parts + files + growth), int(growth))


def rows() -> list[Row]:
    """Raises VmMissing."""
    out = []
    for name in ("rpi_pico_w", "esp32_generic"):
        board = facts.load(name)
        worn = wear(board, _MINUTES_A_DAY)
        out.append(
            Row(
                f"flash life of {name}, W1 and health a minute",
                round(worn.years, 1),
                "years",
                ">= 10",
                met=worn.years >= 10,
                peer=f"at {board.flash.endurance:,} erases of a block",
                note=f"{worn.erases} erases a day over {board.flash.blocks - worn.resident} free blocks;"
                f" {worn.resident} are resident; the worst block is {worn.ahead:.0f} ahead of the mean",
            )
        )
        kept = outage(board).minutes / 60
        out.append(
            Row(
                f"outage kept by {name}, W1 a minute",
                round(kept, 1),
                "hours",
                ">= 24",
                met=kept >= 24,
                note=f"{board.spool_bytes:,} bytes of spool; health frames each 10 minutes without a gateway",
            )
        )
    board = facts.load("esp32_generic")
    fast = speed(board, 5_000)
    out.append(
        Row(
            "frames committed, flash of esp32_generic",
            round(fast.committed),
            "frames/s",
            ">= 50",
            met=fast.committed >= 50,
        )
    )
    with tempfile.TemporaryDirectory(prefix="gasan-") as folder:
        drained = drain(Path(folder), 5_000, 50, seed=1)
    out.append(
        Row(
            "backlog drained by a whole node over its link",
            round(drained.rate),
            "frames/s",
            ">= 200",
            f"{fast.drained:,.0f} from the spool alone",
            drained.rate >= 200,
            f"{drained.frames} frames of W1, {drained.twice} twice, {drained.live} live ones between them;"
            f" the VM worked {drained.cpu_s / drained.seconds:.0%} of the time",
        )
    )
    out.append(
        Row(
            "polls a second of a device while it drains",
            round(drained.polls / drained.seconds, 2),
            "polls/s",
            ">= 0.99 of what is due, 0 missed",
            f"{drained.polls_after / drained.seconds:.2f} as long afterwards",
            drained.polls + 1 >= 0.99 * drained.due and not drained.missed,
            f"{drained.polls} of {drained.due:.0f} that were due, {drained.missed} missed; at most"
            f" {drained.longest_ms} ms between two samples of a period of 50",
        )
    )
    for name in ("rpi_pico_w", "esp32_generic"):
        held = memory(facts.load(name), 1_600)
        out.append(
            Row(
                f"heap of spool and clock beyond the code, {name}",
                held.held,
                "bytes",
                "<= 8192",
                met=held.held <= 8192,
                note=f"32-bit VM, {held.frames} frames wait; 4 times the backlog takes {held.growth} more",
            )
        )
    return out
