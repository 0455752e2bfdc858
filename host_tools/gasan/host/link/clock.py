"""The gateway's time of a node's time, with a bound of the error that holds.

In an exchange the node's stamps t2 and t3 lie between ours, t1 and t4. So the offset (ours minus the node's)
is at least t1 - t2 and at most t4 - t3, whatever the delays on the way were, give or take a millisecond since
stamps are whole milliseconds, cut off. Each way of each exchange is a limit of its own: the quickest request
and the quickest answer need not belong together.

The two crystals drift apart by `drift_ppm` at most, so that a limit of another moment holds here too,
widened. They also do it evenly, up to `wander_ppm`: what their temperatures change within the window. So all
limits of some minutes hold together for one straight line, and the lines that pass between all of them say
how far the offset can be from the estimate, and how far the rate. The estimate is the likeliest rate, and the
middle of the room that it leaves. It is right when the quickest ways there and back took the same time; the
bound always is.

An estimator serves one boot of one node: the node's clock starts with the boot.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, exp, floor
from operator import itemgetter, mul

from gasan.host.link.events import TimeSample

__all__ = ["BURST", "EXCHANGE_MS", "ClockEstimator", "ClockMapping"]

BURST = 8
"""Exchanges at the start of a session, one after the other."""

EXCHANGE_MS = 3_000
"""Between two exchanges from then on."""

_Point = tuple[int, int]  # node ms, limit of the offset in ms
_STEPS = 40  # of a golden section: a rate to better than 0.001 ppm
_GOLDEN = 0.6180339887498949
_RATES = 32
_LEAST_WEIGHT = 8.0  # as a logarithm: what is less likely than that does not matter


@dataclass(frozen=True, slots=True)
class ClockMapping:
    """`node_ms` is `gateway_ms`, off by at most `err_ms`. From there the gateway's clock runs faster by
    `rate_ppb`, and the bound grows by `drift_ppm` either way.
    """

    node_ms: int
    gateway_ms: int
    err_ms: int
    rate_ppb: int
    drift_ppm: int

    def at(self, node_ms: int) -> int:
        """The gateway's time of another moment of the node's."""
        after = node_ms - self.node_ms
        return self.gateway_ms + after + after * self.rate_ppb // 1_000_000_000


class ClockEstimator:
    """Offset of a node's monotonic milliseconds to the gateway's, learned from `TimeSample`s.

    drift_ppm: what the two crystals may differ by, temperature included (boards: 10 to 50 each).
    wander_ppm: what that difference may change by within `window_ms`.
    slot_ms, slots: the best limit either way of each slot of the node's time is kept, for that many slots.
    """

    def __init__(
        self,
        drift_ppm: int = 100,
        wander_ppm: int = 5,
        slot_ms: int = 20_000,
        slots: int = 512,
        window_ms: int = 900_000,
    ) -> None:
        self.steps = 0  # times that a clock was found to have jumped
        self._drift = drift_ppm / 1e6
        self._wander = wander_ppm / 1e6
        self._slot_ms = slot_ms
        self._around = window_ms // slot_ms
        self._slots = slots
        self._lower: list[_Point] = []  # by node ms, one for each slot
        self._upper: list[_Point] = []

    def add(self, sample: TimeSample) -> None:
        """Learn from an exchange; one that contradicts the earlier ones starts the estimate anew."""
        lower, upper = sample.t1 - sample.t2 - 1, sample.t4 - sample.t3 + 1
        if self._lower:
            least, most = self._limits(sample.t3)
            if lower > most or upper < least:
                self.steps += 1
                self._lower.clear()
                self._upper.clear()
        self._keep(self._lower, (sample.t2, lower), -1)
        self._keep(self._upper, (sample.t3, upper), 1)

    def map(self, node_ms: int) -> tuple[int, int] | None:
        """(gateway ms, error ms) of a moment of the node's clock; None before the first exchange.

        The true time is not further from the answer than the error.
        """
        mapping = self.mapping(node_ms)
        return None if mapping is None else (mapping.gateway_ms, mapping.err_ms)

    def mapping(self, node_ms: int) -> ClockMapping | None:
        """The mapping at a moment of the node's clock; None before the first exchange."""
        if not self._lower:
            return None
        base = self._lower[0][1]  # keeps the floats small
        lowers = self._near(self._lower, node_ms, base)
        uppers = self._near(self._upper, node_ms, base)
        rate = _likely(lowers, uppers, self._drift)
        least, most = (limit - base for limit in self._limits(node_ms))
        slow, fast = -self._drift, self._drift
        lines = self._lines(lowers, uppers)
        if lines is not None:
            least, most = max(least, lines[0]), min(most, lines[1])
            slow, fast = max(slow, lines[2]), min(fast, lines[3])
        middle = round(min(max((_most(uppers, rate) + _least(lowers, rate)) / 2, least), most))
        unknown = max(fast - rate, rate - slow, 0.0) + self._wander
        return ClockMapping(
            node_ms,
            node_ms + base + middle,
            # The moment is later than its stamp, by less than 1 ms.
            max(ceil(most) + 1 - middle, middle - floor(least), 1),
            round(rate * 1e9),
            ceil(unknown * 1e6),
        )

    def _keep(self, points: list[_Point], point: _Point, sign: int) -> None:
        """Keep a limit if it is the best of its slot; the smaller `sign` times it is, the better."""
        slot = point[0] // self._slot_ms
        at = bisect_left(points, slot * self._slot_ms, key=itemgetter(0))
        if at < len(points) and points[at][0] // self._slot_ms == slot:
            if sign * point[1] <= sign * points[at][1]:
                points[at] = point
            return
        points.insert(at, point)
        if len(points) > self._slots:
            del points[0]

    def _near(self, points: list[_Point], node_ms: int, base: int) -> list[tuple[int, int]]:
        """(ms after the moment, limit - base) of the limits in the window around a moment."""
        at = bisect_left(points, node_ms, key=itemgetter(0))
        first = max(0, min(at, len(points) - 1) - self._around)
        return [(ms - node_ms, limit - base) for ms, limit in points[first : at + self._around]]

    def _limits(self, node_ms: int) -> tuple[float, float]:
        """Between which the offset is at a moment, whatever the crystals do within their drift."""
        lowers, uppers = self._near(self._lower, node_ms, 0), self._near(self._upper, node_ms, 0)
        return (
            max(limit - abs(after) * self._drift for after, limit in lowers),
            min(limit + abs(after) * self._drift for after, limit in uppers),
        )

    def _lines(
        self, lowers: Sequence[_Point], uppers: Sequence[_Point]
    ) -> tuple[float, float, float, float] | None:
        """(least, most offset, least, most rate) of all lines that keep the limits; None if there is none,
        as when the rate has changed by more than it should.
        """
        low = _hull([(after, limit - abs(after) * self._wander) for after, limit in lowers], -1)
        high = _hull([(after, limit + abs(after) * self._wander) for after, limit in uppers], 1)

        def room(rate: float) -> float:
            return _most(high, rate) - _least(low, rate)

        best = _peak(room, -self._drift, self._drift)
        if room(best) < 0:
            return None
        slow, fast = _edge(room, best, -self._drift), _edge(room, best, self._drift)
        most = _most(high, _peak(lambda r: _most(high, r), slow, fast))
        least = _least(low, _peak(lambda r: -_least(low, r), slow, fast))
        return least, most, slow, fast


def _hull(points: Sequence[tuple[int, float]], sign: int) -> list[tuple[int, float]]:
    """The points that some line can touch, all others being beyond it: above (sign 1) or below (-1)."""
    hull: list[tuple[int, float]] = []
    for x, y in points:
        while len(hull) > 1:
            (x1, y1), (x2, y2) = hull[-2:]
            if sign * ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) > 0:
                break
            hull.pop()
        hull.append((x, y))
    return hull


def _most(points: Iterable[tuple[int, float]], rate: float) -> float:
    """The offset of the highest line of that rate that stays below the points."""
    return min(limit - after * rate for after, limit in points)


def _least(points: Iterable[tuple[int, float]], rate: float) -> float:
    """The offset of the lowest line of that rate that stays above the points."""
    return max(limit - after * rate for after, limit in points)


def _likely(lowers: Sequence[_Point], uppers: Sequence[_Point], drift: float) -> float:
    """The mean of all rates within `drift`, each weighed by how likely it makes the limits.

    Delays beyond the shortest are taken for exponential. Then a rate is the likelier, by the exponential of
    the room between the limits in units of the mean delay, once for each limit; and the mean is nearer to the
    truth than the likeliest one, which hangs on three limits.
    """

    low, high = _hull(lowers, -1), _hull(uppers, 1)

    def room(rate: float) -> float:
        return _most(high, rate) - _least(low, rate)

    best = _peak(room, -drift, drift)
    most, least = _most(high, best), _least(low, best)
    spare = sum(limit - after * best - most for after, limit in uppers) + sum(
        least - limit + after * best for after, limit in lowers
    )
    count = len(lowers) + len(uppers)
    mean = max(spare / count, 0.1)
    top = room(best)

    def weight(rate: float) -> float:
        return (room(rate) - top) * count / 2 / mean

    slow = _edge(lambda r: weight(r) + _LEAST_WEIGHT, best, -drift)
    fast = _edge(lambda r: weight(r) + _LEAST_WEIGHT, best, drift)
    rates = [slow + (fast - slow) * (i + 0.5) / _RATES for i in range(_RATES)]
    weights = [exp(weight(rate)) for rate in rates]
    return float(sum(map(mul, rates, weights)) / sum(weights))


def _peak(f: Callable[[float], float], low: float, high: float) -> float:
    """Where a concave function is greatest."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = f(left), f(right)
    for _ in range(_STEPS):
        if at_left < at_right:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = f(right)
        else:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = f(left)
    return (low + high) / 2


def _edge(f: Callable[[float], float], inside: float, outside: float) -> float:
    """Where a concave function that is not negative at `inside` falls below 0 towards `outside`."""
    if f(outside) >= 0:
        return outside
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if f(middle) >= 0:
            inside = middle
        else:
            outside = middle
    return outside
