"""Reading the store: readings of a time span, crash reports. Works beside a gateway that writes."""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappush, heappushpop
from typing import Any, Final, NamedTuple

from gasan.host.store.schema import SELECT_READINGS, time_sql
from gasan.wire.frame import CRASH

__all__ = ["Crash", "Reading", "crashes", "readings"]

_FRAME_END: Final = time_sql("(frame.mono + frame.span)")
_FRAME_BEGIN: Final = time_sql("frame.mono")
_SAMPLE: Final = time_sql("(frame.mono + sample.dt)")


class Reading(NamedTuple):
    """One row of the view `readings`; `value` is finite or None, `raw` is what the node read, lossless."""

    node: str
    device: str
    channel: str
    time_ms: int | None
    time_err_ms: int | None
    value: float | None
    raw: int | str | bytes | None
    text: str | None
    unit: str
    quality: str
    boot: str
    seq: int


def readings(
    connection: sqlite3.Connection,
    *,
    node: str | None = None,
    device: str | None = None,
    channel: str | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
    limit: int | None = None,
) -> Iterator[Reading]:
    """The readings that match, oldest first; `since_ms` <= time < `until_ms` in Unix ms. With `limit`, the
    newest ones.

    Undated readings come first, and only when no time is asked for. Frames outside of the span, and with
    `limit` all that hold nothing newer, are skipped by their header, so that little of a large database is
    quick.
    """
    wanted = [
        (term, value)
        for term, value in (
            ("node.name = ?", node),
            ("channel.device = ?", device),
            ("channel.name = ?", channel),
            (f"{_FRAME_END} >= ?", since_ms),
            (f"{_SAMPLE} >= ?", since_ms),
            (f"{_FRAME_BEGIN} < ?", until_ms),
            (f"{_SAMPLE} < ?", until_ms),
        )
        if value is not None
    ]
    if limit is None:
        sql = SELECT_READINGS + _where(term for term, _ in wanted) + " ORDER BY time_ms, sample.id"
        yield from map(Reading._make, connection.execute(sql, [value for _, value in wanted]))
    else:
        of_frames = [
            (term, value) for term, value in wanted if "sample." not in term and "channel." not in term
        ]
        yield from _newest(connection, wanted, of_frames, limit)


_Terms = Sequence[tuple[str, str | int]]


def _newest(
    connection: sqlite3.Connection, wanted: _Terms, of_frames: _Terms, limit: int
) -> Iterator[Reading]:
    """The newest readings: the frames by their headers, the latest first, until no other can hold a newer
    one.
    """
    frames = connection.execute(
        f"SELECT frame.id, {_FRAME_END} AS ends FROM frame JOIN boot ON boot.id = frame.boot"
        " JOIN node ON node.id = boot.node LEFT JOIN node_clock ON node_clock.id = frame.clock"
        " LEFT JOIN gateway_clock ON gateway_clock.id = node_clock.gateway"
        + _where([*(term for term, _ in of_frames), "frame.n > 0"])
        + " ORDER BY ends DESC, frame.id DESC",
        [value for _, value in of_frames],
    )
    sql = f"{SELECT_READINGS}{_where([*(term for term, _ in wanted), 'frame.id = ?'])}"
    sql = sql.replace("SELECT", "SELECT sample.id,", 1)
    values = [value for _, value in wanted]
    rows: list[tuple[tuple[float, int], Sequence[Any]]] = []  # (time, id), row: a heap, the oldest first
    for frame, ends in frames:
        if len(rows) == limit and (-math.inf if ends is None else ends) < rows[0][0][0]:
            break
        for row_id, *row in connection.execute(sql, [*values, frame]):
            entry = (-math.inf if row[3] is None else row[3], row_id), row
            if len(rows) < limit:
                heappush(rows, entry)
            else:
                heappushpop(rows, entry)
    yield from (Reading._make(row) for _, row in sorted(rows))


def _where(terms: Iterable[str]) -> str:
    joined = " AND ".join(terms)
    return f" WHERE {joined}" if joined else ""


@dataclass(frozen=True, slots=True)
class Crash:
    """A traceback that a node left behind. `boot` is the start that reported it, the `ordinal`-th one, in its
    frame `seq`; `time_ms` is when, in Unix ms, None while unknown.
    """

    node: str
    boot: str
    ordinal: int | None
    seq: int
    time_ms: int | None
    text: str


def crashes(connection: sqlite3.Connection, node: str) -> list[Crash]:
    """The crash reports of a node, in the order in which they arrived."""
    return [
        Crash(*row)
        for row in connection.execute(
            f"SELECT node.name, lower(hex(boot.boot)), boot.ordinal, frame.seq, {_FRAME_BEGIN}, event.body"
            " FROM event JOIN frame ON frame.id = event.frame JOIN boot ON boot.id = frame.boot"
            " JOIN node ON node.id = boot.node LEFT JOIN node_clock ON node_clock.id = frame.clock"
            " LEFT JOIN gateway_clock ON gateway_clock.id = node_clock.gateway"
            " WHERE node.name = ? AND frame.kind = ? ORDER BY frame.id",
            (node, CRASH),
        )
    ]
