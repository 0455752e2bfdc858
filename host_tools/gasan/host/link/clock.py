"""The gateway's time of a node's time, with a bound of the error that holds.

In an exchange the node's stamps t2 and t3 lie between ours, t1 and t4. So the offset (ours minus the node's)
lies in [t1 - t2, t4 - t3], whatever the delays on the way were, give or take a millisecond since stamps
are whole milliseconds, cut off; its middle is the estimate, and half its width the bound. At any other time
the two clocks may have drifted apart by `drift_ppm`. An exchange with a short round trip is worth more than a
nearer one with a long one, until the drift has eaten the difference; that is decided for each time
asked, over the best exchanges of the slots around it.

An estimator serves one boot of one node: the node's clock starts with the boot.
"""

from bisect import bisect_left, insort

from gasan.host.link.events import TimeSample

__all__ = ["ClockEstimator"]

_AROUND = 8  # slots looked at on either side of a time


class ClockEstimator:
    """Offset of a node's monotonic milliseconds to the gateway's, learned from `TimeSample`s.

    drift_ppm: what the two crystals may differ by, temperature included (boards: 10 to 50 each).
    slot_ms, slots: the best exchange of each slot of the node's time is kept, for that many slots.
    """

    def __init__(self, drift_ppm: int = 100, slot_ms: int = 60_000, slots: int = 512) -> None:
        self.steps = 0  # times that a clock was found to have jumped
        self._drift = drift_ppm
        self._slot_ms = slot_ms
        self._slots = slots
        self._best: list[tuple[int, int, int]] = []  # (node ms, lower, upper bound of the offset), by node ms

    def add(self, sample: TimeSample) -> None:
        """Learn from an exchange; one that contradicts the earlier ones starts the estimate anew."""
        node_ms = sample.t3
        lower, upper = sample.t1 - sample.t2 - 1, sample.t4 - sample.t3 + 1
        bounds = self._bounds(node_ms)
        if bounds is not None and (lower > bounds[1] or upper < bounds[0]):
            self.steps += 1
            self._best.clear()
        at = bisect_left(self._best, (node_ms // self._slot_ms * self._slot_ms,))
        kept = self._best[at] if at < len(self._best) else None
        if kept is not None and kept[0] // self._slot_ms == node_ms // self._slot_ms:
            if upper - lower > kept[2] - kept[1]:
                return
            del self._best[at]
        insort(self._best, (node_ms, lower, upper))
        if len(self._best) > self._slots:
            del self._best[0]

    def map(self, node_ms: int) -> tuple[int, int] | None:
        """(gateway ms, error ms) of a moment of the node's clock; None before the first exchange.

        The true time is not further from the answer than the error.
        """
        bounds = self._bounds(node_ms)
        if bounds is None:
            return None
        lower, upper = bounds[0], bounds[1] + 1  # the moment is later than its stamp, by less than 1 ms
        middle = (lower + upper) // 2
        return node_ms + middle, upper - middle

    def _bounds(self, node_ms: int) -> tuple[int, int] | None:
        """The narrowest interval that an exchange near that moment gives for the offset."""
        best: tuple[int, int] | None = None
        near = bisect_left(self._best, (node_ms,))
        for at, lower, upper in self._best[max(0, near - _AROUND) : near + _AROUND]:
            drift = -(-abs(node_ms - at) * self._drift // 1_000_000)
            if best is None or upper - lower + 2 * drift < best[1] - best[0]:
                best = (lower - drift, upper + drift)
        return best
