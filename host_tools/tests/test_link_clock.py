"""The clock estimate: its bound holds, whatever the delays, and it is as narrow as the exchanges allow."""

import random

import pytest
from gasan.host.link import ClockEstimator, TimeSample


class World:
    """A node whose clock starts at `start` and gains `ppm`; real time in microseconds."""

    def __init__(self, rng: random.Random, ppm: float, start_ms: int = 0) -> None:
        self.rng, self.ppm, self.start_ms = rng, ppm, start_ms
        self.real_us = rng.randrange(10**9, 10**12)
        self.boot_us = self.real_us

    def gateway(self, us: float) -> int:
        return int(us // 1000)

    def node(self, us: float) -> int:
        return self.start_ms + int((us - self.boot_us) * (1 + self.ppm / 1e6) // 1000)

    def exchange(self, there_us: float, stay_us: float, back_us: float) -> TimeSample:
        t1 = self.real_us
        t2 = t1 + there_us
        t3 = t2 + stay_us
        t4 = t3 + back_us
        self.real_us = int(t4)
        return TimeSample(self.gateway(t1), self.node(t2), self.node(t3), self.gateway(t4))


def test_nothing_is_known_before_the_first_exchange() -> None:
    assert ClockEstimator().map(5) is None


def test_one_exchange() -> None:
    clock = ClockEstimator()
    clock.add(TimeSample(1_000_000, 500, 502, 1_000_010))
    ours, error = clock.map(501) or (0, 0)
    assert abs(ours - 1_000_005) <= 1
    assert 5 <= error <= 7  # half of the 8 ms on the way, whole milliseconds, a millisecond's drift


@pytest.mark.parametrize("ppm", [-100, -37, 0, 20, 100])
@pytest.mark.parametrize("skew", ["even", "all there", "all back", "random"])
def test_the_bound_holds(seed: int, ppm: int, skew: str) -> None:
    """However the delay is split between the ways, however the clocks drift, far from any exchange too."""
    rng = random.Random(f"{seed} {ppm} {skew}")
    world = World(rng, ppm, rng.choice((0, 2**30, 2**40)))
    clock = ClockEstimator()
    truths: list[tuple[int, float]] = []  # (node ms, real µs)
    for _ in range(150):
        total = rng.expovariate(1 / 20_000)
        there = {"even": total / 2, "all there": total, "all back": 0.0}.get(skew, rng.random() * total)
        clock.add(world.exchange(there, rng.random() * 5000, total - there))
        for _ in range(2):
            world.real_us += int(rng.expovariate(1 / 20_000_000))
            truths.append((world.node(world.real_us), world.real_us))
    assert clock.steps == 0
    errors = []
    for node_ms, real_us in rng.sample(truths, 60):
        ours, error = clock.map(node_ms) or (0, 0)
        assert abs(ours - real_us / 1000) <= error
        errors.append(error)
    assert sorted(errors)[30] < 15


def test_a_short_round_trip_is_worth_more_until_drift_has_eaten_it() -> None:
    clock = ClockEstimator(drift_ppm=100)
    clock.add(TimeSample(1_000_000, 0, 0, 1_000_002))
    for minute in range(1, 60):
        at = minute * 60_000
        clock.add(TimeSample(1_000_000 + at, at, at, 1_000_000 + at + 40))
    errors = [(clock.map(minute * 60_000) or (0, 0))[1] for minute in range(60)]
    assert errors[0] <= 3
    assert errors[1] < 8 and errors[5] < errors[20] < errors[59] <= 23


def test_a_clock_that_jumped_starts_the_estimate_anew() -> None:
    clock = ClockEstimator()
    clock.add(TimeSample(1_000_000, 500, 500, 1_000_004))
    clock.add(TimeSample(1_060_000, 30_000, 30_000, 1_060_004))  # 30.5 s lost
    assert clock.steps == 1
    ours, error = clock.map(30_000) or (0, 0)
    assert abs(ours - 1_060_002) <= error <= 5


def test_memory_is_bounded_and_the_past_keeps_its_exchanges() -> None:
    clock = ClockEstimator(slot_ms=1000, slots=100)
    for i in range(5000):
        clock.add(TimeSample(10_000 + i * 100, i * 100, i * 100, 10_002 + i * 100))
    assert len(clock._lower) == len(clock._upper) == 100
    assert (clock.map(450_000) or (0, 0))[1] <= 4
    assert (clock.map(0) or (0, 0))[1] >= 40  # 400 s before the oldest one that is kept
