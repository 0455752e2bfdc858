"""Rules in a site file: what is right compiles, what is wrong is told by line, with what to write instead."""

import re
from pathlib import Path
from random import Random

import cbor2
import pytest
from gasan.boards.places import ROOT
from gasan.host.compile import compile_site
from gasan.host.config_diff import describe
from gasan.host.expression import ExpressionError, parse_expression
from gasan.host.i18n import set_language
from gasan.host.problems import FileError
from gasan.host.site import load
from gasan.wire import cbor

HEAD = """\
[site]
name = "line-3"
[[node]]
name = "press-1"
board = "virtual"
[[node.bus]]
name = "cabinet"
type = "modbus-rtu"
port = "/dev/ttyUSB0"
baudrate = 9600
"""
GOOD = (
    HEAD
    + """\
[[node.bus.device]]
name = "meter"
unit = 1
profile = "eastron/sdm120"
channels = ["voltage", "current"]
[node.bus.device.rules.voltage]
deadband = 0.5
max_silence = "10m"
[node.bus.device.rules.current]
aggregate = {window = "1m", of = ["min", "rms"]}
alarm = {high = 16, hysteresis = 1}
[[node.bus.device]]
name = "drive"
unit = 2
profile = "ls-electric/s100"
channels = ["running_state", "motor_speed"]
[node.bus.device.rules]
running_state = {on_change = true}
motor_speed = {rate = {per = "1s", max = 100}}
[[node.derived]]
name = "apparent_power"
unit = "VA"
resolution = 0.1
inputs = {u = "meter.voltage", i = "meter.current", n = "drive.motor_speed_rate"}
expression = "u * i + n"
rules = {deadband = "2 %"}
"""
)
PAGES = [ROOT / "docs" / "edge.md", ROOT / "docs" / "edge.ko.md"]
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)

# What is put in place of what, the line that must be named, and words that the message must have.
MISTAKES = {
    "rule unknown": ("deadband = 0.5", "deadbnd = 0.5", 17, "did you mean 'deadband'?"),
    "no rule": (
        'deadband = 0.5\nmax_silence = "10m"',
        'max_silence = "10m"',
        16,
        "write deadband, on_change",
    ),
    "deadband of nothing": ("deadband = 0.5", "deadband = 0", 17, 'a share like "1 %"'),
    "deadband without end": ("deadband = 0.5", "deadband = 1e999999999", 17, "is not a deadband"),
    "deadband without end in quotes": (
        "deadband = 0.5",
        'deadband = "1e-999999999"',
        17,
        "is not a deadband",
    ),
    "deadband below nothing": ("deadband = 0.5", "deadband = -1", 17, "is not a deadband"),
    "deadband of all": ("deadband = 0.5", 'deadband = "100 %"', 17, "is not a deadband"),
    "deadband in words": ("deadband = 0.5", 'deadband = "a bit"', 17, '"a bit" is not a deadband'),
    "silence": ('max_silence = "10m"', "max_silence = 10", 18, 'for example "10s" or "10ms"'),
    "two filters": ("deadband = 0.5", "deadband = 0.5\non_change = true", 18, "exclude each other"),
    "channel not read": ("rules.voltage]", "rules.frequency]", 16, "name it in 'channels' too"),
    "channel unknown": ("rules.voltage]", "rules.voltag]", 16, "did you mean 'voltage'?"),
    "figure unknown": ('"min", "rms"', '"min", "avg"', 20, "write one of min, max, mean, last, count, rms"),
    "window too short": ('window = "1m"', 'window = "1s"', 20, 'write at least "2000ms"'),
    "window without length": ('window = "1m", ', "", 20, "'window' is missing"),
    "samples left out twice": ("aggregate = {", "deadband = 1\naggregate = {", 21, "write keep = true"),
    "alarm without a limit": ("high = 16, ", "", 21, "an alarm needs 'high' or 'low'"),
    "alarm of both": ("high = 16", "high = 16, low = 15", 21, "further apart"),
    "hysteresis": ("hysteresis = 1", "hysteresis = -1", 21, "write hysteresis = 0"),
    "rules of a state": ("{on_change = true}", "{deadband = 1}", 28, "write on_change = true for a state"),
    "rate of a float": (
        "alarm = {high = 16, hysteresis = 1}",
        'rate = {per = "1h"}',
        21,
        "for unsigned counters",
    ),
    "rate per nothing": ('per = "1s"', 'per = "0s"', 29, 'write per = "1s"'),
    "rate unit": ("max = 100", 'max = 100, unit = "rpm"', 29, 'write unit = "1/min"'),
    "rate most": ("max = 100", "max = -1", 29, "'max' must be above 0"),
    "no inputs": (
        'inputs = {u = "meter.voltage", i = "meter.current", n = "drive.motor_speed_rate"}\n',
        "",
        30,
        "'inputs' is missing; write [node.derived.inputs] on a line of its own, and its keys below",
    ),
    "inputs empty": (
        'inputs = {u = "meter.voltage", i = "meter.current", n = "drive.motor_speed_rate"}',
        "inputs = {}",
        34,
        "'inputs' is empty; write [node.derived.inputs] on a line of its own, and its keys below",
    ),
    "input unknown": ('"meter.voltage"', '"meter.voltge"', 34, "did you mean 'meter.voltage'?"),
    "input below": (
        'n = "drive.motor_speed_rate"',
        'n = "derived.apparent_power"',
        34,
        "comes further below",
    ),
    "input name": ("{u =", "{if =", 34, "cannot be the name of an input"),
    "input not there": ('"u * i + n"', '"u * i + m"', 35, 'there is no input "m"'),
    "no expression": ('"u * i + n"', '"u * * i"', 35, "is not an expression"),
    "function": ('"u * i + n"', '"u * i + exp(n)"', 35, 'there is no function "exp"'),
    "attack": ('"u * i + n"', '"().__class__"', 35, "cannot be in an expression"),
    "call of what it is": ('"u * i + n"', '"(lambda: u)()"', 35, "cannot be in an expression"),
    "text in it": ('"u * i + n"', "\"u * i + n + 'a'\"", 35, "cannot be in an expression"),
    "number without end": ('"u * i + n"', '"u * i + n + 1e999999999"', 35, "has too many digits"),
    "number and word in one": ('"u * i + n"', '"u * i + 0xfor n"', 35, "is not an expression"),
    "power": ('"u * i + n"', '"u ** i + n"', 35, "from 2 to 4"),
    "power too high": ('"u * i + n"', '"u ** 99 + i + n"', 35, "from 2 to 4"),
    "too long": (
        '"u * i + n"',
        '"' + " + ".join(["u", "i", "n"] * 12) + '"',
        35,
        "make two derived channels",
    ),
    "too deep": (
        '"u * i + n"',
        '"' + "(u + " * 20 + "i" + ")" * 20 + ' + n"',
        35,
        "make two derived channels",
    ),
    "no channel": ('"u * i + n"', '"1 + 2"', 35, "use one of: u, i, n"),
    "resolution": ("resolution = 0.1", "resolution = 0", 33, "must be above 0"),
    "name of another": (
        'name = "apparent_power"',
        'name = "current_min"\ndevice = "meter"',
        31,
        "already a channel",
    ),
    "rate of a derived": ('{deadband = "2 %"}', '{rate = {per = "1s"}}', 36, "for unsigned counters"),
    "derived key": ("resolution = 0.1", "resolutin = 0.1", 33, "did you mean 'resolution'?"),
    "secret": ("resolution = 0.1", 'resolution = 0.1\npassword = "a"', 34, "never holds a secret"),
}


def _site(folder: Path, text: str) -> Path:
    file = folder / "site.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_rules_compile_and_are_described(tmp_path: Path) -> None:
    (node,) = compile_site(load(_site(tmp_path, GOOD)))
    names = [f"{channel.device}.{channel.name}" for channel in node.channels]
    assert names[:4] == ["meter.voltage", "meter.current", "drive.running_state", "drive.motor_speed"]
    assert names[4:] == [
        "meter.current_min", "meter.current_rms", "meter.current_alarm", "drive.motor_speed_rate",
        "derived.apparent_power",
    ]  # fmt: skip
    config = cbor2.loads(node.config)
    assert len(config) == 6 and config[0] == 2
    assert cbor.dumps(cbor.loads(config[5])) == config[5]  # as a node reads it
    told = describe(node.config)
    assert told["rule of meter/voltage"].startswith("deadband 1 2")
    assert told["channel meter/current_min"].startswith("min of meter/current over 1m")
    assert told["channel derived/apparent_power"].startswith(
        "of meter/voltage, meter/current, drive/motor_speed_rate"
    )


def test_a_site_without_rules_has_a_config_as_before(tmp_path: Path) -> None:
    text = re.sub(r"\[node\.bus\.device\.rules.*?(?=\[\[)", "", GOOD, flags=re.DOTALL).split(
        "[[node.derived]]"
    )[0]
    (node,) = compile_site(load(_site(tmp_path, text)))
    assert len(cbor2.loads(node.config)) == 5


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(tmp_path: Path, name: str) -> None:
    old, new, line, words = MISTAKES[name]
    assert GOOD.count(old) == 1, old
    file = _site(tmp_path, GOOD.replace(old, new))
    with pytest.raises(FileError) as caught:
        load(file)
    told = [str(problem) for problem in caught.value.problems]
    assert any(text.startswith(f"{file}:{line}: ") and words in text for text in told), told
    set_language("ko")
    try:
        with pytest.raises(FileError) as caught:
            load(file)
        # What stands before the mend is in Korean; names and values stay as they are written.
        assert any(re.search("[가-힣]", str(problem)) for problem in caught.value.problems)
    finally:
        set_language("en")


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_examples_of_the_page_are_right(tmp_path: Path, block: str) -> None:
    site = load(_site(tmp_path, HEAD + block))
    (node,) = compile_site(site)
    assert not site.warnings
    assert len(cbor2.loads(node.config)) == 6


def test_both_pages_have_the_same_examples() -> None:
    assert len(BLOCKS) >= 6
    assert re.findall(r"```toml\n(.*?)```", PAGES[1].read_text(encoding="utf-8"), re.DOTALL) == BLOCKS


def test_no_text_is_an_expression_by_mistake(seed: int) -> None:
    random = Random(seed)
    parts = [
        "a",
        "b",
        "+",
        "-",
        "**",
        "(",
        ")",
        "1",
        "0.5",
        "if",
        "else",
        "and",
        "not",
        "[",
        "]",
        ":",
        ".",
        "__class__",
    ]
    parts += [
        "lambda",
        "abs(",
        "min(",
        ",",
        "<",
        "==",
        "'x'",
        "f'{a}'",
        "\n",
        "\x00",
        "가",
        "1e999",
        "0x",
        "~",
        "@",
        ":=",
    ]
    taken = 0
    for _ in range(5000):
        text = " ".join(random.choice(parts) for _ in range(random.randrange(1, 9)))
        try:
            made = parse_expression(text, ["a", "b"])
        except ExpressionError as error:
            assert error.what and error.mend
        else:
            taken += 1
            assert 0 < len(made.code) <= 64 and set(made.inputs) <= {"a", "b"}
            eval(
                compile(text.strip(), "", "eval"),
                {"__builtins__": {}},
                {"a": 1.5, "b": 2.5, "abs": abs, "min": min},
            )
    assert taken > 20
