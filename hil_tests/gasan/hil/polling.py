"""Run one of the node's Modbus sources on the VM against a line or a server, and see what it brings.

A device is written as in a compiled config: [name, unit, timeout_ms, gap_ms, max_registers, [* item]],
item = [channel, function, register, type code, order, period_ms].
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gasan.boards.places import STANDINS
from gasan.hil import vmrun
from gasan.hil.rs485 import Line
from gasan.wire.columns import U16

__all__ = ["Outcome", "Row", "block", "poll_rtu", "poll_tcp"]

_PARITY = {"none": 0, "even": 1, "odd": 2}
_PROGRAM = Path(__file__).with_name("poll_node.py")


class Row(NamedTuple):
    """A row of a block: when (ms since the start), its first channel, its quality, its values (big-endian).

    A negative quality is the number of rows that were missed.
    """

    ms: float
    channel: int
    quality: int
    data: bytes


@dataclass(frozen=True)
class Outcome:
    """What the sampler was given. ``start_ns`` is the start on the host's monotonic clock."""

    start_ns: int
    rows: list[Row]
    good: int
    bad: int
    missed: int
    counters: dict[int, int]
    drive: list[tuple[int, int]]
    commit_waits_us: list[int]
    garbage: float
    burst_us: int

    def of(self, channel: int) -> list[Row]:
        """The rows of the block that begins with a channel, without the missed ones."""
        return [row for row in self.rows if row.channel == channel and row.quality >= 0]

    def missed_of(self, channel: int) -> int:
        """How many rows of that block were missed."""
        return -sum(row.quality for row in self.rows if row.channel == channel and row.quality < 0)


def block(channel: int, function: int, register: int, count: int, period_ms: int) -> list[list[int]]:
    """Items for ``count`` neighbouring registers as channels from ``channel`` on."""
    return [[channel + i, function, register + i, U16, 0, period_ms] for i in range(count)]


def poll_rtu(
    port: str, line: Line, devices: Sequence[list[Any]], ms: int, *, de_re: int | None = None, **options: Any
) -> Outcome:
    """Poll the devices on a serial line for a while; ``options`` as in `_poll`."""
    params = {1: 1, 2: line.baudrate, 3: _PARITY[line.parity], 4: line.stop}
    if de_re is not None:
        params[5] = de_re
    return _poll("rtu", [0, "line", params, list(devices)], ms, port=port, **options)


def poll_tcp(host: str, port: int, devices: Sequence[list[Any]], ms: int, **options: Any) -> Outcome:
    """Poll the units of a server for a while; ``options`` as in `_poll`."""
    return _poll("tcp", [1, "lan", {1: host, 2: port}, list(devices)], ms, **options)


def _poll(
    kind: str,
    bus: list[Any],
    ms: int,
    *,
    port: str = "",
    bits: int = 64,
    heap: str = "2m",
    keep: bool = True,
    commit: bool = False,
    garbage: bool = False,
    burst: int = 0,
    timeout: float = 30,
) -> Outcome:
    """Poll for ``ms``, and end within ``timeout`` seconds beyond that.

    keep: the rows, else they are only counted. commit: take the line's lock every 50 ms. garbage: measure the
    bytes that stay on the heap per transaction. burst: so many transactions of the first block before, one
    right after the other.
    """
    job = {"kind": kind, "bus": bus, "port": port, "standins": str(STANDINS), "ms": ms}
    job |= {"keep": keep, "commit": commit, "garbage": garbage, "burst": burst}
    out = vmrun.run(
        _PROGRAM, bits=bits, heap=heap, stdin=json.dumps(job).encode(), timeout=ms / 1000 + timeout
    )
    answer = json.loads(out)
    start = answer["start_us"]
    return Outcome(
        start_ns=1000 * start,
        rows=[
            Row((us - start) / 1000, channel, quality, bytes.fromhex(data))
            for us, channel, quality, data in answer["rows"]
        ],
        good=answer["good"],
        bad=answer["bad"],
        missed=answer["missed"],
        counters={int(key): value for key, value in answer["counters"].items()},
        drive=[(us, level) for us, level in answer["drive"]],
        commit_waits_us=answer["commit_waits_us"],
        garbage=answer["garbage"],
        burst_us=answer["burst_us"],
    )
