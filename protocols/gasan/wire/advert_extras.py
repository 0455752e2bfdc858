"""What few sensors need of an advertisement: how strong it was, and BTHome's values of no fixed width.

`extended` makes a decoder's class anew with both. Its `open` takes a buffer whose last byte, behind the
advertising data, is the strength in dBm (signed), as the slots of gasan.node.ble have it.

Of BTHome a text or raw bytes are the value as sent, filled up with zeros, and a command is a number whose
lowest byte says what to do; of one that does not fit the first bytes are
kept as no value.
"""

from gasan.wire import bthome
from gasan.wire.quality import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Buffer = bytes | bytearray | memoryview

RSSI = const(256)  # in place of an object's id or a field's number

_COMMAND = const(0x3B)
_TEXT = const(0x53)
_RAW = const(0x54)

_known: "dict[Any, Any]" = {}


def is_extra(what: int) -> bool:
    """Whether an item needs an extended decoder; a field's number never does."""
    return what == RSSI or what == _COMMAND or what == _TEXT or what == _RAW


def extended(base: "Any") -> "Any":
    """The class of a decoder that has the extras besides; the same for the same class."""
    made = _known.get(base)
    if not made:
        made = _known[base] = _extend(base)
    return made


def _extend(base: "Any") -> "Any":
    objects = issubclass(base, bthome.Advert)

    class Extended(base):  # type: ignore[misc]
        whole: "Buffer" = b""

        def open(self, buf: "Buffer", start: int, end: int) -> int:
            self.whole = buf
            return super().open(buf, start, end)  # type: ignore[no-any-return]

        def find(self, what: int, index: int) -> int:
            if what == RSSI:
                return len(self.whole) - 1
            return super().find(what, index)  # type: ignore[no-any-return]

        def widen(self, what: int, pos: int, out: bytearray, size: int) -> bool:
            if what == RSSI:
                dbm = self.whole[pos]
                for i in range(size):
                    out[i] = 0xFF if dbm & 0x80 else 0
                out[size - 1] = dbm
                return True
            if objects and (what == _TEXT or what == _RAW):
                for i in range(size):
                    out[i] = self.buf[pos + i] if i < self.width else 0
                return bool(self.width <= size)
            good = super().widen(what, pos, out, size)
            return good and (what != _COMMAND or not objects or self.width <= size)

    return Extended
