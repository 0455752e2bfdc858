"""The line itself: who hears which byte when. Pure; times are nanoseconds of the caller's clock.

Stations: the master, everything outside (a pty with any number of devices behind it), the responder inside,
and the strangers that a fault brings. A device's answer waits for 3.5 characters of silence, as a real device
does; the master is left to itself, and the responder ignores a request without the silence before it. Bytes
that overlap are both spoilt.
"""

import heapq
import itertools
import random
from dataclasses import dataclass, field
from typing import NamedTuple

from gasan.hil.rs485.faults import Direction, FaultPlan, Shaped
from gasan.hil.rs485.line import Line
from gasan.hil.rs485.responder import Responder

__all__ = ["MASTER", "OUTSIDE", "RESPONDER", "STRANGER", "Bus", "Delivery", "Totals"]

MASTER, OUTSIDE, RESPONDER, STRANGER = 0, 1, 2, 3


class Delivery(NamedTuple):
    """``byte`` has come in whole at ``station`` at ``time``; ``last``: no further one follows it at once."""

    time: int
    station: int
    byte: int
    last: bool


@dataclass(order=True)
class _Byte:
    end: int
    number: int
    start: int = field(compare=False)
    sender: int = field(compare=False)
    value: int = field(compare=False)
    last: bool = field(compare=False)
    echo: bool = field(compare=False)


@dataclass
class Totals:
    """What has happened on the line.

    A cycle lasts from the start of a request that was answered to the start of the next one. ``least_ns`` is
    the least time in which the cycles' bytes and silences could have passed, ``cycle_ns`` what they took.
    """

    requests: int = 0
    answers: int = 0
    bytes: int = 0
    collisions: int = 0
    early_requests: int = 0
    cycles: int = 0
    least_ns: int = 0
    cycle_ns: int = 0


class Bus:
    """A half-duplex line with its stations."""

    def __init__(
        self, line: Line, faults: FaultPlan | None = None, responder: Responder | None = None
    ) -> None:
        self.line = line
        self.faults = faults
        self.responder = responder
        self.totals = Totals()
        self._char = line.char_ns
        self._gap = line.gap_ns
        self._bytes: list[_Byte] = []
        self._numbers = itertools.count()
        self._free = [0, 0, 0, 0]  # when each station's transmitter is free
        self._quiet = 0  # when the line falls silent, as far as is known
        self._later: list[tuple[int, int, bytes, bool]] = []  # of strangers: when, number, what, how politely
        self._heard = bytearray()  # the frame that the responder is hearing
        self._silence = 0  # when that frame is over
        self._ended = -self._gap  # when the latest byte of anyone had passed
        self._early = False  # the frame being heard began without the silence before it
        self._request: tuple[int, int] | None = None  # start and size of the present request
        self._least = 0  # of the present cycle, once it was answered
        self._garble = random.Random(0 if faults is None else faults.seed)

    def send(self, station: int, data: bytes, now: int) -> None:
        """A station puts bytes into its transmitter; more while it is sending belong to the same frame."""
        if not data:
            return
        if self._free[station] > now:
            self._put(station, Shaped([(0, data)]), self._free[station])
            return
        start = now
        direction: Direction = "request"
        if station == MASTER:
            self._note_request(now, len(data))
        else:
            direction = "answer"
            start = max(now, self._quiet + self._gap)
            self._note_answer(len(data))
        shaped = Shaped([(0, data)])
        if self.faults is not None:
            shaped = self.faults.shape(direction, data, self._char)
        self._put(station, shaped, start)

    def next_time(self, patience: int = 0) -> int | None:
        """When `run` is to be called next; None: not before somebody sends.

        patience: ns that a byte may wait for the bytes behind it; the end of a frame never waits.
        """
        times = []
        if self._bytes:
            times.append(self._bytes[0].end + patience)
            if patience:
                times += [byte.end for byte in self._bytes if byte.last]
        if self._heard:
            times.append(self._silence)
        if self._later:
            times.append(self._later[0][0])
        return min(times, default=None)

    def run(self, now: int) -> list[Delivery]:
        """Let time pass until ``now``; returns what has come in, in order."""
        out: list[Delivery] = []
        while True:
            soon = self._bytes[0].end if self._bytes else now
            if self._later and self._later[0][0] <= min(soon, now):
                self._intrude(*heapq.heappop(self._later))
            elif (
                self._heard
                and self._silence <= now
                and not (self._bytes and self._bytes[0].start < self._silence)
            ):
                self._respond()
            elif self._bytes and self._bytes[0].end <= now:
                byte = heapq.heappop(self._bytes)
                for station in (MASTER, OUTSIDE):
                    if station != byte.sender or byte.echo:
                        out.append(Delivery(byte.end, station, byte.value, byte.last))
                if self.responder is not None and byte.sender != RESPONDER:
                    self._early |= not self._heard and byte.start < self._ended + self._gap
                    self._heard.append(byte.value)
                    self._silence = byte.end + self._gap
                self._ended = byte.end
            else:
                return out

    def _respond(self) -> None:
        frame, time, early = bytes(self._heard), self._silence - self._gap, self._early
        self._heard.clear()
        self._early = False
        answer = None if early or self.responder is None else self.responder.respond(frame, time)
        if answer is not None:
            self.send(RESPONDER, answer[1], self._silence + answer[0])

    def _intrude(self, time: int, number: int, data: bytes, polite: bool) -> None:
        """A stranger sends, or waits for the silence first."""
        free = self._quiet + self._gap
        if polite and free > time:
            heapq.heappush(self._later, (free, number, data, polite))
        else:
            self._put(STRANGER, Shaped([(0, data)]), max(time, self._free[STRANGER]))

    def _put(self, station: int, shaped: Shaped, start: int) -> None:
        for pause, data in shaped.pieces:
            start += pause
            for at, value in enumerate(data):
                end = start + self._char
                byte = _Byte(
                    end, next(self._numbers), start, station, value, at == len(data) - 1, shaped.echo
                )
                for other in self._bytes:
                    if other.sender != station and other.start < end and start < other.end:
                        other.value, byte.value = self._garble.randrange(256), self._garble.randrange(256)
                        self.totals.collisions += 1
                heapq.heappush(self._bytes, byte)
                start = end
            self.totals.bytes += len(data)
        for after, data, polite in shaped.others:
            heapq.heappush(self._later, (start + after, next(self._numbers), data, polite))
        self._free[station] = start
        self._quiet = max(self._quiet, start)

    def _note_request(self, now: int, size: int) -> None:
        if self._request is not None and self._least:
            self.totals.cycles += 1
            self.totals.least_ns += self._least
            self.totals.cycle_ns += now - self._request[0]
        self._request = (now, size)
        self._least = 0
        self.totals.requests += 1
        if self.totals.requests > 1 and now < self._quiet + self._gap:
            self.totals.early_requests += 1

    def _note_answer(self, size: int) -> None:
        self.totals.answers += 1
        if self._request is not None:
            self._least = self.line.least_ns(self._request[1], size)
