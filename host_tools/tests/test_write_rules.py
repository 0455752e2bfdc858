"""What a site file may say of writes, what a config makes of it, and which values pass."""

import struct
from fractions import Fraction
from pathlib import Path

import pytest
from gasan.host import i18n
from gasan.host.compile import compile_site
from gasan.host.config_diff import difference
from gasan.host.errors import InputError
from gasan.host.problems import FileError
from gasan.host.site import load
from gasan.host.store.config_devices import modbus_devices
from gasan.host.writes import Outcome, WriteRule, outcome_of, rules

SITE = """\
[site]
name = "t"
[[node]]
name = "press-1"
board = "virtual"
[[node.bus]]
name = "line"
type = "modbus-tcp"
host = "127.0.0.1"
[[node.bus.device]]
name = "drive"
unit = 1
profile = "{profile}"
channels = ["{channel}"]
[node.bus.device.write.{name}]
{rule}
"""
DRIVE = "ls-electric/ig5a"
CHANNEL = "frequency_command"


def site(folder: Path, rule: str, name: str, channel: str, profile: str = DRIVE) -> Path:
    file = folder / "site.toml"
    file.write_text(SITE.format(rule=rule, name=name, channel=channel, profile=profile))
    return file


def writable(folder: Path, rule: str) -> WriteRule:
    (node,) = compile_site(load(site(folder, rule, CHANNEL, CHANNEL)))
    return rules(node.config)["drive", CHANNEL]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("", "'min' and 'max' are missing"),
        ("min = 0", "'min' and 'max' are missing"),
        ("min = 60\nmax = 0", "'min' is above 'max'"),
        ("min = 0\nmax = 1000", "do not fit"),
        ("min = -1\nmax = 60", "do not fit"),
        ('min = 0\nmax = 60\nstep = "0.003"', "'step' is no multiple"),
        ("min = 0\nmax = 60\nfunction = 5", "function 5 cannot write this channel"),
        ("min = 0\nmax = 60\nfunction = 3", "function"),
        ("min = 0\nmax = 60\nbroadcast = true", "Modbus TCP knows no broadcasts"),
        ("min = 0\nmax = 60\nbroadcast = true\nfunction = 23", "function 23 cannot be one"),
        ("min = 0\nmax = 60\nrate = 5", "not a duration"),
        ("min = 0\nmax = 60\nwho = 5", "who"),
        ("min = 0\nmax = 60\nsecret = 5", "secret"),
        ('min = "low"\nmax = 60', "not a number"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, rule: str, said: str) -> None:
    i18n.set_language("en")
    with pytest.raises(FileError) as caught:
        load(site(tmp_path, rule, CHANNEL, CHANNEL))
    texts = [str(problem) for problem in caught.value.problems]
    assert any(said in text and "site.toml:" in text for text in texts), texts


@pytest.mark.parametrize(
    ("name", "channel", "profile", "said"),
    [
        ("output_current", "output_current", DRIVE, "the profile says that it is read only"),
        ("output_current", CHANNEL, DRIVE, "not among the channels"),
        ("voltage", "voltage", "eastron/sdm120", "the profile says that it is read only"),
    ],
)
def test_what_the_profile_does_not_allow_is_refused(
    tmp_path: Path, name: str, channel: str, profile: str, said: str
) -> None:
    i18n.set_language("en")
    with pytest.raises(FileError, match=said):
        load(site(tmp_path, "min = 0\nmax = 60", name, channel, profile))


def test_a_rule_comes_through_the_config(tmp_path: Path) -> None:
    rule = writable(tmp_path, 'min = 5\nmax = 60\nstep = "0.5"\nrate = "10s"\nwho = ["kim", "lee"]')
    each = Fraction(rule.meaning.num, rule.meaning.den)
    assert rule.function == 6 and rule.pause_ms == 10_000 and rule.read_back and rule.who == ("kim", "lee")
    assert rule.step * each == Fraction(1, 2)
    assert isinstance(rule.least, int) and rule.least * each == 5
    for text in ("5", "5.5", "60", " 30.0 ", "6e1"):
        assert rule.shown(rule.encode(text)) == f"{float(text):g}"
    for text in (
        "4.5",
        "60.5",
        "5.25",
        "-5",
        "",
        "x",
        "nan",
        "inf",
        "1e999",
        "1e999999999",
        "5,5",
        "1/2",
        "9" * 50,
    ):
        with pytest.raises(InputError):
            rule.encode(text)


OVEN = """\
[profile]
maker = "test"
model = "oven"
kind = "modbus"
verified = "simulated"
default = ["one"]
max_registers = 125
timeout = "200ms"
gap = "0ms"
period = "1s"
[profile.source]
title = "test"
revision = "1"
pages = "1"
"""
CHANNELS = {
    "one": 'type = "u16"\nunit = ""',
    "two": 'type = "u32"\nunit = ""',
    "single": 'type = "f32"\nunit = ""',
    "bits": 'type = "u16"\nunit = ""\nbits = { shift = 4, mask = 0xF }',
}


def oven(folder: Path, device: str, channel: str, more: str = "") -> Path:
    (folder / "oven.toml").write_text(
        OVEN
        + "".join(
            f'[channel.{name}]\nlabel_en = "a"\nlabel_ko = "a"\ntable = "holding"\naddress = {10 * i}\n'
            f'access = "read-write"\n{text}\n'
            for i, (name, text) in enumerate(CHANNELS.items())
        )
    )
    file = site(folder, f"min = 0\nmax = 9\n{more}", channel, channel, "oven.toml")
    text = file.read_text().replace('"modbus-tcp"', '"modbus-rtu-over-tcp"')
    file.write_text(
        text.replace("unit = 1\n", f"unit = 1\n{device}\n").replace("host =", "port = 4001\nhost =")
    )
    return file


@pytest.mark.parametrize(
    ("device", "channel", "more", "function"),
    [
        ("", "one", "", 6),
        ("", "two", "", 16),
        ("", "bits", "", 22),
        ("write_function = 16", "one", "", 16),
        ("write_function = 16", "two", "", 16),
        ("write_function = 16", "bits", "", 16),
        ("write_function = 6", "one", "", 6),
        ("write_function = 6", "bits", "", 6),
        ("write_function = 6", "two", "function = 16", 16),
        ("write_function = 6", "one", "function = 23", 23),
    ],
)
def test_the_function_is_the_channel_s_else_the_device_s_else_by_type(
    tmp_path: Path, device: str, channel: str, more: str, function: int
) -> None:
    (node,) = compile_site(load(oven(tmp_path, device, channel, more)))
    (rule,) = rules(node.config).values()
    assert rule.function == function and rule.unit == 1


@pytest.mark.parametrize(
    ("device", "channel", "more", "said"),
    [
        (
            "write_function = 6",
            "two",
            "",
            "write_function = 6 cannot write this channel, which has 2 registers",
        ),
        ("write_function = 6", "bits", "broadcast = true", "by function 22 only"),
        ("", "one", "broadcast = true\nfunction = 23", "function 23 cannot be one"),
        ("write_function = 6", "bits", "read_back = false", "without a read by function 22 only"),
        ("", "bits", "read_back = false\nfunction = 16", "without a read by function 22 only"),
    ],
)
def test_what_no_function_can_do_is_refused(
    tmp_path: Path, device: str, channel: str, more: str, said: str
) -> None:
    i18n.set_language("en")
    with pytest.raises(FileError, match=said):
        load(oven(tmp_path, device, channel, more))


def test_bits_that_are_written_by_a_mask_need_no_read(tmp_path: Path) -> None:
    (node,) = compile_site(load(oven(tmp_path, "", "bits", "read_back = false")))
    (rule,) = rules(node.config).values()
    assert (rule.function, rule.read_back) == (22, False)


def test_the_limits_of_a_float_can_be_written(tmp_path: Path) -> None:
    """They are no exact floats, and what is written is rounded as they are."""
    file = oven(tmp_path, "", "single")
    file.write_text(file.read_text().replace("min = 0\nmax = 9", "min = 0.1\nmax = 0.7"))
    (node,) = compile_site(load(file))
    (rule,) = rules(node.config).values()
    assert [rule.encode(text) for text in ("0.1", "0.7")] == [rule.least, rule.most]
    assert rule.encode("0.5") == struct.pack(">f", 0.5)
    for text in ("0.09", "0.71", "0.0999999", "0.7000001", "-0.1", "1e39", "-1e400", "nan", "inf", "9" * 50):
        with pytest.raises(InputError):
            rule.encode(text)


def test_a_line_behind_tcp_is_known_to_the_difference_and_the_health_of_lines(tmp_path: Path) -> None:
    file = oven(tmp_path, "write_function = 16", "one")
    (before,) = compile_site(load(file))
    file.write_text(file.read_text().replace("port = 4001", 'port = 4001\nturnaround = "250ms"'))
    (after,) = compile_site(load(file))
    (change,) = difference(before.config, after.config)
    assert str(change).endswith(", port 4001, turnaround 250")
    assert [row[1:] for row in modbus_devices(after.config)] == [("drive", "line", 3, 1, "127.0.0.1:4001")]


def test_a_broadcast_is_to_unit_0(tmp_path: Path) -> None:
    (node,) = compile_site(load(oven(tmp_path, "", "bits", "broadcast = true")))
    (rule,) = rules(node.config).values()
    assert (rule.unit, rule.function, rule.read_back) == (0, 22, True)


def test_without_rules_nothing_is_writable(tmp_path: Path) -> None:
    file = site(tmp_path, "min = 0\nmax = 60", CHANNEL, CHANNEL)
    file.write_text(file.read_text().split("[node.bus.device.write")[0])
    (node,) = compile_site(load(file))
    assert rules(node.config) == {}


def test_an_answer_that_says_nothing_leaves_a_write_unknown() -> None:
    for status in (-1, -2, 3, 4, 99):  # no answer, the node started again, a crash, what nobody knows
        assert outcome_of(status) is Outcome.UNKNOWN
    assert {outcome_of(status) for status in (0, 10)} == {one for one in Outcome if one.done}


@pytest.mark.parametrize("page", ["writing.md", "writing.ko.md"])
def test_the_example_of_the_page_is_one(tmp_path: Path, page: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    file = tmp_path / "site.toml"
    file.write_text(SITE.split("[[node.bus.device]]")[0] + example, encoding="utf-8")
    (node,) = compile_site(load(file))
    (rule,) = rules(node.config).values()
    assert rule.who == ("kim",) and rule.pause_ms == 10_000 and rule.shown(rule.encode("30")) == "30"
