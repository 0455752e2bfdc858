"""Frames that must be refused, each for one reason, and hostile bytes; on CPython and on the VM."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from gasan.boards.places import ROOT
from gasan.hil import fuzz, vmrun
from gasan.wire.cose import Hmac
from gasan.wire.frame import FRAME_MAX, FrameError
from gasan.wire.frame_reader import parse, split, verify

GOLDEN = [
    bytes.fromhex(entry["frame"])
    for entry in json.loads((ROOT / "protocols" / "vectors" / "frames.json").read_text(encoding="utf-8"))
]
BOOT = b"boot-id8"
REV = b"rev-idx8"
CHANNEL = ["meter", "voltage", "V", 7, 1, 1, 0, 1000, {}]
STARTED = {1: 12, 2: BOOT, 3: 4711, 4: 560, 5: 3, 6: "0.1.0", 7: "virtual", 8: 0}
TOMBSTONE = [1, BOOT, 17, 40, 2880, 60, 72, [0, 1440]]


def body(kind: Any, content: Any, **changed: Any) -> bytes:
    """An encoded body; ``changed`` replaces a field of the head."""
    head = {"boot": BOOT, "seq": 1, "count": 2, "mono": 3, "rev": REV, **changed}
    return cbor2.dumps([kind, *head.values(), content])


def group(channels: Any, n: Any, start: Any, step: Any, columns: Any, *marks: Any) -> bytes:
    return body(0, [[channels, n, start, step, columns, *marks]])


def started(**changed: Any) -> bytes:
    return body(1, {**STARTED, **{int(key[1:]): value for key, value in changed.items()}})


def channel(**changed: Any) -> bytes:
    made = list(CHANNEL)
    for key, value in changed.items():
        made[int(key[1:])] = value
    return body(2, [0, 1, 0, [made]])


def tombstone(**changed: Any) -> bytes:
    made = list(TOMBSTONE)
    for key, value in changed.items():
        made[int(key[1:])] = value
    return body(3, made)


ACCEPTED = {
    "a group": group(0, 2, 0, 10, [[5, 1], 7]),
    "a list of channels": group([0, 7], 2, 0, 10, [[5, 1], None], [1, 1, 0, 2, 64]),
    "a jitter": group(0, 3, 0, [10, 1, -2], [[5, 1, 2]]),
    "floats": group(0, 2, 0, 10, [[b"\x41", b"\x01" * 6]]),
    "the largest unsigned integer and back": group(0, 3, 0, 1, [[(1 << 64) - 1, -1, 1]]),
    "the smallest signed integer": group(0, 2, 0, 1, [[-(1 << 63), 1]]),
    "a boot": body(1, STARTED),
    "a birth": body(2, [0, 1, 0, [CHANNEL]]),
    "a tombstone": body(3, TOMBSTONE),
    "health": body(4, {1: 2}),
    "a crash": body(5, "x" * 1024),
}

REFUSED = {
    "nothing": b"",
    "a short body": cbor2.dumps([0, BOOT, 1, 2, 3, REV]),
    "a long body": cbor2.dumps([0, BOOT, 1, 2, 3, REV, [], 0]),
    "a map": cbor2.dumps({0: 0}),
    "an unknown kind": body(6, {}),
    "a negative kind": body(-1, {}),
    "a kind that is text": body("0", {}),
    "a long boot": body(4, {}, boot=b"123456789"),
    "a boot that is text": body(4, {}, boot="12345678"),
    "a short revision": body(4, {}, rev=b"1234567"),
    "a negative sequence": body(4, {}, seq=-1),
    "a fractional count": body(4, {}, count=1.5),
    "a moment past 63 bits": body(4, {}, mono=1 << 63),
    "bytes after the body": body(4, {1: 2}) + b"\x00",
    "bytes after the groups": group(0, 1, 0, 0, [5]) + b"\xf6",
    "a body that is cut short": body(4, {1: 2})[:-1],
    "no groups": body(0, []),
    "content that is a map": body(0, {}),
    "a group of four": body(0, [[0, 1, 0, 0]]),
    "a group of seven": body(0, [[0, 1, 0, 0, [5], [0, 1, 0, 1, 2], 0]]),
    "no samples": group(0, 0, 0, 0, [5]),
    "too many samples": group(0, 65536, 0, 0, [5]),
    "too many samples in two columns": group(0, 32768, 0, 0, [5, 6]),
    "too many samples in two groups": body(0, [[0, 65535, 0, 0, [5]], [1, 1, 0, 0, [5]]]),
    "a channel out of range": group(65536, 1, 0, 0, [5]),
    "a column past the last channel": group(65535, 1, 0, 0, [5, 5]),
    "a list of one channel": group([0], 1, 0, 0, [5]),
    "a channel of a list out of range": group([65536, 1], 1, 0, 0, [5, 5]),
    "more channels than columns": group([0, 1, 2], 1, 0, 0, [5, 5]),
    "fewer channels than columns": group([0, 1], 1, 0, 0, [5, 5, 5]),
    "no columns": group(0, 1, 0, 0, []),
    "a negative start": group(0, 1, -1, 0, [5]),
    "a period of one sample": group(0, 1, 0, 10, [5]),
    "a negative period": group(0, 2, 0, -10, [5]),
    "too few jitters": group(0, 3, 0, [10, 1], [5]),
    "too many jitters": group(0, 3, 0, [10, 1, 1, 1], [5]),
    "a jitter for one sample": group(0, 1, 0, [10], [5]),
    "a jitter that is null": group(0, 2, 0, [10, None], [5]),
    "a time before the boot": group(0, 2, 0, [0, -4], [5]),
    "a time past 63 bits": group(0, 2, 0, 1 << 63, [5]),
    "a value too large": group(0, 2, 0, 1, [[(1 << 64) - 1, 1]]),
    "a value too large for a moment": group(0, 3, 0, 1, [[(1 << 64) - 1, 1, -1]]),
    "a value too small": group(0, 1, 0, 0, [-(1 << 63) - 1]),
    "a value too small after a step": group(0, 2, 0, 1, [[-(1 << 63), -1]]),
    "a column too short": group(0, 3, 0, 1, [[1, 2]]),
    "a column too long": group(0, 2, 0, 1, [[1, 2, 3]]),
    "a column of text": group(0, 1, 0, 0, ["5"]),
    "a column with text": group(0, 2, 0, 1, [[5, "5"]]),
    "a column of a bool": group(0, 1, 0, 0, [True]),
    "a column with a bool": group(0, 2, 0, 1, [[5, True]]),
    "a column with a float": group(0, 2, 0, 1, [[5, 1.5]]),
    "a column of bytes": group(0, 1, 0, 0, [b"\x00\x00\x00\x00"]),
    "a tagged column": group(0, 1, 0, 0, [cbor2.CBORTag(81, b"\x00\x00\x00\x00")]),
    "a missing value that is not marked": group(0, 2, 0, 1, [[5, None]]),
    "missing values that are not marked": group(0, 2, 0, 1, [None]),
    "missing values that are marked in part": group(0, 2, 0, 1, [None], [0, 1, 0, 1, 64]),
    "a value where none should be": group(0, 2, 0, 1, [[5, 1]], [0, 1, 1, 1, 64]),
    "a value for all where some should be missing": group(0, 2, 0, 1, [5], [0, 1, 1, 1, 64]),
    "a missing value of a good quality": group(0, 2, 0, 1, [[5, None]], [0, 1, 1, 1, 33]),
    "floats where all are missing": group(0, 2, 0, 1, [[b"", b""]], [0, 1, 0, 2, 64]),
    "floats cut short": group(0, 2, 0, 1, [[b"", b"\x00" * 7]]),
    "floats of five bytes": group(0, 2, 0, 1, [[b"\x00", b"\x00" * 8]]),
    "floats of nine bytes": group(0, 1, 0, 0, [[b"\x00" * 9, b""]]),
    "one float too few": group(0, 2, 0, 1, [[b"", b"\x00" * 6]]),
    "texts that are too long": group(0, 1, 0, 0, [[b"\x00" * 64, b""]]),
    "texts of no length": group(0, 1, 0, 0, [[b"", b""]]),
    "floats whose rest is text": group(0, 2, 0, 1, [[b"\x00" * 4, ""]]),
    "empty marks": group(0, 1, 0, 0, [5], []),
    "marks that are null": group(0, 1, 0, 0, [5], None),
    "four marks": group(0, 1, 0, 0, [5], [0, 1, 0, 1]),
    "a mark of no columns": group(0, 1, 0, 0, [5], [0, 0, 0, 1, 2]),
    "a mark of no samples": group(0, 1, 0, 0, [5], [0, 1, 0, 0, 2]),
    "a mark past the columns": group(0, 1, 0, 0, [5], [1, 1, 0, 1, 2]),
    "a mark past the samples": group(0, 1, 0, 0, [5], [0, 1, 1, 1, 2]),
    "a wide mark": group(0, 1, 0, 0, [5], [0, 2, 0, 1, 2]),
    "a mark of good quality": group(0, 1, 0, 0, [5], [0, 1, 0, 1, 0]),
    "a mark of quality 256": group(0, 1, 0, 0, [5], [0, 1, 0, 1, 256]),
    "a negative mark": group(0, 1, 0, 0, [5], [0, 1, 0, 1, -1]),
    "marks that overlap": group(0, 2, 0, 1, [5, 6], [0, 2, 0, 1, 2, 1, 1, 0, 2, 3]),
    "a boot without a key": body(1, {key: STARTED[key] for key in range(1, 8)}),
    "a boot with one key more": started(_9=0),
    "a boot with another key": body(1, {**{key: STARTED[key] for key in range(1, 8)}, "8": 0}),
    "a boot after a boot of seven bytes": started(_2=b"1234567"),
    "a boot of ordinal null": started(_1=None),
    "a boot of a firmware number": started(_6=1),
    "a boot of a true config": started(_8=True),
    "a birth of three": body(2, [0, 1, 0]),
    "a birth past its parts": body(2, [1, 1, 0, [CHANNEL]]),
    "a birth of no channels": body(2, [0, 1, 0, []]),
    "a channel of eight": body(2, [0, 1, 0, [CHANNEL[:8]]]),
    "a channel without a name": channel(_1=None),
    "a channel of an unknown type": channel(_3=11),
    "a channel divided by zero": channel(_5=0),
    "a channel scaled by a fraction": channel(_4=0.1),
    "a channel of a negative period": channel(_7=-1),
    "a channel with more": channel(_8={8: 1}),
    "a channel without a list of no values": channel(_8={6: 1}),
    "a channel of a type between": channel(_3=32),
    "a channel of a negative shift": channel(_8={1: -1}),
    "a channel of labels that are numbers": channel(_8={3: {0: 0}}),
    "a tombstone of seven": body(3, TOMBSTONE[:7]),
    "a tombstone that ends before it begins": tombstone(_2=41),
    "a tombstone of half a channel": tombstone(_7=[0]),
    "a tombstone of nested channels": tombstone(_7=[[0, 1], [1, 1]]),
    "a tombstone of another boot": tombstone(_1=None),
    "health of text": body(4, {"uptime": 1}),
    "health of a negative count": body(4, {1: -1}),
    "health that is a list": body(4, []),
    "a crash of bytes": body(5, b"x"),
    "a crash that is too long": body(5, "x" * 1025),
    "a long head": body(4, {1: 2}).replace(b"\xa1\x01\x02", b"\xa1\x18\x01\x02"),
    "a long head in a column": group(0, 2, 0, 1, [[5, 6]]).replace(b"\x82\x05\x06", b"\x82\x05\x18\x06"),
    "a long head of a negative": group(0, 2, 0, 1, [[5, -7]]).replace(b"\x05\x26", b"\x05\x38\x06"),
    "an indefinite list": body(0, [[0, 1, 0, 0, [5]]])[:-6] + b"\x9f\x85\x00\x01\x00\x00\x81\x05\xff",
    "an indefinite map": body(4, {1: 2})[:-3] + b"\xbf\x01\x02\xff",
    "keys out of order": body(4, {1: 2, 3: 4})[:-5] + b"\xa2\x03\x04\x01\x02",
    "keys that come twice": body(4, {1: 2, 3: 4})[:-5] + b"\xa2\x01\x02\x01\x02",
    "a tagged map": body(4, cbor2.CBORTag(100, {1: 2})),
    "a million groups": body(0, [])[:-1] + b"\x9a\x00\x0f\x42\x40",
    "columns past the end": group(0, 1, 0, 0, [])[:-1] + b"\x99\xff\xff",
    "a column past the end": group(0, 65535, 0, 0, [])[:-1] + b"\x81\x99\xff\xff",
    "bytes past the end": group(0, 1, 0, 0, [])[:-1] + b"\x81\x82\x40\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
    "jitters past the end": group(0, 65535, 0, 0, [])[:-2] + b"\x99\xff\xff",
}


@pytest.mark.parametrize("payload", ACCEPTED.values(), ids=ACCEPTED)
def test_body_that_is_right(payload: bytes) -> None:
    parse(payload)


@pytest.mark.parametrize("payload", REFUSED.values(), ids=REFUSED)
def test_body_that_is_wrong(payload: bytes) -> None:
    with pytest.raises(FrameError):
        parse(payload)


def test_the_same_bodies_on_the_vm(bits: int) -> None:
    program = (
        "import sys\n"
        "from gasan.wire.frame import FrameError\n"
        "from gasan.wire.frame_reader import parse\n"
        "for line in sys.stdin:\n"
        "    try:\n"
        "        parse(bytes.fromhex(line.strip()))\n"
        "        print('taken')\n"
        "    except FrameError:\n"
        "        print('refused')\n"
    )
    stdin = "".join(payload.hex() + "\n" for payload in [*ACCEPTED.values(), *REFUSED.values()]).encode()
    out = vmrun.run(program, bits=bits, stdin=stdin).split()
    names = [*ACCEPTED, *REFUSED]
    wanted = {name: "taken" if name in ACCEPTED else "refused" for name in names}
    assert dict(zip(names, out, strict=True)) == wanted


def test_wrong_bodies_are_refused_in_little_memory() -> None:
    def refuse_all() -> None:
        for payload in REFUSED.values():
            with pytest.raises(FrameError):
                parse(payload)

    refuse_all()
    tracemalloc.start()
    try:
        refuse_all()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The most honest body of 65,535 readings takes some 4 MB as lists.
    assert peak < 8_000_000


ENVELOPES = {
    "nothing": lambda f: b"",
    "no tag 17": lambda f: f[1:],
    "another tag": lambda f: b"\xd2" + f[1:],
    "a list of five": lambda f: f.replace(b"\xd1\x84", b"\xd1\x85") + b"\x00",
    "another algorithm": lambda f: f.replace(b"\xa1\x01\x04\xa1", b"\xa1\x01\x05\xa1"),
    "a short kid": lambda f: f.replace(b"\xa1\x04\x49\x00", b"\xa1\x04\x48"),
    "a payload that is text": lambda f: f[:18] + bytes([f[18] | 0x20]) + f[19:],
    "an empty tag": lambda f: f[:-9] + b"\x40",
    "a tag of 16 bytes": lambda f: f[:-9] + b"\x50" + f[-8:] * 2,
    "a byte more": lambda f: f + b"\x00",
    "a byte less": lambda f: f[:-1],
    "only the head": lambda f: f[:18],
    "a cut length": lambda f: f[:19],
    "a longer head of the payload": lambda f: f[:18] + b"\x59\x00" + f[19:],
    "a payload past the end": lambda f: f[:18] + b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff" + f[20:],
    "an indefinite payload": lambda f: f[:18] + b"\x5f" + f[18:-9] + b"\xff" + f[-9:],
    "longer than a frame may be": lambda f: f[:18] + b"\x59\x08\x00" + bytes(2048) + f[-9:],
}


@pytest.mark.parametrize("change", ENVELOPES.values(), ids=ENVELOPES)
def test_envelope_that_is_wrong(change: Callable[[bytes], bytes]) -> None:
    data = GOLDEN[0]
    assert data[18] == 0x58
    wrong = change(data)
    assert wrong != data
    with pytest.raises(FrameError):
        split(wrong)


def test_the_longest_frame_is_taken() -> None:
    size = FRAME_MAX - 18 - 3 - 9
    data = GOLDEN[0][:18] + b"\x59" + size.to_bytes(2, "big") + bytes(size) + GOLDEN[0][-9:]
    assert len(data) == FRAME_MAX
    assert split(data)[1] == bytes(size)


def open_frame(data: bytes) -> None:
    _, payload, tag = split(data)
    verify(MAC, payload, tag)


MAC = Hmac(bytes(32))


def test_hostile_envelopes(seed: int, fuzz_count: int) -> None:
    accepted, refused = fuzz.run(open_frame, FrameError, fuzz.Fuzzer(seed, GOLDEN), fuzz_count)
    assert accepted and refused


def bodies() -> list[bytes]:
    """Bodies to start from; short ones, so that a run tries much."""
    golden = [split(data)[1] for data in GOLDEN if len(data) < 250]
    return [*golden, *ACCEPTED.values(), *REFUSED.values()]


def test_hostile_bodies(seed: int, fuzz_count: int) -> None:
    corpus = bodies()
    accepted, refused = fuzz.run(parse, FrameError, fuzz.Fuzzer(seed, corpus), fuzz_count)
    assert accepted and refused


FUZZ_ON_VM = """
import sys
from gasan.hil import fuzz
from gasan.wire.cose import Hmac
from gasan.wire.frame import FrameError, peek
from gasan.wire.frame_reader import expand, parse, split, verify

what, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
corpus = [bytes.fromhex(line.strip()) for line in sys.stdin]
mac = Hmac(bytes(32))

def envelope(data):
    kid, payload, tag = split(data)
    verify(mac, payload, tag)

def decode(data):
    if what == "body": parse(data)
    elif what == "envelope": envelope(data)
    else: peek(data)

print(*fuzz.run(decode, FrameError, fuzz.Fuzzer(seed, corpus), count))
"""


@pytest.mark.parametrize("what", ["envelope", "body", "peek"])
def test_hostile_bytes_on_the_vm(what: str, bits: int, seed: int, fuzz_count_vm: int) -> None:
    corpus = bodies() if what == "body" else GOLDEN
    stdin = "".join(data.hex() + "\n" for data in corpus).encode()
    # Lists for 65,535 readings are the most that a body may make a decoder allocate.
    out = vmrun.run(FUZZ_ON_VM, what, seed, fuzz_count_vm, bits=bits, heap="4096wk", stdin=stdin, timeout=280)
    accepted, refused = map(int, out.split())
    assert accepted + refused == fuzz_count_vm and accepted and refused
