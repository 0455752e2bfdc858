"""What every test of the project shares: one seed, printed, and the length of the fuzz runs."""

import random
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gasan")
    group.addoption(
        "--seed", type=int, default=None, help="seed of every random test (default: fresh, printed)"
    )
    group.addoption(
        "--fuzz-scale",
        type=float,
        default=1.0,
        help="share of the full fuzz runs (1.0: 1,000,000 and 50,000 inputs)",
    )
    group.addoption("--soak", action="store_true", help="the long forms of the kill and outage tests")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.option.seed = config.workerinput["gasan_seed"]
    elif config.getoption("--seed") is None:
        config.option.seed = random.SystemRandom().randrange(1 << 31)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Every worker of pytest-xdist takes the run's seed."""
    node.workerinput["gasan_seed"] = node.config.getoption("--seed")


def pytest_report_header(config: pytest.Config) -> str:
    return f"gasan: --seed {config.getoption('--seed')}, --fuzz-scale {config.getoption('--fuzz-scale')}"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The run's seed; a failing random test is repeated with ``--seed``."""
    value: int = request.config.getoption("--seed")
    print(f"seed {value}")
    return value


@pytest.fixture
def fuzz_count(request: pytest.FixtureRequest) -> int:
    """Inputs of a decoder's fuzz run on CPython."""
    return max(1000, int(1_000_000 * request.config.getoption("--fuzz-scale")))


@pytest.fixture
def fuzz_count_vm(request: pytest.FixtureRequest) -> int:
    """Inputs of a decoder's fuzz run on the MicroPython VM."""
    return max(1000, int(50_000 * request.config.getoption("--fuzz-scale")))


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether the long forms were asked for (make soak)."""
    value: bool = request.config.getoption("--soak")
    return value
