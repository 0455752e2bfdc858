"""Turns a frame's columns into rows of `sample`, and writes them fast.

The common case, a column of good integers, becomes rows without one Python step per reading: `zip` makes
them while SQLite takes them. Rows are written in the order of their ids, so that the table only ever grows
at its end. There is one INSERT for each shape of a column, because binding a null costs the sqlite3 module
as much as a whole row.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain, count, repeat
from typing import Any, Final, cast

from gasan.host.store.meaning import Meaning, Raw
from gasan.host.store.registry import Channel, Layout
from gasan.host.store.schema import FRAME_SHIFT
from gasan.wire import quality

__all__ = ["INSERT_PLAIN", "Group", "SampleWriter", "stored_raw"]

Group = tuple[Sequence[int], Sequence[int], Sequence[Sequence[Raw | None]], Sequence[Sequence[int]]]
"""Channels, node-monotonic times in ms, values by column, qualities by column: what `expand` yields."""

INSERT_PLAIN: Final = "INSERT INTO sample (id, channel, dt, raw) VALUES (?, ?, ?, ?)"
_INSERT_ABSENT: Final = "INSERT INTO sample (id, channel, dt, quality) VALUES (?, ?, ?, ?)"
_INSERT_FLOATS: Final = "INSERT INTO sample (id, channel, dt, raw, value) VALUES (?, ?, ?, ?, ?)"
_INSERT_ANY: Final = "INSERT INTO sample (id, channel, dt, raw, quality, value) VALUES (?, ?, ?, ?, ?, ?)"

_I64_MIN: Final = -(1 << 63)
_I64_MAX: Final = (1 << 63) - 1


class SampleWriter:
    """Collects the rows of a transaction; `flush` writes them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._runs: list[tuple[str, list[Iterable[tuple[Any, ...]]]]] = []

    def add(self, frame_id: int, mono: int, groups: Sequence[Group], layouts: Sequence[Layout]) -> None:
        """Adds the readings of one frame that begins at `mono`; each group has its layout."""
        row_id = frame_id << FRAME_SHIFT
        for (_, times, columns, qualities), layout in zip(groups, layouts, strict=True):
            after = [time - mono for time in times]
            if _all_good(qualities) and self._integers(row_id, layout, after, columns):
                row_id += len(columns) * len(after)
                continue
            for channel, values, marks in zip(layout.channels, columns, qualities, strict=True):
                self._column(row_id, channel, after, values, marks)
                row_id += len(after)

    def flush(self) -> None:
        for statement, parts in self._runs:
            self._db.executemany(statement, chain.from_iterable(parts))
        self._runs.clear()

    def clear(self) -> None:
        self._runs.clear()

    def _integers(
        self, row_id: int, layout: Layout, after: list[int], columns: Sequence[Sequence[Raw | None]]
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
        owners = layout.owners(len(after))
        self._put(INSERT_PLAIN, zip(count(row_id), owners, after * len(columns), flat, strict=False))
        return True

    def _column(
        self,
        row_id: int,
        channel: Channel,
        after: Sequence[int],
        values: Sequence[Raw | None],
        marks: Sequence[int],
    ) -> None:
        ids, owner = count(row_id), repeat(channel.id)
        if not any(marks):
            scaled = [_own_value(channel, raw, quality.GOOD) for raw in values]
            if isinstance(values[0], int):  # a column is of one kind, and without marks it has no nulls
                if scaled.count(None) == len(scaled):
                    self._put(INSERT_PLAIN, zip(ids, owner, after, values, strict=False))
                    return
            elif None not in scaled:
                # bytearray, because sqlite3 looks for an adapter for every bytes object.
                raws = map(bytearray, cast("Sequence[bytes]", values))
                self._put(_INSERT_FLOATS, zip(ids, owner, after, raws, scaled, strict=False))
                return
        elif marks[0] >= quality.NO_VALUE and marks.count(marks[0]) == len(marks):
            self._put(_INSERT_ABSENT, zip(ids, owner, after, marks, strict=False))
            return
        self._put(
            _INSERT_ANY,
            [
                (row, channel.id, dt, stored_raw(raw), mark, _own_value(channel, raw, mark))
                for row, dt, raw, mark in zip(ids, after, values, marks, strict=False)
            ],
        )

    def _put(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        if not self._runs or self._runs[-1][0] is not statement:
            self._runs.append((statement, []))
        self._runs[-1][1].append(rows)


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
