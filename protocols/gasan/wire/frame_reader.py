"""Read frames (protocols/frame.md): take the envelope apart, verify, decode and check every part.

    kid, payload, tag = split(data)
    if verify(hmac, payload, tag):
        frame = parse(payload)

All is strict: exactly one envelope, shortest CBOR heads, definite lengths, matching counts, nothing after the
end. Whatever is not so raises FrameError. A frame holds at most 65,535 readings, and nothing is allocated on
the word of a count. A node does not load this module.
"""

from gasan.wire import cbor
from gasan.wire.cose import TAG_SIZE, Hmac, equal
from gasan.wire.frame import CRASH, DATA, FRAME_MAX, HEAD, KID_SIZE, MAC_HEAD, FrameError
from gasan.wire.frame_shapes import check_content
from gasan.wire.group_reader import MAX_TIME, read_groups
from gasan.wire.strict import head, uint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gasan.wire.group_reader import GroupData

    Buffer = bytes | bytearray | memoryview


class Frame:
    """A decoded frame.

    kind: DATA, BOOT, ... of `gasan.wire.frame`. boot, rev: 8 bytes. seq: number of the frame in its boot.
    count: readings in all earlier frames of the boot. mono: ms since the boot.
    content: of a data frame the groups that `expand` tells about, else the decoded CBOR.
    n_readings: readings in this frame.
    """

    def __init__(
        self,
        kind: int,
        boot: bytes,
        seq: int,
        count: int,
        mono: int,
        rev: bytes,
        content: "Any",
        n_readings: int,
    ) -> None:
        self.kind = kind
        self.boot = boot
        self.seq = seq
        self.count = count
        self.mono = mono
        self.rev = rev
        self.content = content
        self.n_readings = n_readings


def split(data: "Buffer") -> "tuple[bytes, bytes, bytes]":
    """(kid, payload, tag) of a whole frame: 9 bytes, CBOR, 8 bytes; not yet verified. Raises FrameError."""
    data = bytes(data)
    if len(data) > FRAME_MAX:
        raise FrameError("longer than a frame may be")
    if data[: len(HEAD)] != HEAD:
        raise FrameError("not a frame")
    start = len(HEAD) + KID_SIZE
    try:
        major, size, pos = head(data, start)
    except IndexError:
        raise FrameError("cut short")
    end = pos + size
    if major != 2 or len(data) != end + 1 + TAG_SIZE or data[end] != 0x40 | TAG_SIZE:
        raise FrameError("not a frame")
    return data[len(HEAD) : start], data[pos:end], data[end + 1 :]


def verify(hmac: Hmac, payload: bytes, tag: bytes) -> bool:
    """Whether the tag of a frame is that of its payload under the node's frame key."""
    length = bytearray(3)
    size = cbor.put_head(length, 0, 2, len(payload))
    return equal(hmac.tag(MAC_HEAD, length[:size], payload), tag)


def parse(payload: "Buffer") -> Frame:
    """The decoded and checked payload of a frame. Raises FrameError."""
    p = bytes(payload)
    try:
        return _parse(p)
    except IndexError:
        raise FrameError("cut short")
    except cbor.CBORError as error:
        raise FrameError(str(error))


def expand(frame: Frame) -> "Iterator[GroupData]":
    """The groups of a data frame, in the order in which readings are numbered: group, column, row.

    Each is (channels, times, values, qualities): times in node-monotonic ms, one for each row; values and
    qualities one list for each channel. A value is an int, or the 4 or 8 big-endian bytes of a float, or
    None, which is so exactly where the quality is 64 or more. The lists are to be read only.
    """
    if frame.kind != DATA:
        raise FrameError("not a data frame")
    groups: "list[GroupData]" = frame.content
    return iter(groups)


def _parse(p: bytes) -> Frame:
    if p[0] != 0x87:
        raise FrameError("a body is a list of seven")
    kind, pos = uint(p, 1)
    boot, pos = _eight(p, pos)
    seq, pos = uint(p, pos)
    count, pos = uint(p, pos)
    mono, pos = uint(p, pos)
    rev, pos = _eight(p, pos)
    if mono > MAX_TIME:
        raise FrameError("a time out of range")
    if kind == DATA:
        groups, readings = read_groups(p, pos, mono)
        return Frame(kind, boot, seq, count, mono, rev, groups, readings)
    if kind > CRASH:
        raise FrameError("a frame of unknown kind %d" % kind)
    encoded = p[pos:]
    content = cbor.loads(encoded)
    if cbor.dumps(content) != encoded:
        raise FrameError("content in another encoding than the deterministic one")
    check_content(kind, content)
    return Frame(kind, boot, seq, count, mono, rev, content, 0)


def _eight(p: bytes, pos: int) -> "tuple[bytes, int]":
    if p[pos] != 0x48 or pos + 9 > len(p):
        raise FrameError("a boot or revision that is not eight bytes")
    return p[pos + 1 : pos + 9], pos + 9
