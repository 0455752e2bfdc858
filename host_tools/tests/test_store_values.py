"""What was read is kept without loss, and scaled as the decimal it is."""

import json
import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest
from gasan.boards.places import ROOT
from gasan.hil.scripted_node import Column, ScriptedKeys, ScriptedNode, channel
from gasan.host.store import open_reader, open_store, readings
from gasan.host.store.ingest import Ingest
from gasan.host.store.meaning import Meaning, config_meanings, parse_birth
from gasan.host.store.query import Reading
from gasan.wire import columns

U64_MAX = (1 << 64) - 1
I64_MIN, I64_MAX = -(1 << 63), (1 << 63) - 1


def stored(path: Path, birth: Sequence[list[Any]], data: Sequence[Column], **how: Any) -> list[Reading]:
    """The readings that one frame becomes, in the frame's own order."""
    node = ScriptedNode(Random(7))
    frames = [node.start(), node.birth(birth), node.data(data, **how)]
    with open_store(path) as store:
        Ingest(store, ScriptedKeys(node)).store(frames)
    connection = open_reader(path)
    try:
        return list(readings(connection))
    finally:
        connection.close()


def one(path: Path, type_code: int, raw: int | float | bytes, scale: dict[str, Any]) -> Reading:
    return stored(path, [channel("d", "c", type_code, **scale)], [(type_code, [raw])])[0]


@pytest.mark.parametrize(
    ("type_code", "raw", "scale", "value"),
    [
        (columns.U16, 2302, {"den": 10}, 230.2),
        (columns.U16, 3, {"den": 10}, 0.3),
        (columns.U16, 0, {"den": 10}, 0.0),
        (columns.I16, -5, {"den": 10}, -0.5),
        (columns.U16, 1, {"den": 3}, 1 / 3),
        (columns.U16, 250, {"num": 1, "den": 10, "off": -400}, -15.0),
        (columns.U16, 7, {"num": 36, "den": 10}, 25.2),
        (columns.U32, (1 << 32) - 1, {"den": 1000}, 4294967.295),
        (columns.I64, (1 << 53) + 1, {}, float((1 << 53) + 1)),
        (columns.I64, I64_MAX, {"den": 10}, I64_MAX / 10),
        (columns.I64, I64_MIN, {"den": 7}, I64_MIN / 7),
        (columns.U64, U64_MAX, {}, float(U64_MAX)),
        (columns.U64, U64_MAX, {"num": 1, "den": 1000, "off": -1}, (U64_MAX - 1) / 1000),
        (columns.U64, 1 << 63, {}, 2.0**63),
        (columns.U16, 0b1011_0000, {"more": {1: 4, 2: 0b111}}, 3.0),
        (columns.I16, -1, {"more": {1: 15, 2: 1}}, 1.0),
        (columns.U64, U64_MAX, {"more": {1: 60, 2: 15}}, 15.0),
        (columns.U64, 1 << 63, {"more": {2: 1 << 63}}, 2.0**63),
        (columns.F32, 230.25, {}, 230.25),
        (columns.F32, 0.1, {}, struct.unpack(">f", struct.pack(">f", 0.1))[0]),
        (columns.F64, 0.1, {}, 0.1),
        (columns.F64, 5e-324, {}, 5e-324),
        (columns.F64, 2302.0, {"den": 10}, 230.2),
        (columns.F32, 21.5, {"num": 9, "den": 5, "off": 160}, 70.7),
    ],
)
def test_value(tmp_path: Path, type_code: int, raw: Any, scale: dict[str, Any], value: float) -> None:
    reading = one(tmp_path / "a.sqlite", type_code, raw, scale)
    assert reading.value == value
    assert isinstance(reading.value, float)
    assert reading.quality == "uncertain/time"  # good, but nobody has told when
    if isinstance(raw, float):
        assert reading.raw == struct.pack(">f" if type_code == columns.F32 else ">d", raw)
    else:
        assert reading.raw == (raw if I64_MIN <= raw <= I64_MAX else str(raw))


@pytest.mark.parametrize(
    ("type_code", "raw", "quality"),
    [
        (columns.F32, bytes.fromhex("7fc00000"), "bad/no-value"),
        (columns.F32, bytes.fromhex("7fa00001"), "bad/no-value"),
        (columns.F32, bytes.fromhex("ffffffff"), "bad/no-value"),
        (columns.F32, bytes.fromhex("7f800000"), "bad/range"),
        (columns.F64, bytes.fromhex("7ff8000000000123"), "bad/no-value"),
        (columns.F64, bytes.fromhex("fff0000000000000"), "bad/range"),
    ],
)
def test_no_number_has_no_value_and_keeps_its_bits(
    tmp_path: Path, type_code: int, raw: bytes, quality: str
) -> None:
    reading = one(tmp_path / "a.sqlite", type_code, raw, {})
    assert (reading.value, reading.raw, reading.quality) == (None, raw, quality)


def test_negative_zero_and_denormals_keep_their_bits(tmp_path: Path) -> None:
    raws = [bytes.fromhex("80000000"), bytes.fromhex("00000001"), bytes.fromhex("807fffff")]
    rows = stored(tmp_path / "a.sqlite", [channel("d", "c", columns.F32)], [(columns.F32, raws)])
    assert [row.raw for row in rows] == raws
    assert [row.value for row in rows] == [struct.unpack(">f", raw)[0] for raw in raws]


def test_scaling_is_one_correctly_rounded_division(tmp_path: Path, seed: int) -> None:
    """Whether the view computes a value or the store did beforehand, it is the double nearest to the
    quotient.
    """
    random = Random(seed)
    birth: list[list[Any]] = []
    data: list[Column] = []
    expected: list[float] = []
    for _ in range(60):
        num, den = random.choice((1, 7, 10**6, -3)), random.choice((1, 10, 3, 1000, 10**9, (1 << 53) + 1))
        off = random.choice((0, -400, 10**15, 1 << 52))
        raws = [
            random.choice((random.randrange(-70000, 70000), random.randrange(I64_MIN, I64_MAX + 1), 1 << 53))
            for _ in range(8)
        ]
        birth.append(channel("d", f"c{len(birth)}", columns.I64, num=num, den=den, off=off))
        data.append((columns.I64, raws))
        expected += [float(Fraction(raw * num + off, den)) for raw in raws]
    rows = []
    for first in range(0, 60, 10):
        part = tmp_path / f"{first}.sqlite"
        rows += stored(part, birth[first : first + 10], data[first : first + 10])
    assert [row.value for row in sorted(rows[:80], key=lambda r: r.channel)]
    by_channel: dict[str, list[float | None]] = {}
    for row in rows:
        by_channel.setdefault(row.channel, []).append(row.value)
    assert [value for number in range(60) for value in by_channel[f"c{number}"]] == expected


def test_bounds_are_where_the_views_arithmetic_stays_exact(seed: int) -> None:
    random = Random(seed)
    for _ in range(500):
        mask = random.choice((-1, -1, 1, 0xFF, (1 << 40) - 1, I64_MIN))
        shift = random.choice((0, 0, 1, 8, 63))
        num, off = random.choice((0, 1, -5, 1000, 1 << 52)), random.choice((0, 5, -(1 << 52), 1 << 60))
        den = random.choice((1, 10, (1 << 53) + 1))
        meaning = Meaning(0, "d", "c", "V", columns.I64, num, den, off, 1000, shift, mask, {}, "")
        low, high = meaning.bounds()
        for raw in (low, high, low + 1, high - 1, 0, random.randrange(I64_MIN, I64_MAX)):
            if not (I64_MIN <= low <= raw <= high <= I64_MAX):
                continue
            dividend = ((raw >> shift) & mask) * num + off
            assert abs(dividend) <= 1 << 53 and den <= 1 << 53


@pytest.mark.parametrize(
    ("mark", "quality", "value", "raw"),
    [
        (1, "uncertain", 230.2, 2302),
        (2, "uncertain/time", 230.2, 2302),
        (33, "bad/range", None, 2302),
        (64, "bad/timeout", None, None),
        (82, "bad/illegal-data-address", None, None),
    ],
)
def test_quality(tmp_path: Path, mark: int, quality: str, value: float | None, raw: int | None) -> None:
    rows = stored(
        tmp_path / "a.sqlite",
        [channel("d", "c", columns.U16, den=10)],
        [(columns.U16, [2301, 2302, 2303])],
        marks={(0, 1): mark},
    )
    assert [(row.quality, row.value, row.raw) for row in rows] == [
        ("uncertain/time", 230.1, 2301),
        (quality, value, raw),
        ("uncertain/time", 230.3, 2303),
    ]


def test_a_column_of_timeouts_only(tmp_path: Path) -> None:
    rows = stored(
        tmp_path / "a.sqlite",
        [channel("d", "c", columns.U16), channel("d", "e", columns.F32)],
        [(columns.U16, [None] * 5), (columns.F32, [None] * 5)],
    )
    assert [(row.channel, row.raw, row.value, row.quality) for row in rows] == [
        ("c", None, None, "bad/timeout")
    ] * 5 + [("e", None, None, "bad/timeout")] * 5


def test_labels(tmp_path: Path) -> None:
    rows = stored(
        tmp_path / "a.sqlite",
        [channel("d", "state", columns.U16, unit="", more={1: 8, 2: 3, 3: {0: "stopped", 1: "running"}})],
        [(columns.U16, [0x00FF, 0x01FF, 0x02FF, None])],
    )
    assert [(row.value, row.text) for row in rows] == [
        (0.0, "stopped"),
        (1.0, "running"),
        (2.0, None),
        (None, None),
    ]


@pytest.mark.parametrize("name", ["w1_meter_10x12", "w2_ble_3x40"])
def test_workload_comes_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    workload = json.loads((ROOT / "protocols" / "workloads" / f"{name}.json").read_text())["columns"]
    is_float = name.startswith("w2")
    type_code = columns.F32 if is_float else columns.I32
    birth = [channel("d", c["channel"], type_code, den=1 if is_float else 10) for c in workload]
    values = [
        (type_code, [float(v) if is_float and v is not None else v for v in c["values"]]) for c in workload
    ]
    rows = stored(tmp_path / "a.sqlite", birth, values)
    by_channel: dict[str, list[Reading]] = {}
    for row in rows:
        by_channel.setdefault(row.channel, []).append(row)
    for column in workload:
        got = by_channel[column["channel"]]
        if is_float:
            assert [row.raw for row in got] == [
                None if v is None else struct.pack(">f", v) for v in column["values"]
            ]
        else:
            assert [row.raw for row in got] == column["values"]
            assert [row.value for row in got] == [v / 10 for v in column["values"]]
    assert len(rows) == sum(len(c["values"]) for c in workload)


def test_value_of_a_float_that_overflows_when_scaled() -> None:
    meaning = Meaning(0, "d", "c", "V", columns.F64, 10**18, 1, 0, 0, 0, -1, {}, "")
    assert meaning.value(struct.pack(">d", 1e300)) is None
    value = meaning.value(struct.pack(">d", 1e-300))
    assert value is not None and math.isclose(value, 1e-282)


@pytest.mark.parametrize(
    "content",
    [
        None,
        [0, 1, 0],
        [1, 1, 0, [channel("d", "c", 1)]],
        [0, 1, -1, [channel("d", "c", 1)]],
        [0, 1, 0, []],
        [0, 1, 0, [["d", "c", "V", 1, 1, 1, 0, 0]]],
        [0, 1, 0, [channel("d", "c", 1, den=0)]],
        [0, 1, 0, [channel("d", "c", 1, num=1 << 64)]],
        [0, 1, 0, [channel("d", 5, 1)]],  # type: ignore[arg-type]
        [0, 1, 0, [channel("d", "c", 1, more={1: 64})]],
        [0, 1, 0, [channel("d", "c", 1, more={2: 1 << 64})]],
        [0, 1, 0, [channel("d", "c", 1, more={3: {"a": "b"}})]],
        [0, 1, 0, [channel("d", "c", 1, more={4: 7})]],
    ],
)
def test_a_birth_of_another_shape_is_refused(content: Any) -> None:
    with pytest.raises(ValueError):
        parse_birth(content)


@pytest.mark.parametrize("config", [b"", b"\x01", b"\x80", b"\x85\x02\x60\xa0\x80\x81\x41\x01"])
def test_what_is_no_config_has_no_meanings(config: bytes) -> None:
    with pytest.raises(ValueError):
        config_meanings(config)
