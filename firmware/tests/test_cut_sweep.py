"""Power cuts at every flash operation of a node, rot in its spool, and the test of these tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from gasan.hil import vmrun
from gasan.hil.cut_sweep import ROT, SCENARIOS, Geometry, geometries, notices, sweep
from gasan.hil.mutants import MUTANTS, Mutant, PatchError, mutated


@pytest.fixture(autouse=True)
def _vm() -> None:
    if missing := vmrun.missing(64):
        pytest.skip(missing)


@pytest.mark.parametrize("geometry", sorted(geometries()), ids=lambda g: f"{g.program}-{g.erase}")
def test_no_cut_loses_or_makes_up_anything(
    geometry: Geometry, seed: int, record_property: Callable[[str, object], None]
) -> None:
    done = sweep(geometry, SCENARIOS, seed)
    assert [one.scenario for one in done] == list(SCENARIOS)
    for one in done:
        assert one.operations > 20, one
        assert one.cuts == 4 * one.operations, one
    cuts = sum(one.cuts for one in done)
    assert cuts > 3_000
    record_property(
        "figure",
        f"power cuts: {cuts} on a flash of {geometry.program} and {geometry.erase} bytes ("
        + ", ".join(f"{one.scenario} {one.cuts}" for one in done)
        + ")",
    )


@pytest.mark.parametrize("geometry", sorted(geometries()), ids=lambda g: f"{g.program}-{g.erase}")
def test_rot_costs_what_it_hit_and_no_corrupt_frame_is_accepted(
    geometry: Geometry, seed: int, record_property: Callable[[str, object], None]
) -> None:
    done = sweep(geometry, ROT, seed, "rot")
    assert [one.scenario for one in done] == list(ROT)
    starts = sum(one.cuts for one in done)
    assert starts > 400
    record_property(
        "figure", f"rot: {starts} starts on a flash of {geometry.program} and {geometry.erase} bytes"
    )


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_sweep_notices_a_mistake(mutant: Mutant, seed: int) -> None:
    said = notices(mutant, max(geometries()), seed)
    assert ", seed" in said, said or "nothing was noticed"


def test_a_mutant_that_no_longer_fits_is_an_error(tmp_path: Path) -> None:
    for number, text in enumerate(("what stands nowhere", "self")):
        stale = Mutant("stale", "node/spool.py", text, "", "normal_run")
        with pytest.raises(PatchError, match="not once"):
            mutated(tmp_path / str(number), stale)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 10
