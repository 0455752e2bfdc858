"""Runs on the MicroPython VM: decodes advertisements as a node does, and times that.

Arguments: name of a case, repetitions in a round, rounds, the sealed advertisement in hex. Output:
advertisements a second, of the best round; the state of the last one; and the values read from it.
"""

import sys
from binascii import hexlify, unhexlify
from time import ticks_diff, ticks_us  # type: ignore[attr-defined]

import micropython
from gasan.wire import bthome, ccm, columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ADDRESS = b"\x54\x48\xe6\x8f\x80\xa5"
KEY = bytes(range(16))
# Flags, and service data: packet id, battery, temperature, humidity.
PLAIN = b"\x02\x01\x06\x0e\x16\xd2\xfc\x40\x00\x05\x01\x61\x02\xca\x09\x03\xbf\x13"
RUUVI = (
    b"\x02\x01\x06\x1b\xff\x99\x04"
    + bytes((5, 0x12, 0xFC, 0x53, 0x94, 0xC3, 0x7C, 0, 4, 0xFF, 0xFC, 4, 0x0C, 0xAC, 0x36, 0x42, 0, 0xCD))
    + b"\xcb\xb8\x33\x4c\x88\x4f"
)
ITEMS = ((0x01, columns.U8), (0x02, columns.I16), (0x03, columns.U16))
RUUVI_ITEMS = ((0, columns.I16), (1, columns.U16), (2, columns.U16))


class Case:
    """A decoder, its advertisement, and the slots for what is read."""

    def __init__(self, view: "Any", advert: bytes, items: "Any") -> None:
        self.view, self.advert, self.items = view, advert, items
        self.group = columns.Group(range(len(items)), bytes([code for _, code in items]), 2, 0)
        self.value = bytearray(8)
        self.state = 0

    def decode(self) -> None:
        """From the bytes of the radio to a row of readings."""
        view = self.view
        self.state = view.open(self.advert, 0, len(self.advert))
        self.group.clear()
        self.group.start(0)
        items = self.items
        for k in range(len(items)):
            at = view.find(items[k][0], 0)
            if at >= 0:
                view.widen(items[k][0], at, self.value, columns.width(items[k][1]))
                self.group.put(k, self.value, 0)
        self.group.finish()


class SealedCase(Case):
    """Every advertisement is a new one: the counter begins anew."""

    ccm: "Any" = None

    def decode(self) -> None:
        self.view.seal = ccm.Seal(self.ccm, KEY)
        super().decode()


def plain() -> Case:
    return Case(bthome.Advert(), PLAIN, ITEMS)


def sealed() -> Case:
    from cryptolib import aes  # type: ignore[import-not-found]
    from gasan.wire.bthome_sealed import Sealed

    case = SealedCase(Sealed(ADDRESS, None), unhexlify(sys.argv[4]), ITEMS)
    case.ccm = ccm.Ccm(lambda key: aes(key, 1).encrypt)
    return case


def layout() -> Case:
    from gasan.wire.layout import Layout

    fields = [[0, 1, 0x32], [0, 3, 0x12], [0, 5, 0x12], [0, 16, 0x12]]
    return Case(Layout([[b"\xff\x99\x04", b"\x05", 24]], fields, True), RUUVI, RUUVI_ITEMS)


def main() -> None:
    name, repetitions, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    case = {"plain": plain, "sealed": sealed, "layout": layout}[name]()
    if name != "sealed":
        micropython.heap_lock()
    case.decode()
    if name != "sealed":
        micropython.heap_unlock()
    least = 0
    for _ in range(rounds):
        start = ticks_us()
        for _ in range(repetitions):
            case.decode()
        spent = ticks_diff(ticks_us(), start)
        least = spent if not least else min(least, spent)
    group = case.group
    read = b""
    for k in range(group.columns):
        read += group.data[group.offsets[k] : group.offsets[k] + columns.width(group.types[k])]
    print(repetitions * 1000000 // least, case.state, hexlify(read).decode())


main()
