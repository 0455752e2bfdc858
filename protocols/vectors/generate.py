"""Writes frames.json: golden frames, which the encoder and the decoder of both sides must reproduce.

    python protocols/vectors/generate.py

Each entry says what went in (node, key, numbers, samples as the bytes that were read) and the frame in hex.
The frames are made by the encoder of the node; before they are written, pycose must verify them, cbor2 must
decode them to the same readings and zcbor must find them to conform to frame.cddl.
"""

import json
from pathlib import Path
from typing import Any

from gasan.hil.bench.frame_plan import FramePlan, GroupPlan, Identity
from gasan.hil.bench.workload import load
from gasan.hil.frame_by_cbor2 import readings_by_cbor2
from gasan.hil.frame_judges import open_with_pycose, validate
from gasan.wire import cbor, frame
from gasan.wire.columns import TYPE, WIDTH

HERE = Path(__file__).parent
WORKLOADS = HERE.parent / "workloads"

WHO = Identity(
    node_id=bytes.fromhex("0011223344556677"),
    generation=3,
    key=bytes.fromhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
    boot=bytes.fromhex("a0a1a2a3a4a5a6a7"),
    rev=bytes.fromhex("c0c1c2c3c4c5c6c7"),
)

SINGLES = "00000000 80000000 00000001 807fffff 7f800000 ff800000 7fc00000 7f800001 ffc12345 3f800000"
DOUBLES = (
    "0000000000000000 8000000000000000 0000000000000001 7ff0000000000000 7ff0000000000001 fff8dead0000beef"
    " 3ff0000000000000 3fb999999999999a 4340000000000001 7fefffffffffffff"
)


def integers(code: int) -> list[bytes]:
    """The extremes of an integer type and jumps between them, small steps, and a jump at each head size."""
    size = WIDTH[code]
    signed = code % 2 == 0
    low, high = (-(1 << (8 * size - 1)), (1 << (8 * size - 1)) - 1) if signed else (0, (1 << 8 * size) - 1)
    wanted = [low, high, low, 0, 23, -1, 0, 24, 0, -25, 0, 255, 0, 256, 65535, 0, 65536, 1 << 32, 0, high]
    return [min(max(value, low), high).to_bytes(size, "big", signed=signed) for value in wanted]


def groups_of_workload(name: str) -> list[GroupPlan]:
    workload = load(WORKLOADS / name)
    columns = workload.columns
    samples = [column.samples for column in columns]
    base = min(columns[0].times)
    return [
        GroupPlan(
            list(range(len(columns))),
            [column.type for column in columns],
            workload.period_ms,
            [t - base for t in columns[0].times],
            samples,
            [[0 if sample is not None else 64 for sample in column] for column in samples],
        )
    ]


def good(channels: list[int], types: list[str], period_ms: int, times: list[int], samples: Any) -> GroupPlan:
    return GroupPlan(channels, types, period_ms, times, samples, [[0] * len(times) for _ in channels])


def of_qualities(first: int) -> GroupPlan:
    n = 128
    qualities = list(range(first, first + n))
    samples = [[i.to_bytes(2, "big") if q < 64 else None for i, q in enumerate(qualities)], [b"\x07"] * n]
    return GroupPlan([7, 9], ["u16", "u8"], 10, [i * 10 for i in range(n)], samples, [qualities, [0] * n])


def data_frames() -> dict[str, list[GroupPlan]]:
    codes = [code for code, name in enumerate(TYPE) if name and name[0] != "f"]
    extremes = [integers(code) for code in codes]
    times = [i * 1000 for i in range(len(extremes[0]))]
    singles = [bytes.fromhex(word) for word in SINGLES.split()]
    doubles = [bytes.fromhex(word) for word in DOUBLES.split()]
    shared = [bytes.fromhex("41b9" + f"{i:04x}") for i in range(0, 50000, 5000)]
    one_row = [[b"\x00\x00\x07\xd0"], [b"\xff\xff\xff\xff"], [None]]
    return {
        "w1": groups_of_workload("w1_meter_10x12.json"),
        "w2": groups_of_workload("w2_ble_3x40.json"),
        "every integer type, extremes and every head size": [
            good(list(range(len(codes))), [TYPE[code] for code in codes], 1000, times, extremes)
        ],
        "floats: NaN payloads, denormals, infinities, zeros": [
            good([0, 1], ["f32", "f64"], 100, [i * 100 for i in range(10)], [singles, doubles])
        ],
        "floats that share leading bytes, one float, and the same float always": [
            good([0, 1], ["f32", "f32"], 100, [i * 100 for i in range(10)], [shared, [shared[0]] * 10]),
            good([2], ["f64"], 0, [35], [[doubles[7]]]),
        ],
        **{f"qualities {low} to {low + 127}": [of_qualities(low)] for low in (0, 128)},
        "rectangles of qualities": [
            GroupPlan(
                [0, 1, 2, 3],
                ["u8"] * 4,
                1000,
                [0, 1000, 2000, 3000],
                [
                    [None, None, b"\x01", b"\x01"],
                    [None, None, b"\x02", b"\x02"],
                    [b"\x03", None, b"\x03", b"\x03"],
                    [b"\x04", b"\x04", None, b"\x09"],
                ],
                [[64, 64, 0, 2], [64, 64, 0, 2], [0, 64, 0, 2], [0, 33, 80, 2]],
            )
        ],
        "irregular times, back and forth": [
            good([3], ["u8"], 0, [5, 5, 4, 1000, 70000, 69999, (1 << 30) - 1], [[b"\x05"] * 7])
        ],
        "a jitter around a period, and a gap": [
            good([3], ["i16"], 1000, [0, 1001, 1999, 5000, 6000, 7024], [[b"\xff\xfe"] * 5 + [b"\x00\x02"]])
        ],
        "one row, and a column without any value": [
            GroupPlan([100, 200, 65535], ["u32", "i32", "f32"], 5000, [12], one_row, [[0], [0], [69]])
        ],
        "several groups": [
            good([n * 10], ["u8"], 500, [n, n + 500], [[bytes([n]), bytes([n + 1])]]) for n in range(23)
        ],
    }


def other_frames() -> dict[str, tuple[int, Any]]:
    channel = ["main-meter", "voltage", "V", 7, 1, 1, 0, 1000, {}]
    more = {1: 3, 2: 7, 3: {0: "stopped", 1: "running"}, 4: "Betriebszustand der Presse"}
    bits = ["press", "state", "", 1, 1, 10, -400, 0, more]
    before = bytes.fromhex("b0b1b2b3b4b5b6b7")
    return {
        "boot": (frame.BOOT, {1: 12, 2: before, 3: 4711, 4: 560_000, 5: 3, 6: "0.1.0", 7: "virtual", 8: 0}),
        "first boot": (frame.BOOT, {1: 1, 2: None, 3: None, 4: None, 5: 1, 6: "0.1.0", 7: "rpi_pico", 8: 1}),
        "birth": (frame.BIRTH, [0, 1, 0, [channel, bits]]),
        "tombstone": (frame.TOMBSTONE, [1, before, 17, 40, 2880, 60_000, 7_260_000, [0, 1440, 1, 1440]]),
        "tombstone of a torn frame": (frame.TOMBSTONE, [2, before, 41, 41, 0, 7_260_000, 7_260_000, []]),
        "health": (frame.HEALTH, {1: 2_400_000, 2: 2_399_990, 3: 0, 5: 2, 7: 71_232, 11: 500_000_000}),
        "crash": (frame.CRASH, "Traceback (most recent call last):\n  ...\nValueError: température\n"),
    }


def plans() -> dict[str, FramePlan]:
    """Every frame of frames.json, by its name."""
    out = {}
    seq, count, mono = 0, 0, 0
    for name, (kind, content) in other_frames().items():
        out[name] = FramePlan(WHO, seq, count, mono, kind=kind, content=cbor.dumps(content))
        seq, mono = 3 * seq + 1, 7 * mono + 5
    for name, groups in data_frames().items():
        out[name] = FramePlan(WHO, seq, count, mono, groups)
        seq, count, mono = 2 * seq + 1, 3 * count + out[name].readings, 4 * mono + 3
    return out


def judge(plan: FramePlan, made: bytes) -> None:
    """Raise unless other people's software agrees with a frame."""
    validate(made)
    kid, payload = open_with_pycose(made, frame.frame_key(WHO.key))
    assert kid == WHO.node_id + bytes([WHO.generation])
    if plan.kind == frame.DATA:
        assert list(readings_by_cbor2(payload)) == list(plan.expected())


def entries() -> list[dict[str, Any]]:
    """What frames.json holds."""
    out = []
    for name, plan in plans().items():
        made = plan.encode()
        judge(plan, made)
        out.append({"name": name, **plan.as_json(), "frame": made.hex()})
    return out


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(entry) for entry in entries())
    (HERE / "frames.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
