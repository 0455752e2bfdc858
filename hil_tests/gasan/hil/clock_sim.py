"""A node's clock and a gateway's, and the way between them, on an event clock: nothing waits.

The node's time is the shipped `gasan.node.clock` over a tick counter as a board has it, of 30 bits. The
estimate is the shipped `gasan.host.link.clock`. What stands between them is drawn from a seed.
"""

import builtins
import types
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from gasan.boards.places import ROOT
from gasan.host.link import TimeSample
from gasan.host.link.clock import BURST, EXCHANGE_MS, ClockEstimator, ClockMapping

__all__ = ["PERIOD", "Contact", "Link", "SimulatedNode", "board_clock", "contact"]

PERIOD = 1 << 30
"""Milliseconds after which a board's ticks begin anew: 12.4 days."""

_DAY_MS = 86_400_000.0


def board_clock(ticks: Callable[[], int]) -> Any:
    """The node's `Clock` over a counter of 30 bits, in CPython; there is no other time in its module."""
    shims = {
        "time": types.SimpleNamespace(
            ticks_ms=ticks,
            ticks_add=lambda a, b: (a + b) % PERIOD,
            ticks_diff=lambda a, b: (a - b + PERIOD // 2) % PERIOD - PERIOD // 2,
        ),
        "micropython": types.SimpleNamespace(const=lambda value: value),
    }
    source = ROOT / "firmware" / "gasan" / "node" / "clock.py"
    names: dict[str, Any] = {
        "__builtins__": {**vars(builtins), "__import__": lambda name, *_: shims[name]},
        "__name__": "gasan.node.clock",
    }
    exec(compile(source.read_text(), str(source), "exec"), names)
    return names["Clock"](ticks)


class SimulatedNode:
    """A board that has started `up_ms` before the moment 0 of `real`, with a crystal of its own.

    ppm: by how much it is fast. wander_ppm: by how much that changes, up and down, in `wander_ms`.
    """

    def __init__(self, rng: Random, *, ppm: float, up_ms: float = 0.0, wander_ppm: float = 0.0) -> None:
        self.ppm = ppm
        self.real = -up_ms
        self._born = -up_ms
        self._wander = wander_ppm
        self._phase = rng.random()
        self._first = rng.randrange(PERIOD)
        self.clock = board_clock(self._ticks)
        while up_ms > 0:  # something asks for the time at least each 6 days
            up_ms -= min(up_ms, rng.uniform(0.1, 6.0) * _DAY_MS)
            self.now(-up_ms)

    def uptime(self, real: float) -> float:
        """True milliseconds of its crystal since the start."""
        wandered = 0.0
        if self._wander:  # a triangle between -wander and +wander, integrated
            wandered = _triangle_sum(real / 1_800_000 + self._phase) * 1_800_000 * self._wander / 1e6
        return (real - self._born) * (1 + self.ppm / 1e6) + wandered

    def now(self, real: float) -> int:
        """What its `Clock` says then; the moments that are asked for must not go back."""
        self.real = real
        return int(self.clock.now())

    def _ticks(self) -> int:
        return (self._first + int(self.uptime(self.real))) % PERIOD


@dataclass
class Link:
    """Delays in ms: a fixed part either way, and a random one of that mean (exponential)."""

    there_ms: float
    back_ms: float
    jitter_ms: float = 20.0
    jitter_most_ms: float = 100.0

    def delay(self, rng: Random, fixed: float) -> float:
        jitter = self.jitter_most_ms
        while self.jitter_ms and jitter >= self.jitter_most_ms:
            jitter = rng.expovariate(1 / self.jitter_ms)
        return fixed + (jitter if self.jitter_ms else 0.0)


class Contact:
    """A session from the moment 0 on. The gateway's monotonic clock is `real` + `gateway_ms`."""

    def __init__(self, rng: Random, node: SimulatedNode, link: Link, gateway_ms: float) -> None:
        self.rng, self.node, self.link = rng, node, link
        self.gateway_ms = gateway_ms
        self.estimator = ClockEstimator()
        self.real = 0.0
        self.exchanges = 0

    def exchange(self) -> None:
        """One exchange, beginning now."""
        rng, node = self.rng, self.node
        t1 = self.real
        t2 = t1 + self.link.delay(rng, self.link.there_ms)
        t3 = t2 + rng.random() * 3
        t4 = t3 + self.link.delay(rng, self.link.back_ms)
        stamps = node.now(t2), node.now(t3)
        self.estimator.add(TimeSample(self.gateway(t1), *stamps, self.gateway(t4)))
        self.real = t4
        self.exchanges += 1

    def until(self, real: float) -> None:
        """Go on as a session does."""
        while self.real < real:
            self.exchange()
            self.real += 0.0 if self.exchanges < BURST else EXCHANGE_MS
        self.real = real

    def gateway(self, real: float) -> int:
        return int(real + self.gateway_ms)

    def mapping(self, real: float) -> ClockMapping:
        """The estimate at a moment, by the node's stamp of it."""
        found = self.estimator.mapping(int(self.node.uptime(real)))
        assert found is not None
        return found

    def error(self, mapping: ClockMapping, real: float) -> tuple[float, float]:
        """(error, stated bound) in ms of a moment that is dated by that mapping, as the store's view does."""
        after = int(self.node.uptime(real)) - mapping.node_ms
        dated = mapping.gateway_ms + after + int(after * mapping.rate_ppb / 1e9)
        bound = mapping.err_ms - (-abs(after) * mapping.drift_ppm // 1_000_000)
        return dated - (real + self.gateway_ms), bound


def contact(seed: object, *, wander_ppm: float = 0.0) -> Contact:
    """A case of the bars: jitter of 0-100 ms (exponential, mean 20), an asymmetry of up to 10 ms, a drift of
    up to 100 ppm, and a node that has been up for up to 40 days.
    """
    rng = Random(f"clock {seed}")
    ppm = rng.uniform(-100 + wander_ppm, 100 - wander_ppm)
    node = SimulatedNode(rng, ppm=ppm, up_ms=rng.random() ** 3 * 40 * _DAY_MS, wander_ppm=wander_ppm)
    base, more = rng.uniform(0, 3), rng.uniform(0, 10)
    there = rng.random() < 0.5
    link = Link(base + more * there, base + more * (not there))
    return Contact(rng, node, link, rng.uniform(1e8, 1e11))


def _triangle_sum(x: float) -> float:
    """The integral from 0 of a triangle wave of period 1 between -1 and 1."""
    part = x % 1.0
    return part - 2 * part * part if part < 0.5 else 2 * (part - 0.5) ** 2 - (part - 0.5)
