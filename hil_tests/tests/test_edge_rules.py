"""Edge rules on both VMs, with the shipped files and compiled configs, against a reference in plain Python.

A site file is written, compiled, and its rules are fed with scripted samples; what the node keeps is decoded
with the meanings of its own births.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import cbor2
import pytest
from gasan.boards.places import ROOT
from gasan.hil import vmrun
from gasan.hil.edge_reference import Reading, Reference, Sample
from gasan.host.compile import CompiledNode, compile_site
from gasan.host.expression import ExpressionError, parse_expression
from gasan.host.site import load
from gasan.host.store.meaning import Meaning, config_meanings
from gasan.wire import columns

PROGRAM = ROOT / "firmware" / "tests" / "vm" / "edge.py"
bits = pytest.mark.parametrize("bits", [64, 32])

PROFILE = """\
[profile]
maker = "Edge"
model = "Channels"
kind = "modbus"
verified = "simulated"
default = ["c"]
[profile.source]
title = "none"
revision = "1"
pages = "1"
[channel]
c = {{function = 3, address = 0, {keys}, label_en = "C", label_ko = "C"}}
d = {{function = 3, address = 9, type = "u16", label_en = "D", label_ko = "D"}}
e = {{function = 3, address = 20, type = "f32", label_en = "E", label_ko = "E"}}
"""
SITE = """\
[site]
name = "edge"
[[node]]
name = "node"
board = "virtual"
[[node.bus]]
name = "lan"
type = "modbus-tcp"
host = "127.0.0.1"
[[node.bus.device]]
name = "dev"
unit = 1
profile = "./edge.toml"
period = "{period}ms"
channels = [{channels}]
{rules}
"""


def compiled(
    folder: Path, keys: str, rules: str, *, channels: str = '"c"', period: int = 1000
) -> CompiledNode:
    (folder / "edge.toml").write_text(PROFILE.format(keys=keys), encoding="utf-8")
    site = folder / "site.toml"
    site.write_text(SITE.format(rules=rules, channels=channels, period=period), encoding="utf-8")
    (node,) = compile_site(load(site))
    return node


@dataclass
class Outcome:
    """What a node made of a script: readings by channel, in their order."""

    readings: dict[str, list[Reading]]
    raw: dict[str, list[int | bytes | None]]
    sampled: int
    dropped: int
    urgent: list[int]
    health: list[dict[str, int]]


def run(
    node: CompiledNode,
    groups: list[Any],
    steps: list[Any],
    bits: int,
    first: int = 0,
    held: int = 0,
) -> Outcome:
    """groups: [numbers, types, period]; steps: [ms, group, bytes of each column or None, qualities].

    held: so long no rows are taken, so that some find no room.
    """
    if missing := vmrun.missing(bits):
        pytest.skip(missing)
    rules = cbor2.loads(node.config)[5]
    script = [
        [ms, group, values and [v.hex() for v in values], q, *rest] for ms, group, values, q, *rest in steps
    ]
    job = {
        "rules": rules.hex(),
        "groups": groups,
        "first": first,
        "steps": script,
        "held": held,
    }
    told = json.loads(vmrun.run(PROGRAM, bits=bits, stdin=json.dumps(job).encode() + b"\n", heap="8m"))
    assert "refused" not in told, told
    meanings = {meaning.number: meaning for meaning in config_meanings(node.config)}
    out = Outcome({}, {}, told["sampled"], told["dropped"], told["urgent"], told["health"])
    for number, ms, quality, data in told["rows"]:
        meaning = meanings[number]
        raw = None if data is None else decoded(meaning, bytes.fromhex(data))
        quality = quality if raw is None or quality >= 32 else meaning.verdict(raw) or quality
        value = exact(meaning, raw) if raw is not None and quality < 32 else None
        out.readings.setdefault(meaning.name, []).append(Reading(meaning.name, ms, value, quality))
        out.raw.setdefault(meaning.name, []).append(raw)
    assert (told["missed"] > 0) == (held > 0)
    return out


def decoded(meaning: Meaning, data: bytes) -> int | bytes:
    kind = columns.TYPE[meaning.type]
    return data if kind.startswith("f") else int.from_bytes(data, signed=kind.startswith("i"))


def exact(meaning: Meaning, raw: int | bytes) -> Fraction | None:
    if isinstance(raw, int):
        return meaning.exact(raw)
    number = Fraction(struct.unpack({4: ">f", 8: ">d"}[len(raw)], raw)[0])
    return (number * meaning.num + meaning.off) / meaning.den


def rounding(node: CompiledNode) -> dict[str, Callable[[Fraction], Fraction | None]]:
    """How a value is rounded to what a made channel holds: by Python's own float and round."""

    def of(channel: Any) -> Callable[[Fraction], Fraction | None]:
        if channel.type == columns.F64:
            return lambda value: Fraction(value.numerator / value.denominator)
        if columns.TYPE[channel.type] in ("i64", "u32", "u8"):
            scale, off = Fraction(channel.num, channel.den), Fraction(channel.off, channel.den)
            most = 1 << 63 if channel.type == columns.I64 else 1 << 32

            def nearest(value: Fraction) -> Fraction | None:
                raw = round((value - off) / scale)
                return raw * scale + off if -most <= raw < most else None

            return nearest
        return lambda value: value

    return {channel.name: of(channel) for channel in node.channels}


# keys of the channel, and how its bytes are made of a random number
TYPES: dict[str, tuple[str, Callable[[Random, int], bytes]]] = {
    "u16": ('type = "u16", scale = 0.1', lambda r, v: (v & 0xFFFF).to_bytes(2)),
    "i16": ('type = "i16", missing = 0x7FFF', lambda r, v: (v & 0xFFFF).to_bytes(2)),
    "i16 down": ('type = "i16", scale = -0.5, offset = 7', lambda r, v: (v & 0xFFFF).to_bytes(2)),
    "u32": ('type = "u32", scale = "1/3"', lambda r, v: (v * 70001 & 0xFFFFFFFF).to_bytes(4)),
    "i32": ('type = "i32"', lambda r, v: (v * 70001 & 0xFFFFFFFF).to_bytes(4)),
    "u64": ('type = "u64"', lambda r, v: (v * (1 << 47) + 5 & (1 << 64) - 1).to_bytes(8)),
    "i64": ('type = "i64", scale = 0.001', lambda r, v: (v * (1 << 46) - 7 & (1 << 64) - 1).to_bytes(8)),
    "f32": (
        'type = "f32"',
        lambda r, v: struct.pack(">f", r.choice((v / 7, v * 1e-30, v * 1e30, -0.0, 0.0))),
    ),
    "f32 scaled": ('type = "f32", scale = -1.8, offset = 32', lambda r, v: struct.pack(">f", v / 16)),
    "f32 odd": ('type = "f32"', lambda r, v: r.choice((r.randbytes(4), b"\x7f\xc0\0\0", b"\xff\x80\0\0"))),
    "f64": ('type = "f64"', lambda r, v: struct.pack(">d", v / 3)),
    "f16": ('type = "f16"', lambda r, v: r.randbytes(2) if r.random() < 0.2 else struct.pack(">e", v / 64)),
    "bcd16": ('type = "bcd16", scale = 0.1', lambda r, v: bytes.fromhex(f"{abs(v) % 10000:04d}")),
    "bcd16 odd": (
        'type = "bcd16"',
        lambda r, v: r.choice((b"\x12\xa0", bytes.fromhex(f"{abs(v) % 100:04d}"))),
    ),
    "bits": ('type = "u16", bits = {shift = 4, mask = 0xFF}', lambda r, v: (v * 37 & 0xFFFF).to_bytes(2)),
    "signed bits": (
        'type = "u32", bits = {shift = 3, mask = 0xFFF, signed = true}, missing = 0x800',
        lambda r, v: (v * 37 & 0xFFFFFFFF).to_bytes(4),
    ),
    "magnitude": (
        'type = "i16", sign = "magnitude"',
        lambda r, v: (abs(v) & 0x7FFF | (v < 0) << 15).to_bytes(2),
    ),
    "i8": ('type = "i8"', lambda r, v: (v & 0xFF).to_bytes(1)),
}
RULES = {
    "absolute": "deadband = 2.5, max_silence = '40s'",
    "narrow": "deadband = 0.001, max_silence = '20s'",
    "percent": "deadband = '3 %', max_silence = '1h'",
    "change": "on_change = true, max_silence = '30s'",
    "window": "aggregate = {window = '10s', of = ['min', 'max', 'mean', 'last', 'count', 'rms']}",
    "count": "aggregate = {window = '10s', of = ['count']}",
    "window, kept": "deadband = 5, aggregate = {window = '7s', of = ['rms', 'mean'], keep = true}",
    "alarm": "alarm = {high = 50, low = -20, hysteresis = 5, delay = '3s', hold_off = '8s'}, deadband = 1000",
    "alarm at once": "alarm = {high = '100/3', hysteresis = 0.1, hold_off = '0s'}",
}


def script(
    random: Random, count: int, make: Callable[[Random, int], bytes]
) -> list[tuple[int, bytes | None, int]]:
    """(ms, value, quality): a walk with steps, pauses, and bad, uncertain and missing samples among it."""
    ms, at, out = 1000, random.randrange(-100, 100), []
    mood = 0
    for _ in range(count):
        ms += random.choice((1000, 1000, 1000, 1000, 1003, 997, 2000, 15_000))
        at += random.choice((0, 0, 1, -1, 3, -4, 30, -30)) if random.random() < 0.7 else 0
        if random.random() < 0.02:
            at = random.randrange(-30000, 30000)
        if random.random() < 0.1:
            mood = random.choice((0, 0, 0, 1, 32, 64, 64, 80, 81, 130))
        out.append((ms, None if mood >= 64 else make(random, at), mood))
    return out


@bits
@pytest.mark.parametrize("kind", TYPES)
def test_rules_do_what_plain_python_does(tmp_path: Path, kind: str, bits: int, seed: int) -> None:
    random = Random(f"{seed} {kind}")
    keys, make = TYPES[kind]
    for rules in RULES.values():
        node = compiled(tmp_path, keys, f"[node.bus.device.rules]\nc = {{{rules}}}")
        samples = script(random, 150, make)
        first = random.choice((0, (1 << 30) - 90_000, (1 << 29) - 5_000)) if bits == 32 else 0
        code = node.channels[0].type
        steps = [[ms, 0, value and [value], [quality]] for ms, value, quality in samples]
        out = run(node, [[[0], [code], 1000]], steps, bits, first)
        meaning = config_meanings(node.config)[0]
        checked = load(tmp_path / "site.toml").nodes[0].buses[0].devices[0].channels[0].rules
        assert checked is not None
        reference = Reference("c", checked, 1000, rounding(node))
        for ms, value, quality in samples:
            raw = None if value is None else decoded(meaning, value)
            told = quality if raw is None or quality >= 32 else meaning.verdict(raw) or quality
            reference.feed(Sample(ms, exact(meaning, raw) if raw is not None and told < 32 else None, told))
        wanted: dict[str, list[Reading]] = {}
        for reading in reference.kept:
            wanted.setdefault(reading.channel, []).append(reading)
        for name in wanted.keys() | out.readings.keys():
            assert out.readings.get(name, []) == wanted.get(name, []), (kind, rules, name)
        assert (out.dropped, out.sampled) == (reference.dropped, len(reference.kept) + reference.dropped)
        assert out.urgent == reference.urgent
        assert sum(n for part in out.health for key, n in part.items() if int(key) >= 65536) == out.dropped


RATES = {
    "wraps": ('type = "u16", scale = 0.1', "rate = {per = '1s', unit = 'l/s', resolution = 0.001}", 1 << 16),
    "most": ('type = "u16"', "rate = {per = '1m', max = 600, unit = '1/min'}", 1 << 16),
    "wide": ('type = "u64", scale = "1/7"', "rate = {per = '1h', resolution = '1/3'}", 1 << 64),
    "own wrap": ('type = "u32", order = "CDAB"', "rate = {per = '1s', wrap = 1000}", 1000),
    "digits": ('type = "bcd16"', "rate = {per = '1s'}", 10000),
    "never": ('type = "u32"', "rate = {per = '1s', wrap = 0}", 1 << 32),
}


@bits
@pytest.mark.parametrize("kind", RATES)
def test_a_rate_knows_a_wrap_from_a_reset(tmp_path: Path, kind: str, bits: int, seed: int) -> None:
    random = Random(f"{seed} {kind}")
    keys, rules, modulus = RATES[kind]
    node = compiled(tmp_path, keys, f"[node.bus.device.rules]\nc = {{{rules}}}")
    meaning = config_meanings(node.config)[0]
    size = columns.width(meaning.type)
    ms, count, steps, samples = 0, modulus - 300, [], []
    for _ in range(300):
        ms += random.choice((1000, 1000, 1013, 5000, 0, 86_000_000 if random.random() < 0.01 else 1000))
        count = (count + random.randrange(0, 1 + random.choice((3, 50, 800, modulus // 3)))) % modulus
        if random.random() < 0.03:
            count = random.randrange(0, 10)
        raw = bytes.fromhex(f"{count:04d}") if kind == "digits" else count.to_bytes(size)
        quality = random.choice((0,) * 12 + (1, 64))
        steps.append([ms, 0, None if quality == 64 else [raw], [quality]])
        value = exact(meaning, int.from_bytes(raw)) if quality < 32 else None
        samples.append(Sample(ms, value, quality))
    out = run(node, [[[0], [meaning.type], 1000]], steps, bits)
    checked = load(tmp_path / "site.toml").nodes[0].buses[0].devices[0].channels[0].rules
    assert checked is not None
    scale = Fraction(meaning.num, meaning.den)
    scaled = replace(checked, rate=replace(checked.rate, wrap=checked.rate.wrap * scale))
    reference = Reference("c", scaled, 1000, rounding(node))
    for sample in samples:
        reference.feed(sample)
    wanted = [reading for reading in reference.kept if reading.channel == "c_rate"]
    assert out.readings["c_rate"] == wanted
    assert {reading.quality for reading in wanted} >= {0, 1, 71}


@bits
def test_decimals_from_another_register(tmp_path: Path, bits: int, seed: int) -> None:
    random = Random(seed)
    for keys, size, signed in (
        ('type = "i16", decimals = "d", missing = 0x7FFF', 2, True),
        ('type = "u32", decimals = "d", order = "CDAB"', 4, False),
    ):
        rules = "c = {deadband = 0.5, max_silence = '1h', alarm = {high = 100, hold_off = '0s'}}"
        node = compiled(tmp_path, keys, f"[node.bus.device.rules]\n{rules}")
        device = cbor2.loads(node.config)[3][0][3][0]
        (digits, *_), (places, *_) = sorted(device[-1], key=lambda item: item[2])
        names = {channel.name: channel.index for channel in node.channels}
        assert digits >= 40_000 and names["d"] == places
        code = columns.U16 if size == 2 else columns.U32
        ms, steps, samples, decimals = 0, [], [], [random.randrange(5)]
        for _ in range(200):
            ms += 1000
            number = random.choice((7, -300, 32767, 12345, random.randrange(-32768, 32768)))
            if random.random() < 0.1:
                decimals.append(random.choice((0, 1, 2, 3, 9, 10, 256, 65535)))
            quality = random.choice((0,) * 9 + (64,))
            raw = (number if signed else abs(number)).to_bytes(size, signed=signed)
            steps.append([ms, 0, [raw, decimals[-1].to_bytes(2)], [quality, 0]])
            if quality:
                samples.append(Sample(ms, None, 64))
            elif signed and number == 32767:
                samples.append(Sample(ms, None, 32))
            elif decimals[-1] > 9:
                samples.append(Sample(ms, None, 33))
            else:
                samples.append(Sample(ms, Fraction(number if signed else abs(number), 10 ** decimals[-1]), 0))
        out = run(node, [[[digits, places], [code, columns.U16], 1000]], steps, bits)
        checked = load(tmp_path / "site.toml").nodes[0].buses[0].devices[0].channels[0].rules
        assert checked is not None
        reference = Reference("c", checked, 1000, rounding(node))
        for sample in samples:
            reference.feed(sample)
        for name in ("c", "c_alarm"):
            assert out.readings[name] == [reading for reading in reference.kept if reading.channel == name]
        told = [reading.value for reading in out.readings["d"]]
        sent = [int.from_bytes(values[1]) for _ms, _group, values, _marks in steps]
        changes = [n for n, before in zip(sent, [None, *sent], strict=False) if n != before]
        assert told == changes
        # Every sample of both is accounted for, and the digits by themselves are not.
        made = len(out.readings["c_alarm"])
        assert out.sampled == 2 * 200 + made
        assert out.dropped == out.sampled - made - len(out.readings["c"]) - len(told)


def expression(random: Random, depth: int) -> tuple[str, Callable[[dict[str, Fraction]], Fraction | None]]:
    """Text, and what it means to Python's fractions; None for what is not defined."""
    if depth == 0 or random.random() < 0.1:
        if random.random() < 0.6:
            name = random.choice("abx")
            return name, lambda at: at[name]
        number = random.choice(("0", "2", "0.1", "1.7320508", "100", "0x10"))
        value = Fraction(int(number, 16)) if "x" in number else Fraction(number)
        return number, lambda at: value
    left, f = expression(random, depth - 1)
    right, g = expression(random, depth - 1)
    third, h = expression(random, depth - 1)

    def both(act: Callable[[Fraction, Fraction], Any]) -> Callable[[dict[str, Fraction]], Fraction | None]:
        def of(at: dict[str, Fraction]) -> Fraction | None:
            x, y = f(at), g(at)
            if x is None or y is None:
                return None
            try:
                return Fraction(act(x, y))
            except ZeroDivisionError:
                return None

        return of

    def one(act: Callable[[Fraction], Any]) -> Callable[[dict[str, Fraction]], Fraction | None]:
        return lambda at: None if (x := f(at)) is None else Fraction(act(x))

    def choice(at: dict[str, Fraction]) -> Fraction | None:
        test = g(at)
        return None if test is None else f(at) if test else h(at)

    def logic(either: bool) -> Callable[[dict[str, Fraction]], Fraction | None]:
        def of(at: dict[str, Fraction]) -> Fraction | None:
            for part in (f, g):
                x = part(at)
                if x is None:
                    return None
                if bool(x) == either:
                    return Fraction(either)
            return Fraction(not either)

        return of

    return random.choice(
        [
            (f"({left} + {right})", both(lambda x, y: x + y)),
            (f"({left} - {right})", both(lambda x, y: x - y)),
            (f"({left}) * ({right})", both(lambda x, y: x * y)),
            (f"({left}) / ({right})", both(lambda x, y: x / y)),
            (f"({left}) // ({right})", both(lambda x, y: x // y)),
            (f"({left}) % ({right})", both(lambda x, y: x % y)),
            (f"-({left})", one(lambda x: -x)),
            (f"abs({left})", one(abs)),
            (f"({left}) ** 2", one(lambda x: x * x)),
            (f"min({left}, {right})", both(min)),
            (f"max({left}, {right})", both(max)),
            (f"(({left}) < ({right}))", both(lambda x, y: x < y)),
            (f"(({left}) >= ({right}))", both(lambda x, y: x >= y)),
            (f"(({left}) == ({right}))", both(lambda x, y: x == y)),
            (f"(({left}) != ({right}))", both(lambda x, y: x != y)),
            (f"(not ({left}))", one(lambda x: not x)),
            (f"(({left}) and ({right}))", logic(False)),
            (f"(({left}) or ({right}))", logic(True)),
            (f"(({left}) if ({right}) else ({third}))", choice),
        ]
    )


DERIVED = """
[[node.derived]]
name = "result"
inputs = {{a = "dev.c", b = "dev.d", x = "dev.e"}}
expression = "{text}"
{more}
"""


@bits
def test_expressions_mean_what_python_means_by_them(tmp_path: Path, bits: int, seed: int) -> None:
    random = Random(seed)
    for index in range(25):
        while True:
            text, meant = expression(random, 3)
            if (
                any(name in text for name in "abx".replace("x", "x "))
                and len(text) < 200
                and "0x10x" not in text
            ):
                try:
                    used = parse_expression(text, ["a", "b", "x"])
                    break
                except ExpressionError:
                    continue
        more = "" if index % 2 else "resolution = 0.01"
        node = compiled(
            tmp_path,
            'type = "i16", scale = 0.1',
            DERIVED.format(text=text, more=more),
            channels='"c", "d", "e"',
        )
        numbers = {channel.name: channel.index for channel in node.channels}
        steps, wanted = [], []
        round_to = rounding(node)["result"]
        for row in range(12):
            c, d = (
                random.choice((0, 1, -7, 5000, random.randrange(-32768, 32768))),
                random.choice((0, 1, 2, 60000)),
            )
            e = random.choice((0.0, 1.5, -2.25, 1e-20, random.uniform(-1000, 1000)))
            x = Fraction(struct.unpack(">f", struct.pack(">f", e))[0])
            quality = random.choice((0, 0, 0, 0, 1, 64))
            values = [c.to_bytes(2, signed=True), d.to_bytes(2), struct.pack(">f", e)]
            steps.append([1000 * row, 0, values, [quality, 0, 0]])
            at = {"a": Fraction(c, 10), "b": Fraction(d), "x": x}
            if quality == 64 and "a" in used.inputs:
                wanted.append((None, 71))
                continue
            told = meant(at)
            if told is not None:
                told = round_to(told)
            wanted.append((told, 72 if told is None else 1 if quality == 1 and "a" in used.inputs else 0))
        groups = [[[numbers["c"], numbers["d"], numbers["e"]], [columns.I16, columns.U16, columns.F32], 1000]]
        out = run(node, groups, steps, bits)
        assert [(r.value, r.quality) for r in out.readings["result"]] == wanted, (text, steps)


CHAIN = """
[node.bus.device.rules]
c = {{rate = {{per = "1s"}}}}
[[node.bus.device]]
name = "slow"
unit = 2
profile = "./edge.toml"
period = "5s"
channels = ["d"]
[[node.derived]]
name = "both"
inputs = {{c = "dev.c", d = "slow.d", r = "dev.c_rate"}}
expression = "sqrt(c ** 2 + d ** 2) - r"
{resolution}
rules = {{deadband = "5 %", max_silence = "1m", alarm = {{high = 600, hysteresis = 50, hold_off = "20s"}}}}
"""


@bits
@pytest.mark.parametrize("resolution", ["", "resolution = 0.01"])
def test_a_channel_of_two_devices_with_rules_of_its_own(
    tmp_path: Path, bits: int, resolution: str, seed: int
) -> None:
    """Worked out with each sample of the slow one from the latest of the others, then left out by a rule."""
    random = Random(f"{seed} {resolution}")
    node = compiled(tmp_path, 'type = "u16"', CHAIN.format(resolution=resolution))
    numbers = {channel.name: channel.index for channel in node.channels}
    (derived,) = load(tmp_path / "site.toml").nodes[0].derived
    assert derived.rules is not None
    round_to = rounding(node)
    reference = Reference("both", derived.rules, 5000, round_to)
    groups = [[[numbers["c"]], [columns.U16], 1000], [[numbers["d"]], [columns.U16], 5000]]
    steps: list[Any] = []
    rate: tuple[Fraction | None, int] = None, 69  # none yet
    last: int | None = None
    count, level, at = 0, 400, 0
    for ms in range(1000, 300_000, 1000):
        count = (count + random.choice((0, 1, 3, 40))) % 700
        quality = random.choice((0,) * 15 + (64,))
        steps.append([ms, 0, None if quality else [count.to_bytes(2)], [quality]])
        if quality:
            rate = None, 71
        else:
            if last is not None:
                step = count - last
                reset = step < 0  # far from turning over at 65,536
                value = Fraction((count if reset else step) * 1000, ms - at)
                rate = round_to["c_rate"](value), int(reset)
            last, at = count, ms
        if ms % 5000:
            continue
        level += random.choice((0, 1, -1, 300, -300)) if 300 < level < 1200 else 0
        level = level if random.random() < 0.95 else 400
        slow = random.choice((0,) * 9 + (64,))
        steps.append([ms, 1, None if slow else [level.to_bytes(2)], [slow]])
        if quality or slow or rate[0] is None:
            reference.feed(Sample(ms, None, 71))
            continue
        with localcontext() as context:
            context.prec = 400
            root = Fraction((Decimal(count) ** 2 + Decimal(level) ** 2).sqrt())
        reference.feed(Sample(ms, round_to["both"](root - rate[0]), rate[1]))
    out = run(node, groups, steps, bits)
    wanted = [reading for reading in reference.kept if reading.channel == "both"]
    assert out.readings["both"] == wanted and 5 < len(wanted) < 60
    assert {reading.quality for reading in wanted} >= {0, 71}
    assert out.readings["both_alarm"] == [one for one in reference.kept if one.channel == "both_alarm"]
    assert out.urgent == reference.urgent
    assert out.dropped == reference.dropped > 0


@bits
def test_a_number_that_grows_too_long_is_undefined(tmp_path: Path, bits: int) -> None:
    text = "(a ** 4) ** 4"
    node = compiled(
        tmp_path, 'type = "f64"', DERIVED.format(text=f"{text} / ({text})", more=""), channels='"c", "d", "e"'
    )
    steps = [
        [1000 * row, 0, [struct.pack(">d", value), b"\0\1", bytes(4)], [0, 0, 0]]
        for row, value in enumerate((2.0, 1e308, 5e-324, 3.0, 0.0))
    ]
    out = run(node, [[[0, 1, 2], [columns.F64, columns.U16, columns.F32], 1000]], steps, bits)
    told = [(reading.value, reading.quality) for reading in out.readings["result"]]
    assert told == [(1, 0), (None, 72), (None, 72), (1, 0), (None, 72)]


@bits
def test_a_sample_that_is_dropped_takes_no_memory(tmp_path: Path, bits: int) -> None:
    for keys, code, value in (
        ('type = "u16"', columns.U16, b"\x12\x34"),
        ('type = "i32", missing = 0x7FFFFFFF', columns.I32, b"\xf2\x34\x56\x78"),
        ('type = "u64", scale = 0.01', columns.U64, b"\xf2\x34\x56\x78" * 2),
        ('type = "f32"', columns.F32, b"\xc3\x97\x60\x00"),
        ('type = "f64"', columns.F64, b"\xc0\x97\x60\x00\x12\x34\x56\x78"),
    ):
        rules = "deadband = '1 %', max_silence = '1h', alarm = {high = 1e30, low = '-1e17', hysteresis = 1}"
        rules = rules.replace("1e30", "9e17").replace("'-1e17'", "-9e17")
        node = compiled(tmp_path, keys, f"[node.bus.device.rules]\nc = {{{rules}}}")
        steps: list[Any] = [[0, 0, [value], [0]], [1000, 0, [value], [0]]]
        steps += [[2000 + 1000 * i, 0, [value], [0], True] for i in range(5)]
        steps += [[9000, 0, None, [64]], [10_000, 0, None, [64], True], [11_000, 0, None, [64], True]]
        out = run(node, [[[0], [code], 1000]], steps, bits)
        assert out.dropped == 8


@bits
@pytest.mark.parametrize("rule", ["on_change = true", "deadband = 0.5"])
def test_what_found_no_room_was_not_stored(tmp_path: Path, rule: str, bits: int) -> None:
    """So the next one is kept, whatever it is."""
    node = compiled(tmp_path, 'type = "u16"', f"[node.bus.device.rules]\nc = {{{rule}, max_silence = '1h'}}")
    values = [*range(200), 7777, 7777, 7777, 7777]
    steps = [[1000 * i, 0, [value.to_bytes(2)], [0]] for i, value in enumerate(values)]
    out = run(node, [[[0], [columns.U16], 1000]], steps, bits, held=200)
    told = [reading.value for reading in out.readings["c"]]
    assert 7777 not in told[:-1] and told[-1] == 7777
    assert out.dropped == 2 and out.sampled == len(told) + 2


@bits
def test_other_columns_of_a_row_pass_as_they_are(tmp_path: Path, bits: int) -> None:
    node = compiled(
        tmp_path, 'type = "u16"', "[node.bus.device.rules]\nd = {on_change = true}", channels='"c", "d", "e"'
    )
    steps = [
        [1000 * i, 0, [i.to_bytes(2), b"\0\7", struct.pack(">f", i)], [0, 0, 33 if i == 3 else 0]]
        for i in range(6)
    ]
    steps.append([6000, 0, None, [64]])
    out = run(node, [[[0, 1, 2], [columns.U16, columns.U16, columns.F32], 1000]], steps, bits)
    assert [(r.ms, r.value, r.quality) for r in out.readings["c"]] == [(1000 * i, i, 0) for i in range(6)] + [
        (6000, None, 64)
    ]
    assert [r.quality for r in out.readings["e"]] == [0, 0, 0, 33, 0, 0, 64]
    assert [(r.ms, r.quality) for r in out.readings["d"]] == [(0, 0), (6000, 64)]
    assert (out.sampled, out.dropped) == (21, 5)


def broken(random: Random, item: Any) -> Any:
    """A part of rules changed into something else."""
    if isinstance(item, list) and item and random.random() < 0.85:
        at = random.randrange(len(item))
        return [*item[:at], broken(random, item[at]), *item[at + 1 :]]
    if isinstance(item, dict) and item and random.random() < 0.8:
        key = random.choice(list(item))
        return {**item, key: broken(random, item[key])}
    return random.choice(
        (
            None,
            -1,
            0,
            1,
            255,
            65536,
            1 << 40,
            1 << 200,
            b"",
            b"\xff" * 8,
            "text",
            [],
            [0],
            {},
            True,
            [[0]],
            9,
            40_000,
        )
    )


@bits
def test_rules_that_make_no_sense_are_refused(tmp_path: Path, bits: int, seed: int) -> None:
    if missing := vmrun.missing(bits):
        pytest.skip(missing)
    random = Random(seed)
    text = """
[node.bus.device.rules]
c = {deadband = 1, alarm = {high = 5}, aggregate = {window = "5s", of = ["rms", "max"], keep = true}}
d = {on_change = true, rate = {per = "1s"}}
[[node.derived]]
name = "sum"
inputs = {a = "dev.c", b = "dev.d", r = "dev.d_rate"}
expression = "a + b * r / 2"
rules = {deadband = "1 %"}
"""
    node = compiled(tmp_path, 'type = "i16", missing = 0x7FFF', text, channels='"c", "d"')
    good = cbor2.loads(cbor2.loads(node.config)[5])
    jobs: list[Any] = [good] + [broken(random, good) for _ in range(400)]
    program = """
import sys
from gasan.node import edge_make
from gasan.node.clock import Clock
for line in sys.stdin:
    try:
        edge_make.check(bytes.fromhex(line.strip()), Clock())
        print("taken")
    except ValueError:
        print("refused")
"""
    packed = [cbor2.dumps(job, canonical=True) for job in jobs]
    packed += [data[: random.randrange(len(data))] for data in packed[:20]] + [
        random.randbytes(30) for _ in jobs
    ]
    stdin = "\n".join((data or b"\0").hex() for data in packed).encode()
    told = vmrun.run(program, bits=bits, stdin=stdin, heap="4m").split()
    assert len(told) == len(packed) and told[0] == "taken"
    assert told.count("refused") > 200
