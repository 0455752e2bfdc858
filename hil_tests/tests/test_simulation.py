"""Days of nodes and gateways on an event clock: nothing is lost, doubled or misdated in silence.

``make simulate`` runs 1,000 months; here are some weeks of as many faults.
"""

import pytest
from gasan.hil.simulation.mutants import MUTANTS, Mutant
from gasan.hil.simulation.run import DENSE, Rates, simulate

_RUNS = 10
_MUTANT_RUNS = 10
"""Within so many runs each deliberate mistake is found; their seeds are fixed."""


def test_days_with_faults(seed: int, soak: bool) -> None:
    """One of the runs is a whole month, the others are six days with a month's faults.

    Fresh seeds are for the long form and `make simulate`; what they find is mended on its own.
    """
    seed = seed if soak else 70000
    faults: set[str] = set()
    for run in [simulate(seed, 30), *(simulate(seed + k, 6, DENSE) for k in range(1, _RUNS))]:
        judged = run.judgement
        assert judged.faults == [], run
        assert judged.sampled > 300
        assert judged.sampled == judged.stored + judged.dropped + judged.lost + judged.pending
        faults |= set(run.faults)
    assert len(faults) >= 10


def test_a_seed_is_repeatable() -> None:
    assert simulate(5, 3, DENSE) == simulate(5, 3, DENSE)


def test_without_faults_nothing_is_lost() -> None:
    calm = Rates(
        long_away_hours=14, reset_hours=1e9, gateway_kill=0, killed_in_commit=0, disk_full=0, reboot=0,
        clock_jump=0, node_cut=0, node_cut_in_flash=0, noisy=0, other_gateway=0, drained=1,
    )  # fmt: skip
    judged = simulate(1, 6, calm).judgement
    assert judged.faults == []
    assert (judged.lost, judged.undated, judged.boots) == (0, 0, 2)
    assert judged.stored > 0.9 * judged.sampled


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_is_found(mutant: Mutant) -> None:
    for k in range(_MUTANT_RUNS):
        if simulate(mutant.seed + k, 6, DENSE, mutant).judgement.faults:
            return
    pytest.fail(f"{_MUTANT_RUNS} runs did not notice: {mutant.name}")
