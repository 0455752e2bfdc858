"""Write frames: what a node has read, in CBOR, with its MAC, as COSE_Mac0 (protocols/frame.md).

The other direction is `gasan.wire.frame_reader`, which a node does not load.
"""

from gasan.wire.cbor import CBORError, Reader, dumps, put_head
from gasan.wire.cose import TAG_SIZE, Hmac
from gasan.wire.encoder import Encoder
from gasan.wire.quality import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gasan.wire.columns import Group

    Buffer = bytes | bytearray | memoryview

DATA = const(0)
BOOT = const(1)
BIRTH = const(2)
TOMBSTONE = const(3)
HEALTH = const(4)
CRASH = const(5)

FRAME_MAX = const(2048)
MAX_GROUPS = const(23)
MAX_READINGS = const(65535)

# COSE_Mac0 with the tag 17, protected {1: 4} (HMAC 256/64), unprotected {4: kid of 9 bytes}; the kid follows.
HEAD = b"\xd1\x84\x43\xa1\x01\x04\xa1\x04\x49"
KID_SIZE = const(9)

# What the MAC covers before the payload: ["MAC0", protected, no external data, payload] (RFC 9052, 6.3).
MAC_HEAD = b"\x84\x64MAC0\x43\xa1\x01\x04\x40"

KEY_INFO = b"gasan frame 1"

_PAYLOAD = const(21)  # HEAD, kid and the three bytes of a payload's longest head


class FrameError(ValueError):
    """The bytes are not a frame, or the content is none that a frame can have."""


def frame_key(node_key: bytes) -> bytes:
    """The key of a node's frames, made of the node's own 32-byte key."""
    return Hmac(node_key).digest(KEY_INFO)


def peek(data: "Buffer") -> "tuple[int, bytes, int, int, int, bytes, int]":
    """(kind, boot, seq, count, mono, rev, where the content begins) of a frame that this node wrote.

    Neither the MAC nor the content is looked at. Raises FrameError when the rest is not a frame's.
    """
    at = len(HEAD) + KID_SIZE
    if len(data) < _PAYLOAD or bytes(data[: len(HEAD)]) != HEAD:
        raise FrameError("not a frame")
    at += 1 if data[at] < 0x58 else data[at] - 0x56
    reader = Reader(data, 6, at + 1)
    try:
        fields = [reader.value(0) for _ in range(6)]
    except CBORError as error:
        raise FrameError(str(error))
    kind, boot, seq, count, mono, rev = fields
    return kind, boot, seq, count, mono, rev, reader.pos


class FrameWriter:
    """Makes one frame at a time in one buffer.

    node_id: 8 bytes. generation: of the key, 0..255. k_frame: the 32 bytes of `frame_key`.
    size: bytes of the longest frame.

        writer.begin(DATA, boot, seq, count, mono, rev)
        writer.add(group)
        view = writer.seal()

    Encoding (`begin` and `add`) allocates nothing while the integers passed in are below 2**30; sealing
    allocates two hashes, some 500 bytes on 64 bits. ``readings`` counts what was added since `begin`.
    """

    def __init__(self, node_id: bytes, generation: int, k_frame: bytes, size: int = FRAME_MAX) -> None:
        self._head = HEAD + node_id + bytes((generation,))
        self._hmac = Hmac(k_frame)
        self._buf = bytearray(size)
        self._view = memoryview(self._buf)
        self._room = self._view[: size - TAG_SIZE - 1]
        self._encoder = Encoder(self._room, _PAYLOAD)
        self._groups_at = 0
        self._groups = 0
        self.readings = 0

    def begin(self, kind: int, boot: bytes, seq: int, count: int, mono: int, rev: bytes) -> None:
        """Start a frame; what was not sealed is dropped. See `body` in protocols/frame.cddl for the fields.

        boot, rev: 8 bytes each. mono: ms since the boot; of a data frame, of its earliest sample.
        """
        self._encoder.pos = _PAYLOAD
        self._encoder.head(4, 7)
        self._encoder.head(0, kind)
        self._put_bytes(boot)
        self._encoder.head(0, seq)
        self._encoder.head(0, count)
        self._encoder.head(0, mono)
        self._put_bytes(rev)
        self._groups_at = self._encoder.pos
        self._groups = 0
        self.readings = 0
        if kind == DATA:
            self._encoder.pos += 1

    def _put_bytes(self, data: bytes) -> None:
        self._encoder.head(2, len(data))
        self.raw(data)

    def add(self, group: "Group", shift: int = 0, first: int = 0, end: int = -1) -> bool:
        """Add rows first..end-1 (default: all) of a group to a data frame.

        shift: ms between the base of the group's times and the frame's `mono`; no time may be below it.
        False: they do not fit and nothing was added. A frame takes 23 groups and 65,535 readings; one row of
        up to 100 columns fits into an empty frame of 2048 bytes, whatever its values and qualities.
        """
        if end < 0:
            end = group.n
        self._encoder.first = first
        self._encoder.n = end - first
        self._encoder.shift = shift
        end = self.readings + group.columns * (end - first)
        if end > MAX_READINGS or self._groups == MAX_GROUPS or not self._encoder.group(group):
            return False
        self._groups += 1
        self.readings = end
        return True

    def raw(self, content: "Buffer") -> None:
        """Append encoded CBOR to the content. Raises FrameError when it does not fit."""
        pos = self._encoder.pos
        end = pos + len(content)
        if end > len(self._room):
            raise FrameError("content does not fit into a frame")
        self._room[pos:end] = content
        self._encoder.pos = end

    def content(self, value: "Any") -> None:
        """The whole content of a frame of another kind than data. Raises FrameError when it does not fit."""
        self.raw(dumps(value))

    def seal(self) -> memoryview:
        """The finished frame, a view that is valid until the next `begin`."""
        end = self._encoder.pos
        if self._groups:
            self._buf[self._groups_at] = 0x80 | self._groups
        at = _PAYLOAD - (1 if end - _PAYLOAD < 24 else 2 if end - _PAYLOAD < 256 else 3)
        put_head(self._buf, at, 2, end - _PAYLOAD)
        self._put_mac(at, end)
        at -= len(self._head)
        self._buf[at : at + len(self._head)] = self._head
        return self._view[at : end + 1 + TAG_SIZE]

    def _put_mac(self, at: int, end: int) -> None:
        mac = self._hmac.digest(MAC_HEAD, self._view[at:end])
        self._buf[end] = 0x40 | TAG_SIZE
        for i in range(TAG_SIZE):
            self._buf[end + 1 + i] = mac[i]
