"""Frames from the node's encoder to every decoder: golden and generated ones, exact in every bit."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from gasan.boards.places import CACHE, ROOT
from gasan.hil import fuzz, vmrun
from gasan.hil.bench.frame_plan import FramePlan, GroupPlan, Identity, encode_on_vm, pack
from gasan.hil.frame_by_cbor2 import readings_by_cbor2
from gasan.hil.frame_judges import FRAME_CDDL, open_with_pycose, validate
from gasan.wire import cbor, columns, frame
from gasan.wire.cose import Hmac
from gasan.wire.frame_reader import expand, parse, split, verify

VECTORS = ROOT / "protocols" / "vectors"
GOLDEN = json.loads((VECTORS / "frames.json").read_text(encoding="utf-8"))
INTEGERS = [name for name in columns.TYPE if name and name[0] != "f"]
MANY = 150

golden = pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: entry["name"])


def readings(data: bytes, key: bytes) -> list[tuple[int, int, int | bytes | None, int]]:
    """What our own reader finds in a data frame whose MAC is right."""
    _, payload, tag = split(data)
    assert verify(Hmac(frame.frame_key(key)), payload, tag)
    return [
        (channel, t, value, quality)
        for channels, times, values, qualities in expand(parse(payload))
        for channel, column, marks in zip(channels, values, qualities, strict=True)
        for t, value, quality in zip(times, column, marks, strict=True)
    ]


def check(plan: FramePlan, data: bytes) -> None:
    """A frame is what its plan says, to our reader and to everyone else's."""
    assert len(data) <= frame.FRAME_MAX
    validate(data)
    kid, payload = open_with_pycose(data, frame.frame_key(plan.identity.key))
    assert kid == plan.identity.node_id + bytes([plan.identity.generation])
    assert split(data)[:2] == (kid, payload)
    body = parse(payload)
    assert (body.kind, body.boot, body.rev) == (plan.kind, plan.identity.boot, plan.identity.rev)
    assert (body.seq, body.count, body.mono) == (plan.seq, plan.count, plan.mono)
    assert body.n_readings == plan.readings
    if plan.kind == frame.DATA:
        expected = list(plan.expected())
        assert readings(data, plan.identity.key) == expected
        assert list(readings_by_cbor2(payload)) == expected
    else:
        assert plan.content is not None
        assert body.content == cbor.loads(plan.content)


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_frames", VECTORS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- golden frames


def test_the_golden_frames_are_what_their_script_writes() -> None:
    assert load_generator().entries() == GOLDEN


@golden
def test_golden_frame(entry: dict[str, Any]) -> None:
    data = bytes.fromhex(entry["frame"])
    plan = FramePlan.from_json(entry)
    assert plan.encode() == data
    check(plan, data)


def test_golden_frames_from_the_vm_without_allocation(bits: int) -> None:
    plans = [FramePlan.from_json(entry) for entry in GOLDEN]
    for entry, made in zip(GOLDEN, encode_on_vm(plans, bits), strict=True):
        assert made.frame.hex() == entry["frame"], entry["name"]
        assert made.sealing <= 600, entry["name"]
        if max(entry["seq"], entry["count"], entry["mono"]) < 1 << 30:
            assert made.encoding == 0, entry["name"]


def test_golden_frames_are_read_on_the_vm(bits: int) -> None:
    program = (
        "import json, sys\n"
        "from gasan.wire.frame_reader import expand, parse, split, verify\n"
        "from gasan.wire.frame import frame_key, peek\n"
        "from gasan.wire.cose import Hmac\n"
        "for line in sys.stdin:\n"
        "    key, data = [bytes.fromhex(text) for text in line.split()]\n"
        "    kid, payload, tag = split(data)\n"
        "    assert verify(Hmac(frame_key(key)), payload, tag)\n"
        "    body = parse(payload)\n"
        "    head = (body.kind, body.boot, body.seq, body.count, body.mono, body.rev)\n"
        "    assert peek(data)[:6] == head and peek(memoryview(data)) == peek(data)\n"
        "    out = []\n"
        "    for channels, times, values, qualities in expand(body) if body.kind == 0 else ():\n"
        "        for i in range(len(channels)):\n"
        "            for j in range(len(times)):\n"
        "                value = values[i][j]\n"
        "                value = value.hex() if isinstance(value, bytes) else value\n"
        "                out.append([channels[i], times[j], value, qualities[i][j]])\n"
        "    print(json.dumps(out))\n"
    )
    stdin = "".join(f"{entry['key']} {entry['frame']}\n" for entry in GOLDEN).encode()
    out = vmrun.run(program, bits=bits, stdin=stdin, heap="8m").splitlines()
    for entry, line in zip(GOLDEN, out, strict=True):
        expected = [
            [channel, t, value.hex() if isinstance(value, bytes) else value, quality]
            for channel, t, value, quality in FramePlan.from_json(entry).expected()
        ]
        assert json.loads(line) == expected, entry["name"]


def test_zcbor_validates_golden_frames_from_standard_input() -> None:
    data = bytes.fromhex(next(entry["frame"] for entry in GOLDEN if entry["name"] == "w1"))
    command = [str(Path(sys.executable).with_name("zcbor")), "validate", "-c", str(FRAME_CDDL)]
    command += ["-t", "frame", "--input-as", "cbor", "-i", "-"]
    assert subprocess.run(command, input=data, capture_output=True, check=False).returncode == 0
    assert subprocess.run(command, input=data[:-1], capture_output=True, check=False).returncode != 0


@pytest.fixture(scope="session")
def cbor2_6() -> Path:
    """A folder with cbor2 6, which the environment itself cannot have beside pycose and zcbor."""
    folder = CACHE / "cbor2-6"
    if not (folder / "cbor2").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--target", str(folder), "cbor2>=6,<7"]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cbor2 6 cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return folder


def test_golden_frames_with_cbor2_6(cbor2_6: Path) -> None:
    program = (
        "import json, sys, cbor2, importlib.metadata\n"
        "from gasan.hil.frame_by_cbor2 import readings_by_cbor2\n"
        "from gasan.wire import cbor\n"
        "assert importlib.metadata.version('cbor2').startswith('6.')\n"
        "for line in sys.stdin:\n"
        "    payload = cbor2.loads(bytes.fromhex(line)).value[2]\n"
        "    body = cbor2.loads(payload)\n"
        "    assert body == cbor.loads(payload) and cbor2.dumps(body) == payload\n"
        "    print(len(list(readings_by_cbor2(payload))) if body[0] == 0 else 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(cbor2_6)}
    stdin = "".join(entry["frame"] + "\n" for entry in GOLDEN)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=stdin, text=True, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert list(map(int, done.stdout.split())) == [FramePlan.from_json(entry).readings for entry in GOLDEN]


# ---- generated frames


def some_times(rng: fuzz.Fuzzer, n: int) -> list[int]:
    kind = rng.below(4)
    t = rng.below(1 << 20)
    period = (0, 1, 100, 5000, 3_600_000)[rng.below(5)]
    out = []
    for _ in range(n):
        out.append(min(t, (1 << 30) - 1))
        if kind == 0:
            t += period
        elif kind == 1:
            t = max(0, t + period + rng.below(41) - 20)
        elif kind == 2:
            t += rng.below(1 << rng.below(24))
        else:
            t = rng.below(1 << 30)
    return out


def some_samples(rng: fuzz.Fuzzer, name: str, n: int) -> list[bytes]:
    size = columns.WIDTH[columns.TYPE.index(name)]
    kind = rng.below(5)
    if kind == 0:
        return [rng.noise(size)] * n
    if kind == 1:
        return [rng.noise(size) for _ in range(n)]
    if kind == 2:
        zeros, ones = b"\x00" * (size - 1), b"\xff" * (size - 1)
        extremes = [b"\x00" + zeros, b"\xff" + ones, b"\x80" + zeros, b"\x7f" + ones]
        return [extremes[rng.below(4)] for _ in range(n)]
    if name[0] == "f":
        head = rng.noise(1 + rng.below(size))
        return [head + rng.noise(size - len(head)) for _ in range(n)]
    value = int.from_bytes(rng.noise(size), "big")
    out = []
    for _ in range(n):
        out.append(value.to_bytes(size, "big"))
        step = rng.below(1 << rng.below(6 if kind == 3 else 8 * size))
        value = (value + step * (1 - 2 * rng.below(2))) % (1 << 8 * size)
    return out


def some_qualities(rng: fuzz.Fuzzer, n: int) -> list[int]:
    kind = rng.below(6)
    if kind < 3:
        return [0] * n
    if kind == 3:
        return [64 + rng.below(32)] * n
    if kind == 4:
        return [0 if rng.below(8) else rng.below(256) for _ in range(n)]
    return [(0, 0, 2, 33, 64, 80)[rng.below(6)] for _ in range(n)]


def some_group(rng: fuzz.Fuzzer) -> GroupPlan:
    n = 1 + rng.below(1 << rng.below(7))
    width = 1 + rng.below(1 << rng.below(5))
    first = rng.below(60000)
    channels = list(range(first, first + width))
    if rng.below(2):
        channels = [channel + rng.below(5000) for channel in channels]
    names = [columns.TYPE[1 + rng.below(10)] for _ in channels]
    alike = some_qualities(rng, n)
    qualities = [alike if rng.below(2) else some_qualities(rng, n) for _ in channels]
    samples = [
        [None if q >= 64 else s for s, q in zip(some_samples(rng, name, n), column, strict=True)]
        for name, column in zip(names, qualities, strict=True)
    ]
    return GroupPlan(channels, names, (0, 1000)[rng.below(2)], some_times(rng, n), samples, qualities)


def some_number(rng: fuzz.Fuzzer) -> int:
    return int.from_bytes(rng.noise(rng.below(8)), "big")


def some_plans(rng: fuzz.Fuzzer, count: int) -> Iterator[FramePlan]:
    made = 0
    while made < count:
        who = Identity(rng.noise(8), rng.below(256), rng.noise(32), rng.noise(8), rng.noise(8))
        groups = [some_group(rng) for _ in range(1 + rng.below(4))]
        plan = FramePlan(who, some_number(rng), some_number(rng), some_number(rng), groups)
        try:
            plan.encode()
        except frame.FrameError:
            continue
        made += 1
        yield plan


def test_generated_frames_from_the_vm_are_exact(bits: int, seed: int) -> None:
    plans = list(some_plans(fuzz.Fuzzer(seed + bits, []), MANY))
    for plan, made in zip(plans, encode_on_vm(plans, bits), strict=True):
        check(plan, made.frame)
        assert made.frame == plan.encode()
        assert made.sealing <= 600
        if max(plan.seq, plan.count, plan.mono) < 1 << 30:
            assert made.encoding == 0


def test_packing_loses_and_repeats_nothing(seed: int) -> None:
    rng = fuzz.Fuzzer(seed, [])
    who = Identity(b"node-id8", 1, bytes(32), b"boot-id8", b"rev-idx8")
    for _ in range(20):
        groups = []
        for _ in range(1 + rng.below(30)):
            group = some_group(rng)
            groups.append(
                GroupPlan(
                    group.channels,
                    group.types,
                    group.period_ms,
                    sorted(group.times),
                    group.samples,
                    group.qualities,
                )
            )
        got = []
        count = 0
        for seq, plan in enumerate(pack(groups, who, 0, 0, 1000)):
            assert (plan.seq, plan.count) == (seq, count)
            count += plan.readings
            got += readings(plan.encode(), who.key)
        whole = FramePlan(who, 0, 0, 1000, groups)
        assert sorted(map(repr, got)) == sorted(map(repr, whole.expected()))


# ---- the writer


WHO = Identity(b"node-id8", 1, bytes(range(32)), b"boot-id8", b"rev-idx8")


def begun(size: int = frame.FRAME_MAX) -> frame.FrameWriter:
    writer = frame.FrameWriter(WHO.node_id, WHO.generation, frame.frame_key(WHO.key), size)
    writer.begin(frame.DATA, WHO.boot, 1, 2, 3, WHO.rev)
    return writer


def bytes_group(rows: int, cols: int = 1) -> columns.Group:
    group = columns.Group(range(cols), [columns.U8] * cols, rows, 10)
    for row in range(rows):
        group.start(row * 10)
        for col in range(cols):
            group.put(col, bytes([(row * 37 + col) % 251]), 0)
        group.finish()
    return group


def test_rows_that_do_not_fit_leave_the_frame_as_it_was() -> None:
    writer = begun(200)
    assert writer.add(bytes_group(20))
    before = bytes(writer.seal())
    writer = begun(200)
    assert writer.add(bytes_group(20))
    assert not writer.add(bytes_group(200))
    assert writer.readings == 20
    assert bytes(writer.seal()) == before
    assert writer.add(bytes_group(200), 0, 0, 3)  # the encoder still works after it has run out of room
    assert not begun(200).add(bytes_group(200))


def test_a_group_is_split_by_rows() -> None:
    group = bytes_group(30, 3)
    got = []
    for first, end in ((0, 11), (11, 12), (12, 30)):
        writer = begun()
        assert writer.add(group, group.time(first), first, end)
        frame_readings = readings(bytes(writer.seal()), WHO.key)
        assert [t for _, t, _, _ in frame_readings[: end - first]] == [
            3 + (row - first) * 10 for row in range(first, end)
        ]
        got.append([value for _, _, value, _ in frame_readings])
    whole = [(row * 37 + col) % 251 for col in range(3) for row in range(30)]
    for col in range(3):
        parts = [part[col * len(part) // 3 : (col + 1) * len(part) // 3] for part in got]
        assert [value for part in parts for value in part] == whole[col * 30 : (col + 1) * 30]


def test_a_frame_takes_23_groups() -> None:
    writer = begun()
    for _ in range(frame.MAX_GROUPS):
        assert writer.add(bytes_group(1))
    assert not writer.add(bytes_group(1))
    assert len(readings(bytes(writer.seal()), WHO.key)) == 23


def test_a_frame_takes_65535_readings() -> None:
    group = columns.Group(range(34), [columns.U8] * 34, 1930, 0)
    for _ in range(1930):
        group.start(0)
        group.finish()
    writer = begun()
    assert not writer.add(group)
    assert writer.add(group, 0, 0, 1927)
    assert writer.readings == 65535 - 17
    assert not writer.add(bytes_group(18))
    assert writer.add(bytes_group(17))
    assert parse(split(bytes(writer.seal()))[1]).n_readings == 65535


def test_a_row_of_100_columns_always_fits() -> None:
    for name in ("u64", "i64", "f64"):
        samples = [[None if col % 2 else b"\x80" + b"\xff" * 7] for col in range(100)]
        qualities = [[33 + 50 * (col % 2)] for col in range(100)]
        group = GroupPlan([60000 + 2 * col for col in range(100)], [name] * 100, 0, [0], samples, qualities)
        plan = FramePlan(WHO, (1 << 63) - 1, (1 << 63) - 1, (1 << 63) - 1, [group])
        check(plan, plan.encode())


def test_content_that_is_too_long_is_refused() -> None:
    writer = begun()
    writer.begin(frame.CRASH, WHO.boot, 1, 2, 3, WHO.rev)
    with pytest.raises(frame.FrameError, match="does not fit"):
        writer.content("x" * 2048)
    writer.content("x" * 1024)
    assert parse(split(writer.seal())[1]).content == "x" * 1024


def test_an_unfinished_row_and_cleared_rows_leave_no_trace() -> None:
    group = columns.Group([0], [columns.U8], 3, 10)
    group.fail(0, 64)
    group.clear()
    for t in (5, 6):
        group.start(t)
        group.mark(0, 65)
    group.start(7)
    group.put(0, b"\x09", 0)
    group.finish()
    group.start(8)
    group.mark(0, 66)
    writer = begun()
    assert writer.add(group)
    assert readings(bytes(writer.seal()), WHO.key) == [(0, 10, 9, 0)]


def test_a_full_group_takes_no_row() -> None:
    group = bytes_group(2)
    with pytest.raises(IndexError):
        group.start(20)


def test_peek_refuses_what_is_no_frame() -> None:
    data = bytes.fromhex(GOLDEN[0]["frame"])
    for wrong in (b"", data[:20], b"\xd2" + data[1:], data[:30]):
        with pytest.raises(frame.FrameError):
            frame.peek(wrong)


def test_one_wrong_bit_anywhere_is_found() -> None:
    data = bytes.fromhex(GOLDEN[0]["frame"])
    mac = Hmac(frame.frame_key(bytes.fromhex(GOLDEN[0]["key"])))
    kid_at = range(len(frame.HEAD), len(frame.HEAD) + frame.KID_SIZE)
    for at in range(len(data) * 8):
        wrong = bytearray(data)
        wrong[at // 8] ^= 1 << at % 8
        try:
            _, payload, tag = split(wrong)
        except frame.FrameError:
            continue
        # The kid says whose key it is, so a wrong one leads to another key.
        assert not verify(mac, payload, tag) or at // 8 in kid_at


def test_another_key_is_refused() -> None:
    _, payload, tag = split(bytes.fromhex(GOLDEN[0]["frame"]))
    assert not verify(Hmac(frame.frame_key(bytes(32))), payload, tag)
