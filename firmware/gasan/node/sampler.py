"""Where sources put what they read: groups of channels that are read together, one row per reading.

Between ``start`` and ``finish`` a source does not await, and nothing is allocated on this path (until the
count of readings passes 2**30, on 32 bits). A group holds twice the rows that are due while a batch is open,
since writing a batch waits for the lines to be quiet. A row that comes when a group is full is counted as
missed.
"""

from time import ticks_add, ticks_diff, ticks_ms

from gasan.wire import columns
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_LEAST_ROWS = const(4)
_MOST_ROWS = const(512)
_MOST_COLUMNS = const(100)  # of these a row fits into a frame, whatever its values,
_MOST_BYTES = const(905)  # and of so many, with the time and the qualities
# Bytes per reading, in sixteenths, that a batch is expected to take before one was written.
_FIRST_GUESS = const(40)


class Rows(columns.Group):
    """A Group with a spare row and a time base of its own.

    rows: how many it holds. base: the tick that its times count from. first: the oldest row that is in no
    frame yet; offered: how many rows from there on are in the frame that is being made.
    """

    def __init__(self, channels: "Sequence[int]", types: bytes, rows: int, period_ms: int) -> None:
        super().__init__(channels, types, rows + 1, period_ms)
        self.rows = rows
        self.base = ticks_ms()
        self.first = self.offered = 0

    def oldest(self) -> "Any":
        """The tick of the oldest row that is in no frame yet; there must be one."""
        return ticks_add(self.base, self.time(self.first))

    def take(self) -> None:
        """The rows on offer are in a frame that is committed, or accounted for."""
        self.first += self.offered
        if self.n and self.first == self.n:
            self.clear()
            self.first = 0


class Sampler:
    """The groups of all sources and the counts of what they brought.

    max_age_ms, max_bytes: a batch is due when its first row is that old or its frame about that long.
    memory: bytes that the rows of all ``channels`` channels of the node may take.
    """

    def __init__(self, max_age_ms: int, max_bytes: int, channels: int, memory: int) -> None:
        self.groups: list[Rows] = []
        self.sampled = 0  # readings of this start
        self.missed_readings = 0  # readings that were due and not attempted, or had no room
        self.waiting = 0  # readings in the open batch
        self.density = _FIRST_GUESS
        self._max_age = max_age_ms
        self._max_bytes = max_bytes
        self._share = memory // max(1, channels)
        self._full = False
        self._opened = ticks_ms()

    def group(self, channels: "Sequence[int]", types: bytes, period_ms: int) -> Rows:
        """A group of at most 100 channels, a type code each; period_ms is 0 when rows come unasked."""
        row = 5
        for code in types:
            row += columns.width(code) + 1 if columns.width(code) else _MOST_BYTES
        if len(types) > _MOST_COLUMNS or row > _MOST_BYTES:
            raise ValueError("too much for one group")
        due = 2 * (self._max_age // period_ms + 2) if period_ms else 16
        rows = min(due, _MOST_ROWS, max(_LEAST_ROWS, self._share * len(types) // row))
        g = Rows(channels, types, rows, period_ms)
        self.groups.append(g)
        return g

    def start(self, g: Rows, t: "Any" = None) -> None:
        """Begin a row of the tick ``t``, or of this moment; it is good until a column is marked otherwise."""
        if t is None:
            t = ticks_ms()
        if not self.waiting:
            self._opened = t
        if not g.n:
            g.base = t
        g.start(ticks_diff(t, g.base))

    def finish(self, g: Rows) -> None:
        """The row is complete."""
        readings = g.columns
        if g.n < g.rows:
            g.finish()
            self.sampled += readings
            self.waiting += readings
            if g.n * 2 > g.rows:
                self._full = True
        else:
            self.missed_readings += readings

    def fail(self, g: Rows, quality: int) -> None:
        """A row of this moment without values."""
        self.start(g)
        for column in range(g.columns):
            g.mark(column, quality)
        self.finish(g)

    def missed(self, g: Rows, rows: int) -> None:
        """That many rows were due and not attempted."""
        self.missed_readings += rows * g.columns

    def due(self) -> bool:
        """True when the batch should be written."""
        if not self.waiting:
            return False
        return (
            self._full
            or ticks_diff(ticks_ms(), self._opened) >= self._max_age
            or (self.waiting * self.density) >> 4 >= self._max_bytes
        )

    def written(self, readings: int, size: int) -> None:
        """``readings`` have left the groups in a frame of ``size`` bytes."""
        self.waiting -= readings
        self._full = False
        if readings >= 8:
            # An average over some frames, so that one odd batch does not make the next too short.
            self.density += ((size << 4) // readings - self.density) >> 1
            self.density = max(self.density, 4)
