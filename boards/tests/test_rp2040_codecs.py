"""The codecs on the emulated RP2040: machine code of MicroPython's rp2 port, single-precision floats."""

import json
import random
import struct
from pathlib import Path

import pytest
from gasan.boards.image import compile_mpy
from gasan.hil import on_rp2040
from gasan.hil.bench import frame as bench
from gasan.hil.bench.frame_plan import FramePlan, pack
from gasan.hil.bench.workload import load

pytestmark = pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing())

_ROOT = Path(__file__).parents[2]
_PROTOCOLS = _ROOT / "protocols"
_VECTORS = _ROOT.parent / "shared" / "vectors" / "cbor_rfc8949_appendix_a.json"
_PROGRAMS = _ROOT / "firmware" / "tests" / "rp2040"


def frames(plans: list[FramePlan], folder: Path) -> list[str]:
    lines = "".join(json.dumps(plan.as_json()) + "\n" for plan in plans)
    done = on_rp2040.run(_PROGRAMS / "frames.py", folder, files={"/plans": lines.encode()})
    return done.output.split()


def test_golden_frames_come_out_bit_for_bit(tmp_path: Path) -> None:
    vectors = json.loads((_PROTOCOLS / "vectors" / "frames.json").read_text())
    plans = [FramePlan.from_json(vector) for vector in vectors]
    assert frames(plans, tmp_path) == [vector["frame"] for vector in vectors]


@pytest.mark.parametrize("name", ["w1_meter_10x12", "w2_ble_3x40"])
def test_workloads_come_out_as_on_cpython(name: str, tmp_path: Path) -> None:
    workload = load(_PROTOCOLS / "workloads" / f"{name}.json")
    earliest = min(min(column.times) for column in workload.columns)
    plans = list(pack(bench._groups(workload, earliest), bench._WHO, bench._SEQ, bench._COUNT, bench._MONO))
    assert frames(plans, tmp_path) == [plan.encode().hex() for plan in plans]


def test_modbus_cases_and_golden_packets_hold(tmp_path: Path) -> None:
    """The cases are those of CPython and the virtual machines, the packets those of link.json."""
    cases = compile_mpy(_PROTOCOLS / "tests" / "both" / "modbus_cases.py", "modbus_cases")
    golden = (_PROTOCOLS / "vectors" / "link.json").read_bytes()
    files = {"/modbus_cases.mpy": cases, "/link.json": golden}
    done = on_rp2040.run(_PROGRAMS / "cases.py", tmp_path, files=files, ms=300_000)
    modbus, *rest = done.output.splitlines()
    assert int(modbus.removeprefix("modbus ")) > 15
    assert rest == [f"link {len(json.loads(golden)['packets'])}"]


def test_cbor_vectors_and_hostile_bytes_hold(tmp_path: Path) -> None:
    """The standard's vectors, save those with a number that no single-precision float holds."""
    cases = _PROTOCOLS / "tests" / "both" / "cbor_cases.py"
    rare = _PROTOCOLS / "gasan" / "wire" / "cbor_rare.py"
    files = {"/cbor_cases.mpy": compile_mpy(cases, cases.name)}
    files["/lib/gasan/wire/cbor_rare.mpy"] = compile_mpy(rare, rare.name)
    expected = []
    if _VECTORS.is_file():
        vectors = json.loads(_VECTORS.read_text())
        floats = [
            (it["hex"], single(it["decoded"])) for it in vectors if isinstance(it.get("decoded"), float)
        ]
        dated = "c1fb41d452d9ec200000"
        others = [it for it in vectors if not isinstance(it.get("decoded"), float) and it["hex"] != dated]
        vectors = {"floats": [it for it in floats if it[1]], "others": others}
        files["/vectors.json"] = json.dumps(vectors, ensure_ascii=False).encode()
        expected = ["refused f0 f7 f818 f8ff"]
        assert len(vectors["floats"]) > 8
    done = on_rp2040.run(_PROGRAMS / "cbor_codec.py", tmp_path, files=files)
    *said, hostile = done.output.splitlines()
    assert said == expected
    assert int(hostile.removeprefix("hostile ")) > 60


def single(number: float) -> str:
    """The bytes of a single-precision float that is that number; empty when none is."""
    try:
        data = struct.pack(">f", number)
    except OverflowError:
        return ""
    return data.hex() if struct.unpack(">f", data)[0] == number else ""


def test_float32_come_back_bit_for_bit(tmp_path: Path, seed: int) -> None:
    """A board's floats are single: every number passes; a NaN's payload is why floats travel as bytes."""
    rng = random.Random(seed)
    numbers = [rng.getrandbits(32) for _ in range(3000)]
    numbers += [0, 1 << 31, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0xFF800000]
    raws = [number.to_bytes(4, "big") for number in numbers]
    raws = [raw for raw in raws if (value := struct.unpack(">f", raw)[0]) == value]
    done = on_rp2040.run(_PROGRAMS / "floats.py", tmp_path, files={"/floats": b"".join(raws)}, ms=30_000)
    assert done.output.split() == []
