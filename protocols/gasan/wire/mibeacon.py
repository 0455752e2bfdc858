"""MiBeacon versions 2 to 5: Xiaomi's thermometers, plain or encrypted (versions 4 and 5).

Service data of UUID 0xFE95: frame control (2 bytes, little-endian), product (2), counter (1), then as frame
control says the sender's address (6, little-endian), capability (1, or 2 when its bit 5 is set), and objects:
id (2, little-endian), length (1), value. When encrypted, the objects are enciphered by AES-CCM and followed
by the upper 3 bytes of the counter and a tag of 4; the nonce is the address as sent, product, counter, and
its upper bytes; a byte 0x11 is authenticated besides.

Sources: InfoMijiaBLE of pvvx/ATC_MiThermometer; compared with the test vectors of xiaomi-ble. The encryption
of versions 2 and 3 is another one and is not read.
"""

from gasan.wire import ccm
from gasan.wire import fields as _fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Buffer = bytes | bytearray | memoryview

    def const(value: int) -> int:
        return value
else:
    try:
        from micropython import const
    except ImportError:

        def const(value):
            return value


# What MiBeacon.open says besides what ccm.Seal.open does, as gasan.wire.bthome has it.
FOREIGN = const(0)
READABLE = const(1)
ENCRYPTED = const(2)

_SERVICE_DATA = const(0x16)
_UUID_LOW = const(0x95)
_UUID_HIGH = const(0xFE)

# Bits of the frame control; the version is in the upper four.
_ENCRYPTED = const(0x0008)
_ADDRESS = const(0x0010)
_CAPABILITY = const(0x0020)
_OBJECTS = const(0x0040)
_MESH = const(0x0080)
_MORE = const(0x11)
_ROOM = const(32)  # bytes of objects; what a board hears has 31 in all
_TRAILER = const(7)  # upper counter and tag


class MiBeacon(_fields.Fields):
    """Decodes the advertisements of one sensor; the part of a field is the id of an object.

    address: 6 bytes as printed. sealed: whether the sensor encrypts. Then seal is of its key; while it is
    None, what is encrypted stays ENCRYPTED, and what is not is PLAIN.
    """

    def __init__(self, address: bytes, fields: "Sequence[Sequence[Any]]", sealed: bool) -> None:
        super().__init__(fields)
        self.seal: "ccm.Seal | None" = None
        self.sealed = sealed
        self._address = bytes([address[5 - i] for i in range(6)])
        self._nonce = bytearray(12)
        self._text = bytearray(_ROOM)

    def open(self, buf: "Buffer", start: int, end: int) -> int:
        """Look at the AD structures in buf[start:end], at most 255 bytes."""
        while start + 1 < end:
            stop = start + 1 + buf[start]
            if stop > end:
                return FOREIGN
            if (
                stop - start > 8
                and buf[start + 1] == _SERVICE_DATA
                and buf[start + 2] == _UUID_LOW
                and buf[start + 3] == _UUID_HIGH
            ):
                return self._beacon(buf, start + 4, stop)
            start = stop
        return FOREIGN

    def _beacon(self, buf: "Buffer", start: int, stop: int) -> int:
        control = buf[start] | buf[start + 1] << 8
        if not control & _OBJECTS or control & _MESH or control >> 12 < 2:
            return FOREIGN
        at = start + 5
        if control & _ADDRESS:
            if at + 6 > stop:
                return FOREIGN
            for i in range(6):
                if buf[at + i] != self._address[i]:
                    return ccm.FORGED
            at += 6
        if control & _CAPABILITY:
            if at >= stop:
                return FOREIGN
            at += 2 if buf[at] & 0x20 else 1
        if not control & _ENCRYPTED:
            if self.sealed:
                return ccm.PLAIN
            return self._objects(buf, at, stop, buf[start + 4])
        seal = self.seal
        if seal is None or control >> 12 < 4:
            return ENCRYPTED
        upper = stop - _TRAILER
        if not 0 < upper - at <= _ROOM:
            return ccm.FORGED
        nonce = self._nonce
        nonce[:6] = self._address
        nonce[6:9] = buf[start + 2 : start + 5]
        nonce[9:] = buf[upper : upper + 3]
        counter = buf[start + 4] | buf[upper] << 8 | buf[upper + 1] << 16 | buf[upper + 2] << 24
        state = seal.open(counter, nonce, _MORE, buf, at, upper, upper + 3, self._text, 0)
        if state != ccm.READABLE:
            return state
        return self._objects(self._text, 0, upper - at, buf[start + 4])

    def _objects(self, buf: "Buffer", at: int, stop: int, counter: int) -> int:
        self.clear()
        while at + 3 <= stop:
            after = at + 3 + buf[at + 2]
            if after > stop:
                break
            self.take(buf[at] | buf[at + 1] << 8, buf, at + 3, after)
            at = after
        if not self.pack():
            return FOREIGN
        self.packet_id = counter
        self.buf[self.end] = counter  # so that the same values measured again are another content
        self.end += 1
        return READABLE
