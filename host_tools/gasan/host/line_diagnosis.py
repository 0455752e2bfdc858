"""What is probably wrong with a Modbus line, from what became of its requests. Pure.

A device's figures are requests by outcome, for each block that is read of it and along the time. The rules
look at a whole line first (everybody fails, all fail together), then at what is left of each device.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Block", "Cause", "DeviceHealth", "Finding", "diagnose"]

DEAD = 0.98  # share of failures from which a device counts as not answering at all
SICK = 0.01  # share from which a failure is worth a sentence
LEAST = 3  # failures below which it is not
_MOSTLY = 0.8
_OTHERS = 5  # times more than others: then it is this device's own trouble
_TOGETHER = 0.5  # share of each device's requests that fails when all fail together
_CALM = 0.1  # and what fails of them otherwise, at most
_STRAYS = 0.02
_SPOILT = 0.25  # requests of another master for each failure that they explain
_CHANCE = 1e-4
_SURE = 60  # requests without an answer until a device that is often late counts as gone
_OFTEN = 3  # runs of failures from which on a device fails often
_LONGER = 8  # times longer than any of them: then it is gone; failures grow a device's rest
_ECHO = 0.9
_VICTIM = 0.5  # who fails less often than this share of the latest one fails because of that one
_SLOW = 6  # buckets of turnaround from which on (more than 256 ms) answers are slow


class Cause(Enum):
    """What is probably wrong; `line_health_text` has the words."""

    HEALTHY = "healthy"
    NOT_ASKED = "not_asked"
    NO_CONNECTION = "no_connection"
    ALL_SILENT = "all_silent"
    ALL_GARBLED = "all_garbled"
    ECHO_ALONE = "echo_alone"
    ECHO = "echo"
    FOREIGN_MASTER = "foreign_master"
    STRAYS = "strays"
    TOGETHER = "together"
    TOGETHER_SINCE = "together_since"
    NOISE = "noise"
    SILENT = "silent"
    SILENT_SINCE = "silent_since"
    GARBLED = "garbled"
    CRC_LONG = "crc_long"
    CRC_ONE = "crc_one"
    LATE = "late"
    INTERMITTENT = "intermittent"
    REFUSED = "refused"
    FAILURE = "failure"
    BUSY = "busy"
    GATEWAY = "gateway"
    MISFIT = "misfit"


@dataclass
class Block:
    """Registers that are read together, and what became of the requests for them. exceptions: by code."""

    registers: int
    channels: tuple[str, ...] = ()
    good: int = 0
    timeouts: int = 0
    crc: int = 0
    misfits: int = 0
    disconnected: int = 0
    exceptions: dict[int, int] = field(default_factory=dict)

    @property
    def asked(self) -> int:
        return self.good + self.failed

    @property
    def failed(self) -> int:
        return self.timeouts + self.crc + self.misfits + self.disconnected + sum(self.exceptions.values())


@dataclass
class DeviceHealth:
    """A device and its requests. timeline: (asked, lost) for each span of time, oldest first, where lost are
    those without an answer; turnaround: good answers by the buckets of a health frame; strays likewise;
    foreign: other masters' requests that were heard on its line, the same for all devices of a line.
    sent: timeouts and CRC errors as the node counted them; what was due of a device that rests after failures
    says timeout as well, though nothing was sent.
    """

    name: str
    line: str = ""
    tcp: bool = False
    unit: int | None = None
    setting: str = ""
    blocks: list[Block] = field(default_factory=list)
    timeline: list[tuple[int, int]] = field(default_factory=list)
    turnaround: list[int] = field(default_factory=lambda: [0] * 7)
    strays: int = 0
    foreign: int = 0
    sent: tuple[int, int] = (0, 0)

    def sum(self, what: str) -> int:
        """Over all blocks: "asked", "timeouts", ..."""
        return sum(getattr(block, what) for block in self.blocks)

    def exceptions(self, codes: Iterable[int]) -> int:
        """How often one of these came."""
        return sum(block.exceptions.get(code, 0) for block in self.blocks for code in codes)

    @property
    def lost(self) -> int:
        """Requests without an answer; an exception is one."""
        return sum(self.sum(what) for what in ("timeouts", "crc", "misfits", "disconnected"))


@dataclass(frozen=True)
class Finding:
    """A probable cause. spans: first and last number of the spans of time in which it showed.

    count of asked: how often; codes and channels: of a refusal.
    """

    cause: Cause
    line: str
    devices: tuple[str, ...] = ()
    count: int = 0
    asked: int = 0
    spans: tuple[tuple[int, int], ...] = ()
    codes: tuple[int, ...] = ()
    channels: tuple[str, ...] = ()


def diagnose(devices: Sequence[DeviceHealth]) -> list[Finding]:
    """What is probably wrong, line by line; of a line without trouble HEALTHY."""
    lines: dict[str, list[DeviceHealth]] = {}
    for device in devices:
        lines.setdefault(device.line, []).append(device)
    return [finding for name, members in lines.items() for finding in _line(name, members)]


def _line(line: str, members: list[DeviceHealth]) -> list[Finding]:
    asked = [device for device in members if device.sum("asked")]
    if not asked:
        return [Finding(Cause.NOT_ASKED, line)]
    if all(_share(device.lost, device) >= DEAD for device in asked):
        return [_all_dead(line, asked)]
    found: list[Finding] = []
    spans = _together(asked)
    if spans:
        lost = sum(device.timeline[at][1] for device in asked for span in spans for at in _within(span))
        names = tuple(device.name for device in asked if not _dead(device))
        ended = any(span[0] for d in asked if not _dead(d) for span in d.timeline[spans[-1][1] + 1 :])
        cause = Cause.TOGETHER if ended or len(spans) > 1 else Cause.TOGETHER_SINCE
        found.append(Finding(cause, line, names, lost, _asked(asked), tuple(spans)))
    strays = _strays(line, asked)
    # A laptop that asked a few times explains none of a whole day's failures.
    failed = sum(device.lost for device in asked if not _dead(device))
    foreign = any(one.cause is Cause.FOREIGN_MASTER and one.count >= failed * _SPOILT for one in strays)
    explained = bool(spans) or foreign
    late = _late(asked, bool(strays))
    found += _crc(line, asked, explained or bool(late))
    for device in asked:
        found += _device(line, device, spans, explained, late)
    found += strays
    return found or [Finding(Cause.HEALTHY, line, asked=_asked(asked))]


def _all_dead(line: str, asked: list[DeviceHealth]) -> Finding:
    lost = sum(device.lost for device in asked)
    names = tuple(device.name for device in asked)
    cause = Cause.ALL_SILENT
    if sum(device.sum("disconnected") for device in asked) > lost / 2:
        cause = Cause.NO_CONNECTION
    elif sum(device.sum("misfits") for device in asked) >= _MOSTLY * lost:
        cause = Cause.ECHO_ALONE
    elif sum(device.sum("crc") + device.sum("misfits") for device in asked) > lost / 2:
        cause = Cause.ALL_GARBLED
    return Finding(cause, line, names, lost, _asked(asked))


def _together(asked: list[DeviceHealth]) -> list[tuple[int, int]]:
    """Spans of time in which all devices of a line fail that work otherwise."""
    alive = [device for device in asked if not _dead(device) and device.timeline]
    if len(alive) < 2:
        return []
    length = min(len(device.timeline) for device in alive)
    spans: list[tuple[int, int]] = []
    going_on = False
    for at in range(length):
        # Who is asked more rarely than that, or not at all after failures, says nothing against it.
        seen = [device.timeline[at] for device in alive if device.timeline[at][0]]
        if not seen:
            continue
        failing = all(_failing(span) for span in seen)
        if failing and going_on:
            spans[-1] = (spans[-1][0], at)
        elif failing:
            spans.append((at, at))
        going_on = failing
    # One or two requests of each may fail together by chance.
    spans = [
        span
        for span in spans
        if all(sum(device.timeline[at][1] for at in _within(span)) >= LEAST for device in alive)
    ]
    calm = [device.timeline[at] for device in alive for at in range(length) if not _hit(device, at, spans)]
    calm_asked, calm_lost = sum(span[0] for span in calm), sum(span[1] for span in calm)
    return spans if calm_asked and calm_lost <= _CALM * calm_asked else []


def _hit(device: DeviceHealth, at: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a span of time is in `spans`, or in the rest behind one, no longer than the trouble was."""
    first, last = max((span for span in spans if span[0] <= at), default=(0, -1))
    rest = device.timeline[last + 1 : at + 1]
    return last >= 0 and len(rest) <= last - first + 1 and all(not one[0] or _failing(one) for one in rest)


def _crc(line: str, asked: list[DeviceHealth], explained: bool) -> list[Finding]:
    """Damaged answers: of one device, or of all."""
    alive = [device for device in asked if not _dead(device)]
    rates = {device.name: _share(device.sum("crc"), device) for device in alive}
    sick = [d for d in alive if rates[d.name] >= SICK and d.sum("crc") >= LEAST]
    if not sick or explained:
        return []
    if len(alive) > 1 and len(sick) == len(alive) and max(rates.values()) < _OTHERS * min(rates.values()):
        count = sum(device.sum("crc") for device in sick)
        return [Finding(Cause.NOISE, line, tuple(d.name for d in sick), count, _asked(sick))]
    return [
        Finding(
            Cause.CRC_LONG if _long_only(device) else Cause.CRC_ONE,
            line,
            (device.name,),
            device.sum("crc"),
            device.sum("asked"),
        )
        for device in sick
    ]


def _long_only(device: DeviceHealth) -> bool:
    """Whether long answers are damaged far more often than their length alone would explain."""
    blocks = sorted((b for b in device.blocks if b.asked), key=lambda b: b.registers)
    if len(blocks) < 2 or blocks[-1].registers < 2 * blocks[0].registers:
        return False
    half = blocks[-1].registers / 2
    long = [b for b in blocks if b.registers > half]
    short = [b for b in blocks if b.registers <= half]
    long_rate = sum(b.crc for b in long) / sum(b.asked for b in long)
    short_rate = sum(b.crc for b in short) / sum(b.asked for b in short)
    length = (sum(b.registers for b in long) / len(long)) / (sum(b.registers for b in short) / len(short))
    return long_rate > 1.5 * length * short_rate


def _late(asked: list[DeviceHealth], explained: bool) -> set[str]:
    """Who answers too late. Late answers are heard as strays, and those who are asked meanwhile fail too."""
    shares = {
        device.name: device.sum("timeouts") / device.sum("asked")
        for device in asked
        if not _dead(device) and device.sum("timeouts") >= max(LEAST, SICK * device.sum("asked"))
    }
    late = {device.name for device in asked if device.name in shares and _slow(device)}
    if not explained and shares and sum(device.strays for device in asked) >= LEAST:
        late |= {name for name, share in shares.items() if share > _VICTIM * max(shares.values())}
    return late


def _slow(device: DeviceHealth) -> bool:
    return sum(device.turnaround[_SLOW:]) > SICK * sum(device.turnaround)


def _device(
    line: str,
    device: DeviceHealth,
    together: Sequence[tuple[int, int]],
    explained: bool,
    late: Collection[str],
) -> list[Finding]:
    found: list[Finding] = []
    total = device.sum("asked")
    lost = device.lost

    def note(cause: Cause, count: int, codes: Iterable[int] = (), channels: Iterable[str] = ()) -> None:
        found.append(
            Finding(cause, line, (device.name,), count, total, codes=tuple(codes), channels=tuple(channels))
        )

    if _dead(device):
        garbled = device.sum("crc") + device.sum("misfits")
        note(Cause.GARBLED if garbled > lost / 2 else Cause.SILENT, lost)
        return found
    timeouts = device.sum("timeouts") + device.sum("disconnected")
    damaged = device.sum("crc")
    # What damages an answer may also make it unrecognisable.
    unheard, spoilt = device.sent if any(device.sent) else (timeouts, damaged)
    since = _silent_since(device, max(_SURE if device.name in late else LEAST, _often(device)))
    if since is not None:
        if not any(first <= since <= last for first, last in together):
            end = len(device.timeline) - 1
            found.append(Finding(Cause.SILENT_SINCE, line, (device.name,), lost, total, ((since, end),)))
    elif device.name in late:
        note(Cause.LATE, timeouts)
    elif not explained and not late and unheard >= spoilt and timeouts >= max(LEAST, SICK * total):
        note(Cause.INTERMITTENT, timeouts)
    misfits = device.sum("misfits")
    if not explained and not late and misfits >= max(LEAST, damaged, SICK * total):
        note(Cause.MISFIT, misfits)
    for cause, codes in (
        (Cause.REFUSED, (1, 2, 3)),
        (Cause.FAILURE, (4, 8)),
        (Cause.BUSY, (5, 6)),
        (Cause.GATEWAY, (10, 11)),
    ):
        count = device.exceptions(codes)
        if count >= LEAST and count >= SICK * total:
            met = sorted({code for block in device.blocks for code in block.exceptions} & set(codes))
            hit = [b for b in device.blocks if any(code in b.exceptions for code in codes)]
            note(cause, count, met, (name for block in hit for name in block.channels))
    return found


def _silent_since(device: DeviceHealth, least: int) -> int | None:
    """The span of time since which it has not answered to `least` requests or more, if it did before."""
    timeline = device.timeline
    at = len(timeline)
    while at and (not timeline[at - 1][0] or timeline[at - 1][1] >= DEAD * timeline[at - 1][0]):
        at -= 1
    asked = sum(span[0] for span in timeline[at:])
    before_asked = sum(span[0] for span in timeline[:at])
    before_lost = sum(span[1] for span in timeline[:at])
    if not before_asked or asked < least or before_lost >= DEAD * before_asked:
        return None
    # Who fails often fails several times in a row as well.
    return at if (before_lost / before_asked) ** asked < _CHANCE else None


def _often(device: DeviceHealth) -> int:
    """Requests in a row that one may leave unanswered who does so often: several times as many as before."""
    runs = [0]
    for count, lost in device.timeline:
        if lost < DEAD * count:
            runs.append(0)
        else:
            runs[-1] += count
    ended = [run for run in runs[:-1] if run]
    return _LONGER * max(ended) if len(ended) >= _OFTEN else 0


def _strays(line: str, asked: list[DeviceHealth]) -> list[Finding]:
    """Bytes that nobody asked for: with every answer, the adapter hears itself; else somebody speaks."""
    answers = sum(sum(device.turnaround) for device in asked)
    strays = sum(device.strays for device in asked)
    late = sum(device.sum("timeouts") for device in asked if not _dead(device))
    foreign = max(device.foreign for device in asked)
    if foreign >= LEAST:
        return [Finding(Cause.FOREIGN_MASTER, line, (), foreign, answers)]
    if strays >= LEAST and answers and strays >= _ECHO * answers:
        return [Finding(Cause.ECHO, line, (), strays, answers)]
    if strays - late >= LEAST and strays - late >= _STRAYS * answers:
        return [Finding(Cause.STRAYS, line, (), strays, answers)]
    return []


def _dead(device: DeviceHealth) -> bool:
    return _share(device.lost, device) >= DEAD


def _share(count: int, device: DeviceHealth) -> float:
    return count / max(1, device.sum("asked"))


def _asked(devices: list[DeviceHealth]) -> int:
    return sum(device.sum("asked") for device in devices)


def _failing(span: tuple[int, int]) -> bool:
    return span[1] >= _TOGETHER * span[0]


def _within(span: tuple[int, int]) -> range:
    return range(span[0], span[1] + 1)
