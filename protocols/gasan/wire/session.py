"""What both ends of a link share, and all of the protocol that a node loads: keys, packets, shapes, order.

Pure: no stream, no clock. The numbers of the protocol have their names in `gasan.wire.link`; here, and in a
node, they are constants that the compiler puts in place.
"""

import binascii
import struct

from gasan.wire import cbor
from gasan.wire.cose import Hmac, equal
from gasan.wire.quality import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TO_NODE = b"\x02\x04\x11\x12\x15\x17\x1b"
_TO_GATEWAY = b"\x01\x03\x10\x13\x14\x16\x18\x19\x1a\x1b"
_HEAD = const(6)  # kind, session, counter
_MAC = const(8)
_VERSION = const(1)
_RANGES_MAX = const(8)
_UINT = const(0x75)
_TEXT = const(0x74)
_BYTES = const(0x62)
_RANGES = const(0x72)
_STORED = const(0x73)
_EDITION = const(0x76)

# The shape of a body, an array: a byte for each item. u, t, b, l: an unsigned integer, text, bytes, a list.
# r: ranges past the integer before. s: a list of [boot, next, ranges]. v: the version. Below 32: so many
# bytes. These are of the kinds that a node takes.
STORED = b"\x08ur"
SHAPES = {
    0x02: b"v\x10\x08",
    0x04: b"s",
    0x11: STORED,
    0x12: b"uu",
    0x15: b"u\x08uub",
    0x17: b"utl",
    0x1B: b"",
}


class LinkError(ValueError):
    """A packet was refused; `args[0]` is the reason, one word of those in protocols/link.md."""


class Session:
    """One session as one end sees it: a key and a counter for each direction."""

    def __init__(self, k_link: Hmac, context: bytes, is_node: bool) -> None:
        """context: nonces of gateway and node, node id, boot, store id, key generation (1 byte), joined."""
        to_gateway = Hmac(k_link.digest(b"n2g", context))
        to_node = Hmac(k_link.digest(b"g2n", context))
        self.id = k_link.digest(b"sid", context)[0]
        self._out, self._in = (to_gateway, to_node) if is_node else (to_node, to_gateway)
        self._kinds = _TO_NODE if is_node else _TO_GATEWAY
        self.sent = 0  # counter of the next packet
        self.seen = -1  # counter of the last packet that was accepted

    def seal(self, buf: bytearray, start: int, kind: int, end: int) -> int:
        """Write head and MAC around the body `buf[start + 6:end]`; returns the packet's end."""
        struct.pack_into(">BBI", buf, start, kind, self.id, self.sent)
        self.sent += 1
        tag = self._out.tag(memoryview(buf)[start:end])
        buf[end : end + len(tag)] = tag
        return end + len(tag)

    def open(self, packet: bytes) -> bytes:
        """The body of a packet of this session. Raises `LinkError`."""
        if len(packet) < _HEAD + _MAC:
            raise LinkError("malformed")
        kind, number, counter = struct.unpack_from(">BBI", packet)
        if kind not in self._kinds:
            raise LinkError("reflected" if kind in _TO_NODE or kind in _TO_GATEWAY else "malformed")
        if number != self.id:
            raise LinkError("stale")
        if not equal(self._in.tag(packet[:-_MAC]), packet[-_MAC:]):
            raise LinkError("forged")
        if counter <= self.seen:
            raise LinkError("replayed")
        self.seen = counter
        return packet[_HEAD:-_MAC]


def unarmour(text: bytes) -> bytes:
    """The packet that a gateway made text of. Raises `LinkError`."""
    try:
        return binascii.a2b_base64(text)
    except ValueError:
        raise LinkError("malformed")


def shaped(data: bytes, shape: bytes) -> "list[Any]":
    """The items of a body of that shape; BYE has none at all. Raises `LinkError`."""
    if not shape and not data:
        return []
    try:
        value = cbor.loads(data, 5, 256)
    except cbor.CBORError:
        raise LinkError("malformed")
    _check(value, shape)
    items: list[Any] = value
    return items


def _check(value: "Any", shape: bytes) -> None:
    good = isinstance(value, list)
    if good and shape[:1] == b"v" and value and _is_uint(value[0]) and value[0] != _VERSION:
        raise LinkError("version")
    if not good or len(value) != len(shape):
        raise LinkError("malformed")
    before = 0
    for i in range(len(shape)):
        want = shape[i]
        item = value[i]
        if want < 32:
            good = isinstance(item, bytes) and len(item) == want
        elif want == _UINT or want == _EDITION:
            good = _is_uint(item)
        elif want == _TEXT:
            good = isinstance(item, str)
        elif want == _BYTES:
            good = isinstance(item, bytes)
        else:
            good = isinstance(item, list)
            if good and want == _RANGES:
                good = _are_ranges(before, item)
            elif good and want == _STORED:
                for entry in item:
                    _check(entry, STORED)
        if not good:
            raise LinkError("malformed")
        before = item


def _is_uint(item: "Any") -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and item >= 0


def _are_ranges(last: int, ranges: "list[Any]") -> bool:
    """[from, to, from, to, ...]: ascending, apart from each other, all past `last`."""
    if len(ranges) & 1 or len(ranges) > 2 * _RANGES_MAX:
        return False
    for i in range(0, len(ranges), 2):
        start, end = ranges[i], ranges[i + 1]
        if not (_is_uint(start) and _is_uint(end) and last < start <= end):
            return False
        last = end + 1
    return True


def settle(flying: "list[list[Any]]", boot: bytes, upto: int, ranges: "list[int]") -> bool:
    """Take out of `flying` what the gateway holds: all before `upto`, and the ranges.

    flying: [boot, seq, ...] of the frames sent and not acknowledged, in the order of sending. Returns whether
    one is surely lost: a stream keeps the order, so one is if the gateway lacks it but holds a later one of
    the boot.
    """
    lost = held = False
    for i in range(len(flying) - 1, -1, -1):
        if flying[i][0] == boot:
            seq = flying[i][1]
            done = seq < upto
            for k in range(0, len(ranges), 2):
                done = done or ranges[k] <= seq <= ranges[k + 1]
            if done:
                flying.pop(i)
            lost = lost or (held and not done)
            held = held or done
    return lost
