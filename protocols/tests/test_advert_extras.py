"""Decoders with the strength and texts besides: hostile bytes, and what others decode is as it was."""

import pytest
from gasan.hil import fuzz, vmrun
from gasan.hil.bthome_judge import advert
from gasan.wire import bthome
from gasan.wire.advert_extras import RSSI, extended
from gasan.wire.layout import Layout
from gasan.wire.mibeacon import MiBeacon

CORPUS = [
    advert(bytes.fromhex("40 0005 0161 02ca09 03bf13 0c100b")),
    advert(bytes.fromhex("44 0009 3a01 5303414243 540412345678 f0d204")),
    advert(bytes.fromhex("42 a4c138112233 02ca09 0229f6 3b6201 0102")),
    bytes.fromhex("0201060fff990405 12fc5394c37c0004fffc04"),
    bytes.fromhex("0f16 95fe 5020aa01da 0d1004fe004802"),
]

DECODE = """
def decode(data):
    buf = data + b"\\xc4"
    for view, plain in views:
        state = view.open(buf, 0, len(buf) - 1)
        if state != plain.open(buf, 0, len(buf) - 1):
            raise AssertionError("another state")
        if state == 1:
            view.widen(256, len(data), out, 2)
            if view.find(256, 0) != len(data) or out[:2] != b"\\xff\\xc4":
                raise AssertionError("the strength")
            for what in WANTED:
                if what > 2 and not hasattr(view, "objects"):
                    continue
                at = view.find(what, 0)
                if at != plain.find(what, 0):
                    raise AssertionError("another place")
                if at >= 0:
                    for size in (1, 8, 32):
                        good = view.widen(what, at, out, size)
                        if what in (0x53, 0x54):
                            text = bytes(view.buf[at : at + view.width]) + bytes(32)
                            if bytes(out[:size]) != text[:size]:
                                raise AssertionError("another text")
                        elif what != 0x3B:
                            kept = bytes(out[:size])
                            if good != plain.widen(what, at, out, size) or kept != bytes(out[:size]):
                                raise AssertionError("another value")
"""
WANTED = (0x00, 0x01, 0x02, 0x3B, 0x53, 0x54, 0xF1)
MAKE = """
LAYOUT = ([[b"\\xff\\x99\\x04", b"\\x05", 0]], [[0, 1, 0x32], [0, 3, 0x12], [0, 5, 0x12]], True)
BEACON = (bytes(6), [[0x100D, 0, 0x22], [0x100D, 2, 2], [4, 0, 2]], False)
views = [(extended(bthome.Advert)(), bthome.Advert()), (extended(Layout)(*LAYOUT), Layout(*LAYOUT)),
    (extended(MiBeacon)(*BEACON), MiBeacon(*BEACON))]
out = bytearray(32)
"""


def test_hostile_bytes_on_cpython(seed: int, fuzz_count: int) -> None:
    space = {"bthome": bthome, "extended": extended, "Layout": Layout, "MiBeacon": MiBeacon, "WANTED": WANTED}
    exec(MAKE + DECODE, space)
    count = fuzz_count // 8  # three decoders, each beside its plain one
    accepted, refused = fuzz.run(space["decode"], ValueError, fuzz.Fuzzer(seed, CORPUS), count)
    assert (accepted, refused) == (count, 0)


def test_hostile_bytes_on_the_vm(bits: int, seed: int, fuzz_count_vm: int) -> None:
    program = (
        "import sys\nfrom gasan.hil import fuzz\nfrom gasan.wire import bthome\n"
        "from gasan.wire.advert_extras import extended\nfrom gasan.wire.layout import Layout\n"
        f"from gasan.wire.mibeacon import MiBeacon\nWANTED, CORPUS = {WANTED}, {CORPUS}\n"
        + MAKE
        + DECODE
        + "print(fuzz.run(decode, ValueError, fuzz.Fuzzer(int(sys.argv[1]), CORPUS), int(sys.argv[2])))\n"
    )
    count = fuzz_count_vm // 2
    assert vmrun.run(program, seed, count, bits=bits, timeout=120).split("\n")[0] == f"({count}, 0)"


def test_the_same_class_is_made_once() -> None:
    assert extended(Layout) is extended(Layout) and extended(Layout) is not extended(bthome.Advert)
    with pytest.raises(bthome.BTHomeError):
        bthome.width(RSSI)
