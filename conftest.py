"""What every test of the project shares: one seed, printed, and the length of the fuzz runs."""

import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from gasan.hil import vmrun

_LONG = frozenset(
    f"test_{name}.py"
    for name in (
        "account_hard_cases", "ble_bonds", "ble_central", "ble_uplink", "cut_sweep", "edge_rules", "kills",
        "learning", "line_health", "node", "rp2040_cuts", "rp2040_demo", "rp2040_hall", "rp2040_node",
        "simulation", "storms", "store_cuts",
    )
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gasan")
    group.addoption(
        "--seed",
        type=int,
        default=None,
        help="seed of every random test (default: fresh; with CI set, the sources' own; printed)",
    )
    group.addoption(
        "--fuzz-scale",
        type=float,
        default=1.0,
        help="share of the full fuzz runs (1.0: 1,000,000 and 50,000 inputs)",
    )
    group.addoption("--soak", action="store_true", help="the long forms of the kill and outage tests")
    group.addoption(
        "--ble-adapter",
        action="append",
        default=[],
        metavar="NAME",
        help="a real Bluetooth adapter for the gateway's end (system: by bleak; hci0, usb:0: by bumble); "
        "given again, one for the node's end",
    )
    group.addoption("--soak-minutes", type=float, default=60.0, help="how long the soak in real time lasts")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.option.seed = config.workerinput["gasan_seed"]
    elif config.getoption("--seed") is None:
        config.option.seed = _seed()


def _seed() -> int:
    """A fresh seed; in CI the one that follows from the sources, so that equal sources end equally."""
    if os.environ.get("CI"):
        git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD^{tree}"]
        try:
            return int(subprocess.run(git, capture_output=True, text=True, check=True).stdout[:7], 16)
        except (OSError, subprocess.CalledProcessError):
            pass  # no checkout: an archive
    return random.SystemRandom().randrange(1 << 31)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that no worker is left with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in _LONG)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Every worker of pytest-xdist takes the run's seed."""
    node.workerinput["gasan_seed"] = node.config.getoption("--seed")


def pytest_report_header(config: pytest.Config) -> str:
    return f"gasan: --seed {config.getoption('--seed')}, --fuzz-scale {config.getoption('--fuzz-scale')}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the figures that tests noted with record_property("figure", text)."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in getattr(report, "user_properties", ()):
                if name == "figure":
                    terminalreporter.write_line(value)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The run's seed; a failing random test is repeated with ``--seed``."""
    value: int = request.config.getoption("--seed")
    print(f"seed {value}")
    return value


@pytest.fixture(params=[64, 32])
def bits(request: pytest.FixtureRequest) -> int:
    """The word size of the MicroPython VM to test on, each in turn; skipped where that VM is missing."""
    value: int = request.param
    if missing := vmrun.missing(value):
        pytest.skip(missing)
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


@pytest.fixture
def soak_minutes(request: pytest.FixtureRequest) -> float:
    """How long the soak in real time lasts."""
    value: float = request.config.getoption("--soak-minutes")
    return value


@pytest.fixture
def ble_adapters(request: pytest.FixtureRequest) -> list[str]:
    """The real Bluetooth adapters that were given: for the gateway's end, for the node's."""
    names: list[str] = request.config.getoption("--ble-adapter")
    return names
