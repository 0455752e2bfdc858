"""Reading the store: readings of a time span, crash reports. Works beside a gateway that writes."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

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

    Undated readings come first, and only when no time is asked for. Frames outside of the span are skipped
    by their header, so a short span of a large database is quick.
    """
    terms: list[str] = []
    values: list[str | int] = []
    for term, value in (
        ("node.name = ?", node),
        ("channel.device = ?", device),
        ("channel.name = ?", channel),
        (f"{_FRAME_END} >= ?", since_ms),
        (f"{_SAMPLE} >= ?", since_ms),
        (f"{_FRAME_BEGIN} < ?", until_ms),
        (f"{_SAMPLE} < ?", until_ms),
    ):
        if value is not None:
            terms.append(term)
            values.append(value)
    sql = SELECT_READINGS + (f" WHERE {' AND '.join(terms)}" if terms else "")
    if limit is None:
        yield from map(Reading._make, connection.execute(sql + " ORDER BY time_ms, sample.id", values))
    else:
        newest = connection.execute(
            sql + " ORDER BY time_ms DESC, sample.id DESC LIMIT ?", (*values, limit)
        ).fetchall()
        yield from map(Reading._make, reversed(newest))


@dataclass(frozen=True, slots=True)
class Crash:
    """A traceback that a node left behind; `boot` is the start that reported it, `seq` its frame."""

    node: str
    boot: str
    seq: int
    text: str


def crashes(connection: sqlite3.Connection, node: str) -> list[Crash]:
    """The crash reports of a node, in the order in which they arrived."""
    return [
        Crash(*row)
        for row in connection.execute(
            "SELECT node.name, lower(hex(boot.boot)), frame.seq, event.body FROM event"
            " JOIN frame ON frame.id = event.frame JOIN boot ON boot.id = frame.boot"
            " JOIN node ON node.id = boot.node WHERE node.name = ? AND frame.kind = ? ORDER BY frame.id",
            (node, CRASH),
        )
    ]
