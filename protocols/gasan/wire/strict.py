"""Strict steps through CBOR: shortest heads, definite lengths, nothing made on the word of a length.

Each takes the bytes and a position and returns what it found and the position after it. They raise
FrameError, or IndexError where the bytes end within a head.
"""

from gasan.wire.frame import FrameError


def head(p: bytes, pos: int) -> "tuple[int, int, int]":
    """(major type, argument, position after) of a head."""
    first = p[pos]
    pos += 1
    argument = first & 31
    if argument >= 24:
        if argument > 27:
            raise FrameError("a reserved or indefinite head")
        size = 1 << (argument - 24)
        if pos + size > len(p):
            raise FrameError("cut short")
        argument = int.from_bytes(p[pos : pos + size], "big")
        if argument < 24 or (size > 1 and not argument >> (4 * size)):
            raise FrameError("a head longer than needed")
        pos += size
    return first >> 5, argument, pos


def uint(p: bytes, pos: int) -> "tuple[int, int]":
    """An unsigned integer."""
    first = p[pos]
    if first < 24:
        return first, pos + 1
    major, value, pos = head(p, pos)
    if major:
        raise FrameError("something else where an unsigned integer belongs")
    return value, pos


def array(p: bytes, pos: int) -> "tuple[int, int]":
    """The length of an array whose items can still come."""
    n = p[pos] - 0x80
    if 0 <= n < 24:
        pos += 1
    else:
        major, n, pos = head(p, pos)
        if major != 4:
            raise FrameError("something else where an array belongs")
    if n > len(p) - pos:
        raise FrameError("cut short")
    return n, pos


def byte_string(p: bytes, pos: int) -> "tuple[bytes, int]":
    """A byte string."""
    major, size, pos = head(p, pos)
    if major != 2:
        raise FrameError("something else where bytes belong")
    if size > len(p) - pos:
        raise FrameError("cut short")
    return p[pos : pos + size], pos + size
