"""One start of a node in the account: what it sampled, what is stored of it, and why the rest is not.

Every frame carries the boot's count of readings before it, so a gap between stored frames has an exact
size; a tombstone says why it will stay a gap. A start that ended takes its open batch along: the next
start's boot frame names the last count committed, and what was sampled beyond it is `cut_before_commit`.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from gasan.host.store.bounds import lives
from gasan.host.store.ranges import RangeSet
from gasan.host.store.schema import LOSS_DAMAGED, LOSS_RESTORED, time_sql

__all__ = [
    "CUT",
    "DAMAGED",
    "ELSEWHERE",
    "GONE",
    "REPLACED",
    "RESTORED",
    "WIPED",
    "Boot",
    "BootReader",
    "Disagreement",
    "Loss",
    "in_order",
    "reason_name",
]

CUT: Final = "cut_before_commit"
"""Sampled, and lost with the power before it was committed: at most the open batch."""

ELSEWHERE: Final = "delivered_elsewhere"
"""The node has it no more, and gave up nothing: only an acknowledgement of another store explains that."""

WIPED: Final = "spool_wiped"
"""A later start of the node found nothing of it in flash: the flash was erased, or the board flashed anew."""

REPLACED: Final = "node_replaced"
"""It is on a board in whose place another one stands."""

DAMAGED: Final = "gateway_damaged"
"""It was stored, and the database was damaged."""

RESTORED: Final = "gateway_restored"
"""It was stored after the backup that was restored."""

GONE: Final = "gone_from_node"
"""The node says that it holds nothing more, and nothing says why."""

_REASONS: Final = {1: "spool_overflow", 2: "torn", 3: "unsendable"}
_TORN: Final = _REASONS[2]
_GATEWAY_LOSSES: Final = {LOSS_DAMAGED: DAMAGED, LOSS_RESTORED: RESTORED}


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
class Disagreement:
    """Where the node's counters and the store contradict each other, by how many readings; `boot` in hex.

    kind: "overlap", two stored frames claim the same readings; "hole", two frames that follow each other
    leave readings out; "end", the node counts readings for which it has made no frame; "rows", the headers
    of frames and their rows differ; "dropped", channels add up to more than the node's sum. `boot` is empty
    where it is of the node as a whole.
    """

    kind: str
    boot: str
    readings: int


@dataclass(slots=True)
class Gap:
    """Readings that were committed and are not stored, in the frames `first` to `last` (None: after the last
    that is stored). `left` of them are not explained.
    """

    first: int
    last: int | None
    left: int
    after_ms: int | None
    before_ms: int | None


@dataclass(slots=True)
class Boot:
    """The row of the table, and what the account makes of it."""

    id: int
    boot: str
    ordinal: int | None
    closed: int
    last_seq: int | None
    final_count: int | None
    settled_seq: int | None
    settled_count: int | None
    sampled: int
    committed: int
    missed: int
    dropped: int
    uptime_ms: int
    given_up: str
    """Sequence numbers that tombstones gave up, as ranges."""
    stored: int = 0
    frames: int = 0
    data_bytes: int = 0
    ended: bool = False
    settled: bool = False
    """The node has said that it holds nothing of this start any more."""
    gone: str = GONE
    """Why what the node holds no more is gone, where nothing nearer says why."""
    told_nobody: bool = False
    """How it ended stood in a frame that the node had to give up."""
    torn_end: bool = False
    """Its last frames have rotted on the node, and nobody can tell how much stood in them."""
    restored: bool = False
    """A backup of before this start was restored after it had begun."""
    pending: int = 0
    losses: list[Loss] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    disagreements: list[Disagreement] = field(default_factory=list)
    end_mono: int = 0
    """Node time of the latest sample that is stored."""
    since_mono: int = -1
    """Node time from which on it counts here."""
    dropped_before: dict[int, int] = field(default_factory=dict)
    """What had been dropped by rule before that, by key of the health frame."""

    @property
    def open_end(self) -> bool:
        """Whether it is over, and nobody can tell any more how much it had sampled."""
        return self.ended and self.settled and self.final_count is None and not self.told_nobody

    @property
    def lost(self) -> int:
        return sum(loss.readings for loss in self.losses)

    @property
    def duplicated(self) -> int:
        return sum(each.readings for each in self.disagreements if each.kind == "overlap")

    def lose(self, reason: str, readings: int, from_ms: int | None, to_ms: int | None) -> None:
        if readings > 0:
            self.losses.append(Loss(reason, readings, from_ms, to_ms))

    def disagree(self, kind: str, readings: int) -> None:
        if readings > 0:
            self.disagreements.append(Disagreement(kind, self.boot, readings))


def in_order(boots: Iterable[Boot], current: int | None) -> list[Boot]:
    """Oldest first. A node whose flash was erased counts its starts from 1 again: those that were heard of
    before that come first. Where no boot frame has told an ordinal, the boot in session is the newest,
    others come before it.
    """
    boots = list(boots)
    life_of = lives(((boot.id, boot.ordinal) for boot in boots), current)
    in_session = next((boot.ordinal for boot in boots if boot.id == current), None)
    before = math.inf if in_session is None else in_session

    def place(boot: Boot) -> tuple[float, float, bool]:
        life = life_of[boot.id]
        if boot.ordinal is not None:
            return life, boot.ordinal, True
        return (math.inf, math.inf, True) if boot.id == current else (life, before, False)

    return sorted(boots, key=place)


class BootReader:
    """Reads the boots of a node, within the read transaction of `connection`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def boots(self, node_id: int, current: int | None, *, replaced: bool) -> list[Boot]:
        """The node's boots with all their figures, oldest first as far as it is known.

        replaced: another board has taken the node's place, so that nothing of it will come any more.
        """
        boots = in_order(
            (
                Boot(*row)
                for row in self._db.execute(
                    "SELECT id, lower(hex(boot)), ordinal, closed, last_seq, final_count, settled_seq,"
                    " settled_count, sampled, committed, missed, dropped, uptime_ms, gone FROM boot"
                    " WHERE node = ? ORDER BY id",
                    (node_id,),
                )
            ),
            current,
        )
        sums = {
            row[0]: row[1:]
            for row in self._db.execute(
                "SELECT boot, sum(n), sum(frames), sum(data_bytes), max(mono + span) FROM run"
                " WHERE boot IN (SELECT id FROM boot WHERE node = ?) GROUP BY boot",
                (node_id,),
            )
        }
        self._judge_ends(boots, replaced)
        for boot in boots:
            boot.stored, boot.frames, boot.data_bytes, boot.end_mono = sums.get(boot.id, (0, 0, 0, 0))
            self._settle(boot)
        return boots

    def utc(self, boot: Boot, mono: int) -> int | None:
        """Unix ms of a node time of the boot, by its nearest exchange; None while there is none."""
        row = self._db.execute(
            f"SELECT {time_sql('?2')} FROM node_clock"
            " JOIN gateway_clock ON gateway_clock.id = node_clock.gateway"
            " WHERE boot = ?1 AND NOT bounded ORDER BY abs(node_ms - ?2) LIMIT 1",
            (boot.id, mono),
        ).fetchone()
        return None if row is None else int(row[0])

    def _judge_ends(self, boots: list[Boot], replaced: bool) -> None:
        """Which boots have ended, of which the node holds nothing more, and what that would mean."""
        settled, wiped, told_nobody = False, False, False
        for later, boot in enumerate(reversed(boots)):
            boot.told_nobody = told_nobody
            told_nobody = 0 in RangeSet.parse(boot.given_up)
            untold = bool(boot.closed and boot.final_count is None)
            wiped = wiped or (untold and boot.committed > 0)
            boot.ended = later > 0 or replaced
            boot.settled = settled or untold or replaced
            if wiped:
                boot.gone = WIPED
            elif replaced:
                boot.gone = REPLACED
            elif boot.closed or not boot.ended:
                boot.gone = ELSEWHERE
            # A node that once held nothing holds nothing of any earlier start.
            settled = settled or boot.settled_seq is not None
            if boot.ordinal == 1:  # it found nothing at all of any earlier start
                settled = wiped = True
        restored = False
        for boot in boots:
            noted = self._db.execute(
                "SELECT 1 FROM gateway_loss WHERE boot = ? AND reason = 2 AND last_seq IS NULL", (boot.id,)
            ).fetchone()
            boot.restored = restored and noted is None
            restored = noted is not None or (restored and not boot.stored)

    def _settle(self, boot: Boot) -> None:
        """Works out the boot's figures: what is lost, for which reasons, and what may still come."""
        told = boot.committed
        boot.committed = max(told, boot.final_count or 0, self._buried_behind(boot))
        boot.sampled = max(boot.sampled, boot.committed + boot.dropped)
        boot.torn_end = boot.ended and self._is_torn_at_the_end(boot)
        for gap in self._gaps(boot):
            self._bury(boot, gap)
            self._give_up(boot, gap)
            if gap.left:
                boot.gaps.append(gap)
                boot.pending += gap.left
        unwritten = max(0, boot.sampled - boot.dropped - boot.committed)
        if boot.ended and (boot.settled or boot.closed):
            end = boot.end_mono
            # Without the count that the next start found, it may have been committed and gone after that.
            nothing_found = boot.closed and not boot.committed
            cut = boot.final_count is not None or nothing_found
            reason = CUT if cut else boot.gone
            boot.lose(reason, unwritten, self.utc(boot, end), self.utc(boot, max(boot.uptime_ms, end)))
            unwritten = 0
        boot.pending += unwritten

    def _gaps(self, boot: Boot) -> Iterator[Gap]:
        """What is missing before, between and after the stored frames, sized by the counts they carry."""
        for first, n, count, mono, before, counted, ended in self._db.execute(
            "SELECT * FROM (SELECT first_seq, n, count, mono, lag(last_seq, 1, -1) OVER by_seq AS before,"
            " coalesce(max(count + n) OVER (by_seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)"
            " AS counted, lag(mono + span) OVER by_seq FROM run WHERE boot = ?"
            " WINDOW by_seq AS (ORDER BY first_seq)) WHERE first_seq > before + 1 OR count <> counted",
            (boot.id,),
        ).fetchall():
            if count < counted:
                boot.disagree("overlap", min(n, counted - count))
            elif first == before + 1:
                boot.disagree("hole", count - counted)
            elif count > counted:
                after = None if ended is None else self.utc(boot, ended)
                yield Gap(before + 1, first - 1, count - counted, after, self.utc(boot, mono))
        last, counted, ended = self._db.execute(
            "SELECT max(last_seq), max(count + n), max(mono + span) FROM run WHERE boot = ?", (boot.id,)
        ).fetchone()
        if boot.committed > (counted or 0):
            after = None if ended is None else self.utc(boot, ended)
            yield Gap(0 if last is None else last + 1, None, boot.committed - (counted or 0), after, None)

    def _bury(self, boot: Boot, gap: Gap) -> None:
        """Takes from a gap what tombstones explain. What is stored counts, whatever a tombstone says."""
        given_up = RangeSet()
        reason = ""
        for code, first, last, readings, mono_from, mono_to in self._db.execute(
            "SELECT reason, first_seq, last_seq, n, mono_from, mono_to FROM tombstone"
            " WHERE boot = ?1 AND last_seq >= ?2 AND (?3 IS NULL OR first_seq <= ?3)"
            " ORDER BY first_seq, last_seq DESC",
            (boot.id, gap.first, gap.last),
        ).fetchall():
            begin, end = max(first, gap.first), last if gap.last is None else min(last, gap.last)
            if given_up.covers(begin, end):
                continue  # the same frames again: the power went before they were removed
            reason = reason_name(code)
            given_up.add_range(begin, end)
            lost = min(gap.left, max(0, readings - self._readings_between(boot, first, last)))
            gap.left -= lost
            boot.lose(reason, lost, self.utc(boot, mono_from), self.utc(boot, mono_to))
        # A tombstone of a torn frame cannot tell how much was in it; the counts around it can.
        if gap.left and gap.last is not None and list(given_up) == [(gap.first, gap.last)]:
            self._lose_rest(boot, gap, reason, gap.left)

    def _is_torn_at_the_end(self, boot: Boot) -> bool:
        """Whether a tombstone tells of rot behind the last frame that the next start has found.

        It names the first of them only: the others had nothing behind them to be counted by.
        """
        row = self._db.execute(
            "SELECT 1 FROM tombstone WHERE boot = ?1 AND reason = 2 AND last_seq >"
            " max(coalesce(?2, -1), (SELECT coalesce(max(last_seq), -1) FROM run WHERE boot = ?1))",
            (boot.id, boot.last_seq),
        ).fetchone()
        return row is not None

    def _buried_behind(self, boot: Boot) -> int:
        """Readings that were committed at least, by the tombstones of frames behind the last one stored."""
        last, counted = self._db.execute(
            "SELECT coalesce(max(last_seq), -1), coalesce(max(count + n), 0) FROM run WHERE boot = ?",
            (boot.id,),
        ).fetchone()
        given_up = RangeSet()
        for first, until, readings in self._db.execute(
            "SELECT first_seq, last_seq, n FROM tombstone WHERE boot = ? AND first_seq > ?"
            " ORDER BY first_seq, last_seq DESC",
            (boot.id, last),
        ).fetchall():
            if not given_up.covers(first, until):
                given_up.add_range(first, until)
                counted += readings
        return int(counted)

    def _give_up(self, boot: Boot, gap: Gap) -> None:
        """Takes from a gap what will not come any more, since neither the store nor the node has it."""
        gone = boot.gone
        for first, last, code in self._db.execute(
            "SELECT first_seq, last_seq, reason FROM gateway_loss WHERE boot = ?1"
            " AND (last_seq IS NULL OR last_seq >= ?2) AND (?3 IS NULL OR first_seq <= ?3)",
            (boot.id, gap.first, gap.last),
        ).fetchall():
            gone = _GATEWAY_LOSSES.get(code, gone)
            if code == LOSS_RESTORED:
                continue  # the node may still have it
            if last is not None and first <= gap.first and gap.last is not None and gap.last <= last:
                self._lose_rest(boot, gap, gone, gap.left)
        if boot.restored and gap.first == 0:
            gone = RESTORED
        if not gap.left:
            return
        if gap.last is None and boot.closed and boot.last_seq is not None and gap.first > boot.last_seq:
            # The node had told of more than its next start found in flash.
            self._lose_rest(boot, gap, _TORN, gap.left)
        elif boot.ended and boot.settled:
            self._lose_rest(boot, gap, gone, gap.left)
        elif boot.settled_seq is not None and boot.settled_count is not None:
            if gap.last is not None:
                if gap.last < boot.settled_seq:
                    self._lose_rest(boot, gap, gone, gap.left)
            else:
                counted = boot.committed - gap.left
                missing = min(gap.left, max(0, boot.settled_count - counted))
                if gap.first < boot.settled_seq:
                    self._lose_rest(boot, gap, gone, missing)
                else:
                    boot.disagree("end", missing)
                    gap.left -= missing

    def _lose_rest(self, boot: Boot, gap: Gap, reason: str, readings: int) -> None:
        boot.lose(reason, readings, gap.after_ms, gap.before_ms)
        gap.left -= readings

    def _readings_between(self, boot: Boot, first: int, last: int) -> int:
        (readings,) = self._db.execute(
            "SELECT coalesce(sum(n), 0) FROM run WHERE boot = ? AND first_seq BETWEEN ? AND ?",
            (boot.id, first, last),
        ).fetchone()
        return int(readings)
