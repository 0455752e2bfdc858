"""The account from a moment on: takes out of a node's boots what is known to be from before it.

Frames are taken whole: one that reaches past the moment counts. What may be of either side stays, such as a
loss of which nobody knows when it was. What was missed or dropped by then is what the last health frame
before the moment told.
"""

import json
import sqlite3
from collections.abc import Sequence

from gasan.host.account_boots import Boot, BootReader
from gasan.host.store import counters
from gasan.host.store.schema import time_sql
from gasan.wire.frame import HEALTH

__all__ = ["narrow"]


def narrow(db: sqlite3.Connection, reader: BootReader, boots: Sequence[Boot], since_ms: int) -> list[Boot]:
    """Those of a node's boots (oldest first) that reach past the moment, each without what is before it."""
    kept: list[Boot] = []
    over = False  # a later boot began before the moment, so this one had ended by then
    for boot in reversed(boots):
        began = reader.utc(boot, 0)
        ended = reader.utc(boot, max(boot.uptime_ms, boot.end_mono))
        # Of the last one nobody knows that it has ended: it may be sampling, out of reach.
        if not over and (boot is boots[-1] or ended is None or ended >= since_ms):
            if began is not None and began < since_ms:
                _narrow(db, boot, since_ms)
            kept.append(boot)
        over = over or (began is not None and began <= since_ms)
    kept.reverse()
    return kept


def _narrow(db: sqlite3.Connection, boot: Boot, since_ms: int) -> None:
    boot.since_mono = _mono(db, boot, since_ms)
    stored, frames, data_bytes = db.execute(
        "SELECT coalesce(sum(n), 0), coalesce(sum(frames), 0), coalesce(sum(data_bytes), 0) FROM run"
        " WHERE boot = ? AND mono + span >= ?",
        (boot.id, boot.since_mono),
    ).fetchone()
    before = boot.stored - stored
    boot.stored, boot.frames, boot.data_bytes = stored, frames, data_bytes
    for loss in [loss for loss in boot.losses if _is_before(loss.to_ms, since_ms)]:
        boot.losses.remove(loss)
        before += loss.readings
    for gap in [gap for gap in boot.gaps if _is_before(gap.before_ms, since_ms)]:
        boot.gaps.remove(gap)
        boot.pending -= gap.left
        before += gap.left
    told = _told(db, boot)
    boot.dropped_before = {key: n for key, n in told.items() if key >= counters.DROPPED_OF}
    dropped = min(boot.dropped, told.get(counters.DROPPED, 0))
    boot.dropped -= dropped
    boot.missed -= min(boot.missed, told.get(counters.MISSED, 0))
    boot.sampled -= before + dropped


def _is_before(time_ms: int | None, since_ms: int) -> bool:
    return time_ms is not None and time_ms < since_ms


def _mono(db: sqlite3.Connection, boot: Boot, time_ms: int) -> int:
    """The node time of a moment, by the boot's clock row that is nearest to it."""
    rows = db.execute(
        f"SELECT node_ms, {time_sql('node_ms')} FROM node_clock"
        " JOIN gateway_clock ON gateway_clock.id = node_clock.gateway WHERE boot = ? AND NOT bounded",
        (boot.id,),
    )
    node_ms, utc_ms = min(rows, key=lambda row: abs(int(row[1]) - time_ms))
    return int(node_ms + time_ms - utc_ms)


def _told(db: sqlite3.Connection, boot: Boot) -> dict[int, int]:
    """The figures of the boot's last health frame before its `since_mono`."""
    row = db.execute(
        "SELECT body FROM frame JOIN event ON event.frame = frame.id WHERE boot = ? AND kind = ? AND mono < ?"
        " ORDER BY seq DESC LIMIT 1",
        (boot.id, HEALTH, boot.since_mono),
    ).fetchone()
    return {int(key): value for key, value in json.loads(row[0]).items()} if row is not None else {}
