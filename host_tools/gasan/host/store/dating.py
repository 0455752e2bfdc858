"""Two mappings that date every reading: node-monotonic to gateway-monotonic, gateway-monotonic to UTC.

A frame refers to the row of `node_clock` that is nearest to it, and that row to the one of `gateway_clock`.
A better estimate or a corrected wall clock changes one row, and every reading that depends on it moves.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final

from gasan.host.store.registry import Boot, Clock

__all__ = ["SEGMENT_MS", "NodeMapping", "clock_for", "refine_contact", "set_gateway_clock", "set_node_clock"]

SEGMENT_MS: Final = 60_000
"""A mapping row serves so long; then a new one begins, since the two clocks drift apart."""


@dataclass(frozen=True, slots=True)
class NodeMapping:
    """`node_ms` of one boot is `gateway_ms` of the gateway clock row `gateway`, off by at most `err_ms`.

    `rate_ppb` is by how much the gateway's clock is known to run faster; `drift_ppm` bounds what is not
    known.
    """

    node_ms: int
    gateway: int
    gateway_ms: int
    err_ms: int
    rate_ppb: int = 0
    drift_ppm: int = 100


def set_gateway_clock(
    db: sqlite3.Connection, machine_boot: str, mono_ms: int, utc_ms: int, synchronised: bool
) -> int:
    """Writes the row of this start of the gateway's machine; returns its id."""
    row = db.execute(
        "INSERT INTO gateway_clock (machine_boot, mono_ms, utc_ms, synchronised) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (machine_boot) DO UPDATE SET mono_ms = excluded.mono_ms, utc_ms = excluded.utc_ms,"
        " synchronised = excluded.synchronised RETURNING id",
        (machine_boot, mono_ms, utc_ms, int(synchronised)),
    ).fetchone()
    return int(row[0])


def set_node_clock(db: sqlite3.Connection, boot: Boot, mapping: NodeMapping) -> bool:
    """Refines the boot's newest row, or begins the next one; the first one dates the frames that came
    before it. Returns whether it was the first.
    """
    m, clock = mapping, boot.clock
    if clock is not None and clock.gateway == m.gateway and 0 <= m.node_ms - clock.from_ms < SEGMENT_MS:
        db.execute(
            "UPDATE node_clock SET node_ms = ?, gateway_ms = ?, err_ms = ?, rate_ppb = ?, drift_ppm = ?"
            " WHERE id = ?",
            (m.node_ms, m.gateway_ms, m.err_ms, m.rate_ppb, m.drift_ppm, clock.id),
        )
        clock.node_ms = m.node_ms
        return False
    row_id = db.execute(
        "INSERT INTO node_clock (boot, from_ms, node_ms, gateway, gateway_ms, err_ms, rate_ppb, drift_ppm)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (boot.id, m.node_ms, m.node_ms, m.gateway, m.gateway_ms, m.err_ms, m.rate_ppb, m.drift_ppm),
    ).lastrowid
    assert row_id is not None
    boot.clock = Clock(row_id, m.node_ms, m.node_ms, m.gateway)
    if clock is None:
        db.execute("UPDATE frame SET clock = ? WHERE boot = ?", (row_id, boot.id))
        db.execute("DELETE FROM node_clock WHERE boot = ? AND bounded", (boot.id,))
    return clock is None


def refine_contact(db: sqlite3.Connection, boot: Boot, mapping: NodeMapping) -> None:
    """Puts a better mapping into the boot's first row, by which the frames before the first contact are
    dated; but not over one of another gateway clock, or that is better still.
    """
    m = mapping
    db.execute(
        "UPDATE node_clock SET node_ms = ?1, gateway_ms = ?2, err_ms = ?3, rate_ppb = ?4, drift_ppm = ?5"
        " WHERE id = (SELECT id FROM node_clock WHERE boot = ?6 ORDER BY from_ms LIMIT 1)"
        " AND id <> ?7 AND gateway = ?8 AND drift_ppm > ?5",
        (
            m.node_ms, m.gateway_ms, m.err_ms, m.rate_ppb, m.drift_ppm,
            boot.id, boot.clock.id if boot.clock is not None else None, m.gateway,
        ),
    )  # fmt: skip


def clock_for(db: sqlite3.Connection, boot: Boot, mono: int) -> int | None:
    """The row that dates a frame of `boot` that begins at `mono`: the nearest one; None while there is
    none.
    """
    if boot.clock is None:
        return None
    if mono > boot.clock.from_ms - SEGMENT_MS // 2:
        return boot.clock.id
    row = db.execute(  # an older frame, delivered after an outage
        "SELECT id FROM (SELECT * FROM (SELECT id, node_ms FROM node_clock WHERE boot = ?1 AND node_ms <= ?2"
        " ORDER BY node_ms DESC LIMIT 1) UNION ALL SELECT * FROM (SELECT id, node_ms FROM node_clock"
        " WHERE boot = ?1 AND node_ms > ?2 ORDER BY node_ms LIMIT 1)) ORDER BY abs(node_ms - ?2) LIMIT 1",
        (boot.id, mono),
    ).fetchone()
    return int(row[0])
