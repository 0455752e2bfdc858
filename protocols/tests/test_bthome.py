"""BTHome: the decoder agrees with bthome-ble, takes hostile bytes, and allocates nothing on a board."""

import random

import pytest
from gasan.hil import fuzz, vmrun
from gasan.hil.bthome_judge import (
    COMMAND,
    COUNTED,
    MEAS_TYPES,
    UNKNOWN,
    advert,
    an_object,
    assert_same,
    body,
    decoded,
)
from gasan.wire import bthome


@pytest.mark.parametrize("object_id", sorted(MEAS_TYPES))
def test_agrees_with_bthome_ble_on_object(object_id: int, seed: int) -> None:
    rng = random.Random(seed + object_id)
    for _ in range(16):
        data = b"\x40" + an_object(rng, object_id)
        assert [i for i, raw, _ in decoded(data)] == [object_id]
        assert_same(data)


def test_no_other_object_id_is_known() -> None:
    for object_id in UNKNOWN:
        assert decoded(b"\x40\x01\x61" + bytes([object_id]) + bytes(8)) == [(0x01, b"\x61", 0x61)]
        with pytest.raises(bthome.BTHomeError):
            bthome.width(object_id)
    for object_id, kind in MEAS_TYPES.items():
        if object_id in COUNTED or object_id == COMMAND:
            with pytest.raises(bthome.BTHomeError):
                bthome.width(object_id)
        else:
            assert bthome.width(object_id) == kind.data_length
            lowest = b"\x40" + bytes([object_id]) + bytes(kind.data_length - 1) + b"\x80"
            negative = decoded(lowest)[0][2] < 0
            assert negative == (kind.data_format == "signed_integer")


def test_agrees_with_bthome_ble_on_10_000_generated_adverts(seed: int) -> None:
    rng = random.Random(seed)
    count = 0
    while count < 10_000:
        if made := body(rng):
            information, address = rng.choice([(0x40, b""), (0x44, b""), (0x42, rng.randbytes(6))])
            assert_same(bytes([information]) + address + made)
            count += 1


def test_an_unknown_object_hides_only_what_follows() -> None:
    # temperature 25.06, an id of no specification, humidity 50.55
    assert decoded(bytes.fromhex("40 02ca09 37ffff 03bf13")) == [(0x02, b"\xca\x09", 0x09CA)]


def test_two_objects_of_one_id_are_told_apart() -> None:
    data = advert(bytes.fromhex("40 0005 02ca09 0229f6"))
    view = bthome.Advert()
    assert view.open(data, 0, len(data)) == bthome.READABLE
    assert view.packet_id == 5
    out = bytearray(4)
    view.widen(0x02, view.find(0x02, 1), out, 4)
    assert int.from_bytes(out, "big", signed=True) == -2519
    assert view.find(0x02, 2) == -1
    assert view.find(0x03, 0) == -1


@pytest.mark.parametrize(
    ("what", "data", "state"),
    [
        ("encrypted", advert(bytes.fromhex("41a47266c95f730011223378237214")), bthome.ENCRYPTED),
        ("version 1", advert(bytes.fromhex("2002ca09")), bthome.FOREIGN),
        ("no service data", bytes.fromhex("020106 03095048"), bthome.FOREIGN),
        ("another service", bytes.fromhex("0416 d1fc 40"), bthome.FOREIGN),
        ("service data of the UUID alone", bytes.fromhex("0316 d2fc"), bthome.FOREIGN),
        ("a structure that claims too much", bytes.fromhex("0a16 d2fc 40 02ca09"), bthome.FOREIGN),
        ("zeros after the end", advert(bytes.fromhex("4002ca09")) + bytes(4), bthome.READABLE),
        ("a structure of length 0 before", b"\x00" + advert(bytes.fromhex("4002ca09")), bthome.READABLE),
        ("nothing", b"", bthome.FOREIGN),
    ],
)
def test_open_tells(what: str, data: bytes, state: int) -> None:
    assert bthome.Advert().open(data, 0, len(data)) == state, what


CORPUS = [
    advert(bytes.fromhex("40 0005 0161 02ca09 03bf13 0c100b")),
    advert(bytes.fromhex("44 0009 3a01 5303414243 540412345678 f0d204")),
    advert(bytes.fromhex("42 a4c138112233 02ca09 0229f6 3b6201 0102")),
    advert(bytes.fromhex("41a47266c95f730011223378237214")),
]

DECODE = """
def decode(data):
    state = view.open(data, 0, len(data))
    if state == 1:
        for object_id in WANTED:
            at = view.find(object_id, 0)
            if at >= 0:
                if not view.start < at or at + view.width > view.end or view.end > len(data):
                    raise AssertionError("outside")
                if view.width:
                    view.widen(object_id, at, out, 8)
        if not 0 < view.objects + 1 <= 33:
            raise AssertionError("unbounded")
    elif state not in (0, 2):
        raise AssertionError("undocumented")
"""
WANTED = (0x00, 0x01, 0x02, 0x3B, 0x53, 0x54, 0x5C, 0xF1, 0x37)


def test_hostile_bytes_on_cpython(seed: int, fuzz_count: int) -> None:
    space = {"view": bthome.Advert(), "out": bytearray(8), "WANTED": WANTED}
    exec(DECODE, space)
    accepted, refused = fuzz.run(space["decode"], bthome.BTHomeError, fuzz.Fuzzer(seed, CORPUS), fuzz_count)
    assert accepted == fuzz_count and refused == 0


def test_hostile_bytes_on_the_vm_without_allocation(bits: int, seed: int, fuzz_count_vm: int) -> None:
    program = (
        "import sys, gc, micropython\n"
        "from gasan.hil import fuzz\n"
        "from gasan.wire import bthome, columns\n"
        f"view, out, WANTED, CORPUS = bthome.Advert(), bytearray(8), {WANTED}, {CORPUS}\n"
        + DECODE
        + """
group = columns.Group((0,), bytes([columns.I64]), 2, 0)
def locked(data):
    micropython.heap_lock()
    try:
        decode(data)
        group.start(0)
        group.put(0, out, 0)
        group.finish()
        group.clear()
    finally:
        micropython.heap_unlock()
locked(CORPUS[0])
gc.collect()
before = gc.mem_alloc()
print(fuzz.run(locked, bthome.BTHomeError, fuzz.Fuzzer(int(sys.argv[1]), CORPUS), int(sys.argv[2])))
gc.collect()
print(gc.mem_alloc() - before)
"""
    )
    out = vmrun.run(program, seed, fuzz_count_vm, bits=bits, heap="128wk", timeout=120)
    counts, grown = out.split("\n")[:2]
    assert counts == f"({fuzz_count_vm}, 0)"
    assert int(grown) < 512
