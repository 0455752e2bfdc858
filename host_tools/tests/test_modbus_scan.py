"""The search for an unknown line, on a line in virtual time; frames among noise; what people write."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from gasan.host.errors import InputError
from gasan.host.i18n import set_language
from gasan.host.modbus.frames import Kind, Reply, frames_in, judge_rtu, rtu
from gasan.host.modbus.identify import Identity, identity_of, server_id_of
from gasan.host.modbus.order import Timing, batches, settings_by_likelihood
from gasan.host.modbus.ports import check_read, is_serial, parse_host
from gasan.host.modbus.scan import PROBE, Device, Report, Scan
from gasan.host.modbus.scan_tcp import TCP_UNITS, TcpReport, scan_tcp
from gasan.host.modbus.scan_text import scan_lines, tcp_lines
from gasan.host.modbus.settings import (
    BAUDRATES,
    Setting,
    parse_bauds,
    parse_parities,
    parse_stops,
    parse_units,
    units_text,
)

SETTINGS = [Setting(baudrate, parity) for baudrate in BAUDRATES for parity in "NEO"]
ALL_UNITS = range(1, 248)
VALUE = bytes([3, 2, 0x12, 0x34])
IDENTITY = bytes([43, 14, 1, 1, 0, 0, 2, 0, 5]) + b"Maker" + bytes([1, 3]) + b"M-1"


class VirtualLine:
    """A line in virtual time: `answers` gives what a unit says to a request at the setting, or None."""

    def __init__(
        self,
        setting: Setting,
        units: Mapping[int, float],
        *,
        says: Callable[[int, bytes], bytes] | None = None,
        noise: bytes = b"",
        damage: Callable[[int], bool] = lambda _unit: False,
    ) -> None:
        self.setting = setting
        self.units = units  # and how long each takes
        self.now = 0.0
        self.asked: list[tuple[Setting, int, bytes]] = []
        self.at = setting
        self._says = says or (lambda _unit, pdu: VALUE if pdu[0] == 3 else bytes([pdu[0] | 0x80, 1]))
        self._noise = noise
        self._damage = damage
        self._coming: list[tuple[float, bytes]] = []

    def configure(self, setting: Setting) -> bool:
        self.at = setting
        return True

    def listen(self, seconds: float) -> bytes:
        self.now += seconds
        return self._noise + self._take()

    def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
        check_read(unit, pdu)
        self.asked.append((self.at, unit, pdu))
        stray = self._noise + self._take()
        request = rtu(unit, pdu)
        self.now += len(request) * self.at.char_s
        sent = self.now
        right = (self.at.baudrate, self.at.parity) == (self.setting.baudrate, self.setting.parity)
        if right and unit in self.units:
            frame = rtu(unit, self._says(unit, pdu))
            if self._damage(unit):
                frame = bytes([frame[0] ^ 0x80]) + frame[1:]
            self._coming.append((sent + self.units[unit], frame))
        coming = min((time for time, _ in self._coming), default=sent + timeout_s)
        self.now = min(sent + timeout_s, max(sent, coming))
        heard = self._take()
        reply = judge_rtu(request, heard)
        if not reply.there:
            self.now = max(self.now, sent + timeout_s)
        return Reply(reply.kind, reply.pdu, reply.code, self.now - sent, stray, heard)

    def _take(self) -> bytes:
        heard = b"".join(frame for time, frame in self._coming if time <= self.now)
        self._coming = [(time, frame) for time, frame in self._coming if time > self.now]
        return heard


def scanned(line: VirtualLine, *, force: bool = False, listen_s: float = 2.0) -> Report:
    return Scan(line, SETTINGS, ALL_UNITS, listen_s=listen_s, force=force).run()


def test_each_unit_is_asked_once_at_each_setting() -> None:
    asked = [
        (one.setting, unit) for one in batches(SETTINGS, list(ALL_UNITS), Timing()) for unit in one.units
    ]
    assert len(asked) == len(set(asked)) == len(SETTINGS) * 247
    assert [str(one) for one in settings_by_likelihood(SETTINGS)[:4]] == [
        *("9600 8N1", "19200 8E1", "9600 8E1", "38400 8N1")
    ]


@pytest.mark.parametrize(
    ("setting", "unit", "most_s"),
    [
        (Setting(9600, "N"), 1, 2.1),
        (Setting(19200, "E"), 1, 3),
        (Setting(9600, "E"), 1, 4),
        (Setting(38400, "N"), 1, 4),
        (Setting(9600, "N"), 3, 5),
        (Setting(9600, "N"), 17, 12),
        (Setting(19200, "E"), 17, 16),
        (Setting(115200, "O"), 1, 60),
    ],
)
def test_usual_lines_are_found_in_seconds(setting: Setting, unit: int, most_s: float) -> None:
    line = VirtualLine(setting, {unit: 0.02})
    found_at: list[float] = []
    work = Scan(line, SETTINGS, ALL_UNITS, watch=lambda _p: found_at.append(line.now) if not seen() else None)

    def seen() -> bool:
        return bool(work.report.devices)

    report = work.run()
    assert found_at[-1] <= most_s
    assert (report.setting, [one.unit for one in report.devices]) == (setting, [unit])
    assert report.complete


def test_every_setting_and_unit_is_found(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(12):
        setting = rng.choice(SETTINGS)
        units = {rng.randrange(1, 248): rng.uniform(0.002, 0.1) for _ in range(rng.randrange(1, 5))}
        report = scanned(VirtualLine(setting, units))
        assert report.setting == setting
        assert {one.unit for one in report.devices} == set(units)


def test_the_estimate_is_what_a_silent_line_takes() -> None:
    line = VirtualLine(Setting(9600, "N"), {})
    progress: list[float] = []
    work = Scan(line, SETTINGS, ALL_UNITS, watch=lambda one: progress.append(one.done_s))
    report = work.run()
    assert report.complete and not report.devices
    assert line.now == pytest.approx(work.longest_s, rel=0.15)
    assert line.now <= work.longest_s
    assert progress == sorted(progress)
    assert report.requests == len(SETTINGS) * 247


def test_only_reads_and_never_to_everybody() -> None:
    line = VirtualLine(Setting(9600, "N"), {1: 0.01, 9: 0.01})
    scanned(line)
    assert {pdu[0] for _, _, pdu in line.asked} == {3, 17, 43}
    assert 0 not in {unit for _, unit, _ in line.asked}
    for unit, pdu in ((0, PROBE), (1, bytes([6, 0, 0, 0, 0])), (1, bytes([16])), (1, bytes([5]))):
        with pytest.raises(ValueError, match="only reads"):
            check_read(unit, pdu)


def test_an_exception_is_an_answer() -> None:
    line = VirtualLine(Setting(9600, "E"), {5: 0.01}, says=lambda _unit, pdu: bytes([pdu[0] | 0x80, 2]))
    report = scanned(line)
    assert [(one.unit, one.code) for one in report.devices] == [(5, 2)]
    assert "refuses register 0 (exception 2)" in "\n".join(scan_lines(report, "/dev/ttyUSB0"))


def test_a_late_answer_is_heard_while_another_unit_is_asked() -> None:
    report = scanned(VirtualLine(Setting(9600, "N"), {1: 0.25, 3: 0.2, 12: 0.25}))
    assert {one.unit for one in report.devices} == {1, 3, 12}
    assert not report.refused


@pytest.mark.parametrize("seconds", [0.3, 0.55, 0.7, 1.5])
def test_slow_devices_are_neither_lost_nor_another_master(seconds: float) -> None:
    line = VirtualLine(Setting(9600, "N"), {1: 0.01, 40: seconds, 41: seconds, 60: seconds})
    report = scanned(line)
    assert [one.unit for one in report.devices] == [1, 40, 41, 60]
    assert not report.refused and report.traffic is None and not report.disturbed


@pytest.mark.parametrize("unit", [1, 4])
@pytest.mark.parametrize("seconds", [0.25, 0.35, 0.55])
def test_an_answer_that_comes_when_the_settings_have_changed(seconds: float, unit: int) -> None:
    class Strict(VirtualLine):
        def _take(self) -> bytes:
            heard = super()._take()
            return heard if self.at.baudrate == self.setting.baudrate else b"\xf8" * len(heard)

    report = scanned(Strict(Setting(9600, "N"), {unit: seconds}))
    assert (report.setting, [one.unit for one in report.devices]) == (Setting(9600, "N"), [unit])
    assert report.complete and not report.refused and not report.disturbed


def test_a_master_that_polls_what_was_just_asked_ends_the_scan() -> None:
    line = VirtualLine(Setting(9600, "N"), {1: 0.01})
    original = line.ask
    strays: list[bytes] = []

    def ask(unit: int, pdu: bytes, timeout_s: float) -> Reply:
        reply = original(unit, pdu, timeout_s)
        if unit < 30 or pdu[0] != 3:
            return reply
        strays.append(rtu(unit - 2, bytes([3, 0, 9, 0, 1])) + rtu(unit - 2, VALUE))
        return replace(reply, stray=strays[-1])

    line.ask = ask  # type: ignore[method-assign]
    report = scanned(line)
    assert report.refused and report.traffic is not None and len(strays) < 8


def test_who_a_device_is() -> None:
    line = VirtualLine(
        Setting(9600, "N"), {1: 0.01}, says=lambda _unit, pdu: IDENTITY if pdu[0] == 43 else VALUE
    )
    assert scanned(line).devices[0].identity == Identity("Maker", "M-1", "")
    assert identity_of(IDENTITY[:12]) in (None, Identity("Mak"))
    assert server_id_of(bytes([17, 6]) + b"\x01\xffTK4\x1b") == Identity(product="TK4")
    assert server_id_of(b"\x11\x02\x01\xff") is None


def test_where_somebody_speaks_nothing_is_sent() -> None:
    line = VirtualLine(Setting(9600, "N"), {1: 0.01}, noise=rtu(7, bytes([4, 0, 0, 0, 2])))
    report = scanned(line)
    assert report.refused and not line.asked and report.requests == 0
    assert report.traffic is not None and report.traffic.units == (7,)
    text = "\n".join(scan_lines(report, "/dev/ttyUSB0"))
    assert "Another master polls this line" in text and "--force" in text


def test_by_force_it_asks_all_the_same() -> None:
    line = VirtualLine(Setting(9600, "N"), {1: 0.01}, noise=b"\x00")
    report = scanned(line, force=True)
    assert [one.unit for one in report.devices] == [1] and not report.refused


def test_a_master_that_begins_later_ends_the_scan() -> None:
    line = VirtualLine(Setting(115200, "O"), {1: 0.01})
    work = Scan(line, SETTINGS, ALL_UNITS, listen_s=0)
    foreign = rtu(99, bytes([4, 0, 0, 0, 2]))
    calls = 0
    original = line.ask

    def ask(unit: int, pdu: bytes, timeout_s: float) -> Reply:
        nonlocal calls
        calls += 1
        reply = original(unit, pdu, timeout_s)
        return Reply(reply.kind, stray=foreign) if calls > 3 else reply

    line.ask = ask  # type: ignore[method-assign]
    report = work.run()
    assert report.refused and calls == 5
    assert report.traffic is not None and report.traffic.units == (99,)


def test_damage_is_told_from_silence() -> None:
    line = VirtualLine(Setting(9600, "N"), {1: 0.01, 2: 0.01}, damage=lambda unit: unit == 2)
    report = scanned(line)
    assert [one.unit for one in report.devices] == [1]
    assert [(one.setting, one.unit) for one in report.disturbed] == [(Setting(9600, "N"), 2)]
    assert "two devices have this unit number" in "\n".join(scan_lines(report, "x"))
    report = scanned(VirtualLine(Setting(9600, "N"), {1: 0.01}, damage=lambda _unit: True))
    text = "\n".join(scan_lines(report, "x"))
    assert "damaged" in text and "power" not in text


def test_by_force_another_masters_frames_are_no_damage() -> None:
    line = VirtualLine(Setting(9600, "N"), {1: 0.01})
    original = line.ask

    def ask(unit: int, pdu: bytes, timeout_s: float) -> Reply:
        reply = original(unit, pdu, timeout_s)
        foreign = rtu(99, bytes([4, 0, 0, 0, 2]))
        return reply if reply.there else judge_rtu(rtu(unit, pdu), foreign)

    line.ask = ask  # type: ignore[method-assign]
    report = Scan(line, SETTINGS[9:10], range(1, 21), listen_s=0, force=True).run()
    assert [one.unit for one in report.devices] == [1] and report.disturbed == []


def test_damage_is_told_once_and_not_of_who_answers_after_all() -> None:
    line = VirtualLine(Setting(9600, "N"), {}, damage=lambda _unit: False)
    original = line.ask
    tries: list[int] = []

    def ask(unit: int, pdu: bytes, timeout_s: float) -> Reply:
        reply = original(unit, pdu, timeout_s)
        if unit not in (3, 4):
            return reply
        tries.append(unit)
        if unit == 3 and tries.count(3) > 5:
            return Reply(Kind.ANSWER, VALUE)
        return Reply(Kind.GARBAGE, heard=b"\x83\x03")

    line.ask = ask  # type: ignore[method-assign]
    report = Scan(line, SETTINGS[9:10], range(1, 9), listen_s=0).run()
    assert [one.unit for one in report.devices] == [3]
    assert [one.unit for one in report.disturbed] == [4]


def test_who_is_slow_to_tell_what_it_is_is_no_other_master() -> None:
    class Line(VirtualLine):
        def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
            self.units = dict.fromkeys((1, 4, 9), 0.01 if pdu[0] == 3 else 0.35)
            return super().ask(unit, pdu, timeout_s)

    def says(_unit: int, pdu: bytes) -> bytes:
        return VALUE if pdu[0] == 3 else bytes([17, 3]) + b"TK4" if pdu[0] == 17 else bytes([0xAB, 1])

    report = scanned(Line(Setting(9600, "N"), {1: 0.01}, says=says))
    assert [one.unit for one in report.devices] == [1, 4, 9]
    assert not report.refused and report.traffic is None


def test_a_makers_own_exception_is_an_answer() -> None:
    line = VirtualLine(Setting(9600, "N"), {5: 0.01}, says=lambda _unit, pdu: bytes([pdu[0] | 0x80, 0x40]))
    report = scanned(line)
    assert [(one.unit, one.code) for one in report.devices] == [(5, 0x40)] and not report.disturbed


def test_an_interruption_keeps_what_was_found() -> None:
    line = VirtualLine(Setting(9600, "N"), {1: 0.01})

    def watch(_progress: object) -> None:
        if line.now > 30:
            raise KeyboardInterrupt

    work = Scan(line, SETTINGS, ALL_UNITS, timing=Timing(0.5, 1.0), watch=watch)
    with pytest.raises(KeyboardInterrupt):
        work.run()
    assert [one.unit for one in work.report.devices] == [1] and not work.report.complete


def test_silence_says_what_to_look_at() -> None:
    text = "\n".join(scan_lines(scanned(VirtualLine(Setting(300, "N"), {})), "/dev/ttyUSB0"))
    assert text.startswith("Nobody answered.")
    for word in ("power", "A and B", "terminated", "--timeout"):
        assert word in text
    set_language("ko")
    try:
        assert "종단 저항" in "\n".join(scan_lines(Report(complete=True, requests=1), "/dev/ttyUSB0"))
    finally:
        set_language("en")


def test_where_nothing_could_be_asked_nobody_is_said_to_be_silent() -> None:
    line = VirtualLine(Setting(9600, "N"), {1: 0.01})
    line.configure = lambda _setting: False  # type: ignore[method-assign]
    report = Scan(line, SETTINGS[:1], range(1, 9)).run()
    assert scan_lines(report, "x") == ["The adapter does not offer 1200 8N1; not asked there."]


@pytest.mark.parametrize("pdu", [VALUE, bytes([0x83, 2])])
def test_an_answer_is_found_in_noise_and_behind_the_echo(pdu: bytes, seed: int) -> None:
    rng = random.Random(seed)
    request = rtu(9, PROBE)
    for _ in range(300):
        noise = bytes(rng.choice((0, 0xFF, 0x55)) for _ in range(rng.randrange(6)))
        echo = rng.random() < 0.5
        heard = (request if echo else b"") + noise + rtu(9, pdu)
        reply = judge_rtu(request, heard)
        assert reply.there and reply.pdu == pdu and reply.echo == echo
    assert judge_rtu(request, b"").kind is Kind.SILENCE
    assert judge_rtu(request, request).kind is Kind.SILENCE
    assert judge_rtu(request, b"\x09\x03\x02\x12\x34\x00\x00").kind is Kind.GARBAGE
    assert judge_rtu(request, rtu(8, pdu)).kind is Kind.FOREIGN
    assert judge_rtu(request, rtu(9, bytes([3, 4, 1, 2, 3, 4]))).kind is Kind.FOREIGN


def test_a_byte_of_a_driver_that_is_switched_is_no_damaged_answer() -> None:
    request = rtu(9, PROBE)
    for heard in (b"\0", b"\0\xff", b"\0" + request, b"\0" + request + b"\0"):
        reply = judge_rtu(request, heard)
        assert (reply.kind, reply.echo) == (Kind.SILENCE, request in heard)
    reply = judge_rtu(request, b"\0" + request + b"\0" + rtu(9, VALUE))
    assert reply.kind is Kind.ANSWER and reply.echo

    class Unbiased(VirtualLine):
        def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
            reply = super().ask(unit, pdu, timeout_s)
            judged = judge_rtu(rtu(unit, pdu), b"\0" + reply.heard)
            return replace(judged, seconds=reply.seconds, stray=reply.stray)

    line = Unbiased(Setting(9600, "N"), {1: 0.01, 7: 0.01})
    work = Scan(line, SETTINGS, range(1, 31))
    report = work.run()
    assert [one.unit for one in report.devices] == [1, 7] and not report.disturbed
    assert line.now < work.longest_s


def test_noise_is_no_frame(seed: int) -> None:
    rng = random.Random(seed)
    false = sum(bool(frames_in(rng.randbytes(rng.randrange(64)))) for _ in range(3000))
    assert false <= 3  # true collisions: about 32 bytes x 2 sizes x 9 % known functions / 65,536
    frames = [rtu(5, bytes([4, 2, 1, 2])), rtu(5, bytes([3, 0, 0, 0, 2])), rtu(6, bytes([0x90, 2]))]
    assert [one.unit for one in frames_in(b"".join(frames))] == [5, 5, 6]


class Server:
    """A Modbus TCP device, or a gateway with `units` behind it."""

    def __init__(self, units: set[int] | None) -> None:
        self.units = units

    def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
        check_read(unit, pdu)
        if self.units is not None and unit not in self.units:
            return Reply(Kind.EXCEPTION, bytes([pdu[0] | 0x80, 11]), 11)
        return Reply(Kind.ANSWER, VALUE) if pdu[0] == 3 else Reply(Kind.SILENCE)


def test_units_behind_a_tcp_gateway() -> None:
    report = TcpReport()
    scan_tcp(Server({4, 200}), TCP_UNITS, report, timeout_s=1)
    assert [one.unit for one in report.devices] == [4, 200] and report.complete and not report.any_unit
    assert report.absent == len(TCP_UNITS) - 2


def test_a_tcp_device_that_answers_to_any_unit() -> None:
    report = TcpReport()
    scan_tcp(Server(None), TCP_UNITS, report, timeout_s=1)
    assert [one.unit for one in report.devices] == [1] and report.any_unit and report.requests == 5
    assert "any unit number" in tcp_lines(report, "plc", "plc")[0]


class SlowGateway:
    """In virtual time: asks one after the other, and waits `slow` for who is not there. tells: with 11."""

    def __init__(self, units: set[int], slow: float, tells: bool) -> None:
        self.units, self.slow, self.tells = units, slow, tells
        self.now = self.free = 0.0
        self._coming: list[tuple[float, int, Reply]] = []

    def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
        start, there = self.now, unit in self.units
        self.free = max(self.free, start) + (0.01 if there else self.slow)
        reply = Reply(Kind.ANSWER, VALUE) if there else Reply(Kind.EXCEPTION, code=11)
        if there or self.tells:
            self._coming.append((self.free, unit, replace(reply, seconds=self.free - start)))
        mine = self._coming[-1] if self._coming and self._coming[-1][1] == unit else None
        self.now = min(start + timeout_s, mine[0] if mine else start + timeout_s)
        came = [one for one in self._coming if one[0] <= self.now]
        self._coming = [one for one in self._coming if one[0] > self.now]
        late = tuple((other, reply) for _time, other, reply in came if other != unit)
        return replace(mine[2] if mine in came and mine else Reply(Kind.SILENCE), late=late)


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("slow", [0.5, 1.05, 3.0])
def test_units_behind_a_gateway_that_is_slower_than_the_question(slow: float, tells: bool) -> None:
    report = TcpReport()
    gateway = SlowGateway({4, 90, 200}, slow, tells)
    scan_tcp(gateway, TCP_UNITS, report, timeout_s=1)
    assert sorted(one.unit for one in report.devices) == [4, 90, 200]
    assert gateway.now < 6 * len(TCP_UNITS)


def test_an_interrupted_search_behind_a_gateway_gives_no_verdict_on_its_line() -> None:
    assert tcp_lines(TcpReport(absent=3), "plc", "plc") == []
    assert "finds nobody" in tcp_lines(TcpReport(absent=3, complete=True), "plc", "plc")[1]


def test_the_next_command_goes_through_the_same_node() -> None:
    asked = "--node press-1 --line lan"
    told = tcp_lines(TcpReport([Device(4, 0, 0.01)]), "press-1 lan", asked)
    assert told[0] == "Found at press-1 lan:"
    assert told[-1] == "  gasan modbus explore --node press-1 --line lan --unit 4"


def test_what_people_write() -> None:
    assert parse_bauds("9600, 19200,9600") == [9600, 19200]
    assert parse_parities("none,E") == ["N", "E"]
    assert parse_stops("1,2") == [1, 2]
    assert parse_units("3-5,1,4") == [3, 4, 5, 1]
    assert units_text([17, 1, 2, 3]) == "1-3, 17"
    assert parse_host("192.168.0.20") == ("192.168.0.20", 502)
    assert parse_host("plc.local:1502") == ("plc.local", 1502)
    assert parse_host("[fe80::1]:503") == ("fe80::1", 503)
    assert is_serial("/dev/ttyUSB0") and is_serial("ttyUSB0") and not is_serial("192.168.0.20:502")


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *(
            (parse_units, text)
            for text in ("", "0", "0-5", "248", "5-3", "a", "1-", "-1", "1,,2", "9" * 5000)
        ),
        *((parse_bauds, text) for text in ("", "fast", "100", "9600;19200")),
        *((parse_parities, text) for text in ("", "maybe")),
        *((parse_stops, text) for text in ("0", "3")),
        *((parse_host, text) for text in ("", "a b", "plc:", "plc:0", "plc:99999", "a:b:c")),
    ],
)
def test_what_cannot_be_meant(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(InputError):
        parse(text)
