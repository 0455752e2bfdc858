"""Compiles the rules of a node's channels into the element `rules` of its config (protocols/rules.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final

from gasan.host.edge_rules import Alarm, Derived, Rate, Rules, Window
from gasan.host.meanings import Channel
from gasan.wire import columns, rational

__all__ = ["EdgeCompiler"]

_UNSIGNED, _SIGNED, _SIGN_FIRST, _NUMBER = range(4)
_F16, _BCD, _MAGNITUDE, _COMPLEMENT = range(1, 5)
_FLOATS: Final = (columns.F32, columns.F64)
_NEVER, _CHANGE, _DEADBAND, _JOIN, _RATE, _WINDOW, _ALARM, _EXPRESSION = range(8)
_FIGURES: Final = {"min": 1, "max": 2, "mean": 3, "last": 4, "count": 5, "rms": 6}
_FINER: Final = 1000  # a mean or root mean square has three decimals more than its channel
_PLACES: Final = 10**9  # numbers with decimals beside them are counted in these parts
_INNER: Final = 40_000  # numbers of inputs that are no channels
_INT64: Final = 1 << 63
_LABELS: Final = {
    "min": ("least", "최소"),
    "max": ("greatest", "최대"),
    "mean": ("mean", "평균"),
    "last": ("last", "마지막"),
    "count": ("samples", "표본 수"),
    "rms": ("RMS", "실효값"),
    "rate": ("rate", "변화율"),
    "alarm": ("alarm", "경보"),
}
_STATES: Final = {0: "normal", 1: "high", 2: "low"}
_STATES_KO: Final = {0: "정상", 1: "높음", 2: "낮음"}


@dataclass
class EdgeCompiler:
    """Collects the channels with rules and the steps; the channels that rules make go behind `channels`."""

    channels: list[Channel]
    _steps: list[list[Any]] = field(default_factory=list)
    _slots: dict[int, list[Any]] = field(default_factory=dict)
    _joins: list[list[Any]] = field(default_factory=list)

    def join(self, out: Channel, digits: int, decimals: tuple[str, str]) -> int:
        """A channel whose decimals stand elsewhere; the number under which its digits of so many bytes are
        read.
        """
        number = _INNER + len(self._joins)
        code = columns.U16 if digits == 2 else columns.U32
        self._slots[number] = [number, code, out.period_ms, _UNSIGNED, {10: 1}]
        self._joins.append([_JOIN, number, out.index, decimals])
        return number

    def compile(self, ruled: list[tuple[Channel, Rules]], derived: tuple[Derived, ...]) -> list[Any] | None:
        """The element `rules`, None when there are none; appends the channels that they make."""
        places = {(channel.device, channel.name): channel for channel in self.channels}
        for step in self._joins:
            other = places[step[3]]
            self._steps.append([*step[:3], self._slot(other)])
            self._slot(self.channels[step[2]])
        for channel, rules in ruled:
            self._rules(channel, rules)
        for one in derived:
            self._derived(one)
        if not self._steps:
            return None
        return [list(self._slots.values()), self._steps]

    def _rules(self, channel: Channel, rules: Rules) -> None:
        number = self._slot(channel)
        silence = max(0, rules.max_silence_ms - channel.period_ms // 2)
        if rules.deadband is not None:
            width, percent = rules.deadband
            self._steps.append([_DEADBAND, number, width.numerator, width.denominator, int(percent), silence])
        elif rules.on_change:
            self._steps.append([_CHANGE, number, silence])
        elif rules.window is not None and not rules.window.keep:
            self._steps.append([_NEVER, number])
        if rules.rate is not None:
            self._rate(channel, rules.rate)
        if rules.window is not None:
            self._window(channel, rules.window)
        if rules.alarm is not None:
            self._alarm(channel, rules.alarm)

    def _rate(self, channel: Channel, rate: Rate) -> None:
        code, num, den = _result(rate.resolution)
        out = self._make(channel, "rate", type=code, unit=rate.unit, num=num, den=den)
        # The most in counts per ms: value = counts * num / den.
        most = (rate.most or Fraction(0)) * channel.den / abs(channel.num) / rate.per_ms
        limit = [most.numerator, most.denominator] if rate.most else [0, 0]
        self._steps.append([_RATE, channel.index, out, rate.wrap, *limit, rate.per_ms])

    def _window(self, channel: Channel, window: Window) -> None:
        flat: list[int] = []
        for figure in window.figures:
            period: dict[str, Any] = {"period_ms": window.length_ms}
            if figure in ("min", "max", "last"):
                # Their samples are those of the channel, in its own form.
                number = self._make(channel, figure, plain=False, **period)
            elif figure == "count":
                number = self._make(channel, figure, type=columns.U32, unit="", num=1, den=1, **period)
            else:
                code, num, den, off = _finer(channel, figure)
                number = self._make(channel, figure, type=code, num=num, den=den, off=off, **period)
            flat += [_FIGURES[figure], number]
        self._steps.append([_WINDOW, channel.index, window.length_ms, flat])

    def _alarm(self, channel: Channel, alarm: Alarm) -> None:
        words: dict[str, Any] = {"enum": _STATES, "enum_ko": _STATES_KO}
        out = self._make(channel, "alarm", type=columns.U8, unit="", num=1, den=1, period_ms=0, **words)
        limits = []
        for state, limit, sign in ((1, alarm.high, 1), (2, alarm.low, -1)):
            if limit is not None:
                above = (sign > 0) == (channel.num > 0)
                keys = [_bound(channel, value, above) for value in (limit, limit - sign * alarm.hysteresis)]
                limits.append([state, int(above), *keys])
        self._steps.append([_ALARM, channel.index, out, limits, alarm.delay_ms, alarm.hold_off_ms])

    def _derived(self, one: Derived) -> None:
        by_name = {(channel.device, channel.name): channel for channel in self.channels}
        inputs = [by_name[place] for place in one.inputs]
        trigger = max(inputs, key=lambda channel: (channel.period_ms, channel.index))
        numbers = [self._slot(channel) for channel in inputs]
        code, num, den = _result(one.resolution)
        made = Channel(
            index=len(self.channels),
            device=one.device,
            name=one.name,
            unit=one.unit,
            type=code,
            num=num,
            den=den,
            off=0,
            period_ms=trigger.period_ms,
            shift=None,
            mask=None,
            enum={},
            enum_ko={},
            label_en=one.label_en,
            label_ko=one.label_ko,
        )
        self.channels.append(made)
        constants = [part for number in one.expression.constants for part in number.as_integer_ratio()]
        self._steps.append(
            [_EXPRESSION, self._slot(made), trigger.index, numbers, one.expression.code, constants]
        )
        if one.rules is not None:
            self._rules(made, one.rules)

    def _make(self, channel: Channel, what: str, plain: bool = True, **changes: Any) -> int:
        """Append a channel that a rule makes of another; its number."""
        english, korean = _LABELS[what]
        empty: Mapping[int, str] = {}
        if plain:
            changes = {
                "off": 0, "shift": None, "mask": None, "form": 0, "missing": (), "decimals": 0,
                "enum": empty, "enum_ko": empty, **changes,
            }  # fmt: skip
        made = replace(
            channel,
            index=len(self.channels),
            name=f"{channel.name}_{what}",
            label_en=f"{channel.label_en} ({english})",
            label_ko=f"{channel.label_ko} ({korean})",
            **changes,
        )
        self.channels.append(made)
        return self._slot(made)

    def _slot(self, channel: Channel) -> int:
        """Make a channel known to the rules; its number."""
        if channel.index not in self._slots:
            size = columns.width(channel.type)
            num, den, off = _numbers(channel)
            values = {
                1: (num, 1),
                2: (den, 1),
                3: (off, 0),
                4: (channel.form, 0),
                5: (channel.shift or 0, 0),
                6: (-1 if channel.mask is None else channel.mask, -1),
                7: (channel.decimals, 0),
            }
            more: dict[int, Any] = {key: value for key, (value, usual) in values.items() if value != usual}
            if channel.missing:
                shift = channel.shift or 0
                bits = (1 << (channel.decimals or 8 * size)) - 1
                mask = bits if channel.mask is None else channel.mask << shift
                more[8] = [((number << shift) & mask).to_bytes(size) for number in channel.missing]
                if mask + 1 != 1 << 8 * size:
                    more[9] = mask.to_bytes(size)
            self._slots[channel.index] = [
                channel.index,
                channel.type,
                channel.period_ms,
                _kind(channel),
                more,
            ]
        return channel.index


def _numbers(channel: Channel) -> tuple[int, int, int]:
    """num, den and off of what the node takes for the channel's number."""
    scale = _PLACES if channel.decimals else 1
    return channel.num, channel.den * scale, channel.off * scale


def _kind(channel: Channel) -> int:
    """How the order of a channel's values shows in its bytes."""
    if channel.decimals or channel.form in (_BCD, _COMPLEMENT):
        return _NUMBER
    if channel.type in _FLOATS or channel.form in (_F16, _MAGNITUDE):
        return _SIGN_FIRST
    if channel.mask is not None:
        return _NUMBER
    return _SIGNED if columns.TYPE[channel.type].startswith("i") else _UNSIGNED


def _result(resolution: Fraction | None) -> tuple[int, int, int]:
    """type, num and den of a channel that is worked out."""
    if resolution is None:
        return columns.F64, 1, 1
    return columns.I64, *resolution.as_integer_ratio()


def _finer(channel: Channel, figure: str) -> tuple[int, int, int, int]:
    """type, num, den and off of a mean or a root mean square: whole numbers of whole numbers."""
    long = columns.width(channel.type) == 8 and channel.mask is None
    if channel.type in _FLOATS or channel.form == _F16 or channel.decimals or long:
        return columns.F64, 1, 1, 0
    den, off = channel.den * _FINER, channel.off * _FINER
    if max(den, abs(off)) >= _INT64:
        return columns.F64, 1, 1, 0
    return (columns.I64, 1, den, 0) if figure == "rms" else (columns.I64, channel.num, den, off)


def _bound(channel: Channel, limit: Fraction, above: bool) -> bytes:
    """The key of the greatest number whose value does not pass `limit` upwards, or of the least that does not
    pass it downwards.
    """
    num, den, off = _numbers(channel)
    number = (limit * den - off) / num
    size = columns.width(channel.type)
    kind = _kind(channel)
    if channel.type in _FLOATS or channel.form == _F16:
        way = rational.DOWN if above else rational.UP
        data = rational.to_float(number.numerator, number.denominator, size, way)
        if data is None:
            data = bytes([0x7F if number > 0 else 0xFF]) + b"\xff" * (size - 1)
        raw = int.from_bytes(data)
        bits = 8 * size
        return (raw ^ (1 << bits) - 1 if raw >> bits - 1 else raw | 1 << bits - 1).to_bytes(size)
    whole = number.__floor__() if above else number.__ceil__()
    if kind == _NUMBER:
        return (min(max(whole, -_INT64), _INT64 - 1) + _INT64).to_bytes(8)
    top = 1 << 8 * size - 1
    if kind == _UNSIGNED:
        return min(max(whole, 0), 2 * top - 1).to_bytes(size)
    if kind == _SIGNED:
        return (min(max(whole, -top), top - 1) + top).to_bytes(size)
    if whole >= 0:
        return (top + min(whole, top - 1)).to_bytes(size)
    return (top - 1 - min(-whole, top - 1)).to_bytes(size)
