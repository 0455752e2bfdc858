"""Takes old readings away, by age and by size, in small pieces, and keeps what the account needs of them.

A frame that goes leaves its place in a run of `retired`: how many readings, from which sequence number to
which. `boot.stored` is untouched, so what has gone is still known when a node sends it again. Tombstones
stay: they are few, and say why something is missing.
"""

import sqlite3
from dataclasses import dataclass, replace
from typing import Final

from gasan.host.store.schema import FRAME_SHIFT, time_sql
from gasan.wire import quality
from gasan.wire.frame import DATA, TOMBSTONE

__all__ = ["KEEP_ALL", "Keep", "Retention"]

_SCANNED: Final = 1024
"""Frames whose age is looked at in one step."""

_RETIRED: Final = 64
"""Frames that one step takes away: some 10 ms of work."""

_REST_MS: Final = 3_600_000
"""After a walk on which nothing was too old."""

_SPARE_BYTES: Final = 4 << 20
"""Room that is kept free within the bound, so that what comes before the next step has a place."""

_CANDIDATES: Final = (
    "SELECT frame.id, frame.boot, seq, count, n, mono, span, iif(kind = 0, size, 0), kind,"
    f" {time_sql('(frame.mono + frame.span)')} AS end_ms FROM frame"
    " LEFT JOIN node_clock ON node_clock.id = frame.clock"
    " LEFT JOIN gateway_clock ON gateway_clock.id = node_clock.gateway"
    f" WHERE frame.id > ? AND kind <> {TOMBSTONE} ORDER BY frame.id LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Keep:
    """What is to be kept: readings of so many days, a file of so many bytes (its log apart). None: all."""

    days: int | None = None
    max_bytes: int | None = None


KEEP_ALL: Final = Keep()


@dataclass(frozen=True, slots=True)
class _Run:
    """Frames without a gap between them; the fields are those of the table `retired`."""

    boot: int
    first_seq: int
    last_seq: int
    count: int
    n: int
    mono: int
    span: int
    frames: int
    data_bytes: int

    def followed_by(self, other: "_Run") -> bool:
        return other.first_seq == self.last_seq + 1 and other.count == self.count + self.n

    def joined(self, other: "_Run") -> "_Run":
        span = max(self.mono + self.span, other.mono + other.span) - self.mono
        return replace(
            self,
            last_seq=other.last_seq,
            n=self.n + other.n,
            span=span,
            frames=self.frames + other.frames,
            data_bytes=self.data_bytes + other.data_bytes,
        )


class Retention:
    """Walks through the frames, again and again. Call `step` within a transaction."""

    def __init__(self, keep: Keep, retired_at_once: int = _RETIRED) -> None:
        self._keep = keep
        self._at_once = retired_at_once
        self._at = 0
        self._idle = True  # nothing was too old on this walk
        self._rested_ms: int | None = None  # since when there is none, after an idle one
        self.frames = self.readings = 0
        """What was taken away so far."""

    def step(self, db: sqlite3.Connection, now_ms: int) -> bool:
        """Takes some of what is too old or too much away. True: there is, or may be, more at once."""
        bound = self._keep.max_bytes
        too_much = bound is not None and _used(db) > bound - min(_SPARE_BYTES, bound // 8)
        if too_much and (rows := db.execute(_CANDIDATES, (0, self._at_once)).fetchall()):
            self._retire(db, rows)
            return True
        if self._keep.days is None:
            return False
        if self._rested_ms is not None and 0 <= now_ms - self._rested_ms < _REST_MS:
            return False
        self._rested_ms = None
        before = now_ms - self._keep.days * 86_400_000
        rows = db.execute(_CANDIDATES, (self._at, _SCANNED)).fetchall()
        old = [row for row in rows if row[9] is not None and row[9] < before]
        if len(old) > self._at_once:
            old = old[: self._at_once]
            self._at = old[-1][0]
        elif len(rows) == _SCANNED:
            self._at = rows[-1][0]
        else:
            self._at = 0
        if old:
            self._idle = False
            self._retire(db, old)
        elif not self._at:
            self._rested_ms, self._idle = now_ms if self._idle else None, True
        return self._at > 0

    def _retire(self, db: sqlite3.Connection, rows: list[tuple[int, ...]]) -> None:
        for row in rows:
            frame = row[0]
            first, end = frame << FRAME_SHIFT, (frame + 1) << FRAME_SHIFT
            if row[8] == DATA:
                db.execute(
                    "INSERT INTO retired_channel (channel, n, bad)"
                    f" SELECT channel, count(*), sum(quality >= {quality.BAD_NO_VALUE}) FROM sample"
                    " WHERE id >= ? AND id < ? GROUP BY channel"
                    " ON CONFLICT (channel) DO UPDATE SET n = n + excluded.n, bad = bad + excluded.bad",
                    (first, end),
                )
                db.execute("DELETE FROM sample WHERE id >= ? AND id < ?", (first, end))
                if db.execute("DELETE FROM undecoded WHERE frame = ?", (frame,)).rowcount:
                    db.execute(
                        "INSERT INTO retired_channel (channel, n, bad) VALUES (?, ?, 0)"
                        " ON CONFLICT (channel) DO UPDATE SET n = n + excluded.n",
                        (-row[1], row[4]),
                    )
            else:
                db.execute("DELETE FROM event WHERE frame = ?", (frame,))
            db.execute("DELETE FROM frame WHERE id = ?", (frame,))
            self.frames += 1
            self.readings += row[4]
        for run in _runs(rows):
            _write(db, run)
        for boot in {row[1] for row in rows}:
            _forget_clocks(db, boot)


def _runs(rows: list[tuple[int, ...]]) -> list[_Run]:
    """The frames of `_CANDIDATES` as runs, as long as can be."""
    runs: list[_Run] = []
    for _frame, boot, seq, count, n, mono, span, data_bytes, *_ in sorted(rows, key=lambda row: row[1:3]):
        one = _Run(boot, seq, seq, count, n, mono, span, 1, data_bytes)
        if runs and runs[-1].boot == boot and runs[-1].followed_by(one):
            runs[-1] = runs[-1].joined(one)
        else:
            runs.append(one)
    return runs


def _write(db: sqlite3.Connection, run: _Run) -> None:
    """Writes a run, as one with those that it follows or that follow it."""
    columns = "boot, first_seq, last_seq, count, n, mono, span, frames, data_bytes"
    before = db.execute(
        f"SELECT {columns} FROM retired WHERE boot = ? AND first_seq < ? ORDER BY first_seq DESC LIMIT 1",
        (run.boot, run.first_seq),
    ).fetchone()
    after = db.execute(
        f"SELECT {columns} FROM retired WHERE boot = ? AND first_seq = ?", (run.boot, run.last_seq + 1)
    ).fetchone()
    if after is not None and run.followed_by(_Run(*after)):
        db.execute("DELETE FROM retired WHERE boot = ? AND first_seq = ?", after[:2])
        run = run.joined(_Run(*after))
    if before is not None and _Run(*before).followed_by(run):
        db.execute("DELETE FROM retired WHERE boot = ? AND first_seq = ?", before[:2])
        run = _Run(*before).joined(run)
    values = (
        run.boot, run.first_seq, run.last_seq, run.count, run.n, run.mono, run.span, run.frames,
        run.data_bytes,
    )  # fmt: skip
    db.execute(f"INSERT INTO retired ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def _forget_clocks(db: sqlite3.Connection, boot: int) -> None:
    """Takes the clocks of a start away that has no frames any more; the first stays, and the newest."""
    if db.execute("SELECT 1 FROM frame WHERE boot = ? LIMIT 1", (boot,)).fetchone() is None:
        db.execute(
            "DELETE FROM node_clock WHERE boot = ?1"
            " AND id <> (SELECT min(id) FROM node_clock WHERE boot = ?1)"
            " AND id <> (SELECT max(id) FROM node_clock WHERE boot = ?1)",
            (boot,),
        )


def _used(db: sqlite3.Connection) -> int:
    """Bytes of the pages that hold something."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)
