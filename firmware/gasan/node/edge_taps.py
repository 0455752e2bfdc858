"""What edge rules make of a channel's samples: rates, windows, alarms, digits with their decimals.

Each has ``take(edge, channel, t)``, called for every sample of its input, kept or not. Times are ticks; what
is measured over long spans goes by the node's own clock.
"""

from time import ticks_add, ticks_diff

from gasan.node import edge_number
from gasan.node.edge import Edge
from gasan.node.edge_channel import Channel
from gasan.wire import rational
from gasan.wire.quality import BAD_INPUT, BAD_NO_VALUE, GOOD, UNCERTAIN, UNDEFINED
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Figures of a window.
LEAST = const(1)
GREATEST = const(2)
MEAN = const(3)
LAST = const(4)
COUNT = const(5)
RMS = const(6)

_LONG_AGO_MS = const(1 << 28)  # ticks cannot tell of what is much longer ago
_UNKNOWN = const(255)  # state of an alarm whose input is bad


class Join:
    """Makes a channel of digits and of the register that says how many decimals they have."""

    def __init__(self, out: Channel, places: Channel) -> None:
        self._out = out
        self._places = places

    def take(self, edge: Edge, channel: Channel, t: "Any") -> None:
        """The digits have come; the decimals are the last ones."""
        out = self._out
        places = self._places
        quality = max(channel.quality, places.quality)
        if quality >= BAD_NO_VALUE:
            # Where the value was kept, what was joined would be something else.
            out.fail(quality if quality >= 64 else BAD_INPUT)
        else:
            value = out.value
            digits = channel.value
            at = len(value) - len(digits)
            for i in range(at):
                value[i] = 0
            value[at - 1] = places.value[len(places.value) - 1]
            if len(places.value) > 1:
                value[at - 2] = places.value[0]
            for i in range(len(digits)):
                value[at + i] = digits[i]
            out.take(value, 0, quality)
        edge.feed(out, t)


class Rate:
    """Makes a rate out of a counter: its value per `per` ms.

    modulus: the count that is 0 again, or 0. A count that falls has passed it when the step would then be at
    most most_num / most_den counts per ms (0: half of the modulus); else the counter was reset: the rate is
    reckoned from 0 and uncertain.
    """

    def __init__(self, out: Channel, modulus: int, most_num: int, most_den: int, per: int) -> None:
        self._out = out
        self._modulus = modulus
        self._most_num = most_num
        self._most_den = most_den
        self._per = per
        self._count = -1
        self._doubt = 0  # quality of that count
        self._at = 0

    def take(self, edge: Edge, channel: Channel, t: "Any") -> None:
        """A count has come. The first one makes no rate."""
        out = self._out
        if channel.quality >= BAD_NO_VALUE:
            out.fail(BAD_INPUT)
            edge.feed(out, t)
            return
        now = edge.clock.at(t)
        count: int = edge_number.number(channel)  # type: ignore[assignment]
        span = now - self._at
        step = count - self._count
        if self._count < 0 or span <= 0:
            if self._count < 0:
                self._count = count
                self._doubt = channel.quality
                self._at = now
            return
        quality = UNCERTAIN if channel.quality or self._doubt else GOOD
        if step < 0:
            step += self._modulus
            if step < 0 or not self._is_step(step, span):
                step = count
                quality = UNCERTAIN
        self._count = count
        self._doubt = channel.quality
        self._at = now
        if edge_number.put(out, step * channel.num * self._per, channel.den * span):
            out.given = out.quality = max(out.quality, quality)
        else:
            out.fail(UNDEFINED)
        edge.feed(out, t)

    def _is_step(self, step: int, span: int) -> bool:
        if self._most_den:
            return step * self._most_den <= self._most_num * span
        return 2 * step <= self._modulus


class Window:
    """Makes figures of a channel's samples over windows of `length` ms of the node's clock.

    outs: (figure, its channel) each. They come with the first sample behind the window, dated at its end. A
    window in which a sample was bad or uncertain has uncertain figures; one without any good has bad ones.
    """

    def __init__(self, length: int, outs: "Sequence[tuple[int, Channel]]") -> None:
        self._length = length
        self._outs = outs
        self._index = -1
        self._least = bytearray(8)  # of an input of any type
        self._greatest = bytearray(8)
        self._last = bytearray(8)
        self._least_key = bytearray(8)
        self._greatest_key = bytearray(8)
        self._sums = False
        self._squares = False
        for figure, _ in outs:
            self._sums = self._sums or figure == MEAN or figure == RMS
            self._squares = self._squares or figure == RMS
        self._open()

    def _open(self) -> None:
        self._count = 0
        self._others = 0  # samples that were not good
        self._sum = self._square = self._exponent = 0  # of the numbers, times 2**exponent

    def take(self, edge: Edge, channel: Channel, t: "Any") -> None:
        """A sample has come."""
        now = edge.clock.at(t)
        index = now // self._length
        if index != self._index:
            if self._count or self._others:
                ago = now - (self._index + 1) * self._length
                self._close(edge, channel, ticks_add(t, -ago) if ago < _LONG_AGO_MS else t)
                self._open()
            self._index = index
        if channel.quality:
            self._others += 1
        if channel.quality < BAD_NO_VALUE:
            self._add(channel)

    def _add(self, channel: Channel) -> None:
        if not self._count or channel.key < self._least_key:  # type: ignore[operator]
            _copy(channel.key, self._least_key)
            _copy(channel.value, self._least)
        if not self._count or self._greatest_key < channel.key:  # type: ignore[operator]
            _copy(channel.key, self._greatest_key)
            _copy(channel.value, self._greatest)
        _copy(channel.value, self._last)
        self._count += 1
        if self._sums:
            self._sum_up(channel)

    def _sum_up(self, channel: Channel) -> None:
        if not edge_number.is_float(channel):
            n: int = edge_number.number(channel)  # type: ignore[assignment]
        else:
            n, e = rational.from_float(channel.value, len(channel.value))  # type: ignore[misc]
            if e < self._exponent:
                self._sum <<= self._exponent - e
                self._square <<= 2 * (self._exponent - e)
                self._exponent = e
            n <<= e - self._exponent
        self._sum += n
        if self._squares:
            self._square += n * n

    def _close(self, edge: Edge, channel: Channel, t: "Any") -> None:
        quality = UNCERTAIN if self._others else GOOD
        for figure, out in self._outs:
            if figure == COUNT:
                edge_number.put(out, self._count, 1)
            elif not self._count:
                out.fail(BAD_INPUT)
            elif figure < MEAN or figure == LAST:
                kept = self._last
                if figure != LAST:
                    kept = self._least if (figure == LEAST) == (channel.num > 0) else self._greatest
                out.take(kept, 0, quality)
            else:
                num, den = self._mean(channel) if figure == MEAN else self._rms(channel)
                if edge_number.put(out, num, den):
                    out.given = out.quality = max(out.quality, quality)
                else:
                    out.fail(UNDEFINED)
            edge.feed(out, t)

    def _mean(self, channel: Channel) -> "tuple[int, int]":
        one = 1 << -self._exponent
        n = self._count * one
        return self._sum * channel.num + n * channel.off, n * channel.den

    def _rms(self, channel: Channel) -> "tuple[int, int]":
        one = 1 << -self._exponent
        num, off = channel.num, channel.off * one
        square = self._square * num * num + 2 * self._sum * num * off + self._count * off * off
        return rational.sqrt(square, self._count * (channel.den * one) ** 2)


def _copy(src: "bytearray", out: bytearray) -> None:
    for i in range(len(src)):
        out[i] = src[i]


class Alarm:
    """Makes the state of an alarm: 0 none, else that of the limit that is passed.

    limits: state, above, on, off of each in a row, where on and off are keys of the input: the state begins
    beyond `on` and ends where `off` is not passed any more. It has to be so for `delay` ms; for `hold` ms
    after a change the state stays. A change is sent at once, and so is nothing else.
    """

    def __init__(self, out: Channel, limits: "Sequence[Any]", delay: int, hold: int) -> None:
        self._out = out
        self._limits = limits
        self._delay = delay
        self._hold = hold
        self._state = -1
        self._wanted = -1
        self._since: "Any" = 0
        self._at: "Any" = 0
        self._held = False
        self._byte = bytearray(1)

    def take(self, edge: Edge, channel: Channel, t: "Any") -> None:
        """A sample has come."""
        if self._held and ticks_diff(t, self._at) >= self._hold:
            self._held = False
        wanted = _UNKNOWN if channel.quality >= BAD_NO_VALUE else self._want(channel.key)
        if wanted != self._wanted:
            self._wanted = wanted
            self._since = t
        if wanted == self._state:
            return
        first = self._state < 0 or self._state == _UNKNOWN
        if wanted != _UNKNOWN and not (first and wanted == 0):
            if self._held or ticks_diff(t, self._since) < self._delay:
                return
        self._change(edge, wanted, t)

    def _want(self, key: bytearray) -> int:
        limits = self._limits
        for i in range(0, len(limits), 4):
            state: int = limits[i]
            bound = limits[i + 3] if state == self._state else limits[i + 2]
            if (bound < key) if limits[i + 1] else (key < bound):
                return state
        return 0

    def _change(self, edge: Edge, state: int, t: "Any") -> None:
        sends = state != _UNKNOWN and (state > 0 or 0 < self._state < _UNKNOWN)
        self._state = state
        out = self._out
        if state == _UNKNOWN:
            out.fail(BAD_INPUT)
        else:
            self._byte[0] = state
            out.take(self._byte, 0, GOOD)
        edge.feed(out, t)
        if sends:
            self._at = t
            self._held = self._hold > 0
            edge.urgent()
