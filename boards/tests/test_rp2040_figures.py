"""Exact cost of device code: a change that makes a kept figure more than 3 % worse shows here.

To raise a figure on purpose: `python -m gasan.hil.bench.rp2040 --write`, and a line in the changelog.
"""

import pytest
from gasan.boards.rp2040 import built
from gasan.hil import on_rp2040
from gasan.hil.bench import rp2040

pytestmark = pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing())


def test_no_figure_is_worse_than_the_kept_one() -> None:
    old = rp2040.kept(built())
    if old is None:
        pytest.skip("the kept figures are of another build of the firmware, so they cannot be compared")
    assert rp2040.worse(old, rp2040.measure()) == []


def test_a_worse_figure_is_told_with_the_old_one() -> None:
    new = rp2040.Figures(1000.0, 100, 10.0, 10.0, 10.0, 10.0, 0.5, 1.0, 1.0, 100_000)
    assert rp2040.worse(vars(new), new) == []
    assert rp2040.worse({**vars(new), "per_reading": 9.8, "heap": 102_000}, new) == []
    assert rp2040.worse({**vars(new), "per_reading": 9.0, "heap": 120_000}, new) == [
        "per_reading: 9.0 -> 10.0 (+11.1%)",
        "heap: 120,000 -> 100,000 (+16.7%)",
    ]
