"""CBOR (RFC 8949) in its core deterministic encoding (section 4.2.1), for node and host.

Floats, bignums and strings in chunks are the work of `gasan.wire.cbor_rare`, which is loaded when the first
one comes; a node may leave that file out, and refuses them then.

``dumps`` writes shortest heads, shortest exact floats and sorted map keys. ``loads`` takes exactly one item;
besides it takes indefinite lengths, and map keys in any order. It refuses, with CBORError:

- heads that are longer than needed, reserved heads, bytes after the item, keys that come twice;
- ``undefined`` and the simple values other than false, true and null, which Python has no value for;
- map keys that are not integers, text or byte strings;
- bignums (tags 2 and 3) that are longer than needed; others become ints;
- more than ``max_items`` items or ``max_depth`` levels, and any length that the input does not hold:
  nothing is allocated on the word of a length.

Other tags become ``Tag`` and are not interpreted. NaN loses its payload. On a port with single-precision
floats a 64-bit float is rounded to the nearest single: readings therefore never pass through floats, but
travel as their raw bytes. In UTF-8, MicroPython takes surrogates and overlong forms, which CPython refuses.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Buffer = bytes | bytearray | memoryview
    Writable = bytearray | memoryview

BREAK = object()


class CBORError(ValueError):
    """The bytes are not one CBOR item that ``loads`` takes, or the value has no CBOR form here."""


class Tag:
    """A tagged item: ``tag`` is the number, ``value`` the content."""

    def __init__(self, tag: int, value: "Any") -> None:
        self.tag = tag
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tag) and self.tag == other.tag and self.value == other.value


def put_head(buf: "Writable", pos: int, major: int, argument: int) -> int:
    """Write a head of major type 0..7 and return the position after it.

    Allocates nothing while ``argument`` is a small integer. Raises IndexError when ``buf`` is too short.
    """
    if argument < 24:
        buf[pos] = major << 5 | argument
        return pos + 1
    power = 0
    while power < 3 and argument >> (8 << power):
        power += 1
    buf[pos] = major << 5 | 24 + power
    end = pos + (1 << power)
    while end > pos:
        buf[end] = argument & 0xFF
        argument >>= 8
        end -= 1
    return pos + (1 << power) + 1


def shorten(buf: "Writable", pos: int, size: int, major: int) -> int:
    """Make of the ``size`` bytes at buf[pos + 1:] the shortest integer at buf[pos:]; returns where it ends.

    size: 1, 2, 4 or 8. major: 0, or 0x20 for two's complement bytes of a negative. Allocates nothing.
    """
    at = pos + 1
    end = at + size
    while major and at < end:
        buf[at] ^= 0xFF  # CBOR writes a negative x as -1 - x: all bits inverted
        at += 1
    at = pos + 1
    while at < end - 1 and not buf[at]:
        at += 1
    if at == end - 1 and buf[at] < 24:
        buf[pos] = major | buf[at]
        return pos + 1
    size = 0
    while 1 << size < end - at:
        size += 1
    buf[pos] = major | 24 + size
    at = end - (1 << size)
    while at < end:
        pos += 1
        buf[pos] = buf[at]
        at += 1
    return pos + 1


def dumps(value: "Any") -> bytes:
    """The encoding of None, bool, int, float, bytes-like, str, list, tuple, dict, Tag and what they hold.

    Raises CBORError for any other type.
    """
    out = bytearray()
    _append(out, value)
    return bytes(out)


def append_head(out: bytearray, major: int, argument: int) -> None:
    """Append a head; see put_head."""
    if argument < 24:
        out.append(major << 5 | argument)
        return
    power = 0
    while power < 3 and argument >> (8 << power):
        power += 1
    out.append(major << 5 | 24 + power)
    out.extend(argument.to_bytes(1 << power, "big"))


def _append(out: bytearray, value: "Any") -> None:
    if value is None:
        out.append(0xF6)
    elif value is True or value is False:
        out.append(0xF5 if value else 0xF4)
    elif isinstance(value, int):
        if (value if value >= 0 else -1 - value) >> 64:
            _rare().append_bignum(out, value)
        elif value < 0:
            append_head(out, 1, -1 - value)
        else:
            append_head(out, 0, value)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        append_head(out, 2, len(value))
        out.extend(value)
    elif isinstance(value, str):
        data = value.encode()
        append_head(out, 3, len(data))
        out.extend(data)
    elif isinstance(value, (list, tuple)):
        append_head(out, 4, len(value))
        for item in value:
            _append(out, item)
    elif isinstance(value, dict):
        append_head(out, 5, len(value))
        for encoded, key in sorted([(dumps(key), key) for key in value]):
            out.extend(encoded)
            _append(out, value[key])
    elif isinstance(value, Tag):
        append_head(out, 6, value.tag)
        _append(out, value.value)
    elif isinstance(value, float):
        _rare().append_float(out, value)
    else:
        raise CBORError("no CBOR form for " + str(type(value)))


def _rare() -> "Any":
    try:
        from gasan.wire import cbor_rare
    except ImportError:
        raise CBORError("floats, bignums and strings in chunks are not taken here")
    return cbor_rare


def loads(data: "Buffer", max_depth: int = 16, max_items: int = 16384) -> "Any":
    """The one item that ``data`` holds. Raises CBORError."""
    reader = Reader(data, max_items)
    try:
        value = reader.value(max_depth)
    except RuntimeError:
        raise CBORError("nested deeper than this machine's stack")  # rp2 has 8 KB
    if reader.pos != len(data):
        raise CBORError("bytes after the item")
    return value


class Reader:
    """Reads item by item; ``pos`` is where the next one begins, ``items`` how many may still come."""

    def __init__(self, data: "Buffer", items: int, pos: int = 0) -> None:
        self.data = data
        self.pos = pos
        self.items = items

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        pos = self.pos
        if size > len(self.data) - pos:
            raise CBORError("cut short")
        self.pos = pos + size
        return bytes(self.data[pos : pos + size])

    def value(self, depth: int) -> "Any":
        """The next item, of at most ``depth`` levels."""
        value = self.item(depth)
        if value is BREAK:
            raise CBORError("misplaced break")
        return value

    def item(self, depth: int) -> "Any":
        """As `value`, but BREAK at the end of an item of indefinite length."""
        self.items -= 1
        if self.items < 0 or depth < 0:
            raise CBORError("too large")
        first = self.take(1)[0]
        major = first >> 5
        argument = first & 31
        if major == 7:
            return self._simple(argument)
        if argument >= 24:
            argument = self._argument(argument)
            if argument < 0 and (major < 2 or major == 6):
                raise CBORError("reserved head")
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2 or major == 3:
            raw = self.take(argument) if argument >= 0 else _rare().read_chunks(self, major)
            return raw if major == 2 else _text(raw)
        if major == 6:
            value = self.value(depth - 1)
            return Tag(argument, value) if not 2 <= argument <= 3 else _rare().bignum(argument, value)
        if major == 5:
            argument *= 2
        # Each item takes a byte at least, so a longer count is refused before anything is made for it.
        if argument > len(self.data) - self.pos:
            raise CBORError("cut short")
        items = []
        while argument:
            value = self.item(depth - 1)
            if value is BREAK:
                if argument > 0:
                    raise CBORError("misplaced break")
                break
            items.append(value)
            argument -= 1
        return items if major == 4 else _map(items)

    def _argument(self, info: int) -> int:
        """The argument of a head that takes more than the first byte; -1 for an indefinite length."""
        if info == 31:
            return -1
        if info > 27:
            raise CBORError("reserved head")
        size = 1 << (info - 24)
        value = int.from_bytes(self.take(size), "big")
        if value < 24 or (size > 1 and not value >> (4 * size)):
            raise CBORError("head longer than needed")
        return value

    def _simple(self, info: int) -> "Any":
        if 20 <= info <= 22:
            return (False, True, None)[info - 20]
        if 25 <= info <= 27:
            return _rare().read_float(self, info)
        if info == 31:
            return BREAK
        raise CBORError("simple value that is not taken")


def _map(items: "list[Any]") -> "dict[Any, Any]":
    out = {}
    for i in range(0, len(items), 2):
        key = items[i]
        if not isinstance(key, (int, str, bytes)) or isinstance(key, bool):
            raise CBORError("map key of a type that is not taken")
        if key in out or i + 1 == len(items):
            raise CBORError("map key that comes twice or has no value")
        out[key] = items[i + 1]
    return out


def _text(raw: bytes) -> str:
    try:
        return str(raw, "utf-8")
    except UnicodeError:
        raise CBORError("text that is not UTF-8")
