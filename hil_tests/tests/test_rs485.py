"""The simulated RS-485 line: byte times, silences, half duplex, seeded faults, and the relay between ptys."""

import os
import random
import select
import signal
import statistics
import subprocess
import sys
import time
import tty

import pytest
from gasan.hil.rs485 import (
    MASTER,
    OUTSIDE,
    Bus,
    Delivery,
    Fault,
    FaultPlan,
    Kind,
    Line,
    Relay,
    RelayError,
    Responder,
)
from gasan.hil.rs485.faults import with_crc
from gasan.hil.rs485.responder import tag
from gasan.wire.modbus_rtu import crc16

REQUEST = with_crc(b"\x01\x03\x00\x00\x00\x0a")
FOREVER = 10**18


def heard(deliveries: list[Delivery], station: int) -> bytes:
    return bytes(one.byte for one in deliveries if one.station == station)


def ask(bus: Bus, request: bytes, now: int) -> list[Delivery]:
    """Send a request and let the line fall silent."""
    bus.send(MASTER, request, now)
    return bus.run(now + 10**10)


@pytest.mark.parametrize(
    ("line", "bits", "gap_us"),
    [
        (Line(9600), 10, 3646),
        (Line(9600, "even"), 11, 4010),
        (Line(19200, "odd", 2), 12, 2188),
        (Line(38400), 10, 1750),
        (Line(115200, "even"), 11, 1750),
    ],
)
def test_characters_and_silences_have_the_length_of_the_specification(
    line: Line, bits: int, gap_us: int
) -> None:
    assert line.char_bits == bits
    assert line.char_ns == pytest.approx(bits * 1e9 / line.baudrate, abs=1)
    assert round(line.gap_ns / 1000) == pytest.approx(gap_us, abs=1)


@pytest.mark.parametrize("bad", [(0, "none", 1), (9600, "mark", 1), (9600, "none", 3)])
def test_a_line_that_cannot_be_is_refused(bad: tuple[int, str, int]) -> None:
    with pytest.raises(ValueError, match="no such line"):
        Line(*bad)


def test_every_byte_comes_in_when_it_has_passed_the_line() -> None:
    line = Line(9600)
    bus = Bus(line)
    bus.send(MASTER, REQUEST, 1000)
    assert bus.next_time() == 1000 + line.char_ns
    assert bus.run(1000 + line.char_ns - 1) == []
    deliveries = bus.run(FOREVER)
    assert [one.time for one in deliveries] == [1000 + (i + 1) * line.char_ns for i in range(8)]
    assert heard(deliveries, OUTSIDE) == REQUEST and heard(deliveries, MASTER) == b""
    assert bus.next_time() is None


def test_a_device_waits_for_the_silence_before_it_answers() -> None:
    line = Line(9600)
    bus = Bus(line)
    bus.send(MASTER, REQUEST, 0)
    end = bus.run(FOREVER)[-1].time
    bus.send(OUTSIDE, b"\x01\x02", end + 10)
    assert [one.time for one in bus.run(FOREVER)] == [end + line.gap_ns + line.char_ns * i for i in (1, 2)]


def test_the_responder_answers_at_the_first_moment_allowed() -> None:
    line = Line(9600)
    bus = Bus(line, responder=Responder())
    deliveries = ask(bus, REQUEST, 0)
    answer = heard(deliveries, MASTER)
    assert deliveries[-1].time == (8 + 25) * line.char_ns + line.gap_ns and deliveries[-1].last
    assert crc16(answer, 0, 25) == 0 and answer[:3] == b"\x01\x03\x14"
    words = [int.from_bytes(answer[3 + 2 * i : 5 + 2 * i], "big") for i in range(10)]
    assert words == [tag(1, i) if i % 2 == 0 else 0 for i in range(10)]
    assert [(one.unit, one.register, one.registers, one.serial) for one in bus.responder.served] == [
        (1, 0, 10, 0)
    ]
    assert bus.totals.answers == 1 and bus.totals.bytes == 33


@pytest.mark.parametrize(
    ("request_body", "answer"),
    [
        (b"\x02\x03\x00\x00\x00\x01", b""),
        (b"\x01\x05\x00\x00\xff\x00", with_crc(b"\x01\x85\x01")),
        (b"\x01\x03\x00\x62\x00\x03", with_crc(b"\x01\x83\x02")),
        (b"\x01\x04\x00\x00\x00\x00", with_crc(b"\x01\x84\x02")),
    ],
)
def test_the_responder_refuses_as_a_device_does(request_body: bytes, answer: bytes) -> None:
    bus = Bus(Line(9600), responder=Responder(limit=100))
    assert heard(ask(bus, with_crc(request_body), 0), MASTER) == answer


def test_the_responder_ignores_a_request_without_the_silence_before_it() -> None:
    line = Line(9600)
    for early, answers in ((1, 1), (0, 2)):
        bus = Bus(line, responder=Responder())
        end = ask(bus, REQUEST, 0)[-1].time
        ask(bus, REQUEST, end + line.gap_ns - early)
        assert bus.totals.answers == answers
        assert bus.totals.early_requests == early


def test_bytes_that_overlap_are_both_spoilt() -> None:
    line = Line(9600)
    bus = Bus(line)
    bus.send(OUTSIDE, bytes(100), 0)
    bus.send(MASTER, bytes(100), line.gap_ns + 50 * line.char_ns + 7)
    deliveries = bus.run(FOREVER)
    assert len(deliveries) == 200
    assert any(heard(deliveries, MASTER)[51:]) and not any(heard(deliveries, MASTER)[:49])
    assert any(heard(deliveries, OUTSIDE)[:49]) and not any(heard(deliveries, OUTSIDE)[52:])
    assert bus.totals.collisions > 0


def test_the_use_of_the_line_is_least_time_by_actual_time() -> None:
    line = Line(115200)
    bus = Bus(line, responder=Responder())
    now = 0
    for _ in range(5):
        now = ask(bus, REQUEST, now)[-1].time + line.gap_ns + 100_000
    assert bus.totals.cycles == 4
    assert bus.totals.least_ns == 4 * line.least_ns(8, 25) == 4 * (33 * line.char_ns + 2 * line.gap_ns)
    assert bus.totals.cycle_ns == bus.totals.least_ns + 4 * 100_000


def shape(kind: Kind, seed: int, **options: float) -> tuple[list[tuple[int, bytes]], bool, FaultPlan]:
    plan = FaultPlan.of(seed, [Fault(kind, frames=frozenset({0}), **options)])  # type: ignore[arg-type]
    shaped = plan.shape("answer", REQUEST, 1000)
    assert [one.kind for one in plan.injected] == [kind]
    return shaped.pieces, shaped.echo, plan


@pytest.mark.parametrize("round_", range(20))
def test_each_fault_does_what_its_name_says(round_: int, seed: int) -> None:
    seed += round_
    whole = len(REQUEST)
    [(_, data)], _, _ = shape(Kind.FLIP, seed)
    changed = int.from_bytes(data, "big") ^ int.from_bytes(REQUEST, "big")
    assert len(data) == whole and changed.bit_count() == 1
    [(_, data)], _, _ = shape(Kind.DROP, seed)
    assert len(data) == whole - 1
    [(_, data)], _, _ = shape(Kind.DOUBLE, seed)
    assert len(data) == whole + 1
    [(_, data)], _, _ = shape(Kind.NOISE, seed, low=2, high=5)
    assert data.endswith(REQUEST) and 2 <= len(data) - whole <= 5
    [(_, data)], _, _ = shape(Kind.TRUNCATE, seed)
    assert REQUEST.startswith(data) and 1 <= len(data) < whole
    [(pause, data)], _, _ = shape(Kind.DELAY, seed, low=30, high=40)
    assert data == REQUEST and 30e6 <= pause <= 40e6
    pieces, _, _ = shape(Kind.SPLIT, seed, low=5, high=6)
    assert b"".join(data for _, data in pieces) == REQUEST and 5000 <= pieces[1][0] <= 6000
    [(_, data)], _, _ = shape(Kind.WRONG_UNIT, seed)
    assert data[0] != REQUEST[0] and data[1:-2] == REQUEST[1:-2] and crc16(data, 0, whole) == 0
    [(_, data)], _, _ = shape(Kind.MERGE, seed)
    assert REQUEST in data and len(data) == whole + 7
    [(_, data)], echo, _ = shape(Kind.ECHO, seed)
    assert data == REQUEST and echo


def test_a_plan_does_the_same_to_the_same_frames(seed: int) -> None:
    faults = [Fault(Kind.FLIP, 0.01), Fault(Kind.DELAY, 0.3), Fault(Kind.DROP, 0.05, on="both")]
    plans = [FaultPlan.of(seed, faults) for _ in range(2)]
    frames = [random.Random(seed).randbytes(25) for _ in range(50)]
    answers = [[plan.shape("answer", frame, 1000) for frame in frames] for plan in plans[:1]]
    for frame in frames:  # requests in between make no difference
        plans[1].shape("request", frame, 1000)
    answers.append([plans[1].shape("answer", frame, 1000) for frame in frames])
    assert answers[0] == answers[1]
    assert len(plans[0].injected) > 5


def test_a_fault_keeps_to_its_direction() -> None:
    plan = FaultPlan.of(1, [Fault(Kind.DROP, rate=1, on="request")])
    assert plan.shape("answer", REQUEST, 1000).pieces == [(0, REQUEST)]
    assert plan.shape("request", REQUEST, 1000).pieces == [(0, b"")]


def test_a_frame_whose_bytes_were_all_lost_leaves_the_line_silent() -> None:
    bus = Bus(Line(9600), FaultPlan.of(1, [Fault(Kind.DROP, rate=1, on="request")]), Responder())
    assert ask(bus, REQUEST, 0) == []


def read_for(fd: int, size: int, seconds: float) -> bytes:
    """Up to ``size`` bytes, as soon as they are there."""
    data = b""
    end = time.monotonic() + seconds
    while len(data) < size and select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
        data += os.read(fd, size - len(data))
    return data


def test_the_relay_paces_an_exchange_to_the_baud_rate() -> None:
    line = Line(9600)
    least = (33 * line.char_ns + line.gap_ns) / 1e9
    took = []
    with Relay(line, responder=Responder()) as relay:
        fd = os.open(relay.master, os.O_RDWR | os.O_NOCTTY)
        for _ in range(10):
            start = time.monotonic()
            os.write(fd, REQUEST)
            assert len(read_for(fd, 25, 2)) == 25
            took.append(time.monotonic() - start)
            time.sleep(line.gap_ns / 1e9)  # the silence that a master owes the line
        os.close(fd)
        stats = relay.stats()
    assert min(took) >= least
    assert statistics.median(took) <= least + 0.005
    assert stats.totals.answers == 10 and stats.totals.early_requests == 0
    assert 0 < stats.late_mean_us <= stats.late_max_us


def test_the_relay_carries_bytes_both_ways_and_drops_what_nobody_reads() -> None:
    with Relay(Line(115200)) as relay:
        master, devices = (os.open(path, os.O_RDWR | os.O_NOCTTY) for path in (relay.master, relay.devices))
        for _ in range(30):  # more than a pty holds
            os.write(master, bytes(256))
        assert read_for(devices, 256, 5) == bytes(256)
        carried = 0
        while (now := relay.stats().totals.bytes) != carried:  # who answers into a request garbles both
            carried = now
            time.sleep(0.1)
        os.write(devices, b"answer")
        assert read_for(master, 6, 5) == b"answer"
        os.close(master)
        os.close(devices)
        assert relay.stats().totals.bytes >= 262


def test_the_relay_reports_what_it_injected_and_what_was_served() -> None:
    faults = [Fault(Kind.FLIP, frames=frozenset({0}))]
    with Relay(Line(115200), responder=Responder(), faults=faults, seed=5) as relay:
        fd = os.open(relay.master, os.O_RDWR | os.O_NOCTTY)
        start = time.monotonic_ns()
        os.write(fd, REQUEST)
        assert len(read_for(fd, 25, 2)) == 25
        os.close(fd)
        [served], [injected] = relay.served(), relay.injected()
    assert (served.unit, served.function, served.register, served.registers) == (1, 3, 0, 10)
    assert start < served.time < time.monotonic_ns()
    assert (injected.kind, injected.direction, injected.frame) == (Kind.FLIP, "answer", 0)


def test_the_relay_ends_with_whoever_started_it() -> None:
    script = (
        "from gasan.hil.rs485 import Relay, Line\n"
        "relay = Relay(Line(9600)).start()\n"
        "print(relay._process.pid, flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        relay = int(parent.stdout.readline())
        parent.kill()
    for _ in range(500):
        try:
            os.kill(relay, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    os.kill(relay, signal.SIGKILL)
    pytest.fail("the relay has outlived its starter")


def test_a_relay_that_is_not_there_is_an_error() -> None:
    relay = Relay(Line(9600))
    with pytest.raises(RelayError, match="start it first"):
        relay.stats()
    relay.start()
    relay.stop()
    relay.stop()
    with pytest.raises(RelayError):
        relay.stats()


def raw_pty() -> tuple[int, str]:
    """The end of a pty that a test plays on, and the path that pyserial opens as the adapter."""
    end, user = os.openpty()
    tty.setraw(user)
    return end, os.ttyname(user)


def test_an_adapter_may_stand_on_either_side() -> None:
    """A board under test asks through one adapter, a machine answers through another, faults in between."""
    master, master_port = raw_pty()
    machine, machine_port = raw_pty()
    answer = with_crc(b"\x01\x03\x02\x12\x34")
    faults = [
        Fault(Kind.DELAY, frames=frozenset({1}), low=60, high=60),
        Fault(Kind.DROP, frames=frozenset({2})),
    ]
    with Relay(
        Line(19200), master_port=master_port, devices_port=machine_port, faults=faults, seed=3
    ) as relay:
        assert (relay.master, relay.devices) == (master_port, machine_port)
        for number in range(4):
            os.write(master, REQUEST[:3])  # an adapter hands over in lumps
            os.write(master, REQUEST[3:])
            assert read_for(machine, 8, 5) == REQUEST
            start = time.monotonic()
            os.write(machine, answer)
            heard = read_for(master, 7, 5 if number != 2 else 0.5)
            assert heard == answer if number != 2 else len(heard) == 6
            assert number != 1 or time.monotonic() - start > 0.06
        assert [(one.kind, one.frame) for one in relay.injected()] == [(Kind.DELAY, 1), (Kind.DROP, 2)]
        assert relay.stats().totals.requests == 4
    os.close(master)
    os.close(machine)


def test_the_responder_answers_through_an_adapter_too() -> None:
    master, port = raw_pty()
    with Relay(Line(38400), master_port=port, responder=Responder()) as relay:
        os.write(master, REQUEST)
        answer = read_for(master, 25, 5)
        assert crc16(answer, 0, 25) == 0 and answer[:3] == b"\x01\x03\x14"
        [served] = relay.served()
        assert served.registers == 10
    os.close(master)


def test_an_adapter_that_is_not_there_is_an_error() -> None:
    for port in ("/dev/gasan-no-such-port", "loop://"):
        with pytest.raises(RelayError, match=port.split(":")[0]):
            Relay(Line(9600), master_port=port).start()
