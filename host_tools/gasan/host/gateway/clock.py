"""The gateway's own clocks: a monotonic one that every exchange with a node uses, and UTC beside it."""

import ctypes
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ClockReading", "machine_boot", "mono_ms", "read_clock"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_UNSYNCHRONISED: Final = 0x0040  # STA_UNSYNC of adjtimex(2)
_PROCESS_ID: Final = uuid.uuid4().hex
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class ClockReading:
    """`mono_ms` and `utc_ms` (Unix time) are the same moment; `synchronised`: the system follows a time
    server.
    """

    mono_ms: int
    utc_ms: int
    synchronised: bool

    @property
    def offset_ms(self) -> int:
        return self.utc_ms - self.mono_ms


def mono_ms() -> int:
    """Milliseconds since the machine started, sleep included, that nobody can set."""
    return time.clock_gettime_ns(_CLOCK) // 1_000_000


def read_clock() -> ClockReading:
    before = time.clock_gettime_ns(_CLOCK)
    utc = time.time_ns()
    after = time.clock_gettime_ns(_CLOCK)
    return ClockReading((before + after) // 2_000_000, utc // 1_000_000, _synchronised())


def machine_boot() -> str:
    """What names this start of the machine: `mono_ms` of one start says nothing about another.

    Where the system does not tell (it is not Linux), each start of the gateway counts as one.
    """
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return _PROCESS_ID


def _synchronised() -> bool:
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return False
    timex = _Timex()
    return adjtimex(ctypes.byref(timex)) >= 0 and not timex.status & _UNSYNCHRONISED


class _Timex(ctypes.Structure):
    """The head of struct timex, and more room than the rest of it takes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 32),
    )
