"""Run one of the node's Modbus sources on the VM against a line or a server, and see what it brings.

A device is written as in a compiled config: [name, unit, timeout_ms, gap_ms, max_registers, [* item]],
item = [channel, function, register, type code, order, period_ms].
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gasan.boards.places import STANDINS
from gasan.hil import vmrun
from gasan.hil.rs485 import Line, Served
from gasan.hil.rs485.responder import tag
from gasan.wire.columns import U16
from gasan.wire.quality import GOOD

__all__ = ["Hurried", "Outcome", "Row", "block", "good_and_wrong", "poll_rtu", "poll_tcp"]

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


class Hurried(NamedTuple):
    """What became of an urgent request: its quality after so many ms, whether it was sent, its registers."""

    ms: float
    quality: int
    sent: bool
    answer: bytes


@dataclass(frozen=True)
class Outcome:
    """What the sampler was given. ``start_ns`` is the start on the host's monotonic clock.

    tallies: by first channel of a device, what a health frame says of it (keys 56 to 69).
    """

    start_ns: int
    rows: list[Row]
    good: int
    bad: int
    missed: int
    counters: dict[int, int]
    tallies: dict[int, list[int]]
    drive: list[tuple[int, int]]
    commit_waits_us: list[int]
    garbage: float
    burst_us: int
    urgent: list[Hurried]

    def of(self, channel: int) -> list[Row]:
        """The rows of the block that begins with a channel, without the missed ones."""
        return [row for row in self.rows if row.channel == channel and row.quality >= 0]

    def missed_of(self, channel: int) -> int:
        """How many rows of that block were missed."""
        return -sum(row.quality for row in self.rows if row.channel == channel and row.quality < 0)


def block(channel: int, function: int, register: int, count: int, period_ms: int) -> list[list[int]]:
    """Items for ``count`` neighbouring registers as channels from ``channel`` on."""
    return [[channel + i, function, register + i, U16, 0, period_ms] for i in range(count)]


def good_and_wrong(
    outcome: Outcome, served: Sequence[Served], reads: Mapping[int, tuple[int, int, int]]
) -> tuple[int, list[str]]:
    """How many good rows there are, and what is wrong with any of them.

    Each must hold the answer to the latest request of its block, no other and no older one. served: by a
    `Responder`. reads: first channel -> (unit, first register, registers).
    """
    good, wrong = 0, []
    for channel, (unit, register, count) in reads.items():
        mine = [one for one in served if (one.unit, one.register) == (unit, register)]
        for row in outcome.of(channel):
            if row.quality != GOOD:
                continue
            good += 1
            words = struct.unpack(f">{count}H", row.data)
            before = [one for one in mine if one.time < outcome.start_ns + row.ms * 1e6]
            for at, word in enumerate(words, register):
                expected = before[-1].serial & 0xFFFF if before and at & 1 else tag(unit, at)
                if word != expected:
                    wrong.append(
                        f"{word:#06x}, not {expected:#06x}, in register {at} of unit {unit} at {row.ms} ms"
                    )
    return good, wrong


def poll_rtu(
    port: str, line: Line, devices: Sequence[list[Any]], ms: int, *, de_re: int | None = None, **options: Any
) -> Outcome:
    """Poll the devices on a serial line for a while; ``options`` as in `_poll`."""
    params = {1: 1, 2: line.baudrate, 3: _PARITY[line.parity], 4: line.stop}
    if de_re is not None:
        params[5] = de_re
    return _poll("rtu", [0, "line", params, list(devices)], ms, port=port, **options)


def poll_tcp(host: str, port: int, devices: Sequence[list[Any]], ms: int, **options: Any) -> Outcome:
    """Poll the units of a server for a while; ``options`` as in `_poll`, rtu: RTU frames over TCP."""
    kind, code = ("rtu-tcp", 3) if options.pop("rtu", False) else ("tcp", 1)
    return _poll(kind, [code, "lan", {1: host, 2: port}, list(devices)], ms, **options)


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
    urgent: Sequence[tuple[int, bytes, int]] = (),
    general: bool = False,
    timeout: float = 30,
) -> Outcome:
    """Poll for ``ms``, and end within ``timeout`` seconds beyond that.

    keep: the rows, else they are only counted. commit: take the line's lock every 50 ms. garbage: measure the
    bytes that stay on the heap per transaction. burst: so many transactions of the first block before, one
    right after the other. urgent: [after so many ms, unit to data, deadline] each. general: these are of any
    function, and answered from the function on.
    """
    job = {"kind": kind, "bus": bus, "port": port, "standins": str(STANDINS), "ms": ms}
    job |= {"keep": keep, "commit": commit, "garbage": garbage, "burst": burst, "general": general}
    job["urgent"] = [(after, list(request), deadline_ms) for after, request, deadline_ms in urgent]
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
        tallies={first: tally for first, *tally in answer["tallies"]},
        drive=[(us, level) for us, level in answer["drive"]],
        commit_waits_us=answer["commit_waits_us"],
        garbage=answer["garbage"],
        burst_us=answer["burst_us"],
        urgent=[
            Hurried(us / 1000, quality, sent, bytes.fromhex(data))
            for us, quality, sent, data in answer["urgent"]
        ],
    )
