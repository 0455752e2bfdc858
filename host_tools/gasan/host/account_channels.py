"""What the account knows of each channel. What is pending, was cut or is gone with whole frames belongs to
channels that nobody can tell: that is the node's, and no channel's.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gasan.host.account_boots import Boot, Loss, reason_name
from gasan.host.store import counters
from gasan.host.store.schema import FRAME_SHIFT, QUALITY_SQL, time_sql
from gasan.wire import quality
from gasan.wire.frame_reader import expand, parse

__all__ = ["ChannelAccount", "channel_accounts"]

Name = tuple[str, str]
"""Device and channel."""

_OF_FRAME: Final = (
    f"sample.id >= (frame.id << {FRAME_SHIFT}) AND sample.id < ((frame.id + 1) << {FRAME_SHIFT})"
)


@dataclass(frozen=True, slots=True)
class ChannelAccount:
    """What is known of one channel, in readings.

    `sampled` is what is known of it: stored + dropped_by_rule + lost. Of the stored ones `bad` have no good
    value, `uncertain` are marked so or have no certain time, and `undated` have none at all. `losses` are
    those that tombstones name.
    """

    device: str
    channel: str
    stored: int
    bad: int
    uncertain: int
    undated: int
    dropped_by_rule: int
    losses: tuple[Loss, ...]

    @property
    def lost(self) -> int:
        return sum(loss.readings for loss in self.losses)

    @property
    def pending(self) -> int:
        """Nobody can tell the channels of what is still on the node."""
        return 0

    @property
    def sampled(self) -> int:
        return self.stored + self.dropped_by_rule + self.lost


def channel_accounts(
    db: sqlite3.Connection, boots: Sequence[Boot], nodes: Iterable[int], since_ms: int | None
) -> tuple[ChannelAccount, ...]:
    """The channels of some rows of `node` (the boards that had one name), by device and channel.

    boots: of these nodes, as far as they count. With `since_ms` each is taken from its `since_mono` on.
    """
    stored: dict[Name, Counter[str]] = {}
    dropped: Counter[Name] = Counter()
    losses: dict[Name, list[Loss]] = {}
    for node in nodes:
        for name, figures in _stored(db, node) if since_ms is None else ():
            stored.setdefault(name, Counter()).update(figures)
        for name, loss in _losses(db, node):
            if since_ms is None or loss.to_ms is None or loss.to_ms >= since_ms:
                losses.setdefault(name, []).append(loss)
    for boot in boots:
        dropped.update(_dropped(db, boot))
        for name, figures in _stored_since(db, boot) if since_ms is not None else ():
            stored.setdefault(name, Counter()).update(figures)
    return tuple(
        ChannelAccount(
            *name,
            stored=figures["stored"],
            bad=figures["bad"],
            uncertain=figures["uncertain"],
            undated=figures["undated"],
            dropped_by_rule=dropped[name],
            losses=tuple(losses.get(name, ())),
        )
        for name in sorted(stored.keys() | dropped.keys() | losses.keys())
        for figures in (stored.get(name, Counter()),)
    )


def _stored(db: sqlite3.Connection, node: int) -> Iterator[tuple[Name, dict[str, int]]]:
    # One pass over all readings, for all nodes.
    db.execute(
        "CREATE TEMP TABLE IF NOT EXISTS counted AS"
        f" SELECT channel AS id, count(*) AS k, sum(quality >= {quality.BAD_NO_VALUE}) AS bad,"
        f" sum(quality BETWEEN 1 AND {quality.BAD_NO_VALUE - 1}) AS uncertain FROM sample GROUP BY channel"
    )
    for device, name, n, bad, uncertain in db.execute(
        "SELECT device, name, sum(k), sum(bad), sum(uncertain) FROM channel"
        " JOIN revision ON revision.id = channel.revision"
        " JOIN counted USING (id) WHERE revision.node = ? GROUP BY device, name",
        (node,),
    ):
        yield (device, name), {"stored": n, "bad": bad, "uncertain": uncertain}
    for clock in ("frame.clock IS NULL", "frame.clock IN (SELECT id FROM node_clock WHERE bounded)"):
        for device, name, n, good in db.execute(
            f"SELECT device, name, count(*), sum(quality = {quality.GOOD}) FROM boot"
            f" CROSS JOIN frame ON frame.boot = boot.id AND {clock}"
            f" CROSS JOIN sample ON {_OF_FRAME} JOIN channel ON channel.id = sample.channel"
            " WHERE boot.node = ? GROUP BY device, name",
            (node,),
        ):
            yield (device, name), {"undated": n if "NULL" in clock else 0, "uncertain": good}
    for device, name, n, bad in db.execute(
        "SELECT device, name, sum(n), sum(bad) FROM retired_channel"
        " JOIN channel ON channel.id = retired_channel.channel"
        " JOIN revision ON revision.id = channel.revision WHERE revision.node = ? GROUP BY device, name",
        (node,),
    ):
        yield (device, name), {"stored": n, "bad": bad}


def _stored_since(db: sqlite3.Connection, boot: Boot) -> Iterator[tuple[Name, dict[str, int]]]:
    for device, name, n, bad, uncertain, undated in db.execute(
        f"SELECT device, name, count(*), sum(quality >= {quality.BAD_NO_VALUE}),"
        f" sum({QUALITY_SQL} BETWEEN 1 AND {quality.BAD_NO_VALUE - 1}), sum(frame.clock IS NULL) FROM frame"
        " LEFT JOIN node_clock ON node_clock.id = frame.clock"
        f" CROSS JOIN sample ON {_OF_FRAME} JOIN channel ON channel.id = sample.channel"
        " WHERE frame.boot = ? AND frame.mono + frame.span >= ? GROUP BY device, name",
        (boot.id, boot.since_mono),
    ):
        yield (device, name), {"stored": n, "bad": bad, "uncertain": uncertain, "undated": undated}


def _dropped(db: sqlite3.Connection, boot: Boot) -> dict[Name, int]:
    return {
        (device, name): n - min(n, boot.dropped_before.get(counters.DROPPED_OF + number, 0))
        for device, name, number, n in db.execute(
            "SELECT coalesce(device, ''), coalesce(name, 'channel ' || dropped.number), dropped.number, n"
            " FROM dropped LEFT JOIN channel"
            " ON channel.revision = dropped.revision AND channel.number = dropped.number"
            " WHERE dropped.boot = ?",
            (boot.id,),
        )
    }


def _losses(db: sqlite3.Connection, node: int) -> Iterator[tuple[Name, Loss]]:
    """What tombstones name of each channel, without what is stored all the same.

    A node that lost its power between telling of a segment and dropping it tells of it again.
    """
    told: tuple[int, int] = (0, -1)  # boot, and the last sequence number that a tombstone gave up so far
    for frame, boot, first, last, code, mono_from, mono_to in db.execute(
        "SELECT frame, boot, first_seq, last_seq, reason, mono_from, mono_to FROM tombstone"
        " WHERE boot IN (SELECT id FROM boot WHERE node = ?) ORDER BY boot, first_seq, last_seq DESC",
        (node,),
    ).fetchall():
        if (boot, last) <= told:
            continue
        told = boot, last
        named: Counter[Name] = Counter()
        names: dict[int, Name] = {}
        for device, name, number, count in db.execute(
            "SELECT channel.device, channel.name, json_extract(pair.value, '$[0]') AS number,"
            " json_extract(pair.value, '$[1]') FROM tombstone JOIN frame ON frame.id = tombstone.frame"
            " JOIN json_each(tombstone.channels) AS pair"
            " LEFT JOIN channel ON channel.revision = frame.revision"
            " AND channel.number = json_extract(pair.value, '$[0]')"
            " WHERE tombstone.frame = ?",
            (frame,),
        ):
            names[number] = device or "", name or f"channel {number}"
            named[names[number]] += count
        for device, name, count in db.execute(
            "SELECT channel.device, channel.name, count(*) FROM frame"
            f" CROSS JOIN sample ON {_OF_FRAME} JOIN channel ON channel.id = sample.channel"
            " WHERE frame.boot = ? AND frame.seq BETWEEN ? AND ? GROUP BY channel.id",
            (boot, first, last),
        ):
            named[device, name] -= count
        for (payload,) in db.execute(  # stored, and its meaning is not known yet
            "SELECT payload FROM undecoded JOIN frame ON frame.id = undecoded.frame"
            " WHERE frame.boot = ? AND frame.seq BETWEEN ? AND ?",
            (boot, first, last),
        ):
            for numbers, times, _, _ in expand(parse(payload)):
                named.subtract({names[number]: len(times) for number in numbers if number in names})
        span = _utc(db, boot, mono_from), _utc(db, boot, mono_to)
        for whose, count in named.items():
            if count > 0:
                yield whose, Loss(reason_name(code), count, *span)


def _utc(db: sqlite3.Connection, boot: int, mono: int) -> int | None:
    row = db.execute(
        f"SELECT {time_sql('?2')} FROM node_clock"
        " JOIN gateway_clock ON gateway_clock.id = node_clock.gateway"
        " WHERE boot = ?1 AND NOT bounded ORDER BY abs(node_ms - ?2) LIMIT 1",
        (boot, mono),
    ).fetchone()
    return None if row is None else int(row[0])
