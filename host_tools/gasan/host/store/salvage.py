"""Brings what is readable of a damaged database into a new one, and names what is not.

A row is taken when its checksum proves it, whatever page it stands on and however the trees above it look;
a frame, when its seal proves it and every reading of it. Rows without which readings would have no owner,
meaning or time are taken from their second copies (rows.py). What was stored and is not among them any more
is written down by span in `gateway_loss`.
"""

import secrets
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gasan.host.store.check import frames_are_whole, spans_of
from gasan.host.store.pages import Image
from gasan.host.store.ranges import RangeSet
from gasan.host.store.rows import COPIED, SEALED, columns, copy_of, install, keys, row_crc, seal_all
from gasan.host.store.schema import FRAME_SHIFT, LOSS_DAMAGED
from gasan.wire.frame import CRASH, HEALTH, TOMBSTONE

__all__ = ["Salvage", "Span", "salvage"]

_CHUNK: Final = 256
_ASKED_AGAIN: Final = 4
"""Lost spans of a start, the newest ones, that the node is asked for again: it may still hold what was stored
in the last moment. Older ones were acknowledged long ago, and an acknowledgement has room for few spans.
"""


@dataclass(frozen=True, slots=True)
class Span:
    """Frames of one start of a node, both ends included."""

    node: str
    boot: bytes
    first: int
    last: int


@dataclass
class Salvage:
    """What came over, and what is lost."""

    frames: int = 0
    readings: int = 0
    from_copies: int = 0
    lost: list[Span] = field(default_factory=list)


def salvage(path: Path, new: sqlite3.Connection) -> Salvage:
    """Fills the empty tables of `new` with what the file at `path` and its write-ahead log hold.

    Raises ValueError when there is nothing of ours in it.
    """
    found = Salvage()
    image = Image(path)
    new.execute("BEGIN")
    try:
        _take_rows(image, new)
    finally:
        image.close()
    install(new)
    found.from_copies = _take_copies(new)
    _drop_broken(new)
    if not new.execute("SELECT count(*) FROM store").fetchone()[0]:
        if not new.execute("SELECT count(*) FROM frame").fetchone()[0]:
            raise ValueError("nothing of it can be read")
        new.execute(
            "INSERT INTO store (one, store_id, created_ms) VALUES (1, ?, ?)",
            (secrets.token_bytes(8), time.time_ns() // 1_000_000),
        )
    _date_again(new)
    for boot, node, boot_id in new.execute(
        "SELECT boot.id, node.name, boot.boot FROM boot JOIN node ON node.id = boot.node ORDER BY boot.id"
    ).fetchall():
        found.lost += [Span(node, boot_id, first, last) for first, last in _settle(new, boot)]
    seal_all(new)
    found.frames, found.readings = new.execute("SELECT count(*), coalesce(sum(n), 0) FROM frame").fetchone()
    new.execute("COMMIT")
    return found


class _Tables:
    """Tells by its checksum to which table a row belongs."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._by_width: dict[tuple[int, bool], list[tuple[str, list[str], list[str]]]] = defaultdict(list)
        self.inserts: dict[str, str] = {}
        for table in (*SEALED, "spare"):
            names, key = columns(connection, table), keys(connection, table)
            stored = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
            has_rowid = "WITHOUT ROWID" not in sql
            if not has_rowid:  # then a record begins with the columns of the key
                stored.sort(key=lambda name: key.index(name) if name in key else len(key))
            self._by_width[len(stored), has_rowid].append((table, names, stored))
            self.inserts[table] = _insert(table, [*names, "crc"])

    def place(self, rowid: int | None, values: list[Any]) -> tuple[str, list[Any]] | None:
        """(table, values in the order of its columns, with the checksum)."""
        row = values if rowid is None else [rowid, *values[1:]]
        for table, names, stored in self._by_width[len(values), rowid is not None]:
            by_name = dict(zip(stored, row, strict=True))
            ordered = [by_name[name] for name in names]
            if row_crc(table, *ordered) == by_name["crc"]:
                return table, [*ordered, by_name["crc"]]
        return None


def _insert(table: str, names: list[str]) -> str:
    return f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def _take_rows(image: Image, new: sqlite3.Connection) -> None:
    tables = _Tables(new)
    frame_names, sample_names = ([*columns(new, "frame"), "crc"], columns(new, "sample"))
    inserts = {
        **tables.inserts,
        "frame": _insert("frame", frame_names),
        "sample": _insert("sample", sample_names),
    }
    for number in range(1, image.count + 1):
        taken: dict[str, list[list[Any]]] = defaultdict(list)
        for rowid, values in image.rows(number):
            if rowid is not None and len(values) == len(frame_names):
                taken["frame"].append([rowid, *values[1:]])
            elif rowid is not None and len(values) == len(frame_names) - 1:  # of the first schema: no crc
                taken["frame"].append([rowid, *values[1:], None])
            elif placed := tables.place(rowid, values):
                taken[placed[0]].append(placed[1])
            elif rowid is not None and rowid >> FRAME_SHIFT and len(values) == len(sample_names):
                taken["sample"].append([rowid, *values[1:]])
        for table, rows in taken.items():
            _put(new, inserts[table], rows)


def _put(new: sqlite3.Connection, insert: str, rows: list[list[Any]]) -> None:
    try:
        new.executemany(insert, rows)
    except (sqlite3.Error, OverflowError, UnicodeError):  # a value that is none of ours
        for row in rows:
            try:
                new.execute(insert, row)
            except (sqlite3.Error, OverflowError, UnicodeError):
                continue


def _take_copies(new: sqlite3.Connection) -> int:
    """Rows that are gone, from their second copies; returns how many."""
    taken = 0
    for table in COPIED:
        names = columns(new, table)
        for (text,) in new.execute("SELECT row FROM spare WHERE of = ?", (table,)).fetchall():
            row = copy_of(text)
            if table == "boot":
                row, given = row[:3], names[:3]
            else:
                given = names
            taken += new.execute(_insert(table, given), row).rowcount
    return taken


def _drop_broken(new: sqlite3.Connection) -> None:
    """Takes frames away that are not whole, and whatever has lost its frame."""
    at = 0
    while True:
        at, broken = frames_are_whole(new, at, _CHUNK)
        _drop(new, broken)
        if not at:
            break
    unknown = [
        row[0] for row in new.execute("SELECT DISTINCT channel FROM sample EXCEPT SELECT id FROM channel")
    ]
    for channel in unknown:
        _drop(new, (row[0] for row in new.execute(_FRAMES_OF_CHANNEL, (channel,)).fetchall()))
    _drop(new, (row[0] for row in new.execute(_WITHOUT_CONTENT).fetchall()))
    before = 0
    for (frame,) in new.execute("SELECT id FROM frame UNION ALL SELECT 1 << 47 ORDER BY id").fetchall():
        if frame != before + 1:
            last = min(frame << FRAME_SHIFT, (1 << 63) - 1)
            new.execute("DELETE FROM sample WHERE id >= ? AND id < ?", ((before + 1) << FRAME_SHIFT, last))
        before = frame
    for table in ("undecoded", "event", "tombstone"):
        new.execute(f"DELETE FROM {table} WHERE frame NOT IN (SELECT id FROM frame)")
    for table in ("conflict", "retired", "gateway_loss", "dropped", "tombstone", "node_clock"):
        new.execute(f"DELETE FROM {table} WHERE boot NOT IN (SELECT id FROM boot)")
    new.execute("DELETE FROM node_clock WHERE gateway NOT IN (SELECT id FROM gateway_clock)")


_FRAMES_OF_CHANNEL: Final = f"SELECT DISTINCT id >> {FRAME_SHIFT} FROM sample WHERE channel = ?"
_WITHOUT_CONTENT: Final = (
    "SELECT id FROM frame WHERE boot NOT IN (SELECT id FROM boot)"
    " OR revision NOT IN (SELECT id FROM revision)"
    f" OR (kind IN ({HEALTH}, {CRASH}) AND id NOT IN (SELECT frame FROM event))"
    f" OR (kind = {TOMBSTONE} AND id NOT IN (SELECT frame FROM tombstone))"
    " OR EXISTS (SELECT 1 FROM retired WHERE retired.boot = frame.boot"
    " AND frame.seq BETWEEN retired.first_seq AND retired.last_seq)"
)


def _drop(new: sqlite3.Connection, frames: Iterator[int] | list[int]) -> None:
    for frame in frames:
        first = frame << FRAME_SHIFT
        new.execute("DELETE FROM sample WHERE id >= ? AND id < ?", (first, first + (1 << FRAME_SHIFT)))
        new.execute("DELETE FROM frame WHERE id = ?", (frame,))


def _date_again(new: sqlite3.Connection) -> None:
    """Gives frames whose clock is gone, or is another start's, the nearest of their own."""
    for frame, boot, mono in new.execute(
        "SELECT frame.id, frame.boot, mono FROM frame LEFT JOIN node_clock ON node_clock.id = clock"
        " WHERE node_clock.boot IS NOT frame.boot"
    ).fetchall():
        nearest = "SELECT id FROM node_clock WHERE boot = ? ORDER BY abs(node_ms - ?) LIMIT 1"
        new.execute(f"UPDATE frame SET clock = ({nearest}) WHERE id = ?", (boot, mono, frame))


def _settle(new: sqlite3.Connection, boot: int) -> list[tuple[int, int]]:
    """Writes down what was stored of a start and is gone; returns its spans."""
    told, gone_text, counted = new.execute(
        "SELECT stored, gone, (SELECT max(count + n) FROM frame WHERE boot = ?1) FROM boot WHERE id = ?1",
        (boot,),
    ).fetchone()
    here, known = spans_of(new, boot)
    stored = RangeSet.parse(told)
    if not stored and here.last >= 0:  # its own row is gone: all that came before its last frame was stored
        stored.add_range(0, here.last)
        known = known.union(RangeSet.parse(gone_text))
        new.execute("UPDATE boot SET sampled = ?1, committed = ?1 WHERE id = ?2", (counted or 0, boot))
    lost = list(_without(stored, here.union(known)))
    kept = here.union(known) if known else here
    for first, last in lost[:-_ASKED_AGAIN]:
        kept.add_range(first, last)
    noted_ms = time.time_ns() // 1_000_000
    for first, last in lost:
        new.execute(
            "INSERT OR REPLACE INTO gateway_loss (boot, first_seq, last_seq, reason, noted_ms)"
            " VALUES (?, ?, ?, ?, ?)",
            (boot, first, last, LOSS_DAMAGED, noted_ms),
        )
    new.execute("UPDATE boot SET stored = ? WHERE id = ?", (str(kept), boot))
    return lost


def _without(these: RangeSet, those: RangeSet) -> Iterator[tuple[int, int]]:
    """The ranges of `these` that are not in `those`."""
    holes = list(those)
    for first, last in these:
        for hole_first, hole_last in holes:
            if hole_last < first or hole_first > last:
                continue
            if hole_first > first:
                yield first, hole_first - 1
            first = hole_last + 1
        if first <= last:
            yield first, last
