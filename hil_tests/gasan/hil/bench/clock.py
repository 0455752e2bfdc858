"""How well a node's time is known: the shipped node's clock and estimator over simulated links."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gasan.hil.bench.row import Row
from gasan.hil.clock_sim import contact

__all__ = ["ClockFigures", "measure", "rows"]

MINUTE_BAR: Final = 20.0
DRIFT_BAR: Final = 0.5
HOLDS_BAR: Final = 0.999
_MINUTE: Final = 60_000.0
_HOUR: Final = 3_600_000.0


@dataclass(frozen=True, slots=True)
class ClockFigures:
    """Over `cases` contacts. minute_p95_ms: error after a minute. drift_p95_ms, drift_most_ms: what a minute
    without contact adds after ten with it. held: of `checks` errors, those within their stated bound.
    bound_ms: the stated one after ten minutes (median). past_ms: error, and stated bound, of what was sampled
    three hours before the contact (medians).
    """

    cases: int
    minute_p95_ms: float
    drift_p95_ms: float
    drift_most_ms: float
    checks: int
    held: int
    bound_ms: float
    past_ms: tuple[float, float]


def measure(seeds: Iterable[object], *, wander_ppm: float = 0.0) -> ClockFigures:
    minute, drift, bounds, past = [], [], [], []
    checks = held = cases = 0
    for seed in seeds:
        case = contact(seed, wander_ppm=wander_ppm)
        cases += 1
        errors = []
        case.until(_MINUTE)
        mapping = case.mapping(_MINUTE)
        errors.append(case.error(mapping, _MINUTE))
        minute.append(abs(errors[0][0]))
        case.until(10 * _MINUTE)
        mapping = case.mapping(10 * _MINUTE)
        begin = case.error(mapping, 10 * _MINUTE)
        end = case.error(mapping, 20 * _MINUTE)
        rate = 1e9 / (1 + case.node.ppm / 1e6) - 1e9
        drift.append(abs(mapping.rate_ppb - rate) / 1e9 * _MINUTE)
        bounds.append(begin[1])
        before = case.error(mapping, -3 * _HOUR)
        past.append((abs(before[0]), before[1]))
        errors += [begin, end, before, case.error(mapping, 0.0)]
        moment = case.rng.uniform(0, 10 * _MINUTE)
        errors.append(case.error(case.mapping(moment), moment))
        checks += len(errors)
        held += sum(abs(error) <= bound for error, bound in errors)
    return ClockFigures(
        cases,
        _p95(minute),
        _p95(drift),
        max(drift),
        checks,
        held,
        statistics.median(bounds),
        (statistics.median(error for error, _ in past), statistics.median(bound for _, bound in past)),
    )


def rows() -> list[Row]:
    figures = measure(range(2000))
    note = f"{figures.cases} simulated links: jitter 0-100 ms (mean 20), asymmetry to 10 ms, drift to 100 ppm"
    return [
        Row(
            "error of a node's time, a minute after contact, 95 %",
            round(figures.minute_p95_ms, 1),
            "ms",
            f"<= {MINUTE_BAR:g}",
            met=figures.minute_p95_ms <= MINUTE_BAR,
            note=note,
        ),
        Row(
            "what a minute without contact adds, after ten with it, worst of all",
            round(figures.drift_most_ms, 2),
            "ms",
            f"<= {DRIFT_BAR:g}",
            met=figures.drift_most_ms <= DRIFT_BAR,
            note=f"95 %: {figures.drift_p95_ms:.2f} ms; stated after ten minutes: {figures.bound_ms:.0f} ms",
        ),
        Row(
            "share of times within their stated bound",
            round(figures.held / figures.checks, 5),
            "",
            f">= {HOLDS_BAR}",
            met=figures.held >= HOLDS_BAR * figures.checks,
            note=f"{figures.checks} times, also 3 h before the first contact"
            f" (there {figures.past_ms[0]:.0f} ms off, {figures.past_ms[1]:.0f} ms stated)",
        ),
    ]


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]
