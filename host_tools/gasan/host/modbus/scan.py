"""Find the settings and the units of an unknown serial line by reads alone.

First the line is listened to: where somebody else speaks, nothing is sent. Then units are asked for one
register in the order of `order`; an exception is an answer too. Once somebody has answered, the settings are
known, and only the remaining units are asked at them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from gasan.host.modbus.frames import Frame, Kind, Reply, frames_in
from gasan.host.modbus.identify import READ_IDENTITY, REPORT_ID, Identity, identity_of, server_id_of
from gasan.host.modbus.order import Batch, Timing, batches, settings_by_likelihood
from gasan.host.modbus.ports import Asker
from gasan.host.modbus.settings import Setting

__all__ = ["PROBE", "Device", "Disturbed", "Progress", "Report", "Scan", "ScanLine", "Traffic", "identify"]

PROBE = bytes([3, 0, 0, 0, 1])  # read holding register 0
_TRIES = 3
_STRAYS_MAX = 2  # times that something was heard unasked before the line counts as in use
_RECENT = 16  # units asked before this one that a late answer may be from
_BEFORE = 3  # units of other settings that an answer may be from that comes after they have changed
_LATE_FACTOR = 1.5  # how much longer than it took before a slow answer is waited for
_LISTEN_EACH_S = 1.2
_HEARD_KEPT = 32
_IDENTITIES = (REPORT_ID[0], READ_IDENTITY[0])


class ScanLine(Asker, Protocol):
    """A serial line that can be set and listened to."""

    def configure(self, setting: Setting) -> bool: ...

    def listen(self, seconds: float) -> bytes: ...


@dataclass(frozen=True)
class Device:
    """A unit that has answered. code: its exception, 0 if it gave the register. seconds: it took to answer.

    disturbed: answers that came damaged before this one.
    """

    unit: int
    code: int
    seconds: float
    identity: Identity | None = None
    disturbed: int = 0


@dataclass(frozen=True)
class Disturbed:
    """A unit at which, at this setting, something answers, but never a whole frame."""

    setting: Setting
    unit: int
    heard: bytes


@dataclass(frozen=True)
class Traffic:
    """Bytes that came without a question. setting: at which whole frames were heard, its parity not sure."""

    size: int
    setting: Setting | None = None
    units: tuple[int, ...] = ()


@dataclass
class Report:
    """What a scan has found so far. same: further settings at which the first device answers as well."""

    setting: Setting | None = None
    devices: list[Device] = field(default_factory=list)
    same: list[Setting] = field(default_factory=list)
    disturbed: list[Disturbed] = field(default_factory=list)
    traffic: Traffic | None = None
    refused: bool = False  # ended because the line is in use
    echo: bool = False
    unsupported: list[Setting] = field(default_factory=list)
    requests: int = 0
    first_request: int = 0  # how many requests it took to the first device
    complete: bool = False


@dataclass(frozen=True)
class Progress:
    """Seconds of line time that are done and that are planned, at the most; what is asked now."""

    done_s: float
    planned_s: float
    setting: Setting
    unit: int | None


class Scan:
    """One scan. `report` is right at any time, also after an interruption of `run`."""

    def __init__(
        self,
        line: ScanLine,
        settings: Sequence[Setting],
        units: Sequence[int],
        *,
        timing: Timing | None = None,
        listen_s: float = 2.0,
        force: bool = False,
        watch: Callable[[Progress], None] = lambda _progress: None,
    ) -> None:
        self.report = Report()
        self._line = line
        self._settings = settings_by_likelihood(settings)
        self._units = units
        self._timing = timing or Timing()
        self._listen_s = listen_s
        self._force = force
        self._watch = watch
        self._batches = batches(self._settings, units, self._timing)
        self._done_s = 0.0
        self._planned_s = self.longest_s
        self._strays = 0
        self._before: Batch | None = None  # the one that was asked last
        self._answered: set[int] = set()  # units, late; at these settings

    @property
    def longest_s(self) -> float:
        """Seconds of the whole scan when nobody answers."""
        return self._listen_s + sum(batch.seconds(self._timing) for batch in self._batches)

    def run(self) -> Report:
        """Scan to the end; interrupt it by any exception."""
        if self._in_use() and not self._force:
            self.report.refused = True
            return self.report
        for batch in self._batches:
            if not self._run_batch(batch):
                return self.report
            setting = self.report.setting
            if setting is not None:
                asked = self._asked(setting, batch)
                rest = tuple(unit for unit in self._units if unit not in asked)
                if rest and not self._run_batch(Batch(setting, rest, 1.0), shrink=True):
                    return self.report
                break
        self.report.complete = True
        self._done_s = self._planned_s
        return self.report

    def _asked(self, setting: Setting, last: Batch) -> set[int]:
        """Units that were asked at `setting`, up to the batch `last`."""
        asked: set[int] = set()
        for batch in self._batches:
            if batch.setting == setting:
                asked |= set(batch.units)
            if batch is last:
                break
        return asked

    def _in_use(self) -> bool:
        first = self._settings[0]
        self._line.configure(first)
        self._show(first, None)
        heard = self._line.listen(self._listen_s)
        self._done_s = self._listen_s
        if heard:
            self.report.traffic = self._name_traffic(heard)
        return bool(heard)

    def _name_traffic(self, heard: bytes) -> Traffic:
        """Listen at one setting after the other until whole frames are heard."""
        size = len(heard)
        # Parity cannot be heard without parity checking, so one setting per baud rate is enough.
        bauds: dict[int, Setting] = {}
        for one in self._settings:
            bauds.setdefault(one.baudrate, one)
        for setting in bauds.values():
            self._line.configure(setting)
            self._show(setting, None)
            more = self._line.listen(_LISTEN_EACH_S)
            size += len(more)
            frames = frames_in(more)
            if frames:
                return Traffic(size, setting, tuple(sorted({frame.unit for frame in frames})))
        return Traffic(size)

    def _run_batch(self, batch: Batch, shrink: bool = False) -> bool:
        """Ask the units of a batch; False when the line turned out to be in use."""
        cost = batch.seconds(self._timing)
        if shrink:
            self._planned_s = self._done_s + cost
        if not self._line.configure(batch.setting):
            if batch.setting not in self.report.unsupported:
                self.report.unsupported.append(batch.setting)
            self._done_s += cost
            return True
        self._answered = set()
        before = self._done_s
        for index, unit in enumerate(batch.units):
            self._done_s = before + cost * index / len(batch.units)
            self._show(batch.setting, unit)
            last = index == len(batch.units) - 1
            reply = self._ask(unit, self._timing.patient_s if last else self._timing.answer_s)
            garbage = reply.kind is Kind.GARBAGE or (reply.stray and not frames_in(reply.stray))
            if not index and garbage and self._was_before(batch):
                return True
            recent = list(batch.units[max(0, index - _RECENT) : index])
            self._weigh(batch.setting, unit, reply, recent)
            if self._strays >= _STRAYS_MAX and not self._force:
                self.report.refused = True
                return False
        self._done_s = before + cost
        self._before = batch
        return True

    def _was_before(self, batch: Batch) -> bool:
        """Whether bytes at the first question of a batch are a late answer at the settings before it."""
        last = self._before
        if last is None or last.setting == batch.setting or not self._line.configure(last.setting):
            return False
        for unit in last.units[-_BEFORE:]:
            self._ask_patiently(last.setting, unit)
        self._line.configure(batch.setting)
        return self.report.setting is not None

    def _ask(self, unit: int, timeout_s: float) -> Reply:
        reply = self._line.ask(unit, PROBE, timeout_s)
        self.report.requests += 1
        self.report.echo |= reply.echo
        self._note_answers(reply.stray, unit)
        self._note_answers(reply.heard, unit)
        return reply

    def _note_answers(self, heard: bytes, unit: int) -> None:
        """Whose answers to `PROBE` were heard, apart from the unit that is asked."""
        self._answered |= {one.unit for one in frames_in(heard) if one.unit != unit and _answers_probe(one)}

    def _weigh(self, setting: Setting, unit: int, reply: Reply, recent: Sequence[int]) -> None:
        """Make what came of asking `unit` part of the report; `recent` were asked right before it."""
        frames = frames_in(reply.stray) + frames_in(reply.heard)
        late = self._answered & set(recent)
        found = {device.unit for device in self.report.devices}
        # Who is there has been asked more than `PROBE`, and may take longer to tell who it is.
        known = any(frame.unit in found and frame.function in _IDENTITIES for frame in frames)
        if (reply.stray or reply.kind is Kind.FOREIGN) and (_asks(frames) or not (late or known)):
            self._strays += 1
            size = len(reply.stray) + len(reply.heard)
            units = tuple(sorted({frame.unit for frame in frames}))
            self.report.traffic = Traffic(size, setting if frames else None, units)
        while late:  # while one is asked again, others may be heard
            self._ask_patiently(setting, min(late), timeout_s=_LATE_FACTOR * _RECENT * self._timing.answer_s)
            self._answered.discard(min(late))
            late = self._answered & set(recent)
        if reply.there:
            self._found(setting, unit, reply, 0)
        elif reply.kind is not Kind.SILENCE:
            # Damaged, or spoilt by a late answer to the request before: ask both again, with time.
            for other in [*recent[-2:], unit]:
                self._ask_patiently(setting, other, reply if other == unit else None)

    def _ask_patiently(
        self, setting: Setting, unit: int, damaged: Reply | None = None, timeout_s: float = 0.0
    ) -> None:
        if any(device.unit == unit for device in self.report.devices):
            return
        garbage = [damaged] if damaged is not None and damaged.kind is Kind.GARBAGE else []
        for _try in range(_TRIES):
            self._note_answers(self._line.listen(setting.pause_s), unit)
            reply = self._ask(unit, max(timeout_s, 3 * self._timing.patient_s))
            if reply.there:
                self._found(setting, unit, reply, len(garbage))
                return
            if reply.kind is Kind.SILENCE:
                break
            if reply.kind is Kind.GARBAGE:  # another's whole frame is no damage
                garbage.append(reply)
        told = any((one.setting, one.unit) == (setting, unit) for one in self.report.disturbed)
        if len(garbage) >= 2 and not told:  # once may be a spark
            self.report.disturbed.append(Disturbed(setting, unit, garbage[-1].heard[:_HEARD_KEPT]))

    def _found(self, setting: Setting, unit: int, reply: Reply, disturbed: int) -> None:
        report = self.report
        if any(device.unit == unit for device in report.devices):
            return
        device = Device(unit, reply.code, reply.seconds, disturbed=disturbed)
        if report.setting is None:
            report.setting = setting
            report.first_request = report.requests
        report.devices.append(device)  # first, so that an interruption does not lose it
        report.disturbed = [one for one in report.disturbed if (one.setting, one.unit) != (setting, unit)]
        patient_s = max(self._timing.patient_s, _LATE_FACTOR * reply.seconds)
        if len(report.devices) == 1:
            self._compare_settings(setting, unit, patient_s)
        report.devices[-1] = replace(device, identity=identify(self._line, unit, patient_s))

    def _compare_settings(self, setting: Setting, unit: int, patient_s: float) -> None:
        """Which other parities and stop bits the device takes as well: it may check neither."""
        for parity, stop in (("N", 1), ("N", 2), ("E", 1), ("O", 1)):
            other = Setting(setting.baudrate, parity, stop)
            if other != setting and self._line.configure(other):
                self._line.listen(other.pause_s)
                if self._ask(unit, patient_s).there:
                    self.report.same.append(other)
        self._line.configure(setting)

    def _show(self, setting: Setting, unit: int | None) -> None:
        self._watch(Progress(self._done_s, self._planned_s, setting, unit))


def identify(line: Asker, unit: int, timeout_s: float) -> Identity | None:
    """What a device says about itself by the two functions for that; None when it knows neither."""
    reply = line.ask(unit, READ_IDENTITY, timeout_s)
    if reply.kind is Kind.ANSWER:
        identity = identity_of(reply.pdu)
        if identity is not None:
            return identity
    reply = line.ask(unit, REPORT_ID, timeout_s)
    return server_id_of(reply.pdu) if reply.kind is Kind.ANSWER else None


def _asks(frames: Sequence[Frame]) -> bool:
    """A master's request is among them, and not this scan's own."""
    return any(one.function <= 6 and len(one.pdu) == 5 and one.pdu != PROBE for one in frames)


def _answers_probe(frame: Frame) -> bool:
    """It can be an answer to `PROBE`: one register, or a refusal."""
    return frame.function == PROBE[0] and (len(frame.pdu) == 2 or (len(frame.pdu) == 4 and frame.pdu[1] == 2))
