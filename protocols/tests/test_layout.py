"""Fixed layouts and MiBeacons: tables that make no sense, what is not there, and hostile bytes."""

from typing import Any

import pytest
from gasan.hil import fuzz, vmrun
from gasan.hil.aes_peer import ecb, encipher
from gasan.wire import ccm
from gasan.wire.fields import BIG_ENDIAN, SIGN_BIT, SIGNED, FieldError, Fields
from gasan.wire.layout import FOREIGN, READABLE, Layout
from gasan.wire.mibeacon import ENCRYPTED, MiBeacon

COMPANY = b"\xff\x99\x04"
MATCHES = [[COMPANY, b"\x05", 0], [b"\x16\x0f\x18", b"", 1]]
SENDER = bytes.fromhex("582d34122089")
KEY = bytes(range(16))


def structure(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def opened(view: Layout | MiBeacon, *structures: bytes) -> int:
    data = b"".join(map(structure, structures))
    return view.open(data, 0, len(data))


def values(view: Layout | MiBeacon) -> list[int | None]:
    found: list[int | None] = []
    for k in range(len(view.fields)):
        at = view.find(k, 0)
        out = bytearray(8)
        good = at >= 0 and view.widen(k, at, out, 8)
        found.append(int.from_bytes(out, "big", signed=True) if good else None)
    return found


@pytest.mark.parametrize(
    ("form", "sent", "value"),
    [
        (1, "ff", 255),
        (1 | SIGNED, "ff", -1),
        (2, "3412", 0x1234),
        (2 | BIG_ENDIAN, "1234", 0x1234),
        (2 | BIG_ENDIAN | SIGNED, "fffe", -2),
        (3 | SIGNED, "000080", -0x800000),
        (3, "000080", 0x800000),
        (6 | BIG_ENDIAN, "010203040506", 0x010203040506),
        (8 | SIGNED, "feffffffffffffff", -2),
    ],
)
def test_values_of_every_form(form: int, sent: str, value: int) -> None:
    view = Layout(MATCHES, [[0, 1, form]], False)
    assert opened(view, COMPANY + b"\x05" + bytes.fromhex(sent)) == READABLE
    assert values(view) == [value]
    assert view.packet_id == -1


@pytest.mark.parametrize(
    ("form", "sent", "divisor", "modulus", "value"),
    [
        (3 | BIG_ENDIAN | SIGNED | SIGN_BIT, "03215d", 1000, 0, 205),
        (3 | BIG_ENDIAN | SIGNED | SIGN_BIT, "83215d", 1000, 0, -205),
        (3 | BIG_ENDIAN | SIGN_BIT, "83215d", 0, 1000, 149),
        (3 | SIGNED, "ffffff", 2, 0, 0),
        (3 | SIGNED, "00ff7f", 256, 0, 0x7FFF),
        (3 | SIGNED, "000080", 256, 0, -0x8000),
        (2, "ffff", 0, 0x100, 255),
        (1 | SIGN_BIT | SIGNED, "83", 0, 0, -3),
        (1 | SIGN_BIT | SIGNED, "80", 0, 0, 0),
    ],
)
def test_numbers_that_hold_several_values(
    form: int, sent: str, divisor: int, modulus: int, value: int
) -> None:
    view = Layout(MATCHES, [[0, 1, form, b"", divisor, modulus]], False)
    opened(view, COMPANY + b"\x05" + bytes.fromhex(sent))
    assert values(view) == [value]


def test_no_value_is_told_by_the_bits_that_count() -> None:
    view = Layout(MATCHES, [[0, 1, 2 | BIG_ENDIAN, b"\xff\xe0\xff\xe0", 0, 0]], False)
    assert opened(view, COMPANY + b"\x05\xff\xe7") == READABLE
    assert values(view) == [None]
    assert opened(view, COMPANY + b"\x05\xff\xd7") == READABLE
    assert values(view) == [0xFFD7]


def test_what_is_there_is_read_and_kept_together() -> None:
    view = Layout(MATCHES, [[1, 0, 1], [0, 1, 2], [0, 3, 1]], True)
    assert opened(view, b"\x01\x06", COMPANY + b"\x05\x01\x02\x03", b"\x16\x0f\x18\x55") == READABLE
    assert (values(view), bytes(view.buf[view.start : view.end]), view.packet_id) == (
        [0x55, 0x0201, 3],
        b"\x55\x01\x02\x03",
        0,
    )
    assert opened(view, COMPANY + b"\x05\x01\x02") == READABLE  # cut short: the last one is not there
    assert (values(view), bytes(view.buf[: view.end]), view.packet_id) == (
        [None, 0x0201, None],
        b"\x01\x02",
        -1,
    )
    assert opened(view, COMPANY + b"\x05\x01\x02\x03", COMPANY + b"\x05\x09\x09\x09") == READABLE
    assert values(view) == [None, 0x0201, 3]  # the first one counts


@pytest.mark.parametrize(
    "structures",
    [
        [],
        [b"\x01\x06"],
        [COMPANY + b"\x06\x01\x02\x03"],  # another format of that company
        [b"\xff\x99\x05\x05\x01\x02\x03"],
        [COMPANY],
        [COMPANY + b"\x05"],
        [b"\x16\x0f\x18\x55\x66"],  # another size
    ],
)
def test_what_is_foreign(structures: list[bytes]) -> None:
    view = Layout(MATCHES, [[0, 1, 2], [1, 0, 1]], False)
    assert opened(view, *structures) == FOREIGN


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [[0, 0, 0]],
        [[0, 0, 9]],
        [[0, 0, 0x81]],
        [[0, -1, 1]],
        [[2, 0, 1]],
        [[-1, 0, 1]],
        [[0, 0, 8]] * 4,  # more than an advertisement holds
        [[0, 0, 1, b""]],
        [[0, 0, 1, b"\x00", 0, 0]],
        [[0, 0, 4, b"", 10, 0]],  # too wide to be divided
        [[0, 0, 1 | SIGN_BIT]],
        [[0, 0, 1, b"", -1, 0]],
    ],
)
def test_tables_that_make_no_sense(fields: list[list[Any]]) -> None:
    with pytest.raises(FieldError):
        Layout(MATCHES, fields, False)
    with pytest.raises(FieldError):
        Layout([[b"", b"", 0]], [[0, 0, 1]], False)
    assert isinstance(Layout(MATCHES, [[0, 0, 1]], False), Fields)


def beacon(
    objects: bytes, counter: int = 7, key: bytes = b"", control: int = 0x5050, sender: bytes = SENDER
) -> bytes:
    """A MiBeacon's service data with its UUID; enciphered when there is a key."""
    head = (control | (8 if key else 0)).to_bytes(2, "little") + b"\x5b\x05" + bytes([counter & 0xFF])
    address = sender[::-1] if control & 0x10 else b""
    if key:
        upper = (counter >> 8).to_bytes(3, "little")
        made = encipher(key, sender[::-1] + head[2:] + upper, objects, b"\x11")
        objects = made[:-4] + upper + made[-4:]
    return b"\x16\x95\xfe" + head + address + objects


TEMPERATURE = b"\x04\x10\x02\xe2\x00"
PAIR = b"\x0d\x10\x04\xe2\x00\x48\x02"
FIELDS = [[0x1004, 0, 2 | SIGNED], [0x100D, 0, 2 | SIGNED], [0x100D, 2, 2]]


def receiver(key: bytes | None) -> MiBeacon:
    view = MiBeacon(SENDER, FIELDS, key is not None)
    if key:
        view.seal = ccm.Seal(ccm.Ccm(ecb), key)
    return view


def test_plain_beacons() -> None:
    view = receiver(None)
    assert opened(view, beacon(PAIR)) == READABLE
    assert values(view) == [None, 226, 584] and view.packet_id == 7
    assert opened(view, beacon(TEMPERATURE + PAIR, 8)) == READABLE
    assert values(view) == [226, 226, 584]
    first = bytes(view.buf[: view.end])
    assert opened(view, beacon(TEMPERATURE + PAIR, 9)) == READABLE
    assert bytes(view.buf[: view.end]) != first  # another measurement of the same values
    assert opened(view, beacon(PAIR[:-1])) == FOREIGN
    assert opened(view, beacon(b"\x99\x99\x01\x00" + TEMPERATURE)) == READABLE
    assert values(view) == [226, None, None]
    assert opened(view, beacon(PAIR, control=0x5010)) == FOREIGN  # says that it holds no object
    assert opened(view, beacon(PAIR, control=0x50D0)) == FOREIGN  # a mesh
    assert opened(view, beacon(PAIR, control=0x1050)) == FOREIGN  # an old version
    assert opened(view, beacon(PAIR, sender=bytes(6))) == ccm.FORGED
    assert opened(view, beacon(PAIR, key=KEY)) == ENCRYPTED


def test_encrypted_beacons() -> None:
    view = receiver(KEY)
    assert opened(view, beacon(TEMPERATURE, 0x01020304, KEY)) == READABLE
    assert values(view) == [226, None, None]
    assert opened(view, beacon(TEMPERATURE, 0x01020304, KEY)) == ccm.REPEATED
    assert opened(view, beacon(TEMPERATURE, 0x01020303, KEY)) == ccm.REPLAYED
    assert (
        opened(view, beacon(TEMPERATURE, 0x01020400, KEY, control=0x5040)) == READABLE
    )  # without its address
    assert opened(view, beacon(PAIR)) == ccm.PLAIN
    good = beacon(PAIR, 0x02000000, KEY)
    assert opened(view, beacon(PAIR, 0x02000000, bytes(16))) == ccm.FORGED
    for at in range(14, len(good)):
        changed = bytearray(good)
        changed[at] ^= 0x40
        assert opened(view, bytes(changed)) in (ccm.FORGED, ccm.REPLAYED), at
    for size in range(14, len(good)):
        assert opened(view, good[:size]) in (ccm.FORGED, ccm.REPLAYED), size
    assert opened(view, beacon(PAIR, 0x02000000, KEY, control=0x3050)) == ENCRYPTED  # that of version 3
    assert opened(view, good) == READABLE
    assert opened(view, beacon(PAIR * 5, 0x03000000, KEY)) == ccm.FORGED  # more than there is room for
    view.seal = None
    assert opened(view, beacon(PAIR, 0x03000000, KEY)) == ENCRYPTED


CORPUS = [
    structure(COMPANY + b"\x05" + bytes(range(23))),
    structure(b"\x16\x0f\x18\x64") + structure(COMPANY + b"\x05\x01\x02\x03"),
    structure(beacon(TEMPERATURE + PAIR)),
    structure(beacon(TEMPERATURE, 9, KEY)),
    structure(beacon(PAIR, 12, KEY, control=0x5040)),
]
LAYOUT_FIELDS = [
    [0, 1, 2 | SIGNED | BIG_ENDIAN],
    [0, 3, 3, b"\xff\xff\xff\xff\xff\x7f", 1000, 0],
    [1, 0, 1],
    [0, 20, 4],
    [0, 16, 2],
]
DECODE = """
def decode(data):
    for view in views:
        state = view.open(data, 0, len(data))
        if state == 1:
            if not 0 < view.end <= 31:
                raise AssertionError("unbounded")
            for k in range(len(view.fields)):
                at = view.find(k, 0)
                if at >= 0:
                    if at + (view.fields[k][2] & 15) > view.end:
                        raise AssertionError("outside")
                    view.widen(k, at, out, 8)
        elif not 0 <= state <= 6:
            raise AssertionError("undocumented")
        if view is views[2]:
            if state == 1 and view.buf[0] != 0xE2:
                raise AssertionError("forged")
            view.seal.fell_silent()  # the counter is no obstacle
"""


def test_hostile_bytes_on_cpython(seed: int, fuzz_count: int) -> None:
    space: dict[str, Any] = {
        "views": [Layout(MATCHES, LAYOUT_FIELDS, True), receiver(None), receiver(KEY)],
        "out": bytearray(8),
    }
    exec(DECODE, space)
    accepted, refused = fuzz.run(space["decode"], FieldError, fuzz.Fuzzer(seed, CORPUS), fuzz_count)
    assert accepted == fuzz_count and refused == 0


def test_hostile_bytes_on_the_vm(bits: int, seed: int, fuzz_count_vm: int) -> None:
    program = f"""
import sys, gc, cryptolib
from gasan.hil import fuzz
from gasan.wire import ccm
from gasan.wire.layout import Layout
from gasan.wire.mibeacon import MiBeacon
CORPUS = {CORPUS}
views = [Layout({MATCHES}, {LAYOUT_FIELDS}, True)]
views += [MiBeacon({SENDER}, {FIELDS}, False), MiBeacon({SENDER}, {FIELDS}, True)]
views[2].seal = ccm.Seal(ccm.Ccm(lambda key: cryptolib.aes(key, 1).encrypt), {KEY})
out = bytearray(8)
{DECODE}
decode(CORPUS[0])
gc.collect()
before = gc.mem_alloc()
print(fuzz.run(decode, ValueError, fuzz.Fuzzer(int(sys.argv[1]), CORPUS), int(sys.argv[2])))
gc.collect()
print(gc.mem_alloc() - before)
"""
    out = vmrun.run(program, seed, fuzz_count_vm, bits=bits, heap="128wk", timeout=120)
    counts, grown = out.split("\n")[:2]
    assert counts == f"({fuzz_count_vm}, 0)"
    assert int(grown) < 512
