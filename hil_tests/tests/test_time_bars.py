"""A node's time as the gateway knows it, over simulated links: the bars, wraps, no wall clock on a node."""

import ast
from pathlib import Path
from random import Random

import pytest
from gasan.boards.places import ROOT
from gasan.hil.bench.clock import DRIFT_BAR, HOLDS_BAR, MINUTE_BAR, measure
from gasan.hil.clock_sim import PERIOD, Contact, Link, SimulatedNode, contact

DEVICE = [
    ROOT / "firmware" / "boot.py",
    ROOT / "firmware" / "main.py",
    *sorted((ROOT / "firmware" / "gasan" / "node").glob("*.py")),
    *sorted((ROOT / "protocols" / "gasan" / "wire").glob("*.py")),
    *sorted((ROOT / "ota" / "gasan" / "ota").glob("*.py")),
]
WALL = {"RTC", "gmtime", "localtime", "mktime", "ntptime", "strftime", "time_ns", "settime"}


def test_the_bars(seed: int) -> None:
    """Jitter of 0-100 ms (mean 20), up to 10 ms of asymmetry, 100 ppm; nodes up for as long as 40 days."""
    figures = measure((seed, i) for i in range(400))
    print(figures)
    assert figures.minute_p95_ms <= MINUTE_BAR
    assert figures.drift_p95_ms <= DRIFT_BAR
    assert figures.drift_most_ms <= 2 * DRIFT_BAR  # of 2,000 fixed links the worst is below the bar itself
    assert figures.held >= HOLDS_BAR * figures.checks


def test_the_bound_holds_while_crystals_wander_with_their_temperature(seed: int) -> None:
    figures = measure(((seed, i) for i in range(100)), wander_ppm=4.5)
    print(figures)
    assert figures.held == figures.checks
    assert figures.minute_p95_ms <= MINUTE_BAR


@pytest.mark.parametrize("days", [12.42, 12.43, 24.85, 24.86, 37.3])
def test_a_contact_over_the_wrap_of_the_ticks(seed: int, days: float) -> None:
    """2**30 ms are 12.43 days: the exchanges stand on both sides of it, and what is dated too."""
    rng = Random(f"{seed} {days}")
    node = SimulatedNode(rng, ppm=rng.uniform(-100, 100), up_ms=days * 86_400_000 - 300_000)
    case = Contact(rng, node, Link(2, 7), 5e9)
    case.until(600_000)
    assert case.estimator.steps == 0
    for real in range(-60_000, 600_000, 7_000):
        error, bound = case.error(case.mapping(real), real)
        assert abs(error) <= bound <= 60


def test_a_node_that_counts_past_a_wrap_says_so_in_its_stamps() -> None:
    node = SimulatedNode(Random(1), ppm=0, up_ms=3.5 * PERIOD)
    assert abs(node.now(5.0) - (3.5 * PERIOD + 5)) <= 1


def test_the_past_before_the_first_contact_gets_a_better_date_as_the_rate_gets_known() -> None:
    """Three hours before the contact: the bound of one exchange is what crystals may do at all."""
    case = contact("past")
    past = -3 * 3_600_000.0
    case.exchange()
    first = case.error(case.mapping(case.real), past)
    case.until(600_000)
    later = case.error(case.mapping(600_000), past)
    assert abs(first[0]) <= first[1] and abs(later[0]) <= later[1]
    assert first[1] > 1000 and later[1] < first[1] / 2


@pytest.mark.parametrize("path", DEVICE, ids=lambda path: path.stem)
def test_a_node_asks_no_wall_clock(path: Path) -> None:
    """A board's RTC may be unset, count from 1970 or 2000, or jump: nothing on a node looks at it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in WALL, (node.attr, node.lineno)
            named = isinstance(node.value, ast.Name) and node.value.id == "time"
            assert not (named and node.attr == "time"), node.lineno
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            assert not names & WALL and not (node.module == "time" and "time" in names), node.lineno
