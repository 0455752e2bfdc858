"""The peer of the frame: SenML in CBOR by micropython-lib's `senml` and `cbor2`, on the same VM.

The libraries come from the registries their makers use: `senml` from PyPI, `cbor2` from MicroPython's package
index by `mip`. They are kept in the cache and are no part of the project.
"""

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gasan.boards.places import CACHE
from gasan.boards.vm import VmMissing, find_vm
from gasan.hil import vmrun
from gasan.hil.bench.workload import Workload

__all__ = ["Peer", "measure"]

_FOLDER = CACHE / "peers" / "senml"
_PROGRAM = Path(__file__).with_name("senml_vm.py")


@dataclass(frozen=True)
class Peer:
    """What the peer took for a workload of integers; ``name`` says so when it was not measured now."""

    name: str
    bytes_per_reading: float
    us_per_reading: float
    allocated_bytes: int


#: Of workload W1 on a 64-bit unix VM, from the project's design notes; for when a library cannot be had.
QUOTED = Peer("senml + cbor2 (quoted, not measured in this run)", 23.4, 11.0, 31_000)


def measure(workload: Workload) -> Peer:
    """Measure the peer with a workload of integers at a period, or quote it when it cannot be fetched."""
    if not _fetched():
        return QUOTED
    columns = [
        [
            column.channel,
            [
                [(1_790_000_000_000 + t) / 1000, int.from_bytes(sample, "big", signed=column.type[0] == "i")]
                for t, sample in zip(column.times, column.samples, strict=True)
                if sample is not None
            ],
        ]
        for column in workload.columns
    ]
    out = vmrun.run(_PROGRAM, _FOLDER, 50, heap="8m", stdin=json.dumps(columns).encode())
    size, us, allocated = out.split()
    n = workload.readings
    return Peer("senml + cbor2", int(size) / n, float(us) / n, int(allocated))


def _fetched() -> bool:
    """Whether both libraries are in the cache, after fetching what is missing."""
    if not (_FOLDER / "senml").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--no-deps", "--target", str(_FOLDER), "micropython-senml==0.1.1"])
    if not (_FOLDER / "cbor2").is_dir():
        try:
            vm = find_vm()
        except VmMissing:
            return False
        _run([*vm.argv, "-m", "mip", "install", "--no-mpy", "--target", str(_FOLDER), "cbor2"])
    return (_FOLDER / "senml").is_dir() and (_FOLDER / "cbor2").is_dir()


def _run(command: list[str]) -> None:
    """Run a command whose failure shows in what it did not bring."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
