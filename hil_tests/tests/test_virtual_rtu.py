"""The shipped RTU master in virtual byte time, through seeded faults: not one wrong value stored as good."""

import importlib
import itertools
import random
from typing import Any

import pytest
from gasan.hil.polling import block
from gasan.hil.rs485 import OUTSIDE, STRANGER, Fault, Kind, Line, Responder
from gasan.hil.virtual import RtuRun
from gasan.wire.modbus_read import read_request
from gasan.wire.modbus_rtu import with_crc
from gasan.wire.quality import GOOD, SUSPECT

_TIMEOUT_MS = 40
#: The node's ticks wrap a few seconds after the start.
_START_NS = ((1 << 30) - 3_000) * 1_000_000

BYTES = [Fault(Kind.FLIP, 1e-4, "both"), Fault(Kind.DROP, 1e-3, "both"), Fault(Kind.DOUBLE, 1e-3, "both")]
ANSWERS = [Fault(kind, 0.02) for kind in (Kind.NOISE, Kind.TRUNCATE, Kind.SPLIT, Kind.WRONG_UNIT, Kind.MERGE)]
LATE = [Fault(Kind.DELAY, 0.02, low=0.5 * _TIMEOUT_MS, high=3.5 * _TIMEOUT_MS)]
OTHERS = [
    Fault(kind, 0.02, "both")
    for kind in (Kind.ECHO, Kind.BETWEEN, Kind.BROADCAST, Kind.FOREIGN, Kind.INTRUDER)
]
ALL = [*BYTES, *ANSWERS, *LATE, *OTHERS]


def devices(units: tuple[int, ...] = (1, 2, 3), period_ms: int = 60) -> list[list[Any]]:
    """Three blocks each, of different periods, two of them of one shape."""
    return [
        [
            f"unit-{unit}",
            unit,
            _TIMEOUT_MS,
            0,
            125,
            [
                item
                for at, count in ((0, 10), (10, 10), (20, 6))
                for item in block(40 * unit + at, 3, 40 * unit + at, count, period_ms + at)
            ],
        ]
        for unit in units
    ]


def run(requests: int, faults: list[Fault], seed: int, baudrate: int = 115200) -> RtuRun:
    responder = Responder(units=(1, 2, 3))
    return RtuRun(Line(baudrate), devices(), responder, faults, seed=seed, start_ns=_START_NS).run(requests)


def test_a_clean_line_brings_good_values_only(seed: int) -> None:
    done = run(3000, [], seed)
    verdicts = done.judge.verdicts
    assert verdicts.wrong == [] and verdicts.bad == 0 and verdicts.good >= 2998
    assert done.clock.ns > (1 << 30) * 1_000_000, "the ticks have wrapped"


@pytest.mark.parametrize("baudrate", [9600, 115200])
def test_faults_bring_no_wrong_value(baudrate: int, seed: int, soak: bool) -> None:
    requests = 100_000 if soak else 5_000
    done = run(requests, ALL, seed, baudrate)
    verdicts = done.judge.verdicts
    print(requests, "requests,", len(done.plan.injected), "faults,", verdicts.qualities, verdicts.collisions)
    assert {one.kind for one in done.plan.injected} == {fault.kind for fault in ALL}
    assert len(done.plan.injected) > requests // 20
    assert verdicts.wrong == [] and verdicts.good > requests // 3


def test_the_answer_to_another_master_is_not_taken_for_ours(seed: int) -> None:
    """One that asks our units, as often as we do, for as many registers at other addresses."""
    faults = [Fault(Kind.INTRUDER, 0.5, "both", high=30), Fault(Kind.TRUNCATE, 0.1), Fault(Kind.DROP, 2e-3)]
    done = run(3000, faults, seed)
    verdicts = done.judge.verdicts
    assert verdicts.wrong == [] and verdicts.good > 500
    assert verdicts.qualities[SUSPECT] > 100, "what may be the other's is uncertain"


def test_another_master_that_begins_while_an_answer_is_looked_for_is_still_heard(
    seed: int, soak: bool
) -> None:
    """The first bytes of its request are taken in with ours: that must not hide it from the next request."""
    faults = [Fault(Kind.INTRUDER, 0.5, "both", high=40), Fault(Kind.NOISE, 0.3), Fault(Kind.MERGE, 0.1)]
    items = [item for at in (0, 10, 20) for item in block(40 + at, 3, 40 + at, 10, 60 + at)]
    units = [["unit", 1, _TIMEOUT_MS, 0, 125, items]]
    requests = 100_000 if soak else 5_000
    done = RtuRun(Line(9600), units, Responder(), faults, seed=seed).run(requests)
    assert done.judge.verdicts.wrong == [] and done.judge.verdicts.good > requests // 4


class OtherMasterRun(RtuRun):
    """Another master asks our unit all the time, for as many registers as we do."""

    due = 0
    rng = random.Random(0)

    def pass_time(self) -> None:
        super().pass_time()
        if self.clock.ns >= self.due:
            self.due = self.clock.ns + self.rng.randrange(30_000_000, 90_000_000)
            register = self.rng.randrange(0x1000, 0x2000)
            self.bus.send(STRANGER, with_crc(read_request(1, 3, register, 10)), self.clock.ns)


@pytest.mark.parametrize(("period_ms", "least"), [(60, 20), (200, 60), (1000, 60)])
def test_a_second_master_on_the_line_brings_no_wrong_value(period_ms: int, least: int, seed: int) -> None:
    """More comes between two polls than there is room for; its end says whether an answer is due."""
    units = [["unit", 1, 100, 0, 125, block(40, 3, 40, 10, period_ms)]]
    responder = Responder(turnaround_ms={1: 20})
    done = OtherMasterRun(Line(38400), units, responder, seed=seed, start_ns=_START_NS)
    done.rng, done.due = random.Random(seed), _START_NS
    verdicts = done.run(10_000, ms=100_000).judge.verdicts
    assert verdicts.wrong == [] and done.source._read.foreign > 100
    assert verdicts.good + verdicts.uncertain >= least


def test_a_device_later_than_any_bound_is_found_out_and_given_more_time(seed: int) -> None:
    """Half of its answers come four timeouts and more late, and may be mistaken until one is seen astray."""
    faults = [Fault(Kind.DELAY, 0.5, low=4 * _TIMEOUT_MS, high=5 * _TIMEOUT_MS)]
    items = block(40, 3, 40, 10, 500) + block(80, 3, 80, 6, 501)
    slow = [["slow", 1, _TIMEOUT_MS, 0, 125, items]]
    done = RtuRun(Line(115200), slow, Responder(), faults, seed=seed).run(300)
    assert len(done.judge.verdicts.wrong) < 10 and done.judge.verdicts.good > 50
    assert done.source._blocks[0].device.late == 6, "timeouts, from three"


class Late(Responder):
    """Unit 1 gives one answer of twenty ``late_ns`` late, while the others answer as ever."""

    def __init__(self, late_ns: float, seed: int) -> None:
        super().__init__(units=(1, 2))
        self.late_ns = late_ns
        self.coming: list[tuple[float, bytes]] = []
        self._rng = random.Random(seed)

    def respond(self, frame: bytes, time: int) -> tuple[int, bytes] | None:
        answer = super().respond(frame, time)
        if answer is None or frame[0] != 1 or self._rng.random() > 0.05:
            return answer
        self.coming.append((time + self.late_ns, answer[1]))
        return None


class LateRun(RtuRun):
    """A run with a `Late`, whose answers come from a device of their own."""

    def pass_time(self) -> None:
        super().pass_time()
        assert isinstance(self.responder, Late)
        coming = self.responder.coming
        if coming and coming[0][0] <= self.clock.ns:
            self.bus.send(OUTSIDE, coming.pop(0)[1], self.clock.ns)


def test_a_unit_waits_out_its_lateness_after_a_timeout_and_the_others_go_on(seed: int) -> None:
    """RTU answers have no id: the next request waits until the missing answer can no longer come."""
    line, timeout_ns, period_ms = Line(115200), _TIMEOUT_MS * 1_000_000, 40
    units = [["late", 1, _TIMEOUT_MS, 0, 10, block(0, 3, 0, 10, 60)]]
    units += [["prompt", 2, _TIMEOUT_MS, 0, 10, block(80, 3, 80, 8, period_ms)]]
    done = LateRun(line, units, Late(2.5 * timeout_ns, seed), seed=seed).run(2000)
    assert done.judge.verdicts.wrong == []
    requests = done.judge.requests
    waits = [
        (one.time + 8 * line.char_ns + timeout_ns, after.time)
        for one, after in itertools.pairwise([one for one in requests if one.unit == 1])
        if after.time - one.time > 2 * timeout_ns
    ]
    assert len(waits) > 10
    others, due = 0, 0
    for over, again in waits:
        assert again - over >= 3 * timeout_ns - 2_000_000  # whole milliseconds
        others += sum(one.unit == 2 for one in requests if over < one.time < again)
        due += (again - over) // (period_ms * 1_000_000)
    # A late answer may meet one of theirs, and bring them a timeout of their own.
    assert others > 0.7 * due


def test_the_gap_of_a_device_is_kept_after_an_urgent_request(seed: int) -> None:
    gap_ms, line = 100, Line(115200)
    units = [["prompt", 1, _TIMEOUT_MS, 0, 10, block(0, 3, 0, 10, 20)]]
    units += [["slow", 2, _TIMEOUT_MS, gap_ms, 10, block(80, 3, 80, 8, 20)]]

    class Interrupted(RtuRun):
        def asked(self, now: int, frame: bytes) -> None:
            super().asked(now, frame)
            if frame[0] == 1 and len(self.judge.requests) % 10 == 0:
                urgent = importlib.import_module("gasan.node.urgent")
                urgent.Urgent(self.source, read_request(2, 3, 80, 2), 2000)

    done = Interrupted(line, units, Responder(units=(1, 2)), seed=seed).run(600)
    times = [one.time for one in done.judge.requests if one.unit == 2]
    assert len(times) > 50 and done.judge.verdicts.wrong == []
    assert min(b - a for a, b in itertools.pairwise(times)) >= gap_ms * 1_000_000


def test_an_adapter_that_lets_the_node_hear_itself_costs_nothing(seed: int) -> None:
    done = RtuRun(
        Line(115200),
        devices(),
        Responder(units=(1, 2, 3)),
        [Fault(Kind.ECHO, 1.0, "request")],
        seed=seed,
        params={32: 1},
    ).run(1000)
    assert done.judge.verdicts.bad == 0 and done.judge.verdicts.good >= 998


def test_the_same_seed_does_the_same(seed: int) -> None:
    first, second = (run(500, ALL, seed) for _ in range(2))
    assert first.plan.injected == second.plan.injected
    assert first.judge.outcomes == second.judge.outcomes and first.clock.ns == second.clock.ns


def test_the_judge_knows_a_wrong_value(seed: int) -> None:
    """A master that takes any frame of the right length for its answer must be found out."""

    def careless(poll: Any) -> None:
        settle = poll.Poller._settle

        def without_doubt(self: Any, block: Any) -> None:
            self._read.certain = True  # forgets that an answer may yet come
            settle(self, block)

        poll.Poller._settle = without_doubt

    responder = Responder(units=(1, 2, 3))
    done = RtuRun(Line(115200), devices(), responder, LATE * 5, seed=seed, tamper=careless)
    assert done.run(1000).judge.verdicts.wrong


@pytest.mark.parametrize("round_", range(5))
def test_after_the_faults_a_unit_is_good_within_two_requests(round_: int, seed: int) -> None:
    faulty = 400
    done = RtuRun(Line(38400), devices(), Responder(units=(1, 2, 3)), ALL, seed=seed + round_)
    done.run(faulty + 200, faulty)
    asked: dict[int, int] = {}
    good = {(unit, time) for time, unit, quality in done.judge.outcomes if quality == GOOD}
    for unit in (1, 2, 3):
        first = min(time for who, time in good if who == unit and time > done.quiet_ns)
        mine = [one.time for one in done.judge.requests[faulty:] if one.unit == unit]
        asked[unit] = sum(time < first for time in mine)
    # A row is handed over while the next request is on its way.
    assert max(asked.values()) <= 2 + 1, asked
