"""Turns a frame's columns into rows of `sample`, and writes them fast.

The common case, a group of good integers, becomes rows without one Python step per reading. Rows are
written in the order of their ids, so that the table only ever grows at its end, and many with one
statement, which is twice as fast as `executemany`. There is a statement for each shape of a row, because
binding a null costs the sqlite3 module as much as a whole row.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final, cast

from gasan.host.store.meaning import Meaning, Raw
from gasan.host.store.registry import Channel, Layout
from gasan.host.store.schema import FRAME_SHIFT
from gasan.host.store.seal import Seal
from gasan.wire import quality

__all__ = ["Group", "SampleWriter", "judged", "stored_raw"]

Group = tuple[Sequence[int], Sequence[int], Sequence[Sequence[Raw | None]], Sequence[Sequence[int]]]
"""Channels, node-monotonic times in ms, values by column, qualities by column: what `expand` yields."""

_PLAIN: Final = ("id", "channel", "dt", "raw")
_ABSENT: Final = ("id", "channel", "dt", "quality")
_FLOATS: Final = ("id", "channel", "dt", "raw", "value")
_ANY: Final = ("id", "channel", "dt", "raw", "quality", "value")
_Shape = tuple[str, ...]

_ROWS: Final = 120
"""Rows in one statement; more gain nothing."""

_I64_MIN: Final = -(1 << 63)
_I64_MAX: Final = (1 << 63) - 1


def judged(groups: Sequence[Group], layouts: Sequence[Layout]) -> list[Group]:
    """The groups with the qualities that they have once it is known what their values mean."""
    if not any(layout.judged for layout in layouts):
        return list(groups)
    return [
        (numbers, times, columns, list(map(_marks, layout.channels, columns, marks)))
        if layout.judged
        else (numbers, times, columns, marks)
        for (numbers, times, columns, marks), layout in zip(groups, layouts, strict=True)
    ]


def _marks(channel: Channel, values: Sequence[Raw | None], marks: Sequence[int]) -> Sequence[int]:
    meaning: Meaning = channel.meaning
    if not meaning.judged or (meaning.plain_float and all(raw is None or _small(raw) for raw in values)):
        return marks
    found = [
        mark if raw is None or mark >= quality.BAD_NO_VALUE else meaning.verdict(raw) or mark
        for raw, mark in zip(values, marks, strict=True)
    ]
    return found if found != marks else marks


def _small(raw: Raw) -> bool:
    """Whether a float is, by its first byte alone, neither NaN nor infinite."""
    return isinstance(raw, bytes) and raw[0] & 0x7F != 0x7F


class SampleWriter:
    """Collects the rows of a transaction; `flush` writes them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._runs: list[tuple[_Shape, list[list[Any]]]] = []  # a shape, and a list for each of its columns

    def add(self, frame_id: int, mono: int, groups: Sequence[Group], layouts: Sequence[Layout]) -> Seal:
        """Adds the readings of one frame that begins at `mono`; each group has its layout."""
        row_id = frame_id << FRAME_SHIFT
        seal = Seal()
        for (_, times, columns, qualities), layout in zip(groups, layouts, strict=True):
            after = [time - mono for time in times]
            if _all_good(qualities) and self._integers(row_id, layout, after, columns, seal):
                row_id += len(columns) * len(after)
                continue
            for channel, values, marks in zip(layout.channels, columns, qualities, strict=True):
                self._column(row_id, channel, after, values, marks, seal)
                row_id += len(after)
        return seal

    def flush(self) -> None:
        for shape, columns in self._runs:
            width, rows = len(shape), len(columns[0])
            flat: list[Any] = [None] * (width * rows)
            for position, values in enumerate(columns):
                flat[position::width] = values
            whole = rows - rows % _ROWS
            for first in range(0, whole, _ROWS):
                self._db.execute(_insert(shape, _ROWS), flat[first * width : (first + _ROWS) * width])
            rest = [flat[row * width : (row + 1) * width] for row in range(whole, rows)]
            self._db.executemany(_insert(shape, 1), rest)
        self._runs.clear()

    def clear(self) -> None:
        self._runs.clear()

    def _integers(
        self,
        row_id: int,
        layout: Layout,
        after: list[int],
        columns: Sequence[Sequence[Raw | None]],
        seal: Seal,
    ) -> bool:
        """Adds a group of good integers that the view can scale exactly; False, and nothing, for another
        group.
        """
        flat = list(chain.from_iterable(columns))
        try:
            if not (layout.low <= min(flat) and max(flat) <= layout.high):  # type: ignore[type-var, operator]
                return False
        except TypeError:  # floats among them
            return False
        ids = range(row_id, row_id + len(flat))
        owners, packed_owners = layout.owners(len(after))
        self._put(_PLAIN, ids, owners, after * len(columns), flat)
        seal.integers(packed_owners, after, len(columns), cast("Sequence[int]", flat))
        return True

    def _column(
        self,
        row_id: int,
        channel: Channel,
        after: Sequence[int],
        values: Sequence[Raw | None],
        marks: Sequence[int],
        seal: Seal,
    ) -> None:
        ids = range(row_id, row_id + len(after))
        owner = [channel.id] * len(after)
        scaled = [_own_value(channel, raw, mark) for raw, mark in zip(values, marks, strict=True)]
        seal.column(owner, after, list(map(stored_raw, values)), marks, scaled)
        if not any(marks):
            if isinstance(values[0], int):  # a column is of one kind, and without marks it has no nulls
                if scaled.count(None) == len(scaled):
                    self._put(_PLAIN, ids, owner, after, values)
                    return
            elif None not in scaled:
                # bytearray, because sqlite3 looks for an adapter for every bytes object.
                raws = map(bytearray, cast("Sequence[bytes]", values))
                self._put(_FLOATS, ids, owner, after, raws, scaled)
                return
        elif marks[0] >= quality.NO_VALUE and marks.count(marks[0]) == len(marks):
            self._put(_ABSENT, ids, owner, after, marks)
            return
        self._put(_ANY, ids, owner, after, map(stored_raw, values), marks, scaled)

    def _put(self, shape: _Shape, *columns: Iterable[Any]) -> None:
        """Adds rows of one shape, given by column."""
        if not self._runs or self._runs[-1][0] is not shape:
            self._runs.append((shape, [[] for _ in shape]))
        for collected, more in zip(self._runs[-1][1], columns, strict=True):
            collected.extend(more)


@cache
def _insert(shape: _Shape, rows: int) -> str:
    """The statement that inserts so many rows of a shape."""
    row = f"({', '.join('?' * len(shape))})"
    return f"INSERT INTO sample ({', '.join(shape)}) VALUES {', '.join([row] * rows)}"


def _all_good(qualities: Sequence[Sequence[int]]) -> bool:
    """Whether no column has a mark; columns without marks share one list, so this is quick."""
    first = qualities[0]
    return not any(first) and qualities.count(first) == len(qualities)


def stored_raw(raw: Raw | None) -> Raw | str | None:
    """What `raw` is in the database: integers beyond signed 64 bits are their decimal digits."""
    if isinstance(raw, int) and not _I64_MIN <= raw <= _I64_MAX:
        return str(raw)
    return raw


def _own_value(channel: Channel, raw: Raw | None, mark: int) -> float | None:
    """The value to store beside `raw` where the view cannot compute it exactly."""
    if raw is None or mark >= quality.BAD_NO_VALUE:
        return None
    if isinstance(raw, int) and channel.low <= raw <= channel.high:
        return None
    meaning: Meaning = channel.meaning
    return meaning.value(raw)
