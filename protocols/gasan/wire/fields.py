"""Values at fixed places of an advertisement: copied out, widened, told from "no value". Used by layouts.

A field is [part, offset, form] or [part, offset, form, none, divisor, modulus]:

    part     where it stands: for a Layout the number of a match, for a MiBeacon an object's id
    offset   bytes from the start of that part
    form     bytes of the value, 1 to 8, + BIG_ENDIAN, + SIGNED (two's complement), + SIGN_BIT (the topmost
             bit is no part of the number; with SIGNED it is its sign)
    none     b"" or two strings of the value's width as sent: "no value" when (value & second) == first
    divisor  0, or what the number is divided by, towards zero; modulus: 0, or of what the remainder is
             taken, before that. Only for values of at most 3 bytes.
"""

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


BIG_ENDIAN = const(0x10)
SIGNED = const(0x20)
SIGN_BIT = const(0x40)

_WIDTH = const(0x0F)
_FLAGS = const(0x70)
_ROOM = const(30)  # bytes; no advertisement that a board hears holds more


class FieldError(ValueError):
    """A field is none that could be read, or there are too many."""


class Fields:
    """The wanted fields of one kind of advertisement.

    After a decoder has opened one: `buf[start:end]` holds the values as sent, in the order of `fields`,
    without those that were not there; `packet_id` is -1 unless a counter of measurements stands among them.
    """

    def __init__(self, fields: "Sequence[Sequence[Any]]") -> None:
        self._homes = bytearray(len(fields))  # of each field in buf, while all are there
        size = 0
        for k in range(len(fields)):
            self._homes[k] = size
            size += _check(fields[k])
            if size > _ROOM:
                break
        if not fields or size > _ROOM:
            raise FieldError("no fields, or more than %d bytes of them" % _ROOM)
        self.fields = fields
        self.buf = bytearray(_ROOM + 1)
        self.start = 0
        self.end = 0
        self.packet_id = -1
        self._places = bytearray(len(fields))  # of each field in buf, plus 1; 0: it was not there

    def clear(self) -> None:
        """No field is there."""
        for k in range(len(self._places)):
            self._places[k] = 0

    def take(self, part: int, data: "Buffer", start: int, end: int) -> None:
        """Copy the fields of a part that stands in data[start:end]; the first part of its kind counts."""
        fields = self.fields
        for k in range(len(fields)):
            if fields[k][0] == part and not self._places[k]:
                at = start + fields[k][1]
                width = fields[k][2] & _WIDTH
                if at + width <= end:
                    home = self._homes[k]
                    self._places[k] = home + 1
                    for i in range(width):
                        self.buf[home + i] = data[at + i]

    def pack(self) -> bool:
        """After the last `take`: close the gaps that missing fields leave. True if any field is there."""
        fields = self.fields
        places = self._places
        buf = self.buf
        n = 0
        for k in range(len(fields)):
            if places[k]:
                at = places[k] - 1
                places[k] = n + 1
                for i in range(fields[k][2] & _WIDTH):
                    buf[n] = buf[at + i]
                    n += 1
        self.end = n
        return n > 0

    def find(self, k: int, _index: int) -> int:
        """Where the value of field k stands in buf, or -1."""
        return self._places[k] - 1

    def widen(self, k: int, pos: int, out: bytearray, size: int) -> bool:
        """Put the value that `find` has found to out[:size] as a big-endian integer.

        False when it means "no value".
        """
        buf = self.buf
        field = self.fields[k]
        form = field[2]
        n = form & _WIDTH
        top = buf[pos if form & BIG_ENDIAN else pos + n - 1]
        fill = 0xFF if form & SIGNED and top & 0x80 else 0
        for i in range(size):
            byte = fill
            if i < n:
                byte = buf[pos + n - 1 - i if form & BIG_ENDIAN else pos + i]
            out[size - 1 - i] = byte
        if len(field) == 3:
            return True
        none = field[3]
        if field[4] or field[5] or form & SIGN_BIT:
            _calculate(form, field[4], field[5], out, size)
        for i in range(len(none) // 2):
            if buf[pos + i] & none[n + i] != none[i]:
                return True
        return not none


def _calculate(form: int, divisor: int, modulus: int, out: bytearray, size: int) -> None:
    """Replace the integer in out[:size]; of at most 3 bytes, so that nothing is allocated."""
    n = form & _WIDTH
    value = 0
    for i in range(max(0, size - n), size):
        value = value << 8 | out[i]
    negative = False
    top = 1 << (8 * n - 1)
    if form & SIGNED and value & top:
        negative = True
        value = value - top if form & SIGN_BIT else 2 * top - value
    elif form & SIGN_BIT:
        value &= top - 1
    if modulus:
        value %= modulus
    if divisor:
        value //= divisor
    if negative:
        value = -value
    for i in range(size):
        out[size - 1 - i] = value & 0xFF
        value >>= 8


def _check(field: "Sequence[Any]") -> int:
    """Bytes of the field's value. Raises FieldError."""
    form = field[2]
    width: int = form & _WIDTH
    if not 1 <= width <= 8 or form & ~(_WIDTH | _FLAGS):
        raise FieldError("no form of a field: %d" % form)
    if len(field) != 3:
        if len(field) != 6 or len(field[3]) not in (0, 2 * width) or field[4] < 0 or field[5] < 0:
            raise FieldError("no field")
        if (field[4] or field[5] or form & SIGN_BIT) and width > 3:
            raise FieldError("too wide to be divided")
    elif form & SIGN_BIT:
        raise FieldError("no field")
    if field[1] < 0:
        raise FieldError("no field")
    return width
