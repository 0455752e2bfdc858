"""Looks whether a database is whole: SQLite's own checks, every checksum, and what has to go with what."""

import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gasan.host.store.ranges import RangeSet
from gasan.host.store.rows import AS_WRITTEN, COPIED, SEALED, columns, copy_of, keys, row_crc
from gasan.host.store.schema import FRAME_SHIFT, LOSS_DAMAGED
from gasan.host.store.seal import sealed
from gasan.wire.frame import DATA

__all__ = ["Report", "examine", "frames_are_whole", "spans_of", "whole_frame"]

_PROBLEMS_MAX: Final = 100
_CHUNK: Final = 256
_STEPS: Final = 20_000
"""SQLite's virtual machine looks at the clock so often."""

_FRAME: Final = "SELECT id, boot, seq, kind, count, n, mono, span, revision, size, tag, crc FROM frame"
_ORPHANS: Final = (
    ("frames of an unknown start", "SELECT count(*) FROM frame WHERE boot NOT IN (SELECT id FROM boot)"),
    (
        "frames of an unknown config revision",
        "SELECT count(*) FROM frame WHERE revision NOT IN (SELECT id FROM revision)",
    ),
    (
        "frames dated by a clock that is not theirs",
        "SELECT count(*) FROM frame LEFT JOIN node_clock ON node_clock.id = frame.clock"
        " WHERE frame.clock IS NOT NULL AND node_clock.boot IS NOT frame.boot",
    ),
    (
        "frames without a date though there is one",
        "SELECT count(*) FROM frame WHERE clock IS NULL AND boot IN (SELECT boot FROM node_clock)",
    ),
    (
        "clocks of an unknown gateway",
        "SELECT count(*) FROM node_clock WHERE gateway NOT IN (SELECT id FROM gateway_clock)",
    ),
    ("starts of an unknown node", "SELECT count(*) FROM boot WHERE node NOT IN (SELECT id FROM node)"),
    (
        "channels of an unknown config revision",
        "SELECT count(*) FROM channel WHERE revision NOT IN (SELECT id FROM revision)",
    ),
)


@dataclass
class Report:
    """What a look at a database has found. `complete`: it was not ended by the time that was given."""

    problems: list[str] = field(default_factory=list)
    frames: int = 0
    readings: int = 0
    complete: bool = True

    @property
    def sound(self) -> bool:
        return not self.problems

    def add(self, problem: str) -> None:
        if len(self.problems) < _PROBLEMS_MAX:
            self.problems.append(problem)


def examine(
    connection: sqlite3.Connection,
    seconds: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Looks at everything, or, within `seconds`, at as much as that allows, the newest frames first.

    `progress` is called with the frames looked at and how many there are.
    """
    report = Report()
    end = None if seconds is None else time.monotonic() + seconds
    try:
        with _until(connection, None if seconds is None else seconds / 2):
            pragma = "integrity_check" if seconds is None else "quick_check(1)"
            for (said,) in connection.execute(f"PRAGMA {pragma}"):
                if said != "ok":
                    report.add(str(said))
    except (sqlite3.Error, UnicodeError) as error:
        _note(report, error)
    if seconds is not None and not report.sound:
        return report
    try:
        with _until(connection, None if end is None else max(0.0, end - time.monotonic()) / 2):
            for problem in _rows(connection):
                report.add(problem)
            for problem in _belongings(connection) if seconds is None else ():
                report.add(problem)
    except (sqlite3.Error, ValueError, TypeError, AttributeError) as error:  # what cannot be in it
        _note(report, error)
    try:
        with _until(connection, None if end is None else max(0.0, end - time.monotonic())):
            _all_frames(connection, report, newest_first=seconds is not None, progress=progress)
    except (sqlite3.Error, UnicodeError) as error:
        _note(report, error)
    return report


def frames_are_whole(connection: sqlite3.Connection, after: int, most: int) -> tuple[int, list[int]]:
    """Looks at `most` frames whose ids follow `after`: (last id, 0 at the end; those that are not whole)."""
    rows = connection.execute(f"{_FRAME} WHERE id > ? ORDER BY id LIMIT ?", (after, most)).fetchall()
    broken = [row[0] for row in rows if whole_frame(connection, row) is None]
    return (rows[-1][0] if len(rows) == most else 0), broken


def whole_frame(connection: sqlite3.Connection, row: tuple[Any, ...]) -> int | None:
    """How many readings the frame has, if its row and all of theirs are as they were written; else None.

    row: id, boot, seq, kind, count, n, mono, span, revision, size, tag, crc.
    """
    frame_id, *head, tag, crc = row
    first = frame_id << FRAME_SHIFT
    samples = connection.execute(
        "SELECT id, channel, dt, raw, quality, value FROM sample WHERE id >= ? AND id < ? ORDER BY id",
        (first, first + (1 << FRAME_SHIFT)),
    ).fetchall()
    if samples and samples[-1][0] - first != len(samples) - 1:
        return None
    try:
        kind, n = int(head[2]), int(head[4])
        if crc is not None and sealed(head, tag, [sample[1:] for sample in samples]) != crc:
            return None
    except (TypeError, ValueError, ArithmeticError, AttributeError, struct.error):
        return None  # values of other types than were written
    if len(samples) != n:
        waits = connection.execute("SELECT 1 FROM undecoded WHERE frame = ?", (frame_id,)).fetchone()
        if samples or (kind == DATA and n and not waits):
            return None
    return n


class _until:
    """Interrupts whatever the connection does when the time is over. None: never."""

    def __init__(self, connection: sqlite3.Connection, seconds: float | None) -> None:
        self._connection = connection
        self._end = None if seconds is None else time.monotonic() + seconds

    def __enter__(self) -> None:
        end = self._end
        if end is not None:
            self._connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)

    def __exit__(self, *_: object) -> None:
        self._connection.set_progress_handler(None, 0)


def _note(report: Report, error: Exception) -> None:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
        report.complete = False
    else:
        report.add(str(error))


def _rows(connection: sqlite3.Connection) -> Iterator[str]:
    """Rows whose checksum is wrong, and those that are not as their second copy."""
    for table in SEALED:
        names, key = columns(connection, table), keys(connection, table)
        places = [names.index(name) for name in key]
        kept: dict[str, list[Any]] = {}
        if table in COPIED:
            for place, text, crc in connection.execute(
                "SELECT key, row, crc FROM spare WHERE of = ?", (table,)
            ):
                if row_crc("spare", table, place, text) != crc:
                    yield f"a second copy of a row of {table} is damaged"
                else:
                    kept[str(copy_of(place))] = copy_of(text)
        for *row, crc in connection.execute(f"SELECT {', '.join(names)}, crc FROM {table}"):
            here = [row[place] for place in places]
            if row_crc(table, *row) != crc:
                yield f"row {here} of {table} is damaged"
            elif table in COPIED:
                copy = kept.pop(str(here), None)
                if table in AS_WRITTEN:
                    same = table == "node_clock" or (copy is not None and copy[:3] == row[:3])
                else:
                    same = copy == row
                if not same:
                    yield f"row {here} of {table} is not as its second copy"
        if kept:
            yield f"{len(kept)} rows of {table} are missing"


def _belongings(connection: sqlite3.Connection) -> Iterator[str]:
    for what, sql in _ORPHANS:
        (count,) = connection.execute(sql).fetchone()
        if count:
            yield f"{count} {what}"
    for boot, told in connection.execute("SELECT id, stored FROM boot").fetchall():
        stored = RangeSet.parse(told)
        here, known = spans_of(connection, boot)
        found = here.union(known)
        if str(found.union(stored)) != str(found):
            yield f"frames of start {boot} are missing"


def spans_of(connection: sqlite3.Connection, boot: int) -> tuple[RangeSet, RangeSet]:
    """Frames of a start that are here or retired; and those that were noted as lost by damage."""
    here, known = RangeSet(), RangeSet()
    for first, last in connection.execute(
        "SELECT seq, seq FROM frame WHERE boot = ?1 UNION ALL"
        " SELECT first_seq, last_seq FROM retired WHERE boot = ?1 ORDER BY 1",
        (boot,),
    ):
        here.add_range(first, last)
    for first, last in connection.execute(
        "SELECT first_seq, coalesce(last_seq, first_seq) FROM gateway_loss WHERE boot = ? AND reason = ?",
        (boot, LOSS_DAMAGED),
    ):
        known.add_range(first, last)
    return here, known


def _all_frames(
    connection: sqlite3.Connection,
    report: Report,
    *,
    newest_first: bool,
    progress: Callable[[int, int], None] | None,
) -> None:
    (count,) = connection.execute("SELECT count(*) FROM frame").fetchone() if progress else (0,)
    at = (1 << 47) if newest_first else 0
    step = "id < ? ORDER BY id DESC" if newest_first else "id > ? ORDER BY id"
    before = 0
    while rows := connection.execute(f"{_FRAME} WHERE {step} LIMIT {_CHUNK}", (at,)).fetchall():
        for row in rows:
            readings = whole_frame(connection, row)
            if readings is None:
                report.add(f"frame {row[0]} is damaged")
            report.frames += 1
            report.readings += readings or 0
            if not newest_first and row[0] != before + 1:
                _no_samples(connection, report, before + 1, row[0])
            before = row[0]
        at = rows[-1][0]
        if progress is not None:
            progress(report.frames, count)
    if not newest_first:
        _no_samples(connection, report, before + 1, 1 << 47)


def _no_samples(connection: sqlite3.Connection, report: Report, first: int, end: int) -> None:
    """Notes readings of frames that are not there."""
    begin = 0 if first == 1 else first << FRAME_SHIFT
    last = min(end << FRAME_SHIFT, (1 << 63) - 1)
    (count,) = connection.execute(
        "SELECT count(*) FROM sample WHERE id >= ? AND id < ?", (begin, last)
    ).fetchone()
    if count:
        report.add(f"{count} readings have no frame")
