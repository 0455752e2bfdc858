"""Dates for starts of a node with which no gateway ever spoke: between those before and after them.

A node's starts follow each other. One that was never mapped began after the last reading of a start before it
and ended before a later one began; it lasted as long as its own clock tells. So each of its readings lies
between two moments, and that is what the store says: the middle, and half the distance as the error, in a row
of `node_clock` that is marked `bounded`. With nothing known on one side there is no time.

Moments of different starts of the gateway's machine are compared by UTC, and only where both were
synchronised.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gasan.host.store.schema import time_sql

__all__ = ["bound_boots", "lives"]

_DRIFT_PPM: Final = 100


@dataclass(slots=True)
class _Boot:
    id: int
    ordinal: int
    length: int
    """Ms from its beginning to the latest that is known of it."""
    mapped: bool
    after: "tuple[int, int] | None" = None
    """(Unix ms, row of gateway_clock) before which it did not begin."""
    before: "tuple[int, int] | None" = None
    """The same: after which it did not begin."""


def lives(boots: Iterable[tuple[int, int | None]], current: int | None) -> dict[int, int]:
    """Which life each boot belongs to, by row id; of (row id, ordinal) of one node. current: the row id of
    the
    boot in session.

    A node whose flash was erased counts its starts from 1 again: what was heard of before its new first start
    belongs to an earlier life. But a first start may also be heard of late, when the session is of a later
    one
    and the spool drains. An ordinal stands once in a life, and the boot in session is the latest of all.
    """
    boots = [(row_id, ordinal) for row_id, ordinal in boots]
    first_ones = [
        row_id for row_id, ordinal in boots if ordinal == 1 and _begins_anew(boots, row_id, current)
    ]
    return {row_id: sum(first <= row_id for first in first_ones) for row_id, _ in boots}


def _begins_anew(boots: Sequence[tuple[int, int | None]], first: int, current: int | None) -> bool:
    before = {ordinal for row_id, ordinal in boots if row_id < first and ordinal is not None}
    after = {row_id: ordinal for row_id, ordinal in boots if row_id >= first and ordinal is not None}
    latest = after.get(current) if current is not None else None
    return bool(before & set(after.values())) or bool(before and latest is not None and latest < max(before))


def bound_boots(db: sqlite3.Connection, node: int) -> None:
    """Brings the bounded rows of a node (its row id) up to date, and dates what waits for them."""
    if not _concerned(db, node):
        return
    synchronised = dict(db.execute("SELECT id, synchronised FROM gateway_clock").fetchall())
    for boots in _lives(db, node):
        _from_before(db, boots)
        _from_behind(db, boots)
        for boot in boots:
            if not boot.mapped:
                _date(db, boot, synchronised)


def _concerned(db: sqlite3.Connection, node: int) -> bool:
    row = db.execute(
        "SELECT EXISTS (SELECT 1 FROM boot JOIN frame ON frame.boot = boot.id WHERE boot.node = ?1"
        " AND frame.clock IS NULL) OR EXISTS (SELECT 1 FROM node_clock JOIN boot ON boot.id = node_clock.boot"
        " WHERE boot.node = ?1 AND bounded)",
        (node,),
    ).fetchone()
    return bool(row[0])


def _lives(db: sqlite3.Connection, node: int) -> list[list[_Boot]]:
    rows = db.execute(
        "SELECT id, ordinal, max(uptime_ms, coalesce((SELECT max(mono + span) FROM frame WHERE boot = boot.id"
        " AND seq = (SELECT max(seq) FROM frame WHERE boot = boot.id)), 0)),"
        " EXISTS (SELECT 1 FROM node_clock WHERE boot = boot.id AND NOT bounded)"
        " FROM boot WHERE node = ? AND ordinal IS NOT NULL ORDER BY id",
        (node,),
    ).fetchall()
    (current,) = db.execute("SELECT current FROM node WHERE id = ?", (node,)).fetchone()
    life_of = lives((row[:2] for row in rows), current)
    found: dict[int, list[_Boot]] = {}
    for row in rows:
        found.setdefault(life_of[row[0]], []).append(_Boot(row[0], row[1], row[2], bool(row[3])))
    return [sorted(boots, key=lambda boot: boot.ordinal) for boots in found.values()]


def _from_before(db: sqlite3.Connection, boots: Sequence[_Boot]) -> None:
    after: tuple[int, int] | None = None
    for boot in boots:
        if boot.mapped:
            time, error, gateway = _time(db, boot, boot.length)
            after = time - error, gateway
        else:
            boot.after = after
            if after is not None:
                after = after[0] + boot.length - _drift(boot.length), after[1]


def _from_behind(db: sqlite3.Connection, boots: Sequence[_Boot]) -> None:
    before: tuple[int, int] | None = None
    for boot in reversed(boots):
        if boot.mapped:
            time, error, gateway = _time(db, boot, 0)
            before = time + error, gateway
        elif before is not None:
            before = boot.before = before[0] - boot.length + _drift(boot.length), before[1]


def _time(db: sqlite3.Connection, boot: _Boot, mono: int) -> tuple[int, int, int]:
    """(Unix ms, error, row of gateway_clock) of a node time of a boot that is mapped."""
    row: tuple[int, int, int] = db.execute(
        f"SELECT {time_sql('?2')}, err_ms + (abs(?2 - node_ms) * drift_ppm + 999999) / 1000000, gateway"
        " FROM node_clock JOIN gateway_clock ON gateway_clock.id = node_clock.gateway"
        " WHERE boot = ?1 AND NOT bounded ORDER BY abs(node_ms - ?2) LIMIT 1",
        (boot.id, mono),
    ).fetchone()
    return row


def _drift(length: int) -> int:
    return -(-length * _DRIFT_PPM // 1_000_000)


def _date(db: sqlite3.Connection, boot: _Boot, synchronised: dict[int, int]) -> None:
    bounds = _bounds(boot, synchronised)
    row = db.execute("SELECT id FROM node_clock WHERE boot = ? AND bounded", (boot.id,)).fetchone()
    if bounds is None:
        if row is not None:
            db.execute("UPDATE frame SET clock = NULL WHERE boot = ?", (boot.id,))
            db.execute("DELETE FROM node_clock WHERE id = ?", row)
        return
    gateway, middle, error = bounds
    (offset,) = db.execute("SELECT utc_ms - mono_ms FROM gateway_clock WHERE id = ?", (gateway,)).fetchone()
    values = gateway, middle - offset, error, _DRIFT_PPM, boot.id
    if row is not None:
        db.execute(
            "UPDATE node_clock SET gateway = ?, gateway_ms = ?, err_ms = ?, drift_ppm = ?"
            " WHERE boot = ? AND bounded",
            values,
        )
    else:
        row = db.execute(
            "INSERT INTO node_clock (gateway, gateway_ms, err_ms, drift_ppm, boot, from_ms, node_ms,"
            " rate_ppb, bounded) VALUES (?, ?, ?, ?, ?, 0, 0, 0, 1) RETURNING id",
            values,
        ).fetchone()
    db.execute("UPDATE frame SET clock = ? WHERE boot = ? AND clock IS NULL", (row[0], boot.id))


def _bounds(boot: _Boot, synchronised: dict[int, int]) -> tuple[int, int, int] | None:
    """(row of gateway_clock, Unix ms, error) of the boot's beginning; None where one side is not known."""
    if boot.after is None or boot.before is None:
        return None
    gateways = {boot.after[1], boot.before[1]}
    if len(gateways) > 1 and not all(synchronised[gateway] for gateway in gateways):
        return None
    least, most = boot.after[0], boot.before[0]
    if least > most:  # one of the clocks is wrong
        return None
    return boot.before[1], (least + most) // 2, (most - least + 1) // 2
