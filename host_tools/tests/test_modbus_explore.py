"""Reading unknown registers in blocks, and finding a displayed value again among everything they may mean."""

import random
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from gasan.host.errors import InputError, TryAgainError
from gasan.host.modbus import blocks
from gasan.host.modbus.blocks import FUNCTIONS, Reading, read_again, read_range, request_limit
from gasan.host.modbus.draft import choose, draft
from gasan.host.modbus.explore_text import manual_number, meanings, register_lines, seen_lines
from gasan.host.modbus.forms import FORMS, Form, decode, encode, text_of
from gasan.host.modbus.frames import Kind, Reply
from gasan.host.modbus.identify import Identity
from gasan.host.modbus.ports import check_read
from gasan.host.modbus.seen import Candidate, Fit, Seen, parse_seen, rank, wire_addresses
from gasan.host.profiles import ModbusPlace, read_profile

U16, I16, F32, U32 = (Form(one, "ABCD") for one in ("u16", "i16", "f32", "u32"))


class Device:
    """Holds `registers`; refuses what touches others (`code`), and more than `longest` (code 3)."""

    def __init__(
        self, registers: dict[int, int], *, longest: int = 125, code: int = 2, table: str = "holding"
    ) -> None:
        self.registers = registers
        self.longest = longest
        self.code = code
        self.function = FUNCTIONS[table]
        self.requests = 0
        self.busy = 0

    def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
        check_read(unit, pdu)
        self.requests += 1
        start, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        assert 1 <= count <= 125 and start + count <= 65_536
        if self.busy:
            self.busy -= 1
            return Reply(Kind.EXCEPTION, code=6)
        if pdu[0] != self.function:
            return Reply(Kind.EXCEPTION, code=1)
        if count > self.longest:
            return Reply(Kind.EXCEPTION, code=3)
        if any(at not in self.registers for at in range(start, start + count)):
            return Reply(Kind.EXCEPTION if self.code else Kind.SILENCE, code=self.code)
        data = b"".join(self.registers[at].to_bytes(2, "big") for at in range(start, start + count))
        return Reply(Kind.ANSWER, bytes([pdu[0], 2 * count]) + data, seconds=0.01)


def read(device: Device, first: int, last: int, table: str = "holding") -> Reading:
    reading = Reading(table)
    read_range(device, 1, reading, first, last, timeout_s=0.5)
    return reading


@pytest.mark.parametrize("code", [2, 3, 0])
def test_every_register_is_read_around_the_holes(code: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        first, last = sorted(rng.sample(range(0, 400), 2))
        registers = {at: rng.randrange(65_536) for at in range(first, last + 1)}
        for _hole in range(rng.randrange(6)):
            start = rng.randrange(400)
            for at in range(start, start + rng.randrange(1, 40)):
                registers.pop(at, None)
        if (
            first not in registers
        ):  # a device of which nothing was read yet may count as gone when it is silent
            registers[first] = 7
        device = Device(registers, longest=rng.choice((1, 2, 7, 16, 60, 125)), code=code)
        reading = read(device, first, last)
        assert reading.registers == registers
        assert reading.refused | reading.silent == set(range(first, last + 1)) - set(registers)
        assert read_again(device, 1, reading, 0.5) == registers


def test_whole_blocks_when_nothing_is_refused() -> None:
    device = Device({at: at for at in range(500)})
    reading = read(device, 0, 499)
    assert reading.longest == reading.limit == 125
    assert device.requests == 1 + 4
    device = Device({at: at for at in range(500)}, longest=16)
    reading = read(device, 0, 499)
    assert len(reading.registers) == 500 and reading.limit in range(8, 17)
    assert device.requests <= 500 / 16 + 40  # it learns the length once


def test_a_table_and_a_device_that_are_not_there() -> None:
    device = Device({0: 1}, table="input")
    assert read(device, 0, 9).no_table and device.requests == 2
    with pytest.raises(TryAgainError, match="unit 1 does not answer"):
        read(Device({}, code=0), 0, 199)


def test_an_illegal_value_of_a_single_register_says_nothing_of_lengths() -> None:
    device = Device({at: at for at in range(50, 200)}, code=3)
    reading = read(device, 0, 199)
    assert set(reading.registers) == set(range(50, 200)) and reading.limit == reading.longest > 60
    assert device.requests < 130  # each of the fifty that are not there, and the halves around them
    device = Device({at: at for at in range(50, 200)}, code=3, longest=16)
    reading = read(device, 0, 199)
    assert set(reading.registers) == set(range(50, 200)) and 8 <= reading.limit <= 16
    empty = read(Device({}, code=3), 0, 99)
    assert not empty.registers and request_limit([empty, reading]) == reading.limit


def test_a_busy_device_is_given_time_and_is_not_called_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device({at: at for at in range(20)})
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        device.busy = 0 if len(slept) == 2 else device.busy

    monkeypatch.setattr(blocks.time, "sleep", sleep)
    device.busy = 99
    assert len(read(device, 0, 19).registers) == 20 and sum(slept) >= 0.5
    device.busy = 99
    reading = read(device, 0, 19)
    assert reading.silent == set(range(20)) and not reading.refused
    assert device.requests < 20


class Gateway(Device):
    """A device silent about what it does not have, behind a TCP gateway that says so by exception 11."""

    def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
        reply = super().ask(unit, pdu, timeout_s)
        self.lost = getattr(self, "lost", 0) - 1
        silent = reply.kind is Kind.SILENCE or self.lost == 0 or unit != 1
        return Reply(Kind.EXCEPTION, code=11) if silent else reply


def test_a_gateways_no_answer_is_silence_of_a_unit_that_is_there() -> None:
    device = Gateway({at: at for at in range(20) if at != 7}, code=0)
    device.lost = 4  # one request is lost on the line behind it
    reading = read(device, 0, 19)
    assert set(reading.registers) == set(range(20)) - {7}
    assert reading.silent == {7} and not reading.refused
    with pytest.raises(TryAgainError, match="the gateway has no unit 2"):
        read_range(device, 2, Reading("holding"), 0, 19, timeout_s=0.5)


def test_a_silent_table_does_not_make_the_other_one_unread() -> None:
    """A device that says nothing of what it does not have: register 0, and all of the other table."""

    class Silent(Device):
        def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
            reply = super().ask(unit, pdu, timeout_s)
            return reply if reply.kind is Kind.ANSWER else Reply(Kind.SILENCE)

    for table in FUNCTIONS:
        device = Silent({at: at for at in range(100, 104)}, table=table)
        readings = [read(device, 100, 103, name) for name in FUNCTIONS]
        assert sorted(len(one.registers) for one in readings) == [0, 4]
        assert sorted(len(one.silent) for one in readings) == [0, 4]


def test_an_unknown_function_in_the_midst_of_a_table_hides_nothing() -> None:
    class Odd(Device):
        def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
            reply = super().ask(unit, pdu, timeout_s)
            return Reply(Kind.EXCEPTION, code=1) if reply.kind is Kind.EXCEPTION else reply

    reading = read(Odd({at: at for at in range(150)}), 0, 159)
    assert not reading.no_table and set(reading.registers) == set(range(150))
    assert reading.refused == set(range(150, 160))


def _sample(rng: random.Random, form: Form) -> tuple[str, list[int], int]:
    """A displayed text, the registers behind it, and the power of the scale."""
    places = rng.randrange(4)
    digits = rng.randrange(1, 5 if form.type in ("u16", "i16", "bcd16") else 7)
    number = rng.randrange(10 ** (digits - 1), 10**digits)
    number = min(number, {"u16": 65_535, "i16": 32_767, "bcd16": 9999}.get(form.type, number))
    if form.type[0] in "if" and rng.random() < 0.3:
        number = -number
    shown = Decimal(number).scaleb(-places)
    if form.is_float:
        return f"{shown:f}", encode(form, float(shown)), 0
    return f"{shown:f}", encode(form, number), -places


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_encodable_value_is_found_again(form: Form, seed: int) -> None:
    rng = random.Random(f"{seed}/{form}")
    for _ in range(8):
        text, words, power = _sample(rng, form)
        address = rng.randrange(20)
        registers = {at: rng.choice((0, rng.randrange(100), rng.randrange(65_536))) for at in range(24)}
        registers.update({address + index: word for index, word in enumerate(words)})
        assert decode(form, registers, address) == (
            float(text) if form.type == "f64" else pytest.approx(float(text) / 10.0**power, rel=1e-7)
        )
        table = rng.choice(("holding", "input"))
        [candidates] = rank([{table: registers}], [parse_seen(text)])
        places = [(one.table, one.address, one.form, one.power) for one in candidates]
        assert (table, address, form, power) in places, (text, words)
        if sum(letter.isdigit() for letter in text.lstrip("-0.")) >= 3:  # fewer digits fit in many places
            assert places.index((table, address, form, power)) < 40
        assert len(set(places)) == len(places)


@pytest.mark.parametrize("form", [U16, F32, Form("f32", "CDAB"), U32, Form("u32", "CDAB")], ids=str)
def test_three_values_together_name_the_right_form_first(form: Form, seed: int) -> None:
    rng = random.Random(f"{seed}/{form}")
    first = exact = total = 0
    for _ in range(15):
        registers = {at: rng.choice((0, rng.randrange(1000), rng.randrange(65_536))) for at in range(100)}
        texts, wanted = [], []
        for index in range(3):
            places = rng.randrange(3)
            number = rng.randrange(100, 30_000)
            shown = Decimal(number).scaleb(-places)
            address = 10 + 20 * index + 2 * rng.randrange(5)
            words = encode(form, float(shown) if form.is_float else number)
            registers.update({address + at: word for at, word in enumerate(words)})
            texts.append(parse_seen(f"{shown:f}"))
            wanted.append((address, form, 0 if form.is_float else -places))
        for want, seen, candidates in zip(wanted, texts, rank([{"input": registers}], texts), strict=True):
            total += 1
            address, at = want[0], candidates[0]
            # A u16 behind a zero is a u32 as well: no value decides that.
            same = address in at.span and at.value == Fraction(seen.number)
            places = [(one.address, one.form, one.power) for one in candidates[:4]]
            first += same and want in places
            exact += places[0] == want
    assert exact >= 0.6 * total, f"{exact} of {total}"
    assert first >= 0.9 * total, f"{first} of {total}"


def best(registers: dict[int, int], text: str, **options: bool) -> Candidate:
    return rank([{"holding": registers}], [parse_seen(text)], **options)[0][0]


def test_a_rounded_and_a_cut_display() -> None:
    assert best({7: 2348}, "23.5").fit is Fit.ROUNDED
    assert best({7: 2348}, "23.4").fit is Fit.TRUNCATED
    assert best({7: 236}, "23.5").fit is Fit.NEAR
    assert best({7: 65_302}, "-23.4").form == I16
    assert best(dict(enumerate(encode(F32, 4183.2))), "4.18kW").power == -3


def test_what_moves_and_what_stays() -> None:
    now, later = {1: 234, 5: 234}, {1: 234, 5: 236}
    snapshots = [{"input": now}, {"input": later}]
    seen = [parse_seen("23.4")]
    assert rank(snapshots, seen, moves=True)[0][0].address == 5
    assert rank(snapshots, seen, moves=False)[0][0].address == 1
    assert rank([{"input": now}, {"input": {1: 234, 5: 9000}}], seen)[0][0].address == 1


def test_the_manual_counts_from_0_or_from_1() -> None:
    assert wire_addresses(30_001)["input", 0] == "3x"
    assert wire_addresses(400_101)["holding", 100] == "4x"
    assert wire_addresses(0) == {("holding", 0): "0", ("input", 0): "0"}
    assert (manual_number("holding", 0), manual_number("input", 99)) == ("40001", "30100")
    assert manual_number("holding", 65_535) == "465536"
    registers = dict.fromkeys(range(990, 1010), 234)
    for register, table, address, words in (
        (1001, "holding", 1000, "counts from 1"),
        (41_001, "holding", 1000, "counts from 1"),
    ):
        del registers[1001 if register == 1001 else 999]
        seen = parse_seen(f"23.4@{register}")
        [candidates] = rank([{table: registers}], [seen])
        assert candidates[0].address == address
        assert words in seen_lines(seen, candidates)[-1]
    seen = parse_seen("23.4@995")
    lines = seen_lines(seen, rank([{"holding": {995: 234}}], [seen])[0])
    assert "counts from 0" in lines[-1]
    seen = parse_seen("23.4@5")
    assert "does not lead there" in seen_lines(seen, rank([{"holding": {995: 234}}], [seen])[0])[-1]


def test_what_people_write_down() -> None:
    assert parse_seen("23.4") == Seen("23.4", Decimal("23.4"))
    seen = parse_seen("voltage=230.2V@30001")
    assert (seen.name, seen.unit, seen.register, seen.places) == ("voltage", "V", 30_001, 1)
    assert parse_seen("-5.0°C").unit == "Cel"
    assert (parse_seen("3.2 bar").unit, parse_seen("3.2 bar").factor) == ("Pa", 100_000)
    assert parse_seen("6.0l/min").factor == Fraction(1, 60)
    for wrong in ("", "abc", "1,234", "23.4 parsecs", "0.0", "Voltage=1", "1@", "1e5"):
        with pytest.raises(InputError):
            parse_seen(wrong)
    for wrong in ("1.2MV", "3 MA"):  # mega is not milli
        with pytest.raises(InputError, match="is not known"):
            parse_seen(wrong)
    assert [parse_seen(text).unit for text in ("1.2MM", "3 MIN", "230MV".lower())] == ["mm", "min", "mV"]
    for wrong in ("1,234", "23,4"):  # not a unit called ",4"
        with pytest.raises(InputError, match="is not a value; write it as it is displayed"):
            parse_seen(wrong)


def test_what_a_register_may_mean() -> None:
    registers = dict(enumerate([*encode(F32, 230.2), 0x4142, 0x4344, 0x4546, 0x0801, 0xFFFE, 0, 0, 0, 0]))
    assert ("f32", "230.2") in meanings(registers, 0)
    assert ("text", '"ABCDEF"') in meanings(registers, 2)
    assert ("bits", "0,11") in meanings(registers, 5)
    assert ("i16", "-2") in meanings(registers, 6)
    assert text_of({0: 0x4241, 1: 0x4443, 2: 0x0045}, 0) == ("ABCDE", 3)
    assert text_of({0: 0x1B5B, 1: 0x4443}, 0) == ("", 0)
    reading = Reading("holding", registers, refused={11, 12})
    text = "\n".join(register_lines(reading))
    assert "7-10  40008-40011  0000" in text and "not there: 11-12" in text


def _ranked(registers: dict[int, int], *texts: str) -> tuple[list[Seen], list[list[Candidate]]]:
    seens = [parse_seen(text) for text in texts]
    return seens, rank([{"input": registers}], seens)


def test_a_draft_is_a_profile(tmp_path: Path) -> None:
    registers = dict(
        enumerate([*encode(F32, 230.2), *encode(F32, 4.44), *encode(F32, -0.83), *encode(U16, 320)])
    )
    seens, ranked = _ranked(registers, "voltage=230.2V", "4.44", "4.44", "-0.83", "pressure=3.20bar")
    chosen = choose(seens, ranked)
    spans = [at for one in chosen if one is not None for at in one.span]
    assert len(spans) == len(set(spans))
    identity = Identity('Ma"ker\\', "M-1")
    text = draft(seens, chosen, identity=identity, limit=60, day="2026-01-02")
    file = tmp_path / "draft.toml"
    file.write_text(text, encoding="utf-8")
    profile = read_profile(file, "draft")
    assert (profile.maker, profile.model, profile.max_registers) == ('Ma"ker\\', "M-1", 60)
    voltage = profile.channels["voltage"]
    assert (voltage.place, voltage.type, voltage.unit) == (ModbusPlace(4, 0, 0), "f32", "V")
    pressure = profile.channels["pressure"]
    assert (pressure.place.address, pressure.type, pressure.unit) == (6, "u16", "Pa")  # type: ignore[union-attr]
    assert Fraction(pressure.num, pressure.den) == 1000


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_draft_reads_back_its_value(form: Form, tmp_path: Path, seed: int) -> None:
    rng = random.Random(f"{seed}/{form}")
    text, words, _power = _sample(rng, form)
    seens, ranked = _ranked({500 + index: word for index, word in enumerate(words)}, text)
    file = tmp_path / "draft.toml"
    drafted = draft(seens, choose(seens, ranked), identity=None, limit=125, day="2026-01-02")
    file.write_text(drafted, encoding="utf-8")
    [channel] = read_profile(file, "draft").channels.values()
    assert isinstance(channel.place, ModbusPlace)
    order = ("ABCD", "CDAB", "BADC", "DCBA")[channel.place.order]
    type_ = {"u16": "bcd16", "u32": "bcd32"}[channel.type] if channel.form == 2 else channel.type
    registers = {500 + index: word for index, word in enumerate(words)}
    raw = decode(Form(type_, order), registers, channel.place.address)
    assert raw is not None
    assert float(raw) * channel.num / channel.den == pytest.approx(float(text), rel=0.006)


@pytest.mark.parametrize("form", [form for form in FORMS if form.is_float], ids=str)
def test_a_round_value_that_stands_there_exactly_beats_a_near_one_within_it(form: Form) -> None:
    # 15.0 as f64 ends in 0x402e: read by itself that is 16430 with its bytes swapped, x 0.001 "near" 15.
    seens, ranked = _ranked(dict(enumerate(encode(form, 15.0))), "15")
    [one] = choose(seens, ranked)
    assert one is not None and (one.form, one.value) == (form, 15)


def test_a_draft_of_a_device_that_takes_single_registers_is_a_profile(tmp_path: Path) -> None:
    seens, ranked = _ranked(dict(enumerate(encode(F32, 230.2))), "230.2")
    file = tmp_path / "draft.toml"
    file.write_text(draft(seens, choose(seens, ranked), identity=None, limit=1, day="2026-01-02"))
    assert read_profile(file, "draft").max_registers == 2


def test_a_value_that_reads_best_as_bcd_is_in_the_draft_as_that(tmp_path: Path) -> None:
    seens, ranked = _ranked({4: 0x2347}, "234.7")
    file = tmp_path / "draft.toml"
    file.write_text(draft(seens, choose(seens, ranked), identity=None, limit=125, day="2026-01-02"))
    [channel] = read_profile(file, "draft").channels.values()
    assert (channel.form, channel.num, channel.den) == (2, 1, 10)
