"""Devices that refuse, and what becomes of their channels: for tests of a node that learns."""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gasan.hil.rs485.faults import with_crc
from gasan.hil.rs485.line import Line
from gasan.hil.rs485.responder import Responder, tag
from gasan.hil.virtual.judge import Request, places_of
from gasan.hil.virtual.rtu import RtuRun
from gasan.wire.columns import Group
from gasan.wire.modbus_rtu import crc16
from gasan.wire.quality import GOOD

__all__ = ["Patchy", "Tally", "patchy_run"]


def coil(unit: int, function: int, at: int) -> int:
    """What a bit holds: no bit tells its neighbours'."""
    return tag(unit + function, at) * 0x6B43 >> 9 & 1


@dataclass
class Patchy(Responder):
    """Refuses reads that touch ``forbidden`` registers, cross a border, or are longer than ``most``.

    Of functions 1 and 2 these are bits, each of which holds `coil`.

    code: with which a length is refused. noise: (ns, unit) -> exception code out of the blue, 0 for none.
    """

    forbidden: frozenset[int] = frozenset()
    borders: frozenset[int] = frozenset()
    most: int = 125
    code: int = 3
    noise: Callable[[int, int], int] = lambda time, unit: 0
    refused: list[tuple[int, int]] = field(default_factory=list)

    def respond(self, frame: bytes, time: int) -> tuple[int, bytes] | None:
        if len(frame) == 8 and frame[0] in self.units and not crc16(frame, 0, 8):
            first, count = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
            wanted = range(first, first + count)
            code = self.noise(time, frame[0])
            if not code and count > self.most:
                code = self.code
            crossed = self.borders.intersection(range(first + 1, first + count))
            if not code and (crossed or self.forbidden.intersection(wanted)):
                code = 2
            if code:
                self.refused.append((first, count))
                extra = round(self.turnaround_ms.get(frame[0], 0) * 1_000_000)
                return extra, with_crc(bytes([frame[0], frame[1] | 0x80, code]))
            if frame[1] in (1, 2):
                bits = sum(coil(frame[0], frame[1], at) << i for i, at in enumerate(wanted))
                data = bits.to_bytes((count + 7) // 8, "little")
                return 0, with_crc(bytes([frame[0], frame[1], len(data)]) + data)
        return super().respond(frame, time)


class Tally:
    """Stands in for the node's sampler: the outcomes of each channel, every good value checked."""

    def __init__(self, run: RtuRun, devices: Sequence[Sequence[Any]]) -> None:
        self._run = run
        self._places = places_of(devices)
        self.outcomes: dict[int, list[tuple[int, int]]] = {channel: [] for channel in self._places}
        self.missing: dict[int, int] = dict.fromkeys(self._places, 0)
        self.requests: list[Request] = []
        self.groups: list[Group] = []

    def asked(self, time: int, body: bytes) -> None:
        word = int.from_bytes
        self.requests.append(Request(time, body[0], body[1], word(body[2:4], "big"), word(body[4:6], "big")))

    def group(self, channels: Sequence[int], types: bytes, period_ms: int) -> Group:
        self.groups.append(Group(channels, types, 1, period_ms))
        return self.groups[-1]

    def start(self, group: Group, t: int | None = None, quality: int = GOOD) -> None:
        group.clear()
        group.start(0)

    def finish(self, group: Group) -> None:
        for i, channel in enumerate(group.channels):
            quality = group.quality[i]
            self.outcomes[channel].append((self._run.clock.ns, quality))
            unit, function, register = self._places[channel]
            if function < 3:
                if quality == GOOD:
                    bit = group.data[group.offsets[i]]
                    wanted = coil(unit, function, register)
                    assert bit == wanted, f"bit {register} of unit {unit} is stored as {bit}"
                continue
            word = int.from_bytes(group.data[group.offsets[i] : group.offsets[i] + 2], "big")
            if quality == GOOD and not register & 1:
                assert word == tag(unit, register), f"register {register} of unit {unit} holds {word:#06x}"
        group.clear()

    def fail(self, group: Group, quality: int) -> None:
        for channel in group.channels:
            self.outcomes[channel].append((self._run.clock.ns, quality))

    def missed(self, group: Group, rows: int) -> None:
        for channel in group.channels:
            self.missing[channel] += rows

    def good(self, channel: int, since: int = 0, until: int = 1 << 62) -> int:
        """Good readings of a channel between two times (ns)."""
        times = [time for time, quality in self.outcomes[channel] if quality == GOOD]
        return bisect.bisect_left(times, until) - bisect.bisect_left(times, since)


def patchy_run(line: Line, devices: Sequence[Sequence[Any]], responder: Responder, **options: Any) -> RtuRun:
    """A run whose ``judge`` is a `Tally`."""
    run = RtuRun(line, devices, responder, **options)
    run.judge = Tally(run, devices)  # type: ignore[assignment]
    return run
