"""The RTU master on the VM, over a line in byte time: values, faults, dead devices, lateness, heap."""

import asyncio
import statistics
from typing import Any

import pytest
from gasan.hil import equipment, vmrun
from gasan.hil.polling import Outcome, Row, block, good_and_wrong, poll_rtu
from gasan.hil.rs485 import Fault, Kind, Line, Relay, Responder, Served
from gasan.hil.rs485.responder import tag
from gasan.wire.columns import F32, F64, I16, I32, U8, U16, U32, U64
from gasan.wire.modbus_read import read_request
from gasan.wire.quality import BAD_ANSWER, BAD_CRC, EXCEPTION, GOOD, TIMEOUT
from pymodbus.simulator import DataType, SimData, SimDevice

needs_32 = pytest.mark.skipif(bool(vmrun.missing(32)), reason=vmrun.missing(32))


def device(unit: int, *items: list[list[int]], timeout: int = 200, gap: int = 0) -> list[Any]:
    """Holes are not read, so that each block stays one."""
    return ["d", unit, timeout, gap, 125, {1: 0}, [item for some in items for item in some]]


def check_values(outcome: Outcome, served: list[Served], reads: dict[int, tuple[int, int, int]]) -> int:
    """Every good row must be right; returns how many there were."""
    good, wrong = good_and_wrong(outcome, served, reads)
    assert not wrong, wrong[0]
    return good


def qualities(rows: list[Row]) -> list[int]:
    return [row.quality for row in rows]


def due(outcome: Outcome, channel: int) -> int:
    """Rows of a block, those that were missed included."""
    return len(outcome.of(channel)) + outcome.missed_of(channel)


def test_reads_every_type_and_order_from_pymodbus() -> None:
    raw = {
        0: (U16, 0, 1, "fffe"),
        1: (I16, 0, 1, "8001"),
        2: (U32, 0, 2, "01020304"),
        4: (I32, 1, 2, "fffefdfc"),
        6: (F32, 2, 2, "7fc00001"),
        8: (F64, 3, 4, "fff8000000000123"),
        12: (U64, 1, 4, "0123456789abcdef"),
        16: (U8, 0, 1, "7f"),
    }
    registers: list[int] = []
    for code, order, count, value in raw.values():
        data = bytes.fromhex(value if code != U8 else "aa" + value)
        words = [data[i : i + 2] for i in range(0, 2 * count, 2)]
        words = words[::-1] if order & 1 else words
        registers += [int.from_bytes(word[::-1] if order & 2 else word, "big") for word in words]
    items = [
        [i, 4, register, code, order, 250] for i, (register, (code, order, _, _)) in enumerate(raw.items())
    ]

    async def scene() -> Outcome:
        line = Line(19200, "even")
        with Relay(line) as relay:
            unit = SimDevice(7, SimData(0, values=registers, datatype=DataType.REGISTERS))
            server = await equipment.serve_rtu(relay.devices, [unit], line.baudrate)
            try:
                return await asyncio.to_thread(
                    poll_rtu, relay.master, line, [device(7, items, timeout=500)], 900
                )
            finally:
                await equipment.stop(server)

    outcome = asyncio.run(scene())
    assert len(outcome.rows) >= 3 and set(qualities(outcome.rows)) == {GOOD}
    expected = bytes.fromhex("".join(value for _, _, _, value in raw.values()))
    assert {row.data for row in outcome.rows} == {expected}


def test_an_exception_is_named_and_does_not_slow_the_device() -> None:
    with Relay(Line(38400), responder=Responder(limit=100)) as relay:
        both = device(1, block(0, 3, 0, 4, 50), block(4, 3, 200, 1, 50))
        outcome = poll_rtu(relay.master, relay.line, [both], 1000)
    assert set(qualities(outcome.of(0))) == {GOOD}
    assert set(qualities(outcome.of(4))) == {EXCEPTION + 2}
    # What learns is loaded meanwhile, which may take longer than a period.
    assert len(outcome.of(0)) >= 17 and len(outcome.of(4)) >= 17
    assert abs(due(outcome, 0) - 20) <= 1 and abs(due(outcome, 4) - 20) <= 1
    assert 3 <= outcome.counters[14] <= 6, "then it is retired, and only says so"
    tally = outcome.tallies[0]
    assert tally[5] == outcome.counters[14] and sum(tally[6:13]) >= len(outcome.of(0))
    assert tally[:5] == [0, 0, 0, 0, 0] and tally[13] == 0


def test_answers_are_counted_by_how_long_a_device_took_for_them() -> None:
    turnaround = {1: 0, 2: 25, 3: 100}
    devices = [device(unit, block(10 * unit, 3, 0, 10, 200), timeout=400) for unit in turnaround]
    with Relay(Line(19200), responder=Responder(units=(1, 2, 3), turnaround_ms=turnaround)) as relay:
        outcome = poll_rtu(relay.master, relay.line, devices, 2000)
    # Up to 8 ms, 16, 32, 64, 128, 256, more. A busy machine may add some, so the next one is let pass.
    for first, slot in ((10, 6), (20, 8), (30, 10)):
        tally = outcome.tallies[first]
        answers = sum(tally[6:13])
        assert answers >= 6 and tally[slot] + tally[slot + 1] >= 0.8 * answers, (first, tally)
        assert not any(tally[:5]) and not any(tally[6:slot]), (first, tally)


def test_an_adapter_that_hears_itself_leaves_a_stray_with_every_answer() -> None:
    echo = Fault(Kind.ECHO, rate=1.0, on="request")
    with Relay(Line(38400), responder=Responder(), faults=[echo]) as relay:
        outcome = poll_rtu(relay.master, relay.line, [device(1, block(0, 3, 0, 10, 100))], 1500)
    tally = outcome.tallies[0]
    assert sum(tally[6:13]) >= 5 and sum(tally[6:13]) - tally[13] <= 1, tally


def test_a_dead_device_does_not_stall_the_live_one() -> None:
    live, dead = (
        device(1, block(0, 3, 0, 10, 50)),
        device(9, block(10, 3, 0, 10, 50), block(20, 3, 50, 10, 50)),
    )
    with Relay(Line(38400), responder=Responder()) as relay:
        outcome = poll_rtu(relay.master, relay.line, [live, dead], 5000)
    # Four requests of 200 ms in vain at first, as the pauses grow; later one in 25 timeouts.
    assert set(qualities(outcome.of(0))) == {GOOD} and len(outcome.of(0)) >= 80
    assert set(qualities(outcome.of(10) + outcome.of(20))) == {TIMEOUT}
    for channel in (0, 10, 20):  # a due sample is a reading or is missed
        assert 95 <= due(outcome, channel) <= 101  # the last request may still be waiting
    # Bad readings come when they are due, not only when the device is asked.
    assert len(outcome.of(10)) >= 80


def test_a_device_that_comes_back_is_read_again() -> None:
    faults = [Fault(Kind.TRUNCATE, frames=frozenset(range(3)), low=1, high=1)]
    with Relay(Line(38400), responder=Responder(), faults=faults) as relay:
        outcome = poll_rtu(relay.master, relay.line, [device(1, block(0, 3, 0, 4, 100), timeout=50)], 3000)
    found = qualities(outcome.of(0))
    assert found[0] == BAD_CRC and set(found[-10:]) == {GOOD}
    assert set(found) <= {GOOD, BAD_CRC, TIMEOUT}
    assert abs(due(outcome, 0) - 30) <= 1


@pytest.mark.parametrize(
    ("kind", "quality"),
    [
        (Kind.FLIP, {BAD_CRC}),
        (Kind.DROP, {BAD_CRC}),
        (Kind.DOUBLE, {BAD_CRC, GOOD}),
        (Kind.TRUNCATE, {BAD_CRC}),
        (Kind.WRONG_UNIT, {BAD_ANSWER}),
        (Kind.NOISE, {GOOD}),
        (Kind.MERGE, {GOOD}),
        (Kind.SPLIT, {GOOD}),
    ],
)
def test_one_bad_answer_spoils_one_reading(kind: Kind, quality: set[int], seed: int) -> None:
    faults = [Fault(kind, frames=frozenset({3}), high=7 if kind is Kind.SPLIT else None)]
    with Relay(Line(38400), responder=Responder(), faults=faults, seed=seed) as relay:
        outcome = poll_rtu(relay.master, relay.line, [device(1, block(0, 3, 0, 10, 100), timeout=50)], 900)
        good = check_values(outcome, relay.served(), {0: (1, 0, 10)})
        assert [(one.kind, one.frame) for one in relay.injected()] == [(kind, 3)]
    found = qualities(outcome.of(0))
    assert found[3] in quality
    assert found[:3] == [GOOD] * 3 and found[5:] == [GOOD] * (
        len(found) - 5
    )  # at most one more waits out a pause
    assert good >= len(found) - 2


def test_an_echo_of_the_own_request_is_not_an_answer() -> None:
    faults = [Fault(Kind.ECHO, rate=1, on="request")]
    with Relay(Line(38400), responder=Responder((1, 2), turnaround_ms={2: 30}), faults=faults) as relay:
        devices = [
            device(1, block(0, 3, 0, 10, 100)),
            device(2, block(10, 3, 0, 10, 100)),
            device(3, block(20, 3, 0, 3, 100), timeout=50),
        ]
        outcome = poll_rtu(relay.master, relay.line, devices, 1000)
        check_values(outcome, relay.served(), {0: (1, 0, 10), 10: (2, 0, 10)})
    assert set(qualities(outcome.of(0))) == {GOOD} and set(qualities(outcome.of(10))) == {GOOD}
    assert GOOD not in qualities(outcome.of(20))


def storm(seed: int, faults: list[Fault], ms: int) -> tuple[Outcome, int, int]:
    """Poll two units, each with three reads of the same shape, through faults; returns the good rows too."""
    reads = {10 * i: (1 + i % 2, 20 * i, 10) for i in range(6)}
    devices = [
        device(
            unit,
            *(
                block(channel, 3, register, 10, 60)
                for channel, (at, register, _) in reads.items()
                if at == unit
            ),
            timeout=40,
        )
        for unit in (1, 2)
    ]
    with Relay(Line(115200), responder=Responder(units=(1, 2)), faults=faults, seed=seed) as relay:
        outcome = poll_rtu(relay.master, relay.line, devices, ms)
        good = check_values(outcome, relay.served(), reads)
        return outcome, good, len(relay.injected())


def test_late_answers_are_never_taken_for_the_next_one(seed: int) -> None:
    outcome, good, injected = storm(seed, [Fault(Kind.DELAY, rate=0.25, low=20, high=150)], 6000)
    assert injected > 20 and good > 50, (injected, good)
    assert outcome.counters[12] > 0


def test_a_storm_of_faults_brings_no_wrong_value(seed: int) -> None:
    kinds = (Kind.NOISE, Kind.TRUNCATE, Kind.DELAY, Kind.SPLIT, Kind.WRONG_UNIT, Kind.MERGE, Kind.ECHO)
    faults = [
        Fault(Kind.FLIP, 1e-4, "both"),
        Fault(Kind.DROP, 1e-3, "both"),
        Fault(Kind.DOUBLE, 1e-3, "both"),
    ]
    faults += [
        Fault(
            kind,
            0.02,
            "answer",
            low=20 if kind is Kind.DELAY else None,
            high=150 if kind is Kind.DELAY else None,
        )
        for kind in kinds
    ]
    outcome, good, injected = storm(seed, faults, 6000)
    assert injected > 30 and good > 100, (injected, good)
    assert len(outcome.rows) > 0


def test_due_samples_that_the_line_cannot_carry_are_counted() -> None:
    with Relay(Line(9600), responder=Responder(units=(1, 2))) as relay:
        devices = [device(1, block(0, 3, 0, 10, 20)), device(2, block(10, 3, 0, 10, 200))]
        outcome = poll_rtu(relay.master, relay.line, devices, 3000)
    assert outcome.bad == 0 and outcome.missed > 50
    assert abs(due(outcome, 0) - 150) <= 5 and abs(due(outcome, 10) - 15) <= 1
    assert len(outcome.of(10)) >= 14  # the fast one does not starve the slow one


def test_a_device_is_given_its_gap() -> None:
    with Relay(Line(115200), responder=Responder()) as relay:
        outcome = poll_rtu(relay.master, relay.line, [device(1, block(0, 3, 0, 4, 1), gap=40)], 1000)
        times = [one.time / 1e6 for one in relay.served()]
    assert outcome.bad == 0
    assert min(b - a for a, b in zip(times, times[1:], strict=False)) >= 40


def test_an_urgent_request_goes_before_the_polls() -> None:
    """On a line that polls overload, each waits for the transaction under way only, and no poll is lost."""
    asked = [(300 + 200 * i, read_request(1, 3, 1000 + 2 * i, 1), 2000) for i in range(5)]
    with Relay(Line(9600), responder=Responder(units=(1, 2))) as relay:
        devices = [device(1, block(0, 3, 0, 10, 20)), device(2, block(10, 3, 0, 10, 20))]
        outcome = poll_rtu(relay.master, relay.line, devices, 2000, urgent=asked)
        good = check_values(outcome, relay.served(), {0: (1, 0, 10), 10: (2, 0, 10)})
    assert [one.answer for one in outcome.urgent] == [
        tag(1, 1000 + 2 * i).to_bytes(2, "big") for i in range(5)
    ]
    assert all(one.sent and one.quality == GOOD for one in outcome.urgent)
    # A poll under way, and its own transaction; of the median, since other processes may hold one up.
    assert statistics.median(one.ms for one in outcome.urgent) < 2 * 41.7 + 25
    assert good > 30 and outcome.bad == 0


def test_an_urgent_request_keeps_the_device_s_gap_and_its_deadline() -> None:
    asked = [
        (300, read_request(1, 3, 1000, 1), 500),
        (301, read_request(1, 3, 1001, 1), 5),  # behind the other, and 60 ms of gap
        (500, read_request(9, 3, 0, 1), 500),  # nobody has polled that one before, and it is not there
    ]
    with Relay(Line(38400), responder=Responder()) as relay:
        devices = [device(1, block(0, 3, 0, 4, 1000), gap=60)]
        outcome = poll_rtu(relay.master, relay.line, devices, 2500, urgent=asked)
        times = [one.time / 1e6 for one in relay.served()]
    assert [(one.quality, one.sent) for one in outcome.urgent] == [
        (GOOD, True),
        (TIMEOUT, False),
        (TIMEOUT, True),
    ]
    assert outcome.urgent[0].ms < 400, "an idle line is there soon"
    assert min(b - a for a, b in zip(times, times[1:], strict=False)) >= 60
    assert len(outcome.of(0)) >= 2 and outcome.bad == 0


def test_the_line_is_free_for_the_spool_between_transactions() -> None:
    with Relay(Line(38400), responder=Responder()) as relay:
        outcome = poll_rtu(relay.master, relay.line, [device(1, block(0, 3, 0, 10, 1))], 2000, commit=True)
    assert len(outcome.commit_waits_us) > 20
    assert statistics.median(outcome.commit_waits_us) < 30_000  # a transaction lasts 12 ms


def test_the_driver_is_held_for_the_request_and_no_longer() -> None:
    line = Line(9600)
    with Relay(line, responder=Responder()) as relay:
        outcome = poll_rtu(relay.master, line, [device(1, block(0, 3, 0, 4, 50))], 1500, de_re=3)
    assert outcome.bad == 0
    edges = [edge for i, edge in enumerate(outcome.drive) if i == 0 or edge[1] != outcome.drive[i - 1][1]]
    held = [
        down - up
        for (up, one), (down, zero) in zip(edges[::2], edges[1::2], strict=False)
        if one and not zero
    ]
    request_us = 8 * line.char_ns / 1000
    assert len(held) >= 25
    assert min(held) >= request_us
    assert statistics.median(held) <= request_us + line.char_ns / 1000


@needs_32
def test_a_request_leaves_one_small_object_on_the_heap() -> None:
    """96 bytes on 32 bits: the coroutine of Lock.acquire; everything else is there from the start."""
    with Relay(Line(115200), responder=Responder()) as relay:
        devices = [device(1, block(0, 3, 0, 10, 10), block(10, 3, 20, 10, 10))]
        outcome = poll_rtu(
            relay.master, relay.line, devices, 2500, bits=32, heap="8m", keep=False, garbage=True
        )
    assert outcome.good > 100 and outcome.bad == 0
    assert outcome.garbage <= 128
