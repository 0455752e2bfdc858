"""The link between a node and its gateway: packets, session keys, shapes of the messages (protocols/link.md).

Pure: no stream, no clock. `gasan.node.link` and `gasan.host.link` put their streams around it.
"""

import binascii
import struct

from gasan.wire import cbor
from gasan.wire.cose import Hmac, equal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
ANNOUNCE = 0x01  # to the gateway, outside of a session: [version, node id, key generation, boot]
HELLO = 0x02  # to the node, outside of a session: [version, nonce, store id]
REPLY = 0x03  # to the gateway, outside of a session: [version, node id, generation, boot, nonce], then a MAC
WELCOME = 0x04  # to the node: [[* [boot, next, ranges]]]
DATA = 0x10  # to the gateway: one frame, as it is
ACK = 0x11  # to the node: [boot, next, ranges]
TIME_REQ = 0x12  # to the node: [id, t1]
TIME_RESP = 0x13  # to the gateway: [id, t2, t3]
STATUS = 0x14  # to the gateway: {+ key => value}
PUT = 0x15  # to the node: [kind, hash, total, offset, bytes]
PUT_ACK = 0x16  # to the gateway: [kind, hash, next offset, status]
COMMAND = 0x17  # to the node: [id, name, [* argument]]
RESULT = 0x18  # to the gateway: [id, status, text]
SEEN = 0x19  # to the gateway: [highest counter that the node has processed]
LOG = 0x1A  # to the gateway: text
BYE = 0x1B  # either way: the sender's session is over

TO_NODE = b"\x02\x04\x11\x12\x15\x17\x1b"
TO_GATEWAY = b"\x01\x03\x10\x13\x14\x16\x18\x19\x1a\x1b"

PUT_MORE = 0
PUT_COMPLETE = 1
PUT_REFUSED = 2
PUT_CHUNK = 128  # bytes of content in a PUT
OK = 0  # status of a RESULT; others are the node's

HEAD = 6  # kind, session, counter
MAC = 8
NODE_PACKET_MAX = 250  # wire bytes of a packet to a node, both zeros included
CREDIT = 256  # wire bytes towards a node that it has not yet reported as seen
REPORT = 96  # a node reports when it has seen so many
WINDOW = 8  # frames sent and not yet acknowledged
RESEND_MS = 3000  # from the last byte of a frame to its acknowledgement; then all is sent again
RANGES_MAX = 8  # ranges in an acknowledgement

# Why a packet was refused. A LinkError carries one of these; both ends count by them.
MALFORMED = "malformed"  # too short, unknown kind, wrong shape
VERSION_UNKNOWN = "version"  # a hello, reply or announcement of another version
REFLECTED = "reflected"  # a kind that travels in the other direction
STALE = "stale"  # of another session
FORGED = "forged"  # the MAC is wrong
REPLAYED = "replayed"  # a counter that was seen before, or is older

_UINT = -1
_TEXT = -2
_BYTES = -3
_LIST = -4
# Each body is an array; a positive entry is a byte string of that size.
_SHAPES = {
    ANNOUNCE: (_UINT, 8, _UINT, 8),
    HELLO: (_UINT, 16, 8),
    REPLY: (_UINT, 8, _UINT, 8, 16),
    WELCOME: (_LIST,),
    ACK: (8, _UINT, _LIST),
    TIME_REQ: (_UINT, _UINT),
    TIME_RESP: (_UINT, _UINT, _UINT),
    PUT: (_UINT, 8, _UINT, _UINT, _BYTES),
    PUT_ACK: (_UINT, 8, _UINT, _UINT),
    COMMAND: (_UINT, _TEXT, _LIST),
    RESULT: (_UINT, _UINT, _TEXT),
    SEEN: (_UINT,),
    BYE: (),
}


class LinkError(ValueError):
    """A packet was refused; `reason` is one of the words above."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def link_key(node_key: bytes) -> bytes:
    """The key of all sessions of a node, derived from the node's own key."""
    return Hmac(node_key).digest(b"gasan link 1")


class Session:
    """One session as one end sees it: a key and a counter for each direction."""

    def __init__(
        self,
        k_link: Hmac,
        nonce_g: bytes,
        nonce_n: bytes,
        node_id: bytes,
        boot: bytes,
        store_id: bytes,
        generation: int,
        is_node: bool,
    ) -> None:
        context = nonce_g + nonce_n + node_id + boot + store_id + bytes((generation,))
        to_gateway = Hmac(k_link.digest(b"n2g", context))
        to_node = Hmac(k_link.digest(b"g2n", context))
        self.id = k_link.digest(b"sid", context)[0]
        self._out, self._in = (to_gateway, to_node) if is_node else (to_node, to_gateway)
        self._kinds = TO_NODE if is_node else TO_GATEWAY
        self.sent = 0  # counter of the next packet
        self.seen = -1  # counter of the last packet that was accepted

    def seal(self, buf: bytearray, start: int, kind: int, end: int) -> int:
        """Write head and MAC around the body `buf[start + HEAD:end]`; returns the packet's end."""
        buf[start] = kind
        buf[start + 1] = self.id
        struct.pack_into(">I", buf, start + 2, self.sent)
        self.sent += 1
        buf[end : end + MAC] = self._out.tag(memoryview(buf)[start:end])
        return end + MAC

    def open(self, packet: bytes) -> bytes:
        """The body of a packet of this session. Raises `LinkError`."""
        if len(packet) < HEAD + MAC:
            raise LinkError(MALFORMED)
        kind = packet[0]
        if kind not in self._kinds:
            raise LinkError(REFLECTED if kind in TO_NODE or kind in TO_GATEWAY else MALFORMED)
        if packet[1] != self.id:
            raise LinkError(STALE)
        if not equal(self._in.tag(packet[:-MAC]), packet[-MAC:]):
            raise LinkError(FORGED)
        counter: int = struct.unpack_from(">I", packet, 2)[0]
        if counter <= self.seen:
            raise LinkError(REPLAYED)
        self.seen = counter
        return packet[HEAD:-MAC]


class Window:
    """The frames that a node has sent in this session and that are not acknowledged, oldest first."""

    def __init__(self) -> None:
        self._frames: list[list[Any]] = []  # [boot, seq, ms when written, or -1]

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, boot: bytes, seq: int) -> None:
        """A frame is being written."""
        self._frames.append([boot, seq, -1])

    def written(self, now_ms: int) -> None:
        """All frames are written, as far as they ever will be."""
        for frame in self._frames:
            if frame[2] < 0:
                frame[2] = now_ms

    def overdue(self, now_ms: int) -> bool:
        """Whether the oldest has waited for `RESEND_MS` since it was written."""
        return bool(self._frames) and 0 <= self._frames[0][2] < now_ms - RESEND_MS

    def acknowledge(self, boot: bytes, upto: int, ranges: "list[Any]") -> bool:
        """Take out what the gateway holds: all before `upto`, and the ranges.

        Returns whether a frame is surely lost: a stream keeps the order, so one is if the gateway lacks it
        but holds a later one of the same boot.
        """
        kept = []
        lost = held = False
        for frame in reversed(self._frames):
            seq = frame[1]
            if frame[0] == boot and (seq < upto or _inside(seq, ranges)):
                held = True
            else:
                lost = lost or (held and frame[0] == boot)
                kept.append(frame)
        kept.reverse()
        self._frames = kept
        return lost


def _inside(seq: int, ranges: "list[Any]") -> bool:
    for i in range(0, len(ranges), 2):
        if ranges[i] <= seq <= ranges[i + 1]:
            return True
    return False


def body(kind: int, data: bytes) -> "list[Any]":
    """The checked body of a message of one of the shapes above. Raises `LinkError`."""
    if kind == BYE and not data:
        return []
    try:
        value: list[Any] = cbor.loads(data, 5, 256)
    except cbor.CBORError:
        raise LinkError(MALFORMED)
    if kind <= REPLY and isinstance(value, list) and value and value[0] != VERSION:
        raise LinkError(VERSION_UNKNOWN)
    _check(value, _SHAPES[kind])
    if kind == ACK:
        _check_ranges(value[1], value[2])
    elif kind == WELCOME:
        for entry in value[0]:
            _check(entry, _SHAPES[ACK])
            _check_ranges(entry[1], entry[2])
    return value


def _check(value: object, shape: "tuple[int, ...]") -> None:
    if not isinstance(value, list) or len(value) != len(shape):
        raise LinkError(MALFORMED)
    for item, want in zip(value, shape):
        if want == _UINT:
            good = _is_uint(item)
        elif want == _TEXT:
            good = isinstance(item, str)
        elif want == _LIST:
            good = isinstance(item, list)
        else:
            good = isinstance(item, bytes) and (want == _BYTES or len(item) == want)
        if not good:
            raise LinkError(MALFORMED)


def _is_uint(item: object) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and item >= 0


def _check_ranges(last: int, ranges: "list[Any]") -> None:
    """Ranges are [from, to, from, to, ...]: ascending, apart from each other, all past `next`."""
    if len(ranges) & 1 or len(ranges) > 2 * RANGES_MAX:
        raise LinkError(MALFORMED)
    for i in range(0, len(ranges), 2):
        start, end = ranges[i], ranges[i + 1]
        if not (_is_uint(start) and _is_uint(end) and last < start <= end):
            raise LinkError(MALFORMED)
        last = end + 1


def armour(packet: bytes) -> bytes:
    """A packet as it goes to a node: as text (base64), since to a console every control byte is a command.

    0x03 interrupts a program, 0x01 and 0x04 change or reset a prompt, and a gateway cannot know what a board
    does just now.
    """
    return binascii.b2a_base64(packet)[:-1]


def unarmour(text: bytes) -> bytes:
    """The packet that `armour` made text of. Raises `LinkError`."""
    try:
        return binascii.a2b_base64(text)
    except ValueError:
        raise LinkError(MALFORMED)
