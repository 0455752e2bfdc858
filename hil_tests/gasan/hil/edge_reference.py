"""What edge rules have to do, in plain Python: no node code, no compiled config, numbers as fractions.

Made from the rules of a site file as docs/edge.md describes them; tests compare it with a node.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from fractions import Fraction

from gasan.host.edge_rules import Alarm, Rate, Rules, Window

__all__ = ["Reading", "Reference", "Sample"]

BAD_INPUT, UNDEFINED, UNCERTAIN = 71, 72, 1

Value = Fraction | None


@dataclass(frozen=True)
class Sample:
    """One sample: when (ms), its value where there is one, its quality."""

    ms: int
    value: Value
    quality: int

    @property
    def bad(self) -> bool:
        return self.quality >= 32


@dataclass(frozen=True)
class Reading:
    """A reading that is kept, of a channel by its name."""

    channel: str
    ms: int
    value: Value
    quality: int


@dataclass
class Reference:
    """Follows one channel with its rules. dropped: by channel; urgent: when a frame was to be sent at once.

    round_to: by the name of a made channel, how a value is rounded to what that channel can hold.
    """

    name: str
    rules: Rules
    period_ms: int
    round_to: Mapping[str, Callable[[Fraction], Fraction | None]]
    kept: list[Reading] = field(default_factory=list)
    dropped: int = 0
    urgent: list[int] = field(default_factory=list)
    _last: Sample | None = None
    _counted: tuple[int, Fraction, int] | None = None
    _window: list[Sample] = field(default_factory=list)
    _state: int | None = None
    _bad: bool = False
    _wanted: tuple[int | None, int] | None = None
    _changed: int | None = None

    def feed(self, sample: Sample) -> None:
        """A sample of the channel."""
        if self._keeps(sample):
            self._last = sample
            self.kept.append(Reading(self.name, sample.ms, sample.value, sample.quality))
        else:
            self.dropped += 1
        if self.rules.rate:
            self.kept += self._rate(self.rules.rate, sample)
        if self.rules.window:
            self.kept += self._figures(self.rules.window, sample)
        if self.rules.alarm:
            self.kept += self._alarm(self.rules.alarm, sample)

    def _keeps(self, sample: Sample) -> bool:
        rules, last = self.rules, self._last
        if rules.deadband is None and not rules.on_change:
            return rules.window is None or rules.window.keep
        if last is None or sample.quality != last.quality:
            return True
        if sample.ms - last.ms >= rules.max_silence_ms - self.period_ms // 2:
            return True
        if sample.bad:
            return False
        assert sample.value is not None and last.value is not None
        if rules.deadband is None:
            return sample.value != last.value
        width, percent = rules.deadband
        return abs(sample.value - last.value) > (width * abs(last.value) if percent else width)

    def _made(self, what: str, ms: int, exact: Fraction, quality: int) -> Reading:
        name = f"{self.name}_{what}"
        value = self.round_to[name](exact)
        return Reading(name, ms, value, UNDEFINED if value is None else quality)

    def _rate(self, rate: Rate, sample: Sample) -> Iterator[Reading]:
        if sample.bad:
            yield Reading(f"{self.name}_rate", sample.ms, None, BAD_INPUT)
            return
        assert sample.value is not None
        if self._counted is None:
            self._counted = sample.ms, sample.value, sample.quality
            return
        before, count, doubt = self._counted
        if sample.ms <= before:
            return
        quality = UNCERTAIN if sample.quality or doubt else 0
        step, span = sample.value - count, sample.ms - before
        if step < 0:
            step += rate.wrap
            small = 2 * step <= rate.wrap if rate.most is None else step * rate.per_ms <= rate.most * span
            if step < 0 or not small:
                step, quality = sample.value, UNCERTAIN
        self._counted = sample.ms, sample.value, sample.quality
        yield self._made("rate", sample.ms, step * rate.per_ms / span, quality)

    def _figures(self, window: Window, sample: Sample) -> Iterator[Reading]:
        index = sample.ms // window.length_ms
        if self._window and self._window[-1].ms // window.length_ms != index:
            yield from self._close(window)
            self._window.clear()
        self._window.append(sample)

    def _close(self, window: Window) -> Iterator[Reading]:
        end = (self._window[-1].ms // window.length_ms + 1) * window.length_ms
        good = [sample.value for sample in self._window if not sample.bad and sample.value is not None]
        quality = UNCERTAIN if any(sample.quality for sample in self._window) else 0
        for figure in window.figures:
            if figure == "count":
                yield self._made(figure, end, Fraction(len(good)), 0)
            elif not good:
                yield Reading(f"{self.name}_{figure}", end, None, BAD_INPUT)
            elif figure == "rms":
                yield self._made(figure, end, _root(sum(v * v for v in good) / Fraction(len(good))), quality)
            else:
                value = {
                    "min": min(good),
                    "max": max(good),
                    "mean": sum(good) / Fraction(len(good)),
                    "last": good[-1],
                }[figure]
                yield self._made(figure, end, Fraction(value), quality)

    def _alarm(self, alarm: Alarm, sample: Sample) -> Iterator[Reading]:
        name = f"{self.name}_alarm"
        if sample.bad:
            if not self._bad:
                self._bad, self._state = True, None
                yield Reading(name, sample.ms, None, BAD_INPUT)
            self._wanted = None, sample.ms
            return
        assert sample.value is not None
        wanted = 0
        if alarm.low is not None:
            edge = alarm.low + (alarm.hysteresis if self._state == 2 else 0)
            wanted = 2 if sample.value < edge else wanted
        if alarm.high is not None:
            edge = alarm.high - (alarm.hysteresis if self._state == 1 else 0)
            wanted = 1 if sample.value > edge else wanted
        if self._wanted is None or self._wanted[0] != wanted:
            self._wanted = wanted, sample.ms
        if wanted == self._state:
            return
        if not (self._state is None and wanted == 0):
            held = self._changed is not None and sample.ms - self._changed < alarm.hold_off_ms
            if held or sample.ms - self._wanted[1] < alarm.delay_ms:
                return
        if wanted or self._state:
            self.urgent.append(sample.ms)
            self._changed = sample.ms
        self._state, self._bad = wanted, False
        yield Reading(name, sample.ms, Fraction(wanted), 0)


def _root(square: Fraction) -> Fraction:
    """So near to the square root that rounding it to a double or to whole parts is rounding the root."""
    exact = math.isqrt(square.numerator), math.isqrt(square.denominator)
    if exact[0] ** 2 == square.numerator and exact[1] ** 2 == square.denominator:
        return Fraction(*exact)
    with localcontext() as context:
        context.prec = 900
        return Fraction((Decimal(square.numerator) / Decimal(square.denominator)).sqrt())
