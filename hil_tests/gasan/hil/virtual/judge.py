"""Holds every value that a node stores as good against what was asked and served.

*Wrong* is a value of another address, or of another time: from before the request that it is said to answer.
A value that no device ever sent so is damage that the CRC did not show, and is counted apart.
"""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gasan.hil.rs485.responder import Served, tag
from gasan.wire.columns import Group
from gasan.wire.quality import GOOD

__all__ = ["Judge", "Request", "Verdicts"]


@dataclass(frozen=True)
class Request:
    """A read as the node sent it, and when (ns)."""

    time: int
    unit: int
    function: int
    register: int
    registers: int


@dataclass
class Verdicts:
    """Rows by what became of them. ``collisions``: damage that a CRC cannot show; ``wrong``: in words."""

    good: int = 0
    uncertain: int = 0
    bad: int = 0
    missed: int = 0
    collisions: int = 0
    wrong: list[str] = field(default_factory=list)
    qualities: dict[int, int] = field(default_factory=dict)


class Judge:
    """Stands in for the node's sampler. Blocks are of u16 registers, at least two neighbours each."""

    def __init__(
        self,
        places: "dict[int, tuple[int, int, int]]",
        served: Sequence[Served],
        now: Callable[[], int],
        ms: Callable[[int], int] | None,
    ) -> None:
        """places: channel -> (unit, function, register).

        ms: ns of the clock for ticks_ms of a row; None: rows are handed over before the next request.
        """
        self.verdicts = Verdicts()
        self.requests: list[Request] = []
        self.sent: Callable[[int, list[int]], bool] = lambda unit, words: True
        self.outcomes: list[tuple[int, int, int]] = []  # (ns, unit, quality) of each row
        self._places = places
        self._served = served
        self._now = now
        self._ms = ms
        self._times: list[int] = []
        self._quality = GOOD

    def asked(self, time: int, body: bytes) -> None:
        """The node has begun to send a request (unit, function, address, count)."""
        word = int.from_bytes
        self.requests.append(Request(time, body[0], body[1], word(body[2:4], "big"), word(body[4:6], "big")))
        self._times.append(time)

    # What the node's poller calls.

    def group(self, channels: list[int], types: bytes, period_ms: int) -> Group:
        return Group(channels, types, 1, period_ms)

    def start(self, group: Group, t: int | None = None, quality: int = GOOD) -> None:
        group.clear()
        group.start(0)
        self._t = self._now() if t is None or self._ms is None else self._ms(t)
        self._quality = quality

    def finish(self, group: Group) -> None:
        quality = max([self._quality, *group.quality])
        self._note(group, quality)
        if quality != GOOD:
            self.verdicts.uncertain += 1
            return
        self.verdicts.good += 1
        data = bytes(group.data)
        words = [int.from_bytes(data[2 * i : 2 * i + 2], "big") for i in range(group.columns)]
        unit, function, _ = self._places[group.channels[0]]
        wrong = self._wrong(unit, function, [self._places[channel][2] for channel in group.channels], words)
        if wrong and not self.sent(unit, words):
            self.verdicts.collisions += 1
        elif wrong:
            self.verdicts.wrong.append(wrong)

    def fail(self, group: Group, quality: int) -> None:
        self.verdicts.bad += 1
        self._note(group, quality)

    def missed(self, group: Group, rows: int) -> None:
        self.verdicts.missed += rows

    def _note(self, group: Group, quality: int) -> None:
        self.verdicts.qualities[quality] = self.verdicts.qualities.get(quality, 0) + 1
        self.outcomes.append((self._now(), self._places[group.channels[0]][0], quality))

    def _wrong(self, unit: int, function: int, registers: list[int], words: list[int]) -> str:
        """What is wrong with the values, "" if nothing is."""
        for at, word in zip(registers, words, strict=True):
            if not at & 1 and word != tag(unit, at):
                return f"unit {unit} register {at}: {word:#06x} is of another address, at {self._t} ns"
        register, end = min(registers), max(registers) + 1
        # A row's time is cut to the millisecond; its request began at least two before.
        i = bisect.bisect_right(self._times, self._t)
        while i:
            i -= 1
            asked = self.requests[i]
            if (asked.unit, asked.function) == (unit, function) and (
                asked.register <= register and end <= asked.register + asked.registers
            ):
                break
        else:
            return f"unit {unit} register {register}: never asked"
        for at, word in zip(registers, words, strict=True):
            if at & 1:
                latest = len(self._served) - 1
                serial = latest - ((latest - word) & 0xFFFF)
                if serial < 0 or self._served[serial].time < asked.time:
                    return (
                        f"unit {unit} register {at}: answer {serial} of {latest + 1} is older than the "
                        f"request at {asked.time} ns, stored at {self._t} ns"
                    )
        return ""


def places_of(devices: Sequence[Sequence[Any]]) -> dict[int, tuple[int, int, int]]:
    """channel -> (unit, function, register), of devices as compiled."""
    return {item[0]: (device[1], item[1], item[2]) for device in devices for item in device[-1]}
