"""The account through kills: kill -9 of gateway and node, and pulls of the cable, at random moments.

``make soak`` does each 50 times, ``make test`` fewer. The truth is the equipment's own log of what it served.
"""

import random
import time
from pathlib import Path

import pytest
from gasan.hil.rig import Rig, compare
from gasan.host.account import CUT

#: Beside the batch's age a reading may wait so long for its frame: the line's locks, the commit; and a
#: request that the equipment has answered may be under way when the node dies.
_SLACK_S = 0.75


@pytest.mark.timeout(1500)
def test_account_through_kills(tmp_path: Path, seed: int, soak: bool) -> None:
    each = 50 if soak else 8
    rng = random.Random(seed)
    faults = ["gateway", "node", "link"] * each
    rng.shuffle(faults)
    cuts: list[tuple[float, float]] = []
    with Rig(tmp_path) as rig:
        rig.until(lambda: rig.stored() > 20, "the first readings are stored")
        for fault in faults:
            time.sleep(rng.uniform(0, 0.8))  # the random moment of the fault
            before = rig.stored()
            if fault == "gateway":
                rig.kill_gateway()
                rig.start_gateway()
            elif fault == "node":
                begun = time.time()
                rig.board.kill()
                cuts.append((begun, time.time()))  # until the kill, requests are still answered
            else:
                rig.board.unplug()
                time.sleep(rng.uniform(0, 1.0))
                rig.board.plug()
            rig.until(lambda n=before: rig.stored() > n + 10, f"readings come again after: {fault}")
        rig.flush()
        rig.end_gateway()
        account = rig.account()
        result = compare(rig)

    figures = account.as_dict()
    print(f"{each} kills of the gateway, {each} of the node, {each} link pulls:", figures)
    print(f"equipment served {result.served}, store holds {result.stored}, missing {len(result.missing)}")
    print(f"bad readings: {dict(result.bad)}")

    # What was committed: nothing lost, nothing twice, nothing invented.
    assert result.invented == []
    assert result.twice == []
    assert figures["readings_duplicated"] == 0
    assert figures["conflicts"] == 0
    assert figures["readings_pending"] == 0
    assert set(figures["lost_reasons"]) <= {CUT}
    assert account.unexplained == 0
    assert figures["readings_sampled"] == figures["readings_stored"] + figures["readings_lost"]

    # What is missing was in the open batch of a node that was killed, and the account does not claim more.
    window = rig.max_age_ms / 1000 + _SLACK_S
    assert result.unexplained(cuts, window) == []
    open_batch = 6 * (window / (rig.period_ms / 1000) + 1)  # six channels
    assert len(result.missing) <= each * open_batch
    assert figures["readings_lost"] <= len(result.missing) + 2 * each  # a request cut in two is a bad row
    assert len(cuts) == each
