"""Compares what the stores hold and say with what happened, reading by reading.

sampled = stored + dropped + lost + pending, for each channel; nothing twice, nothing invented, no conflict;
each
missing reading explained by a reason that spans it; each time within its stated bound.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gasan.hil.simulation.truth import BootLog, Sample, frames_in
from gasan.host.account import CUT, NodeAccount, account
from gasan.wire.frame import DATA, TOMBSTONE
from gasan.wire.frame_reader import Frame, expand, parse, split

if TYPE_CHECKING:
    from gasan.hil.simulation.gateway import Machine
    from gasan.hil.simulation.node import SimNode

__all__ = ["Judgement", "judge"]

_TRUNCATED_MS: Final = 2  # stamps are whole milliseconds, cut off
_CLOCK_STEP_MS: Final = 5 + _TRUNCATED_MS  # what a gateway takes for the same time
_FAULTS_TOLD: Final = 20

_Identity = tuple[bytes, int]
"""(boot, sequence number) of a frame."""


@dataclass(slots=True)
class Judgement:
    """Readings of a run, over all channels. The first five are exclusive; faults: what does not hold."""

    sampled: int = 0
    stored: int = 0
    dropped: int = 0
    lost: int = 0
    pending: int = 0
    missed: int = 0
    frames: int = 0
    boots: int = 0
    dated: int = 0
    undated: int = 0
    lost_reasons: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.faults

    def fault(self, sentence: str) -> None:
        if len(self.faults) < _FAULTS_TOLD:
            self.faults.append(sentence)


@dataclass(slots=True)
class _Frame:
    """A data frame of the node's, as the truth has it: rows[channel] is where its samples stand in the
    boot's log.
    """

    boot: BootLog
    seq: int
    rows: dict[int, tuple[int, int]]
    in_flash: bool

    @property
    def readings(self) -> int:
        return sum(end - begin for begin, end in self.rows.values())

    def samples(self) -> Iterator[tuple[int, list[Sample]]]:
        for channel, (begin, end) in self.rows.items():
            yield channel, self.boot.samples[channel][begin:end]


def judge(nodes: "list[SimNode]", machines: "list[Machine]", epoch_ms: int, *, drained: bool) -> Judgement:
    """drained: whether the nodes had the time to deliver all that they held to the first machine."""
    result = Judgement()
    for node in nodes:
        _NodeJudge(node, machines, epoch_ms, drained, result).judge()
    for machine in machines:
        _judge_clock(machine, epoch_ms, result)
    return result


class _NodeJudge:
    def __init__(
        self,
        node: "SimNode",
        machines: "list[Machine]",
        epoch_ms: int,
        drained: bool,
        result: Judgement,
    ) -> None:
        self._node = node
        self._machines = machines
        self._epoch_ms = epoch_ms
        self._drained = drained
        self._result = result
        self._boots = {log.boot: log for log in node.boots}
        self._frames: dict[_Identity, _Frame] = {}
        self._tails: dict[bytes, int] = {}
        """By boot: readings that are in no frame."""
        self._tombstones: list[Frame] = []
        """Those that a store has or that are still in the node's flash."""

    def judge(self) -> None:
        result = self._result
        in_flash = set(frames_in(self._node.flash.files))
        rows = [_stored_frames(machine, self._node.name) for machine in self._machines]
        stored = set().union(*rows)
        for log in self._boots.values():
            self._lay_out(log, in_flash)
        for machine, frames in zip(self._machines, rows, strict=True):
            self._judge_store(machine, frames)
        self._tombstones += [
            held
            for log in self._boots.values()
            for seq, entry in log.frames.items()
            if (log.boot, seq) in in_flash and (held := _opened(entry.data)).kind == TOMBSTONE
        ]
        for log in self._boots.values():
            result.boots += 1
            result.sampled += log.sampled
            result.missed += log.missed
            if log.ended_ms is None:
                result.pending += self._tails[log.boot]
            else:
                result.lost += self._tails[log.boot]
                result.lost_reasons[CUT] += self._tails[log.boot]
        for identity, frame in self._frames.items():
            result.frames += 1
            if identity in stored:
                result.stored += frame.readings
            elif frame.in_flash:
                result.pending += frame.readings
            elif reason := self._reason(frame):
                result.lost += frame.readings
                result.lost_reasons[reason] += frame.readings
            elif frame.readings:
                result.fault(
                    f"{self._node.name}: frame {frame.seq} of boot {self._number(frame.boot)} with"
                    f" {frame.readings} readings is lost, and nothing tells of it"
                )

    def _number(self, log: BootLog) -> int:
        return self._node.boots.index(log)

    # -- the truth

    def _lay_out(self, log: BootLog, in_flash: set[_Identity]) -> None:
        """Find out which samples went into which frame: all of them, in order, each into one."""
        at = dict.fromkeys(log.samples, 0)
        for seq, entry in sorted(log.frames.items()):
            frame = _opened(entry.data)
            identity = log.boot, seq
            if frame.kind != DATA:
                continue
            if not entry.committed and not self._is_refused(log, seq):
                continue  # the power cut met it: its samples are in no frame
            rows: dict[int, tuple[int, int]] = {}
            for numbers, times, _, _ in expand(frame):
                for number in numbers:
                    begin = at.get(number, 0)
                    at[number] = begin + len(times)
                    rows[number] = rows.get(number, (begin, 0))[0], at[number]
                    if at[number] > len(log.samples.get(number, ())):
                        self._result.fault(
                            f"{self._node.name}: frame {seq} holds samples that were never taken"
                        )
                        return
            self._frames[identity] = _Frame(log, seq, rows, identity in in_flash)
        self._tails[log.boot] = sum(len(samples) - at[number] for number, samples in log.samples.items())

    @staticmethod
    def _is_refused(log: BootLog, seq: int) -> bool:
        """Whether the flash did not take the frame, and the node went on."""
        return any(later > seq for later in log.frames)

    def _reason(self, frame: _Frame) -> str:
        """Why the frame is neither stored nor held: what a tombstone says that is stored or held itself."""
        for tombstone in self._tombstones:
            reason, boot, first, last = tombstone.content[:4]
            if bytes(boot) == frame.boot.boot and first <= frame.seq <= last:
                return {1: "spool_overflow", 2: "torn", 3: "unsendable"}.get(reason, f"reason {reason}")
        return ""

    # -- one store

    def _judge_store(self, machine: "Machine", stored: dict[_Identity, tuple[int, int]]) -> None:
        """Compare each row of one store with the truth."""
        name, result = self._node.name, self._result
        where = f"{machine.name}, {name}"
        for (boot, seq), (kind, n) in stored.items():
            log = self._boots.get(boot)
            if log is None or seq not in log.frames:
                result.fault(f"{where}: frame {seq} of boot {boot.hex()} was never made")
            elif kind == TOMBSTONE:
                self._tombstones.append(_opened(log.frames[seq].data))
            elif kind == DATA and (boot, seq) not in self._frames:
                result.fault(f"{where}: frame {seq} of boot {self._number(log)} was never kept")
            elif kind == DATA and self._frames[boot, seq].readings != n:
                wanted = self._frames[boot, seq].readings
                result.fault(f"{where}: frame {seq} has {n} readings, not {wanted}")
        with closing(sqlite3.connect(machine.db)) as db:
            self._judge_readings(machine, db, where)
            known = {
                bytes(boot): closed and count is not None
                for boot, closed, count in db.execute("SELECT boot, closed, final_count FROM boot")
            }
            undecoded = {
                (bytes(boot), seq)
                for boot, seq in db.execute(
                    "SELECT boot.boot, seq FROM undecoded JOIN frame ON frame.id = undecoded.frame"
                    " JOIN boot ON boot.id = frame.boot"
                )
            }
        for books in account(machine.db).nodes:
            if books.node == name:
                self._judge_account(machine, books, set(stored), known)
                self._judge_channels(books, set(stored) - undecoded, set(stored), where)

    def _judge_readings(self, machine: "Machine", db: sqlite3.Connection, where: str) -> None:
        result = self._result
        clocks: dict[_Identity, tuple[str, int]] = {
            (bytes(boot), seq): (start, offset)
            for boot, seq, start, offset in db.execute(
                "SELECT boot.boot, frame.seq, gateway_clock.machine_boot,"
                " gateway_clock.utc_ms - gateway_clock.mono_ms FROM frame JOIN boot ON boot.id = frame.boot"
                " JOIN node_clock ON node_clock.id = frame.clock"
                " JOIN gateway_clock ON gateway_clock.id = node_clock.gateway"
            )
        }
        numbers = {names: number for number, names in enumerate(self._node.channels)}
        seen: Counter[tuple[bytes, int, int]] = Counter()
        for device, channel, raw, boot_hex, seq, time_ms, err_ms in db.execute(
            "SELECT device, channel, raw, boot, seq, time_ms, time_err_ms FROM readings WHERE node = ?",
            (self._node.name,),
        ):
            boot, number = bytes.fromhex(boot_hex), numbers[device, channel]
            frame = self._frames.get((boot, seq))
            if frame is None:
                result.fault(f"{where}: a reading of frame {seq}, which was never kept")
                return
            begin, end = frame.rows.get(number, (0, 0))
            at = begin + seen[boot, seq, number]
            seen[boot, seq, number] += 1
            if at >= end:
                result.fault(f"{where}: frame {seq} of {channel} has more rows than were sampled")
                return
            truth = frame.boot.samples[number][at]
            if raw != truth.raw:
                result.fault(f"{where}: {channel} says {raw} where {truth.raw} was sampled")
                return
            if time_ms is None:
                result.undated += 1
                continue
            result.dated += 1
            start, offset = clocks[boot, seq]
            if start not in machine.zeros:
                result.fault(f"{where}: dated by a start of the machine that never was: {start}")
                return
            off = time_ms - offset + machine.zeros[start] - truth.ms
            if abs(off) > err_ms + _TRUNCATED_MS:
                result.fault(
                    f"{where}: frame {seq} of boot {self._number(frame.boot)}: {channel} is dated"
                    f" {off} ms off, stated bound {err_ms} ms"
                )
                return

    def _judge_account(
        self, machine: "Machine", books: NodeAccount, have: set[_Identity], known: dict[bytes, bool]
    ) -> None:
        """The account of one store against the truth of the starts that it knows of.

        known: starts of which the store has heard, and whether it was told how they ended.
        """
        where, fault = f"{machine.name}, {books.node}", self._result.fault
        reasons: Counter[str] = Counter()
        for loss in books.losses:
            reasons[loss.reason] += loss.readings
        stored = sum(frame.readings for identity, frame in self._frames.items() if identity in have)
        committed = sum(frame.readings for (boot, _), frame in self._frames.items() if boot in known)
        sampled = sum(log.sampled for boot, log in self._boots.items() if boot in known)
        tails = sum(
            tail
            for boot, tail in self._tails.items()
            if boot in known and self._boots[boot].ended_ms is not None
        )
        if books.unexplained:
            fault(f"{where}: the account leaves {books.unexplained} readings over")
        if books.duplicated or books.conflicts or books.rejected:
            fault(
                f"{where}: {books.duplicated} readings twice, {books.conflicts} conflicts,"
                f" {books.rejected} frames refused"
            )
        if books.stored != stored:
            fault(f"{where}: the account says {books.stored} stored, and {stored} are")
        if books.sampled > sampled:
            fault(f"{where}: the account says {books.sampled} sampled, and {sampled} were")
        if reasons[CUT] > tails:
            fault(f"{where}: the account says {reasons[CUT]} cut before commit, and {tails} were")
        told = books.lost - reasons[CUT]
        if books.lost > committed - stored + tails:
            fault(
                f"{where}: the account says {books.lost} lost, and {committed - stored + tails} are missing"
            )
        if self._drained and machine is self._machines[0]:
            live = sum(log.sampled for log in self._boots.values() if log.ended_ms is None)
            kept = sum(f.readings for f in self._frames.values() if f.boot.ended_ms is None)
            missing = sum(
                frame.readings
                for identity, frame in self._frames.items()
                if identity not in have and known.get(identity[0])
            )
            if told < missing:
                fault(
                    f"{where}: {missing} committed readings are missing, the account knows of"
                    f" {told} ({dict(reasons)})"
                )
            if books.pending > live - kept:
                fault(f"{where}: {books.pending} readings pending, {live - kept} are in the open batch")

    def _judge_channels(
        self, books: NodeAccount, have: set[_Identity], stored: set[_Identity], where: str
    ) -> None:
        """have: of the frames stored, those of which the meaning is known."""
        fault = self._result.fault
        by_number = {names: number for number, names in enumerate(self._node.channels)}
        for channel in books.channels:
            number = by_number.get((channel.device, channel.channel))
            if number is None:
                continue  # given up before the store has heard what the channels mean
            rows = {
                identity: frame.rows[number][1] - frame.rows[number][0]
                for identity, frame in self._frames.items()
                if number in frame.rows
            }
            kept = sum(n for identity, n in rows.items() if identity in have)
            missing = sum(n for identity, n in rows.items() if identity not in stored)
            name = f"{where}: of {channel.channel}"
            if channel.stored != kept:
                fault(f"{name} the account says {channel.stored} stored, and {kept} are")
            if channel.lost > missing:
                fault(f"{name} the account says {channel.lost} lost, and {missing} are missing")


def _judge_clock(machine: "Machine", epoch_ms: int, result: Judgement) -> None:
    """The row of the start that runs is right, now that the machine's clock is."""
    with closing(sqlite3.connect(machine.db)) as db:
        row = db.execute(
            "SELECT utc_ms - mono_ms FROM gateway_clock WHERE machine_boot = ?", (machine.boot,)
        ).fetchone()
    truth = epoch_ms + machine.zeros[machine.boot]
    if row is None or abs(row[0] - truth) > _CLOCK_STEP_MS:
        result.fault(f"{machine.name}: its clock row is {row and row[0] - truth} ms off")


def _stored_frames(machine: "Machine", node: str) -> dict[_Identity, tuple[int, int]]:
    """(kind, readings) of each frame that a store has of a node."""
    with closing(sqlite3.connect(machine.db)) as db:
        return {
            (bytes(boot), seq): (kind, n)
            for boot, seq, kind, n in db.execute(
                "SELECT boot.boot, seq, kind, n FROM frame JOIN boot ON boot.id = frame.boot"
                " JOIN node ON node.id = boot.node WHERE node.name = ?",
                (node,),
            )
        }


def _opened(data: bytes) -> Frame:
    return parse(split(data)[1])
