"""Profiles: those that come with gasan are right in form, and a wrong one is told by line, key and mend."""

import re
import struct
from fractions import Fraction
from pathlib import Path

import pytest
from gasan.host import profiles, units
from gasan.host.errors import InputError
from gasan.host.problems import FileError
from gasan.host.profiles import BthomePlace, Field, Match, ModbusPlace
from gasan.host.resources import profiles_folder

GOOD = """\
[profile]
maker = "Maker"
model = "Model"
kind = "modbus"
verified = "simulated"
default = ["level", "state"]
[profile.source]
title = "Manual"
revision = "1"
pages = "2"
[group.slow]
period = "10s"
[channel.level]
table = "holding"
address = 0x10
type = "i16"
scale = 0.1
offset = "1/3"
unit = "Cel"
label_en = "Level"
label_ko = "수위"
group = "slow"
[channel.state]
function = 4
address = 3
type = "u16"
bits = {shift = 4, mask = 0x0F}
enum = {0 = "stopped", 0x1 = "running"}
enum_ko = {0 = "정지", 1 = "운전"}
label_en = "State"
label_ko = "상태"
"""

RADIO = """\
[profile]
maker = "Maker"
model = "Model"
kind = "bthome"
verified = "tried on hardware"
default = ["temperature"]
[profile.source]
title = "Format"
revision = "2"
pages = "1"
[channel.temperature]
object = 0x02
type = "i16"
scale = 0.01
unit = "Cel"
label_en = "Temperature"
label_ko = "온도"
"""


ADVERT = """\
[profile]
maker = "Maker"
model = "Prototype"
kind = "advert"
verified = "simulated"
default = ["level", "power"]
[profile.source]
title = "Ours"
revision = "1"
pages = "1"
[match.main]
company = 0xFFFF
prefix = "01"
size = 8
[match.other]
service = "12345678-1234-5678-9abc-def012345678"
[counter]
match = "main"
at = 1
[channel.level]
match = "main"
at = 2
type = "i32"
width = 3
byte_order = "big"
sign_bit = true
divide = 1000
missing = 0x800000
unit = "m"
label_en = "Level"
label_ko = "수위"
[channel.power]
match = "other"
type = "f32"
unit = "W"
label_en = "Power"
label_ko = "전력"
"""

BEACON = """\
[profile]
maker = "Maker"
model = "Model"
kind = "mibeacon"
verified = "simulated"
default = ["temperature"]
encrypted = true
[profile.source]
title = "Format"
revision = "2"
pages = "1"
[channel.temperature]
object = 0x1004
type = "i16"
scale = 0.1
unit = "Cel"
label_en = "Temperature"
label_ko = "온도"
"""


def _load(tmp_path: Path, text: str) -> profiles.Profile:
    file = tmp_path / "profile.toml"
    file.write_text(text, encoding="utf-8")
    return profiles.load("profile.toml", tmp_path)


def test_what_a_profile_says(tmp_path: Path) -> None:
    profile = _load(tmp_path, GOOD)
    assert (profile.maker, profile.kind, profile.default) == ("Maker", "modbus", ("level", "state"))
    assert (profile.max_registers, profile.timeout_ms, profile.gap_ms, profile.period_ms) == (
        125,
        500,
        0,
        1000,
    )
    assert profile.groups == {"slow": 10_000}
    level = profile.channels["level"]
    assert level.place == ModbusPlace(3, 16, 0)
    assert (level.num, level.den, level.off) == (3, 30, 10)
    assert Fraction(100 * level.num + level.off, level.den) == 10 + Fraction(1, 3)
    state = profile.channels["state"]
    assert state.place == ModbusPlace(4, 3, 0)
    assert (state.shift, state.mask, state.enum, state.enum_ko) == (
        4,
        15,
        {0: "stopped", 1: "running"},
        {0: "정지", 1: "운전"},
    )
    assert (state.num, state.den, state.off) == (1, 1, 0)


def test_what_a_bthome_profile_says(tmp_path: Path) -> None:
    profile = _load(tmp_path, RADIO)
    assert (profile.kind, profile.timeout_ms, profile.verified) == ("bthome", 60_000, "tried on hardware")
    assert profile.channels["temperature"].place == BthomePlace(2, 0)


@pytest.mark.parametrize("name", profiles.names())
def test_profiles_that_come_with_gasan(name: str) -> None:
    profile = profiles.load(name)
    assert profile.name == name
    assert set(profile.default) <= profile.channels.keys()
    for channel in profile.channels.values():
        assert channel.unit == "" or channel.unit in units.UNITS
        assert struct.pack(">qqq", channel.num, channel.den, channel.off)


# What is put in place of what, the line that must be named, and words that the message must have.
MISTAKES = {
    "no head": ("[profile]\nmaker", "[profil]\nmaker", 1, "unknown key 'profil'"),
    "head key unknown": ('maker = "Maker"', 'makr = "Maker"', 2, "did you mean 'maker'?"),
    "head key missing": (
        'maker = "Maker"\n',
        "",
        1,
        "'maker' is missing; write, for example, maker = \"Eastron\"",
    ),
    "kind": ('"modbus"', '"modbuss"', 4, "did you mean 'modbus'?"),
    "verified": ('"simulated"', '"yes"', 5, "write one of simulated, tried on hardware"),
    "default empty": ('["level", "state"]', "[]", 6, "'default' is empty"),
    "default unknown": ('["level", "state"]', '["level",\n"stat"]', 7, "did you mean 'state'?"),
    "default twice": ('["level", "state"]', '["level", "level"]', 6, "named twice"),
    "no source": ('pages = "2"\n', "", 7, "'pages' is missing"),
    "source empty": ('title = "Manual"', 'title = ""', 8, "'title' is empty"),
    "group period": ('"10s"', "10", 12, 'write the unit too, for example "10s" or "10ms"'),
    "group unknown": ('group = "slow"', 'group = "slo"', 22, "did you mean 'slow'?"),
    "no table": ('table = "holding"\n', "", 13, "one of 'table' and 'function'"),
    "table and function": (
        "function = 4",
        'function = 4\ntable = "input"',
        23,
        "one of 'table' and 'function'",
    ),
    "table unknown": ('"holding"', '"holdin"', 14, "did you mean 'holding'?"),
    "function": ("function = 4", "function = 5", 24, "function = 5 is not known; write one of 1, 2, 3, 4"),
    "address too high": ("0x10", "65536", 15, "write a number from 0 to 65535"),
    "address negative": ("0x10", "-1", 15, "out of range"),
    "address text": ("0x10", '"0x10"', 15, "'address' must be a whole number"),
    "address at the end": ('0x10\ntype = "i16"', '65535\ntype = "i32"', 15, "at most 65534"),
    "type": ('"i16"', '"int16"', 16, "did you mean 'i16'?"),
    "byte of a word": ('"i16"', '"i16"\nbyte = "high"', 17, 'only "u8" and "i8" are a byte'),
    "order of a byte": ('"i16"', '"u8"\norder = "BADC"', 17, "a byte has no order"),
    "order of 64 bits": ('"i16"', '"i32"\norder = "EFGHABCD"', 17, "is of 64 bits"),
    "text without length": ('"i16"', '"text"', 16, "needs its length"),
    "text with a scale": ('"i16"', '"text"\nlength = 8', 18, "'scale' does not go with a text"),
    "length of a number": ('"i16"', '"i16"\nlength = 8', 17, "only a text has a length"),
    "text too long": ('"i16"', '"text"\nlength = 63', 17, "write a number from 1 to 62"),
    "sign of an unsigned": ('"i16"', '"u16"\nsign = "magnitude"', 17, "does not go with type u16"),
    "missing too large": ('"i16"', '"i16"\nmissing = 0x10000', 17, "no number of 16 bits"),
    "missing beyond the bits": ("mask = 0x0F}", "mask = 0x0F}\nmissing = 16", 28, "no number of 4 bits"),
    "bit beyond": ("bits = {shift = 4, mask = 0x0F}", "bit = 16", 27, "has no bit 16"),
    "bit and bits": ("mask = 0x0F}", "mask = 0x0F}\nbit = 3", 28, "no other key"),
    "enum of BCD": ('"u16"\nbits = {shift = 4, mask = 0x0F}', '"bcd16"', 26, "does not go with type u16"),
    "order": ('"i16"', '"i16"\norder = "CDAB"', 17, '"BADC" when the two bytes are swapped'),
    "order unknown": ('"i16"', '"i16"\norder = "little"', 17, "write one of ABCD, CDAB, BADC, DCBA,"),
    "scale": ("0.1", '"0.1x"', 17, "kept exactly"),
    "scale zero": ("0.1", "0", 17, "every value the same"),
    "scale too fine": ("0.1", "0.00000000000000000000001", 17, "kept exactly"),
    "scale not a number": ("0.1", "nan", 17, "kept exactly"),
    "offset division by zero": ('"1/3"', '"1/0"', 18, "kept exactly"),
    "unit alias": ('"Cel"', '"°C"', 19, 'write unit = "Cel"'),
    "unit case": ('"Cel"', '"cel"', 19, 'write unit = "Cel"'),
    "unit with scale": ('"Cel"', '"bar"', 19, 'write unit = "Pa" and multiply the scale by 100000'),
    "unit unknown": ('"Cel"', '"furlong"', 19, "not in the SenML registry"),
    "label missing": ('label_ko = "수위"\n', "", 13, "'label_ko' is missing"),
    "label too long": ('"수위"', f'"{"수" * 61}"', 21, "at most 60 characters"),
    "label empty": ('"수위"', '""', 21, "'label_ko' is empty"),
    "channel name": ("[channel.level]", "[channel.OilLevel]", 13, 'write, for example, "oil_level"'),
    "channel key": ("address = 3", "adress = 3", 25, "did you mean 'address'?"),
    "bits too wide": ("mask = 0x0F", "mask = 0x1FFF", 27, "reach beyond 16 bits"),
    "bits key": ("mask = 0x0F", "msk = 0x0F", 27, "did you mean 'mask'?"),
    "bits of a signed type": ('type = "u16"', 'type = "i16"', 27, "does not go with type i16"),
    "enum key": ('0x1 = "running"', 'one = "running"', 28, "'one' is not a whole number"),
    "enum twice": ('0x1 = "running"', '0x0 = "running"', 28, "0 is here twice"),
    "enum of a float": ('type = "u16"\nbits = {shift = 4, mask = 0x0F}', 'type = "f32"', 26, "integer type"),
    "enum without Korean": ('enum_ko = {0 = "정지", 1 = "운전"}\n', "", 23, "write a Korean word for each"),
    "enum with unit": ('type = "u16"', 'type = "u16"\nunit = "V"', 27, "'unit' does not go with 'enum'"),
    "enum too long": ('"stopped"', f'"{"x" * 1200}"', 28, "fewer or shorter words"),
    "Korean without enum": ('enum = {0 = "stopped", 0x1 = "running"}\n', "", 28, "write 'enum' too"),
    "access": ("function = 4", 'function = 4\naccess = "write"', 25, "did you mean 'read-write'?"),
    "period of nothing": ("default = [", 'period = "0s"\ndefault = [', 6, 'write at least "10ms"'),
    "group period of nothing": ('"10s"', '"5ms"', 12, 'write at least "10ms"'),
    "missing text": (
        "0.1",
        '0.1\nmissing = "x"',
        18,
        "'missing' has the wrong form; write, for example, missing",
    ),
    **{
        f"{key} of a bit": (
            'function = 4\naddress = 3\ntype = "u16"\nbits = {shift = 4, mask = 0x0F}',
            f'function = 1\naddress = 3\ntype = "bool"\n{key} = {value}',
            27,
            f"'{key}' does not go with type bool; remove it",
        )
        for key, value in (
            ("bit", "3"),
            ("bits", "{mask = 2}"),
            ("byte", '"high"'),
            ("order", '"BADC"'),
            ("missing", "1"),
        )
    },
    "TOML": ('maker = "Maker"', 'maker = "Maker', 2, "close it"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(tmp_path: Path, name: str) -> None:
    old, new, line, words = MISTAKES[name]
    assert old in GOOD
    with pytest.raises(FileError) as caught:
        _load(tmp_path, GOOD.replace(old, new, 1))
    told = [str(problem) for problem in caught.value.problems]
    assert any(text.startswith(f"{tmp_path}/profile.toml:{line}: ") and words in text for text in told), told


def test_a_value_that_no_request_within_the_limit_can_read(tmp_path: Path) -> None:
    text = GOOD.replace('"i16"', '"i64"').replace('"simulated"', '"simulated"\nmax_registers = 4')
    assert _load(tmp_path, text).max_registers == 4
    with pytest.raises(FileError) as caught:
        _load(tmp_path, text.replace("max_registers = 4", "max_registers = 3"))
    assert str(caught.value.problems[0]).endswith(
        ":14: the channel level has 4 registers, more than a request may ask for; "
        "write max_registers = 4, or leave the channel out"
    )


def test_a_key_of_several_types_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(FileError) as caught:
        _load(tmp_path, GOOD.replace("scale = 0.1", 'scale = 0.1\nmissing = ["x", 2.5]'))
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("object = 0x02", "object = 0x102", 12, "write a number from 0 to 255"),
        ('type = "i16"', 'type = "f32"', 13, "is not known"),
        ('label_ko = "온도"', 'label_ko = "온도"\ngroup = "slow"', 18, "only for Modbus"),
        ('kind = "bthome"', 'kind = "bthome"\ngap = "1s"', 5, "only for Modbus"),
        ("object = 0x02", "address = 2", 12, "unknown key 'address'"),
    ],
)
def test_mistakes_of_bthome(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    with pytest.raises(FileError) as caught:
        _load(tmp_path, RADIO.replace(old, new, 1))
    told = [str(problem) for problem in caught.value.problems]
    assert any(f":{line}: " in text and words in text for text in told), told


def test_what_a_profile_of_a_fixed_layout_says(tmp_path: Path) -> None:
    profile = _load(tmp_path, ADVERT)
    assert (profile.kind, profile.timeout_ms, profile.encrypted) == ("advert", 60_000, False)
    assert profile.matches == (
        Match(b"\xff\xff\xff", b"\x01", 8),
        Match(b"\x21" + bytes.fromhex("78563412f0debc9a7856341278563412"), b"", 0),
    )
    assert profile.counter == Field(0, 1, 1, False, False, False, None, 0, 0)
    assert profile.channels["level"].place == Field(0, 2, 3, True, True, True, 0x800000, 1000, 0)
    assert profile.channels["power"].place == Field(1, 0, 4, False, False, False, None, 0, 0)


def test_what_a_profile_of_a_beacon_says(tmp_path: Path) -> None:
    profile = _load(tmp_path, BEACON)
    assert (profile.kind, profile.timeout_ms, profile.encrypted) == ("mibeacon", 600_000, True)
    assert profile.channels["temperature"].place == Field(0x1004, 0, 2, False, True, False, None, 0, 0)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("company = 0xFFFF\n", "", 11, "needs one of 'company'"),
        ("company = 0xFFFF", "company = 0xFFFF\nservice = 1", 11, "needs one of 'company'"),
        ("company = 0xFFFF", "service = 0x12345", 12, "is not a service UUID"),
        ("-9abc-", "-", 16, "is not a service UUID"),
        ('"01"', '"1"', 13, "is not hexadecimal"),
        ('match = "other"', 'match = "othr"', 33, "did you mean 'other'?"),
        ('match = "other"\n', "", 32, "there are several matches"),
        ("width = 3", "width = 5", 24, "5 bytes do not fit into type i32"),
        ("width = 3\n", "", 20, "for integers of 1 to 3 bytes"),
        ('type = "f32"', 'type = "f32"\nwidth = 3', 35, "3 bytes do not fit into type f32"),
        ("missing = 0x800000", "missing = 0x1000000", 28, "does not fit into 3 bytes"),
        ("at = 1\n", "at = -1\n", 19, "write a number from 0 to 253"),
        ('kind = "advert"', 'kind = "advert"\nencrypted = true', 5, "are not encrypted"),
        ('kind = "advert"', 'kind = "advert"\ngap = "1s"', 5, "only for Modbus"),
        ("[counter]", "[countr]", 17, "unknown key 'countr'"),
    ],
)
def test_mistakes_of_a_fixed_layout(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in ADVERT
    with pytest.raises(FileError) as caught:
        _load(tmp_path, ADVERT.replace(old, new, 1))
    told = [str(problem) for problem in caught.value.problems]
    assert any(f":{line}: " in text and words in text for text in told), told


def test_the_examples_of_the_format_description_are_right(tmp_path: Path) -> None:
    text = (profiles_folder() / "README.md").read_text(encoding="utf-8")
    examples = [block for block in re.findall(r"```toml\n(.*?)```", text, re.S) if "[profile]" in block]
    assert len(examples) == 2
    for example in examples:
        assert _load(tmp_path, example).default


def test_only_sensors_encrypt(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="only for sensors that advertise"):
        _load(tmp_path, GOOD.replace('kind = "modbus"', 'kind = "modbus"\nencrypted = true', 1))
    with pytest.raises(FileError, match="unknown key 'match'"):
        _load(tmp_path, BEACON + "[match.main]\ncompany = 1\n")


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('"Cel"', '"°C"').replace("address = 3", "adress = 3").replace('"10s"', '"10"')
    with pytest.raises(FileError) as caught:
        _load(tmp_path, text)
    assert [problem.line for problem in caught.value.problems] == [12, 19, 23, 25]


def test_unknown_profile() -> None:
    with pytest.raises(
        InputError, match=r'there is no profile "eastron/sdm12"; did you mean \'eastron/sdm120\'\?'
    ):
        profiles.load("eastron/sdm12")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"own\.toml does not exist; check the name"):
        profiles.load("own.toml", tmp_path)


def test_a_coil_is_a_bool_and_nothing_else_is(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    state = GOOD.index("[channel.state]")
    coil = GOOD[:state] + (
        '[channel.state]\ntable = "coil"\naddress = 3\ntype = "bool"\n'
        'enum = {0 = "off", 1 = "on"}\nenum_ko = {0 = "꺼짐", 1 = "켜짐"}\n'
        'label_en = "State"\nlabel_ko = "상태"\n'
    )
    file.write_text(coil)
    channel = profiles.load(str(file), tmp_path).channels["state"]
    assert channel.type == "u8" and isinstance(channel.place, ModbusPlace) and channel.place.function == 1
    for wrong in (coil.replace('"bool"', '"u16"'), coil.replace('"coil"', '"holding"')):
        file.write_text(wrong)
        with pytest.raises(FileError, match="bool"):
            profiles.load(str(file), tmp_path)
