"""An hour of whole nodes in real time, hurt again and again: the account holds, reading by reading.

``make soak`` runs it for ``--soak-minutes`` (60). The truth is the equipment's own log of what it served.
"""

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from gasan.hil.rig import Rig, compare
from gasan.host.account import CUT

#: As in test_kills.py: what may pass between a reading and its commit beside the batch's age.
_SLACK_S = 0.75


@pytest.mark.timeout(7200)
def test_an_hour_of_faults(tmp_path: Path, seed: int, soak: bool, soak_minutes: float) -> None:
    if not soak:
        pytest.skip("an hour in real time: --soak")
    rng = random.Random(seed)
    cuts: list[tuple[float, float]] = []
    faults: Counter[str] = Counter()
    with Rig(tmp_path) as rig:
        rig.until(lambda: rig.stored() > 20, "the first readings are stored")
        end = time.monotonic() + soak_minutes * 60
        while time.monotonic() < end:
            time.sleep(rng.uniform(0, 8))
            before = rig.stored()
            fault = rng.choice(("gateway", "node", "node twice", "cable", "long outage", "all"))
            faults[fault] += 1
            if fault in ("cable", "long outage", "all"):
                rig.board.unplug()
            if fault in ("gateway", "all"):
                rig.kill_gateway()
            if fault in ("node", "node twice", "all"):
                for _ in range(2 if fault == "node twice" else 1):
                    begun = time.time()
                    rig.board.kill()
                    cuts.append((begun, time.time()))
                    time.sleep(rng.uniform(0, 1.5))  # the second one may come while it starts
            if fault == "long outage":
                time.sleep(rng.uniform(10, 40))
            elif fault in ("cable", "all"):
                time.sleep(rng.uniform(0, 7))  # a session ends after 5 s of silence
            if fault in ("gateway", "all"):
                rig.start_gateway()
            if fault in ("cable", "long outage", "all"):
                rig.board.plug()
            rig.until(lambda n=before: rig.stored() > n + 10, f"readings come again after: {fault}", 120)
        rig.flush()
        rig.end_gateway()
        account = rig.account()
        result = compare(rig)

    figures = account.as_dict()
    print(f"{soak_minutes:g} minutes, faults {dict(faults)}:", figures)
    print(f"equipment served {result.served}, store holds {result.stored}, missing {len(result.missing)}")
    print(f"bad readings: {dict(result.bad)}")
    assert result.invented == []
    assert result.twice == []
    assert (figures["readings_duplicated"], figures["conflicts"], figures["readings_pending"]) == (0, 0, 0)
    assert set(figures["lost_reasons"]) <= {CUT}
    assert account.unexplained == 0
    assert account.agrees
    assert figures["readings_sampled"] == figures["readings_stored"] + figures["readings_lost"]
    window = rig.max_age_ms / 1000 + _SLACK_S
    assert result.unexplained(cuts, window) == []
