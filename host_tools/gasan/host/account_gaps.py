"""Gaps: intervals in which a channel has no reading although one was due every period.

They are found in the times of what is stored, so they need dated readings. A gap's reason is that of a loss
of the node which overlaps it; else the node started again in it; else frames of that time are still to come;
else nothing was sampled (`missed`).
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from gasan.host.account_boots import Boot
from gasan.host.store.schema import FRAME_SHIFT, time_sql

__all__ = ["MISSED", "PENDING", "RESTARTED", "ChannelGap", "channel_gaps"]

MISSED: Final = "missed"
PENDING: Final = "pending"
RESTARTED: Final = "restarted"

_MOST: Final = 1000
"""Gaps of one node that are told, the longest ones."""


@dataclass(frozen=True, slots=True)
class ChannelGap:
    """From the last reading before it to the first one after it, in Unix ms."""

    device: str
    channel: str
    from_ms: int
    to_ms: int
    reason: str


@dataclass(slots=True)
class _Seen:
    """The latest reading of a channel so far."""

    time_ms: int
    period_ms: int
    boot: int


def channel_gaps(db: sqlite3.Connection, boots: Sequence[Boot]) -> tuple[ChannelGap, ...]:
    """The gaps of a node's channels; `boots` oldest first, with their losses. In the order of their begin."""
    names: dict[int, tuple[tuple[str, str], int]] = {
        row_id: ((device, name), period)
        for row_id, device, name, period in db.execute("SELECT id, device, name, period_ms FROM channel")
    }
    seen: dict[tuple[str, str], _Seen] = {}
    found: list[tuple[int, tuple[str, str], int, int, bool]] = []
    for boot in boots:
        for frame, channel, n, first, last in _spans(db, boot):
            name, period = names[channel]
            if not period:  # it comes unasked
                continue
            before = seen.get(name)
            if before is not None:
                longest = max(period, before.period_ms)
                if 2 * (first - before.time_ms) > 3 * longest:
                    found.append(
                        (first - before.time_ms, name, before.time_ms, first, before.boot != boot.id)
                    )
            if 2 * (last - first) > (2 * n - 1) * period:
                for begin, end in _inside(db, frame, channel, first, period):
                    found.append((end - begin, name, begin, end, False))
            if before is None or last > before.time_ms:
                seen[name] = _Seen(last, period, boot.id)
    found.sort(reverse=True)
    gaps = (
        ChannelGap(*name, begin, end, _reason(boots, begin, end, restarted))
        for _, name, begin, end, restarted in found[:_MOST]
    )
    return tuple(sorted(gaps, key=lambda gap: (gap.from_ms, gap.to_ms, gap.device, gap.channel)))


def _spans(db: sqlite3.Connection, boot: Boot) -> Iterator[tuple[int, int, int, int, int]]:
    """(frame, channel, readings, Unix ms of the first, of the last) of each channel in each dated frame."""
    yield from db.execute(
        f"SELECT frame.id, sample.channel, count(*), {time_sql('frame.mono + min(sample.dt)')},"
        f" {time_sql('frame.mono + max(sample.dt)')} FROM frame"
        " JOIN node_clock ON node_clock.id = frame.clock"
        " JOIN gateway_clock ON gateway_clock.id = node_clock.gateway"
        f" CROSS JOIN sample ON sample.id >= (frame.id << {FRAME_SHIFT})"
        f" AND sample.id < ((frame.id + 1) << {FRAME_SHIFT})"
        " WHERE frame.boot = ? AND frame.mono + frame.span >= ? AND NOT node_clock.bounded"
        " GROUP BY frame.id, sample.channel ORDER BY frame.mono, frame.seq",
        (boot.id, boot.since_mono),
    )


def _inside(
    db: sqlite3.Connection, frame: int, channel: int, first_ms: int, period: int
) -> Iterator[tuple[int, int]]:
    times = [
        dt
        for (dt,) in db.execute(
            "SELECT dt FROM sample WHERE id >= ? AND id < ? AND channel = ? ORDER BY dt",
            (frame << FRAME_SHIFT, (frame + 1) << FRAME_SHIFT, channel),
        )
    ]
    for before, after in pairwise(times):
        if 2 * (after - before) > 3 * period:
            yield first_ms + before - times[0], first_ms + after - times[0]


def _reason(boots: Iterable[Boot], begin: int, end: int, restarted: bool) -> str:
    pending = False
    for boot in boots:
        for loss in boot.losses:
            if loss.from_ms is None or loss.to_ms is None:
                continue
            if loss.from_ms < end and loss.to_ms > begin:
                return loss.reason
        for gap in boot.gaps:
            after = gap.after_ms is None or gap.after_ms < end
            pending = pending or (after and gap.before_ms is not None and gap.before_ms > begin)
    return RESTARTED if restarted else PENDING if pending else MISSED
