"""Blocks of different periods that are due together and are read by one request (gasan.node.together)."""

import importlib
import random
from collections import Counter
from typing import Any

import pytest
from gasan.hil import vmrun
from gasan.hil.polling import block
from gasan.hil.rs485 import Fault, Kind, Line, Responder
from gasan.hil.virtual import RtuRun, TcpRun, rtu
from gasan.hil.virtual.patchy import Patchy, Tally, patchy_run
from gasan.wire.quality import GOOD, TIMEOUT

MANY = 1 << 40
NS = 1_000_000
#: A meter: what moves each second, energies each 5 s beside it, and settings each 20 s among the former.
METER = [*block(0, 3, 0, 6, 1000), *block(10, 3, 12, 12, 5000), *block(30, 3, 6, 4, 20_000)]
_TIMEOUT_MS = 100


def device(items: list[list[int]], unit: int = 1, most: int = 125) -> list[Any]:
    return ["d", unit, _TIMEOUT_MS, 0, most, items]


def separately(poll: Any) -> None:
    """Each block by a request of its own, as without the module."""
    importlib.import_module("gasan.node.together").install = lambda poller: None  # type: ignore[attr-defined]


def tally(run: RtuRun) -> Tally:
    assert isinstance(run.judge, Tally)
    return run.judge


def size(registers: int) -> int:
    return 13 + 2 * registers


def test_what_is_due_together_is_read_by_one_request() -> None:
    cost = {}
    for name, tamper in (("apart", separately), ("together", None)):
        run = patchy_run(Line(9600), [device(METER)], Patchy(), tamper=tamper).run(MANY, ms=61_500)
        told = tally(run)
        start = told.requests[0].time
        # From the second cycle on: blocks are read by themselves at first.
        asked = [one for one in told.requests if 20_500 * NS < one.time - start < 60_500 * NS]
        cost[name] = len(asked), sum(size(one.registers) for one in asked)
        for channel, outcomes in told.outcomes.items():
            period = next(item[5] for item in METER if item[0] == channel)
            assert [quality for _, quality in outcomes] == [GOOD] * (61_500 // period + 1)
            assert told.missing[channel] == 0
    print("requests and bytes in 40 s:", cost)
    # 40 of each second; 8 of each fifth and 2 of each twentieth go along, and cost their registers alone.
    assert cost["apart"] == (40 + 8 + 2, 40 * size(6) + 8 * size(12) + 2 * size(4))
    assert cost["together"] == (40, 40 * size(6) + 6 * 2 * 18 + 2 * 2 * 18)


def test_blocks_go_together_only_where_that_is_cheaper() -> None:
    """On a line of 9600 baud a hole of 10 registers is read, one of 11 is not; and not more than allowed."""
    for first, most, requests in ((16, 125, 8), (17, 125, 12), (16, 19, 12), (16, 20, 8)):
        items = [*block(0, 3, 0, 6, 1000), *block(10, 3, first, 4, 2000)]
        run = patchy_run(Line(9600), [device(items, most=most)], Patchy()).run(MANY, ms=9500)
        later = [one for one in tally(run).requests if one.time > 1500 * NS]
        assert len(later) == requests, (first, most)


def test_a_border_between_them_costs_one_refusal_now_and_then() -> None:
    """No channel misses a reading, and what goes beside the refused block still goes along."""
    run = patchy_run(Line(19200), [device(METER)], Patchy(borders=frozenset({12}))).run(MANY, ms=600_000)
    told = tally(run)
    for channel, outcomes in told.outcomes.items():
        assert {quality for _, quality in outcomes} == {GOOD}, channel
        assert told.missing[channel] == 0
    refused = [one for one in told.requests if one.register <= 11 and one.register + one.registers > 12]
    print(len(refused), "refused in ten minutes")
    assert 2 <= len(refused) <= 4, "after a minute, four, sixteen"
    assert sum(one.registers == 10 for one in told.requests) >= 26, "the settings go along"
    assert not any("learn" in name for name in vars(run.source)) or run.source._learner is None


def test_a_silent_device_brings_each_due_sample_of_each_block_one_outcome() -> None:
    """And one that comes back is read together again."""

    class Gone(Patchy):
        def respond(self, frame: bytes, time: int) -> tuple[int, bytes] | None:
            return None if 30_050 * NS < time < 60_000 * NS else super().respond(frame, time)

    run = patchy_run(Line(9600), [device(METER)], Gone()).run(MANY, ms=300_500)
    told = tally(run)
    for channel, outcomes in told.outcomes.items():
        period = next(item[5] for item in METER if item[0] == channel)
        assert len(outcomes) + told.missing[channel] == 300_500 // period + 1
        assert {quality for _, quality in outcomes} == {GOOD, TIMEOUT}
    last = [one for one in told.requests if one.time > 240_000 * NS]
    assert len(last) <= 62


def test_values_stay_right_when_a_common_read_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an exception of whoever takes them; the source is then started again. The judge looks at all."""
    there = rtu.drive
    broken = []

    def again(task: Any, clock: Any, wanted: Any) -> None:
        while wanted():
            try:
                there(task, clock, wanted)
            except MemoryError:
                task = run.source.run()

    monkeypatch.setattr(rtu, "drive", again)
    items = [*block(0, 3, 20, 6, 1000), *block(10, 3, 12, 4, 5000)]
    run = patchy_run(Line(9600), [device(items)], Patchy())
    told = tally(run)
    asked = told.asked

    def ask_and_raise(time: int, body: bytes) -> None:
        asked(time, body)
        if told.requests[-1].registers > 6 and len(broken) < 3:
            broken.append(time)
            raise MemoryError

    told.asked = ask_and_raise  # type: ignore[method-assign]
    run.run(MANY, ms=120_000)
    assert len(broken) == 3
    assert {one.registers for one in told.requests if one.time > 60_000 * NS} == {6, 14}


FAULTS = [
    *(Fault(kind, 0.02) for kind in (Kind.TRUNCATE, Kind.SPLIT, Kind.NOISE, Kind.WRONG_UNIT)),
    Fault(Kind.DELAY, 0.02, low=20, high=140),
]


@pytest.mark.parametrize("bus", ["rtu", "tcp", "rtu-tcp"])
@pytest.mark.parametrize("faults", [[], FAULTS])
def test_no_value_is_of_another_address_or_time(bus: str, faults: list[Fault], seed: int) -> None:
    """Three periods of two units, the registers side by side."""
    devices = [
        [
            f"unit-{unit}",
            unit,
            40,
            0,
            125,
            [
                item
                for at, count, times in ((0, 10, 1), (10, 10, 2), (20, 6, 4))
                for item in block(40 * unit + at, 3, 40 * unit + at, count, 80 * times)
            ],
        ]
        for unit in (1, 2)
    ]
    responder = Responder(units=(1, 2))
    run: RtuRun | TcpRun
    if bus == "rtu":
        run = RtuRun(Line(115200), devices, responder, faults, seed=seed)
    else:
        run = TcpRun(devices, responder, faults, seed=seed, rtu=bus == "rtu-tcp")
    verdicts = run.run(3000).judge.verdicts
    sizes = Counter(one.registers for one in run.judge.requests)
    print(bus, len(faults), "faults", sizes, verdicts.qualities, verdicts.missed)
    assert verdicts.wrong == []
    if faults:
        assert verdicts.bad > 20 and verdicts.good > 500
    else:
        # Of four cycles two read 10, one 20 and one 26 registers; each block by itself the first time.
        assert verdicts.bad == 0 and verdicts.missed == 0
        assert sizes[20] == pytest.approx(750, abs=4) and sizes[26] == pytest.approx(750, abs=4)
        assert sizes[10] + sizes[20] + sizes[26] + sizes[6] == 3000 and sizes[6] <= 4


@pytest.mark.parametrize("round_", range(3))
def test_any_blocks_with_faults_keep_their_values_and_their_count(round_: int, seed: int) -> None:
    """Random places and periods, a device with holes, and a line with faults: right values, none lost."""
    rng = random.Random(f"{seed}/{round_}")
    periods = (200, 400, 1000, 2000)
    registers = rng.sample(range(0, 120, 2), 30)
    items = [[i, 3, register, 1, 0, rng.choice(periods)] for i, register in enumerate(registers)]
    forbidden = frozenset(rng.sample(range(1, 120, 2), 3))
    faults = [Fault(Kind.TRUNCATE, 0.01), Fault(Kind.DELAY, 0.01, low=20, high=300), Fault(Kind.DROP, 1e-3)]
    responder = Patchy(forbidden=forbidden)
    run = patchy_run(Line(115200), [device(items)], responder, faults=faults, seed=seed)
    ms = 60_000
    run.run(MANY, ms=ms)
    told = tally(run)
    together = 0
    for first, end in [(one.register, one.register + one.registers) for one in told.requests]:
        inside = {period for _, _, register, _, _, period in items if first <= register < end}
        together += len(inside) > 1
    print(len(told.requests), "requests,", together, "over registers of several periods")
    for channel, outcomes in told.outcomes.items():
        period = next(item[5] for item in items if item[0] == channel)
        due = ms // period
        assert abs(len(outcomes) + told.missing[channel] - due) <= 3, (channel, period)
        good = sum(quality == GOOD for _, quality in outcomes)
        assert good > 0.6 * due


LOCKED = """
import micropython, sys
from gasan.wire.modbus_rtu import with_crc
answers = {n: with_crc(b"\\x01\\x03" + bytes((2 * n,)) + bytes(range(2 * n))) for n in (4, 6, 10)}
class Uart:
    def __init__(self, *a, **k):
        self.answer = b""
        self.at = 0
    def any(self):
        return len(self.answer) - self.at
    def readinto(self, buf, n):
        for i in range(n):
            buf[i] = self.answer[self.at]
            self.at += 1
        return n
    def write(self, data):
        self.answer = answers[data[5]]
        self.at = 0
        return len(data)
    def txdone(self):
        return True
class Machine:
    UART = Uart
    Pin = None
sys.modules["machine"] = Machine
from time import ticks_ms
from gasan.node.modbus_rtu import Source
from gasan.node.sampler import Sampler
sampler = Sampler(1000000, 2048, 20, 65536)
items = [[i, 3, i, 1, 0, 1000 if i < 6 else 2000] for i in range(10)]
source = Source([0, "line", {1: 1, 2: 115200}, [["d", 1, 500, 0, 10, items]]], sampler, None)
def transactions(n):
    for i in range(n):
        for block in source._blocks:
            block.due = ticks_ms()
        block = source._block = source._next()
        source._begin(block)
        while source._step() >= 0:
            pass
        source._end()
        source._settle(block)
    source._deliver()
slow = source._blocks[1]
source._blocks.remove(slow)
transactions(1)
source._blocks.append(slow)
slow.trust = 2
transactions(1)
before = sampler.sampled
micropython.heap_lock()
transactions(60)
micropython.heap_unlock()
print(sampler.sampled - before)
"""


@pytest.mark.parametrize("bits", [32, 64])
def test_to_read_together_takes_nothing_from_the_heap(bits: int) -> None:
    if missing := vmrun.missing(bits):
        pytest.skip(missing)
    assert vmrun.run(LOCKED, bits=bits, heap="8m") == "600\n"
