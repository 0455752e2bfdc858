"""BTHome v2 advertisements: which object stands where. Source: bthome.io/format.

An advertisement is a row of AD structures: length, type, data. BTHome is service data (type 0x16)
of the 16-bit UUID 0xFCD2: that UUID (little-endian), a device information byte, then objects of
one id byte and a value of the width that the id implies, little-endian. Bit 0 of the device
information says encrypted, bit 1 that the sender's address (6 bytes) comes first, bits 5 to 7 are
the version, 2.

Widths are implied, so a receiver must stop at an id that it does not know: what stands before it
is good, what follows is not readable. A last object that is cut short is left out likewise.

Nothing here allocates once an `Advert` is made.
"""

from gasan.wire.quality import const


class BTHomeError(ValueError):
    """The object id is unknown, or its values have no fixed width. Raised by `width` only."""


# What Advert.open says.
FOREIGN = const(0)  # no BTHome in it, or of another version
READABLE = const(1)
ENCRYPTED = const(2)

PACKET_ID = const(0x00)

_SERVICE_DATA = const(0x16)
_UUID_LOW = const(0xD2)
_UUID_HIGH = const(0xFC)
_VERSION = const(2)
_MAX_OBJECTS = const(32)

_WIDTH = const(0x07)  # bytes of the value
_SIGNED = const(0x08)
_COUNTED = const(0x10)  # a length byte, then so many bytes: text, raw
_COMMAND = const(0x20)  # a length byte of which 5 bits count, an opcode, then so many bytes

# Object ids 0x00 to 0x65, sixteen to a line; 0 where the specification has none.
_KINDS = (
    b"\x01\x01\x0a\x02\x03\x03\x02\x02\x0a\x01\x03\x03\x02\x02\x02\x01"
    b"\x01\x01\x02\x02\x02\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"
    b"\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x20\x02\x02\x04\x0a"
    b"\x02\x02\x03\x02\x02\x0a\x01\x02\x02\x02\x02\x03\x04\x04\x04\x04"
    b"\x04\x02\x02\x10\x10\x04\x02\x09\x09\x09\x0a\x0c\x0c\x0a\x02\x02"
    b"\x01\x02\x0c\x0c\x01\x01"
)
_DEVICE_KINDS = b"\x02\x04\x03"  # 0xF0 to 0xF2: device type, firmware version of four bytes, of three


def _kind(object_id: int) -> int:
    if object_id < len(_KINDS):
        return _KINDS[object_id]
    if 0xF0 <= object_id <= 0xF2:
        return _DEVICE_KINDS[object_id - 0xF0]
    return 0


def width(object_id: int) -> int:
    """Bytes of the object's value, 1 to 4."""
    kind = _kind(object_id)
    if not kind & _WIDTH:
        raise BTHomeError("BTHome object 0x%02x is unknown or has no fixed width" % object_id)
    return kind & _WIDTH


class Advert:
    """The objects of one advertisement; made once, opened for each.

    After `open` has said READABLE: `objects` is their number, `packet_id` the packet id or -1,
    `buf[start:end]` the service data after its UUID. After a `find` that hit,
    `width` is the value's width in bytes.
    """

    def __init__(self) -> None:
        self.objects = 0
        self.packet_id = -1
        self.start = 0
        self.end = 0
        self.width = 0
        self.buf: "bytes | bytearray | memoryview" = b""
        self._at = bytearray(_MAX_OBJECTS)  # where each object's id byte stands, from self.start

    def open(self, buf: "bytes | bytearray | memoryview", start: int, end: int) -> int:
        """Look at the AD structures in buf[start:end], at most 255 bytes: FOREIGN, READABLE or ENCRYPTED."""
        self.objects = 0
        self.packet_id = -1
        while start + 1 < end:
            stop = start + 1 + buf[start]
            if stop > end:
                return FOREIGN
            if (
                stop - start > 4
                and buf[start + 1] == _SERVICE_DATA
                and buf[start + 2] == _UUID_LOW
                and buf[start + 3] == _UUID_HIGH
            ):
                self.buf = buf
                self.start = start + 4
                self.end = stop
                information = buf[start + 4]
                if information >> 5 != _VERSION:
                    return FOREIGN
                if information & 1:
                    return ENCRYPTED
                self._walk(start + (11 if information & 2 else 5))
                return READABLE
            start = stop
        return FOREIGN

    def _walk(self, pos: int) -> None:
        buf = self.buf
        end = self.end
        n = 0
        while pos < end and n < _MAX_OBJECTS:
            kind = _kind(buf[pos])
            after = pos + 1 + (kind & _WIDTH)
            if not kind & _WIDTH:
                if not kind or pos + 1 >= end:
                    break
                after = pos + 2 + (buf[pos + 1] if kind & _COUNTED else 1 + (buf[pos + 1] & 0x1F))
            if after > end:
                break
            if buf[pos] == PACKET_ID and self.packet_id < 0:
                self.packet_id = buf[pos + 1]
            self._at[n] = pos - self.start
            n += 1
            pos = after
        self.objects = n

    def find(self, object_id: int, index: int) -> int:
        """Where the value of the index-th object of this id (from 0) stands in the buffer, or -1."""
        buf = self.buf
        start = self.start
        at = self._at
        for i in range(self.objects):
            pos = start + at[i]
            if buf[pos] == object_id:
                if index == 0:
                    kind = _kind(object_id)
                    if kind & _WIDTH:
                        self.width = kind & _WIDTH
                        return pos + 1
                    self.width = buf[pos + 1] if kind & _COUNTED else 1 + (buf[pos + 1] & 0x1F)
                    return pos + 2
                index -= 1
        return -1

    def widen(self, object_id: int, pos: int, out: bytearray, size: int) -> bool:
        """Copy the value that `find` has found to out[:size] as a big-endian integer, with its sign.

        Always True: BTHome has no number that means "no value".
        """
        buf = self.buf
        n = self.width
        fill = 0xFF if _kind(object_id) & _SIGNED and buf[pos + n - 1] & 0x80 else 0
        for i in range(size):
            out[size - 1 - i] = buf[pos + i] if i < n else fill
        return True
