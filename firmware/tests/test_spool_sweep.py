"""Power cuts at every flash operation of the spool, on littlefs in the VM."""

from pathlib import Path

import pytest
from gasan.hil import vmrun

_HERE = Path(__file__).parent
_STANDINS = _HERE.parents[1] / "boards" / "standins"


def _sweep(seed: int, mistake: str) -> str:
    if missing := vmrun.missing(64):
        pytest.skip(missing)
    return vmrun.run(_HERE / "vm" / "spool_sweep.py", _STANDINS, seed, mistake, heap="8m", timeout=120)


def test_no_cut_loses_a_committed_frame_or_makes_one_up(seed: int) -> None:
    out = _sweep(seed, "none")
    assert out.startswith("cuts "), out
    assert int(out.split()[1]) > 500


@pytest.mark.parametrize(
    "mistake", ["no flush", "dropped before it is told", "removed when partly acknowledged"]
)
def test_the_sweep_notices_a_mistake(seed: int, mistake: str) -> None:
    assert _sweep(seed, mistake).startswith("broken: ")
