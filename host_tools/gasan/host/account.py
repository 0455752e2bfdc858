"""The account: what nodes sampled, what became of it, and why anything is missing.

    sampled = stored + dropped by rule + lost + pending

for each node and in sum. What a node sampled is the most it has told (status, health) or its frames prove.
Every frame carries the boot's count of readings before it, so a gap between stored frames has an exact
size; a tombstone says why it will stay a gap. A start of a node that ended takes its open batch along: the
next start's boot frame names the last count committed, and what was sampled beyond it is
`cut_before_commit`. What the node sampled after its last word, at most a tenth of a second before its end,
nobody can know, and it is in no figure.
"""

import math
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gasan.host.errors import GasanError
from gasan.host.store.open import open_reader, unavailable
from gasan.host.store.ranges import RangeSet
from gasan.host.store.schema import FRAME_SHIFT, time_sql
from gasan.wire import quality

__all__ = ["CUT", "GONE", "Account", "ChannelAccount", "Loss", "NodeAccount", "account", "reason_name"]

CUT: Final = "cut_before_commit"
"""Sampled, and lost with the power before it was committed: at most the open batch."""

GONE: Final = "gone_from_node"
"""The node says that it holds nothing more, without a tombstone: another store has it, or its flash was
wiped.
"""

_REASONS: Final = {1: "spool_overflow", 2: "torn", 3: "unsendable"}


def reason_name(code: int) -> str:
    """The name of a tombstone's reason."""
    return _REASONS.get(code, f"reason_{code}")


@dataclass(frozen=True, slots=True)
class Loss:
    """Readings that are lost for one reason, and when they were taken (Unix ms; None where that is
    unknown).
    """

    reason: str
    readings: int
    from_ms: int | None
    to_ms: int | None


@dataclass(frozen=True, slots=True)
class ChannelAccount:
    """What is known of one channel. Readings that are pending or were cut belong to channels that nobody
    can tell.
    """

    device: str
    channel: str
    stored: int
    bad: int
    lost: int


@dataclass(frozen=True, slots=True)
class NodeAccount:
    node: str
    sampled: int
    stored: int
    dropped_by_rule: int
    lost: int
    pending: int
    missed: int
    duplicated: int
    conflicts: int
    received_again: int
    rejected: int
    frames: int
    data_bytes: int
    boots: int
    losses: tuple[Loss, ...]
    channels: tuple[ChannelAccount, ...]

    @property
    def unexplained(self) -> int:
        """What the equation leaves over: 0 unless the node's counters and the store contradict each other."""
        return self.sampled - self.stored - self.dropped_by_rule - self.lost - self.pending


@dataclass(frozen=True, slots=True)
class Account:
    """The account of a database. `rejected` counts frames that no known node can have sent."""

    nodes: tuple[NodeAccount, ...]
    rejected: int
    seconds: float
    db: Path

    def total(self, field_name: str) -> int:
        """The sum of an integer field of `NodeAccount` over the nodes."""
        return sum(getattr(node, field_name) for node in self.nodes)

    @property
    def lost_reasons(self) -> dict[str, int]:
        reasons: Counter[str] = Counter()
        for node in self.nodes:
            for loss in node.losses:
                reasons[loss.reason] += loss.readings
        return dict(sorted(reasons.items()))

    @property
    def bytes_per_reading(self) -> float:
        """Bytes of all data frames, MAC and header included, by their readings; 0.0 before the first."""
        stored = self.total("stored")
        return round(self.total("data_bytes") / stored, 3) if stored else 0.0

    @property
    def unexplained(self) -> int:
        return self.total("unexplained")

    def as_dict(self) -> dict[str, Any]:
        """The account as the command line prints it with ``--json``."""
        return {
            "nodes": len(self.nodes),
            "readings_sampled": self.total("sampled"),
            "readings_stored": self.total("stored"),
            "readings_dropped_by_rule": self.total("dropped_by_rule"),
            "readings_lost": self.total("lost"),
            "readings_pending": self.total("pending"),
            "readings_missed": self.total("missed"),
            "readings_duplicated": self.total("duplicated"),
            "conflicts": self.total("conflicts"),
            "lost_reasons": self.lost_reasons,
            "bytes_per_reading": self.bytes_per_reading,
            "frames": self.total("frames"),
            "seconds": self.seconds,
            "db": str(self.db),
        }


def account(
    db: Path, node: str | None = None, seconds: float | None = None, *, channels: bool = True
) -> Account:
    """Draws up the account of the database at `db`, of one node or of all, also while a gateway writes it.

    `seconds` is how long the run lasted; without it, the time from the first dated reading to the last.
    `channels=False` leaves out the figures by channel, which take a pass over all readings. Raises
    InputError when there is no database at `db` or it is of another version, StoreUnavailableError when it
    cannot be read.
    """
    connection = open_reader(db)
    try:
        connection.execute("BEGIN")  # all figures of one moment
        books = _Books(connection)
        nodes = tuple(books.node(*row, with_channels=channels) for row in books.nodes(node))
        (rejected,) = connection.execute("SELECT coalesce(sum(n), 0) FROM tally WHERE node = 0").fetchone()
        return Account(nodes, rejected, round(books.span_s() if seconds is None else seconds, 1), db)
    except GasanError:
        raise
    except sqlite3.Error as error:
        raise unavailable(db, error) from error
    finally:
        connection.close()


@dataclass(slots=True)
class _Gap:
    """Readings that were committed and are not stored, between two stored frames, before the first or after
    the last.
    """

    first: int
    last: int | None
    readings: int
    after_ms: int | None
    before_ms: int | None


@dataclass(slots=True)
class _Boot:
    id: int
    stored_seqs: RangeSet
    closed: int
    final_count: int | None
    settled_seq: int | None
    settled_count: int | None
    sampled: int
    committed: int
    missed: int
    dropped: int
    uptime_ms: int
    ordinal: int | None
    stored: int = 0
    frames: int = 0
    data_bytes: int = 0
    ended: bool = False
    settled: bool = False
    """The node has said that it holds nothing of this start any more."""
    lost: int = 0
    pending: int = 0
    duplicated: int = 0
    losses: list[Loss] = field(default_factory=list)


def _in_order(boots: list[_Boot], current: int | None) -> list[_Boot]:
    """Oldest first. Where no boot frame has told, the boot in session is the newest, others before it."""
    in_session = next((boot.ordinal for boot in boots if boot.id == current), None)
    before = math.inf if in_session is None else in_session

    def place(boot: _Boot) -> tuple[float, bool]:
        if boot.ordinal is not None:
            return boot.ordinal, True
        return (math.inf, True) if boot.id == current else (before, False)

    return sorted(boots, key=place)


class _Books:
    """One read transaction's view of the database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def nodes(self, name: str | None) -> list[tuple[int, str, int | None]]:
        rows: list[tuple[int, str, int | None]] = self._db.execute(
            "SELECT id, name, current FROM node WHERE ?1 IS NULL OR name = ?1 ORDER BY name, id", (name,)
        ).fetchall()
        return rows

    def span_s(self) -> float:
        row = self._db.execute(
            f"SELECT min({time_sql('frame.mono')}), max({time_sql('frame.mono + frame.span')}) FROM frame"
            " JOIN node_clock ON node_clock.id = frame.clock"
            " JOIN gateway_clock ON gateway_clock.id = node_clock.gateway WHERE frame.kind = 0"
        ).fetchone()
        return 0.0 if row[0] is None else (row[1] - row[0]) / 1000

    def node(self, node_id: int, name: str, current: int | None, *, with_channels: bool) -> NodeAccount:
        boots = self._boots(node_id, current)
        for boot in boots:
            self._settle(boot)
        tally: Mapping[str, int] = dict(
            self._db.execute("SELECT what, n FROM tally WHERE node = ?", (node_id,)).fetchall()
        )
        return NodeAccount(
            node=name,
            sampled=sum(boot.sampled for boot in boots),
            stored=sum(boot.stored for boot in boots),
            dropped_by_rule=sum(boot.dropped for boot in boots),
            lost=sum(boot.lost for boot in boots),
            pending=sum(boot.pending for boot in boots),
            missed=sum(boot.missed for boot in boots),
            duplicated=sum(boot.duplicated for boot in boots),
            conflicts=tally.get("conflict", 0),
            received_again=tally.get("received_again", 0),
            rejected=tally.get("bad_mac", 0) + tally.get("bad_shape", 0),
            frames=sum(boot.frames for boot in boots),
            data_bytes=sum(boot.data_bytes for boot in boots),
            boots=len(boots),
            losses=tuple(loss for boot in boots for loss in boot.losses),
            channels=tuple(self._channels(node_id)) if with_channels else (),
        )

    def _boots(self, node_id: int, current: int | None) -> list[_Boot]:
        """The node's boots, oldest first as far as it is known."""
        boots = [
            _Boot(row[0], RangeSet.parse(row[1]), *row[2:])
            for row in self._db.execute(
                "SELECT id, stored, closed, final_count, settled_seq, settled_count, sampled, committed,"
                " missed, dropped, uptime_ms, ordinal FROM boot WHERE node = ? ORDER BY id",
                (node_id,),
            )
        ]
        boots = _in_order(boots, current)
        sums = {
            boot_id: rest
            for boot_id, *rest in self._db.execute(
                "SELECT boot, sum(n), count(*), sum(iif(kind = 0, size, 0)) FROM frame"
                " WHERE boot IN (SELECT id FROM boot WHERE node = ?) GROUP BY boot",
                (node_id,),
            )
        }
        settled = False
        for later, boot in enumerate(reversed(boots)):
            boot.stored, boot.frames, boot.data_bytes = sums.get(boot.id, (0, 0, 0))
            boot.ended = later > 0
            boot.settled = settled or bool(boot.closed and boot.final_count is None)
            # A node that once held nothing holds nothing of any earlier start.
            settled = settled or boot.settled_seq is not None
        return boots

    def _settle(self, boot: _Boot) -> None:
        """Works out the boot's figures: what is lost, for which reasons, and what may still come."""
        boot.committed = max(boot.committed, boot.final_count or 0)
        boot.sampled = max(boot.sampled, boot.committed + boot.dropped)
        boot.duplicated = self._overlap(boot)
        for gap in self._gaps(boot):
            self._bury(boot, gap)
        outstanding = max(0, boot.committed - boot.stored - boot.lost)
        if boot.ended and boot.settled:
            self._lose(boot, GONE, outstanding, None, None)
            outstanding = 0
        elif boot.settled_seq is not None and boot.settled_count is not None:
            below = self._readings_between(boot, 0, boot.settled_seq - 1)
            gone = min(outstanding, max(0, boot.settled_count - below - boot.lost))
            self._lose(boot, GONE, gone, None, None)
            outstanding -= gone
        unwritten = max(0, boot.sampled - boot.dropped - boot.committed)
        if boot.ended and (boot.settled or boot.closed):
            end = self._end_of_last_frame(boot)
            self._lose(boot, CUT, unwritten, self._utc(boot, end), self._utc(boot, max(boot.uptime_ms, end)))
            unwritten = 0
        boot.pending = outstanding + unwritten

    def _gaps(self, boot: _Boot) -> Iterator[_Gap]:
        """What is missing before, between and after the stored frames, sized by the counts they carry."""
        next_seq, counted, end_ms = 0, 0, None
        for first, last in boot.stored_seqs:
            begin = self._frame(boot, first)
            if begin[0] > counted:
                yield _Gap(next_seq, first - 1, begin[0] - counted, end_ms, self._utc(boot, begin[2]))
            until = self._frame(boot, last)
            next_seq, counted = last + 1, until[0] + until[1]
            end_ms = self._utc(boot, until[2] + until[3])
        if boot.committed > counted:
            yield _Gap(next_seq, None, boot.committed - counted, end_ms, None)

    def _frame(self, boot: _Boot, seq: int) -> tuple[int, int, int, int]:
        """(readings before it, in it, its node time, its span) of a stored frame."""
        row: tuple[int, int, int, int] = self._db.execute(
            "SELECT count, n, mono, span FROM frame WHERE boot = ? AND seq = ?", (boot.id, seq)
        ).fetchone()
        return row

    def _bury(self, boot: _Boot, gap: _Gap) -> None:
        """Takes from a gap what tombstones explain. What is stored counts, whatever a tombstone says."""
        given_up = RangeSet()
        reason = ""
        left = gap.readings
        for code, first, last, readings, mono_from, mono_to in self._db.execute(
            "SELECT reason, first_seq, last_seq, n, mono_from, mono_to FROM tombstone"
            " WHERE boot = ?1 AND last_seq >= ?2 AND (?3 IS NULL OR first_seq <= ?3) ORDER BY first_seq",
            (boot.id, gap.first, gap.last),
        ).fetchall():
            reason = reason_name(code)
            given_up.add_range(max(first, gap.first), last if gap.last is None else min(last, gap.last))
            lost = min(left, max(0, readings - self._readings_between(boot, first, last)))
            left -= lost
            self._lose(boot, reason, lost, self._utc(boot, mono_from), self._utc(boot, mono_to))
        # A tombstone of a torn frame cannot tell how much was in it; the counts around it can.
        if left and gap.last is not None and list(given_up) == [(gap.first, gap.last)]:
            self._lose(boot, reason, left, gap.after_ms, gap.before_ms)

    def _lose(self, boot: _Boot, reason: str, readings: int, from_ms: int | None, to_ms: int | None) -> None:
        if readings:
            boot.lost += readings
            boot.losses.append(Loss(reason, readings, from_ms, to_ms))

    def _overlap(self, boot: _Boot) -> int:
        """Readings of the boot that stand in more than one stored frame, by the counts that the frames
        carry.
        """
        (overlap,) = self._db.execute(
            "SELECT coalesce(sum(max(0, min(n, before - count))), 0) FROM"
            " (SELECT count, n, max(count + n) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING"
            " AND 1 PRECEDING) AS before FROM frame WHERE boot = ?)",
            (boot.id,),
        ).fetchone()
        return int(overlap)

    def _readings_between(self, boot: _Boot, first: int, last: int) -> int:
        (readings,) = self._db.execute(
            "SELECT coalesce(sum(n), 0) FROM frame WHERE boot = ? AND seq BETWEEN ? AND ?",
            (boot.id, first, last),
        ).fetchone()
        return int(readings)

    def _end_of_last_frame(self, boot: _Boot) -> int:
        (end,) = self._db.execute(
            "SELECT coalesce(max(mono + span), 0) FROM frame WHERE boot = ?", (boot.id,)
        ).fetchone()
        return int(end)

    def _utc(self, boot: _Boot, mono: int) -> int | None:
        """Unix ms of a node time of the boot, by its nearest clock row; None while there is none."""
        row = self._db.execute(
            f"SELECT {time_sql('?2')} FROM node_clock"
            " JOIN gateway_clock ON gateway_clock.id = node_clock.gateway"
            " WHERE boot = ?1 ORDER BY abs(node_ms - ?2) LIMIT 1",
            (boot.id, mono),
        ).fetchone()
        return None if row is None else int(row[0])

    def _channels(self, node_id: int) -> Iterator[ChannelAccount]:
        stored: dict[tuple[str, str], tuple[int, int]] = {
            (device, name): (count, bad)
            for device, name, count, bad in self._db.execute(
                "SELECT device, name, sum(k), sum(bad) FROM channel"
                " JOIN revision ON revision.id = channel.revision"
                f" JOIN (SELECT channel AS id, count(*) AS k, sum(quality >= {quality.BAD_NO_VALUE}) AS bad"
                " FROM sample GROUP BY channel) USING (id) WHERE revision.node = ? GROUP BY device, name",
                (node_id,),
            )
        }
        lost = self._buried_channels(node_id)
        for device, name in sorted(stored.keys() | lost.keys()):
            count, bad = stored.get((device, name), (0, 0))
            yield ChannelAccount(device, name, count, bad, lost[device, name])

    def _buried_channels(self, node_id: int) -> Counter[tuple[str, str]]:
        """Readings by (device, channel) that tombstones name, without those that are stored all the same."""
        buried: Counter[tuple[str, str]] = Counter()
        for frame, boot, first, last in self._db.execute(
            "SELECT frame, boot, first_seq, last_seq FROM tombstone"
            " WHERE boot IN (SELECT id FROM boot WHERE node = ?)",
            (node_id,),
        ).fetchall():
            named: Counter[tuple[str, str]] = Counter()
            for device, name, number, count in self._db.execute(
                "SELECT channel.device, channel.name, json_extract(pair.value, '$[0]') AS number,"
                " json_extract(pair.value, '$[1]') FROM tombstone JOIN frame ON frame.id = tombstone.frame"
                " JOIN json_each(tombstone.channels) AS pair"
                " LEFT JOIN channel ON channel.revision = frame.revision"
                " AND channel.number = json_extract(pair.value, '$[0]')"
                " WHERE tombstone.frame = ?",
                (frame,),
            ):
                named[device or "", name or f"channel {number}"] += count
            for device, name, count in self._db.execute(
                "SELECT channel.device, channel.name, count(*) FROM frame JOIN sample"
                f" ON sample.id >= (frame.id << {FRAME_SHIFT})"
                f" AND sample.id < ((frame.id + 1) << {FRAME_SHIFT})"
                " JOIN channel ON channel.id = sample.channel"
                " WHERE frame.boot = ? AND frame.seq BETWEEN ? AND ? GROUP BY channel.id",
                (boot, first, last),
            ):
                named[device, name] -= count
            buried += named  # keeps what is above zero
        return buried
