"""The shipped Modbus TCP master in virtual time, through seeded faults: no wrong value is stored as good."""

from typing import Any

import pytest
from gasan.hil.polling import block
from gasan.hil.rs485 import Fault, Kind, Responder
from gasan.hil.virtual import TcpRun
from gasan.wire.quality import GOOD

_TIMEOUT_MS = 40
_START_NS = ((1 << 30) - 3_000) * 1_000_000
_OFTEN = (
    Kind.DROP,
    Kind.DOUBLE,
    Kind.SPLIT,
    Kind.WRONG_UNIT,
    Kind.WRONG_ID,
    Kind.STRAY,
    Kind.REORDER,
)
_SELDOM = (Kind.NOISE, Kind.TRUNCATE, Kind.CLOSE, Kind.HALF_OPEN)
ALL = [
    *(Fault(kind, 0.02, low=1, high=10) for kind in _OFTEN),
    *(Fault(kind, 0.002) for kind in _SELDOM),
    Fault(Kind.DELAY, 0.05, low=0.5 * _TIMEOUT_MS, high=3.5 * _TIMEOUT_MS),
]
#: Of the first unit only, so that transaction ids run fast.
_LAYOUT = ((0, 10), (10, 10), (20, 6))


def devices(units: tuple[int, ...] = (1, 2), period_ms: int = 10) -> list[list[Any]]:
    out = []
    for unit in units:
        items = [item for at, n in _LAYOUT for item in block(40 * unit + at, 3, 40 * unit + at, n, period_ms)]
        out.append([f"unit-{unit}", unit, _TIMEOUT_MS, 0, 125, items])
    return out


def run(requests: int, faults: list[Fault], seed: int, **options: Any) -> TcpRun:
    done = TcpRun(devices(), Responder(units=(1, 2)), faults, seed=seed, start_ns=_START_NS, **options)
    return done.run(requests)


def test_a_clean_connection_brings_good_values_only(seed: int) -> None:
    done = run(3000, [], seed)
    assert done.judge.verdicts.bad == 0 and done.judge.verdicts.good >= 2998
    assert done.judge.verdicts.wrong == [] and done.connections == 1
    assert done.clock.ns > (1 << 30) * 1_000_000, "the ticks have wrapped"


def test_an_answer_that_is_there_counts_though_the_node_was_busy_past_the_timeout(seed: int) -> None:
    """A commit to flash keeps the node for longer than the timeout; the answer has come meanwhile."""
    done = run(2000, [Fault(Kind.DELAY, 0.5, low=5, high=15)], seed, stall=0.02)
    verdicts = done.judge.verdicts
    assert verdicts.bad == 0 and verdicts.good >= 1998 and verdicts.missed > 10
    assert verdicts.wrong == []


def test_faults_bring_no_wrong_value_past_the_wrap_of_the_ids(seed: int, soak: bool) -> None:
    requests, first_id = (200_000, 1) if soak else (15_000, 55_000)
    done = run(requests, ALL, seed, stall=0.001, first_id=first_id)
    verdicts = done.judge.verdicts
    print(requests, "requests,", len(done.plan.injected), "faults,", verdicts.qualities, done.connections)
    assert {one.kind for one in done.plan.injected} == {fault.kind for fault in ALL}
    assert verdicts.wrong == [] and verdicts.collisions == 0
    assert verdicts.good > requests // 2
    assert done.connections > 10


def test_the_judge_knows_a_wrong_value(seed: int) -> None:
    """A client that does not look at the ids must be found out."""

    def careless(poll: Any) -> None:
        import importlib

        client = importlib.import_module("gasan.node.modbus_tcp")
        read = client.TcpRead

        class Any_(read):
            def feed(self, chunk: bytearray, size: int) -> bool:
                self.request[:2] = (self.buf if self.n else chunk)[:2]
                return bool(super().feed(chunk, size))

        client.Source._kind = Any_

    late = [Fault(Kind.DELAY, 0.2, low=50, high=90), Fault(Kind.REORDER, 0.1)]
    assert run(2000, late, seed, tamper=careless).judge.verdicts.wrong


@pytest.mark.parametrize("round_", range(5))
def test_after_the_faults_a_unit_is_good_within_two_requests(round_: int, seed: int) -> None:
    faulty = 500
    done = TcpRun(devices(), Responder(units=(1, 2)), ALL, seed=seed + round_).run(faulty + 300, faulty)
    for unit in (1, 2):
        first = min(
            time
            for time, who, quality in done.judge.outcomes
            if (who, quality) == (unit, GOOD) and time > done.quiet_ns
        )
        mine = [one.time for one in done.judge.requests[faulty:] if one.unit == unit]
        assert sum(time < first for time in mine) <= 2, "and the one under way when the faults ended"


def test_rtu_over_tcp_brings_no_wrong_value(seed: int, soak: bool) -> None:
    """No transaction ids here: late answers are told apart as on a line."""
    requests = 100_000 if soak else 3_000
    kinds = {Kind.WRONG_ID, Kind.STRAY, Kind.REORDER, Kind.DOUBLE}
    faults = [one for one in ALL if one.kind not in kinds]
    done = run(requests, faults, seed, rtu=True)
    verdicts = done.judge.verdicts
    print(requests, "requests,", len(done.plan.injected), "faults,", verdicts.qualities, done.connections)
    assert verdicts.wrong == [] and verdicts.good > requests // 2


def test_rtu_over_tcp_is_not_fooled_by_a_network_that_holds_back_what_it_carries(seed: int) -> None:
    """All behind a stalled piece comes late at once, answers to several requests of one shape among it."""
    stalls = [Fault(Kind.SPLIT, 0.05, low=100, high=600), Fault(Kind.DELAY, 0.1, low=20, high=120)]
    done = run(2_000, stalls, seed, rtu=True)
    verdicts = done.judge.verdicts
    assert verdicts.wrong == [] and verdicts.good > 1_000
    assert 10 < done.connections < 500


def test_the_same_seed_does_the_same(seed: int) -> None:
    first, second = (run(500, ALL, seed, stall=0.01) for _ in range(2))
    assert first.plan.injected == second.plan.injected
    assert first.judge.outcomes == second.judge.outcomes


def test_a_flood_of_strays_ends_the_connection_not_the_node(seed: int) -> None:
    done = run(300, [Fault(Kind.STRAY, 1.0), Fault(Kind.DELAY, 0.1, low=50, high=60)], seed)
    assert done.judge.verdicts.wrong == [] and done.judge.verdicts.good > 200
