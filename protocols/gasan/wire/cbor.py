"""CBOR (RFC 8949) in its core deterministic encoding (section 4.2.1), for node and host.

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

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Buffer = bytes | bytearray | memoryview
    Writable = bytearray | memoryview

_BREAK = object()


class CBORError(ValueError):
    """The bytes are not one CBOR item that ``loads`` takes, or the value has no CBOR form here."""


class Tag:
    """A tagged item: ``tag`` is the number, ``value`` the content."""

    def __init__(self, tag: int, value: "Any") -> None:
        self.tag = tag
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tag) and self.tag == other.tag and self.value == other.value

    def __repr__(self) -> str:
        return "Tag(%d, %r)" % (self.tag, self.value)


def put_head(buf: "Writable", pos: int, major: int, argument: int) -> int:
    """Write a head of major type 0..7 and return the position after it.

    Allocates nothing while ``argument`` is a small integer. Raises IndexError when ``buf`` is too short.
    """
    major <<= 5
    if argument < 24:
        buf[pos] = major | argument
        return pos + 1
    if argument < 0x100:
        size = 1
        buf[pos] = major | 24
    elif argument < 0x10000:
        size = 2
        buf[pos] = major | 25
    elif argument >> 16 < 0x10000:
        size = 4
        buf[pos] = major | 26
    else:
        size = 8
        buf[pos] = major | 27
    end = pos + size
    while end > pos:
        buf[end] = argument & 0xFF
        argument >>= 8
        end -= 1
    return pos + size + 1


def put_int(buf: "Writable", pos: int, value: int) -> int:
    """Write an integer of -2**64..2**64-1; as put_head."""
    if value < 0:
        return put_head(buf, pos, 1, -1 - value)
    return put_head(buf, pos, 0, value)


def put_bytes(buf: "Writable", pos: int, data: "Buffer") -> int:
    """Write a byte string; as put_head."""
    return _put_string(buf, pos, 2, data)


def put_text(buf: "Writable", pos: int, text: str) -> int:
    """Write a text string (allocates its UTF-8 form); as put_head."""
    return _put_string(buf, pos, 3, text.encode())


def _put_string(buf: "Writable", pos: int, major: int, data: "Buffer") -> int:
    end = put_head(buf, pos, major, len(data)) + len(data)
    if end > len(buf):
        raise IndexError("buffer too short")
    buf[end - len(data) : end] = data
    return end


def dumps(value: "Any") -> bytes:
    """The encoding of None, bool, int, float, bytes-like, str, list, tuple, dict, Tag and what they hold.

    Raises CBORError for any other type.
    """
    out = bytearray()
    _append(out, value)
    return bytes(out)


def _append_head(out: bytearray, major: int, argument: int) -> None:
    head = bytearray(9)
    out.extend(memoryview(head)[: put_head(head, 0, major, argument)])


def _append(out: bytearray, value: "Any") -> None:
    if value is None:
        out.append(0xF6)
    elif value is True or value is False:
        out.append(0xF5 if value else 0xF4)
    elif isinstance(value, int):
        major = 0
        if value < 0:
            major = 1
            value = -1 - value
        if value >> 64:
            _append_head(out, 6, 2 + major)
            size = 9
            while value >> (8 * size):
                size += 1
            _append_head(out, 2, size)
            out.extend(value.to_bytes(size, "big"))
        else:
            _append_head(out, major, value)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        _append_head(out, 2, len(value))
        out.extend(value)
    elif isinstance(value, str):
        data = value.encode()
        _append_head(out, 3, len(data))
        out.extend(data)
    elif isinstance(value, (list, tuple)):
        _append_head(out, 4, len(value))
        for item in value:
            _append(out, item)
    elif isinstance(value, dict):
        _append_head(out, 5, len(value))
        for key, name in sorted([(dumps(name), name) for name in value]):
            out.extend(key)
            _append(out, value[name])
    elif isinstance(value, Tag):
        _append_head(out, 6, value.tag)
        _append(out, value.value)
    elif isinstance(value, float):
        _append_float(out, value)
    else:
        raise CBORError("no CBOR form for " + str(type(value)))


def _append_float(out: bytearray, value: float) -> None:
    if value != value:
        out.extend(b"\xf9\x7e\x00")
        return
    # A format is tried only inside its range: outside of it, struct wraps, rounds to infinity or raises.
    infinite = value - value != 0
    for head, form, largest in ((0xF9, ">e", 65504.0), (0xFA, ">f", 3.4028234663852886e38)):
        if infinite or -largest <= value <= largest:
            data = struct.pack(form, value)
            if struct.unpack(form, data)[0] == value:
                out.append(head)
                out.extend(data)
                return
    out.append(0xFB)
    out.extend(struct.pack(">d", value))


def loads(data: "Buffer", max_depth: int = 16, max_items: int = 16384) -> "Any":
    """The one item that ``data`` holds. Raises CBORError."""
    reader = _Reader(data, max_items)
    value = reader.item(max_depth)
    if value is _BREAK:
        raise CBORError("break outside of an item")
    if reader.pos != len(data):
        raise CBORError("bytes after the item")
    return value


class _Reader:
    def __init__(self, data: "Buffer", items: int) -> None:
        self.data = data
        self.pos = 0
        self.items = items

    def take(self, size: int) -> bytes:
        pos = self.pos
        if size > len(self.data) - pos:
            raise CBORError("cut short")
        self.pos = pos + size
        return bytes(self.data[pos : pos + size])

    def argument(self, info: int) -> int:
        """The argument of a head; -1 for an indefinite length."""
        if info < 24:
            return info
        if info == 31:
            return -1
        if info > 27:
            raise CBORError("reserved head")
        size = 1 << (info - 24)
        value = int.from_bytes(self.take(size), "big")
        if value < 24 or (size > 1 and not value >> (4 * size)):
            raise CBORError("head longer than needed")
        return value

    def item(self, depth: int) -> "Any":
        """The next item, or _BREAK."""
        data = self.data
        pos = self.pos
        if pos >= len(data):
            raise CBORError("cut short")
        self.items -= 1
        if self.items < 0 or depth < 0:
            raise CBORError("too many items" if depth >= 0 else "nested too deeply")
        first = data[pos]
        self.pos = pos + 1
        major = first >> 5
        info = first & 31
        if major == 7:
            return self.simple(info)
        argument = self.argument(info)
        if argument < 0 and (major < 2 or major == 6):
            raise CBORError("reserved head")
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major < 4:
            raw = self.take(argument) if argument >= 0 else self.chunks(major)
            return raw if major == 2 else _text(raw)
        if major == 6:
            return self.tagged(argument, depth)
        # Each item takes a byte at least, so a longer count is refused before anything is made for it.
        if argument << (major - 4) > len(data) - self.pos:
            raise CBORError("cut short")
        return self.array(argument, depth - 1) if major == 4 else self.map(argument, depth - 1)

    def array(self, count: int, depth: int) -> "list[Any]":
        out = []
        while count:
            value = self.item(depth)
            if value is _BREAK:
                if count < 0:
                    break
                raise CBORError("break outside of an item")
            out.append(value)
            count -= 1
        return out

    def map(self, count: int, depth: int) -> "dict[Any, Any]":
        out: "dict[Any, Any]" = {}
        while count:
            key = self.item(depth)
            if key is _BREAK and count < 0:
                break
            if not isinstance(key, (int, str, bytes)) or key is True or key is False:
                raise CBORError("map key of a type that is not taken")
            if key in out:
                raise CBORError("map key that comes twice")
            value = self.item(depth)
            if value is _BREAK:
                raise CBORError("map key without a value")
            out[key] = value
            count -= 1
        return out

    def chunks(self, major: int) -> bytes:
        """The chunks of a string of indefinite length, joined."""
        out = bytearray()
        while True:
            first = self.take(1)[0]
            if first == 0xFF:
                return bytes(out)
            self.items -= 1
            if first >> 5 != major or first & 31 == 31 or self.items < 0:
                raise CBORError("bad chunk of a string")
            raw = self.take(self.argument(first & 31))
            if major == 3:
                _text(raw)
            out.extend(raw)

    def tagged(self, tag: int, depth: int) -> "Any":
        value = self.item(depth - 1)
        if value is _BREAK:
            raise CBORError("break outside of an item")
        if tag not in (2, 3):
            return Tag(tag, value)
        if not isinstance(value, bytes) or len(value) < 9 or not value[0]:
            raise CBORError("bad bignum")
        number = int.from_bytes(value, "big")
        return number if tag == 2 else -1 - number

    def simple(self, info: int) -> "Any":
        if info == 31:
            return _BREAK
        if 25 <= info <= 27:
            return struct.unpack(("", ">e", ">f", ">d")[info - 24], self.take(1 << (info - 24)))[0]
        if not 20 <= info <= 22:
            raise CBORError("simple value that is not taken")
        return (False, True, None)[info - 20]


def _text(raw: bytes) -> str:
    try:
        return str(raw, "utf-8")
    except UnicodeError:
        raise CBORError("text that is not UTF-8")
