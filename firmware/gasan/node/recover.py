"""What a start finds in the spool of earlier boots (protocols/spool.md)."""

import os
from binascii import unhexlify

from gasan.node import log, losses
from gasan.node.spool import BOOT, COUNT, DONE, FIRST, HEAD, SIZE
from gasan.wire import cbor, frame
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.spool import Spool

_FRAMES_MAX = const(1024)  # in a segment


class Found:
    """last: (boot, seq, readings, mono) where the boot before ended, or None; ordinal: the newest, or 0."""

    last: tuple | None = None
    ordinal = 0


def recover(spool: "Spool") -> Found:
    """Take in all whole frames, and see that what is gone is told. OSError when the folder cannot be read."""
    found = Found()
    buf = memoryview(bytearray(frame.FRAME_MAX))
    torn: list = []  # tail of the segment before, when it cannot be read
    for name in sorted(os.listdir(spool.folder)):
        try:
            number, boot, first = _named(spool, name, buf)
        except (ValueError, TypeError):
            continue  # no file of ours
        segment = spool.segment(number, boot, first)
        spool.segments.append(segment)
        spool.next_number = number + 1
        spool.unswept = True  # an empty one may go, once what it held is told
        if torn and torn[1] == boot:
            torn[3] = first - 1
        try:
            whole = _walk(spool, segment, buf, found)
        except (ValueError, KeyError, TypeError):
            whole = False  # a record of something else
        spool.frames += segment[COUNT] - bin(segment[DONE]).count("1")
        if torn:
            losses.owe(spool, torn)
            torn = []
        if not whole:
            log.warn("spool: %s is torn behind %d frames" % (name, segment[COUNT]))
            mono = found.last[3] if found.last and found.last[0] == boot else 0
            end = first + segment[COUNT]
            torn = [losses.TORN, boot, end, end, 0, mono, mono, {}]
    if torn:
        losses.owe(spool, torn)
    losses.recall(spool)
    spool.measure()
    return found


def _named(spool: "Spool", name: str, buf: memoryview) -> tuple[int, bytes, int]:
    """(number, boot, first sequence number) of a segment; one of format 1 gets its name of format 2."""
    if len(name) != 8:
        parts = name.split("-")
        if len(parts) != 3 or len(parts[1]) != 16:
            raise ValueError
        return int(parts[0], 16), unhexlify(parts[1]), int(parts[2], 16)
    path = "%s/%s" % (spool.folder, name)
    number = int(name, 16)
    try:
        with open(path, "rb") as f:
            f.seek(HEAD)
            head = frame.peek(buf[: f.readinto(buf)])
    except frame.FrameError:
        log.warn("spool: %s is torn from its start" % name)
        os.remove(path)
        raise
    os.rename(path, "%s-%s-%x" % (path, head[1].hex(), head[2]))
    return number, head[1], head[2]


def _walk(spool: "Spool", segment: list, buf: memoryview, found: Found) -> bool:
    """Fill in what the file of a segment holds; False when it ends in something that is no frame."""
    at = last = 0
    while True:
        size = spool.read(segment, at, buf)
        if size < 0:
            at = losses.find(spool, segment, segment[COUNT], at, buf)
            if at < 0:
                break
            size = spool.read(segment, at, buf)
        if size == 0:
            break
        data = buf[:size]
        kind, boot, seq, count, mono, _, content = frame.peek(data)
        i = seq - segment[FIRST]
        if boot != segment[BOOT] or not segment[COUNT] <= i < _FRAMES_MAX:
            raise ValueError
        if kind == frame.BOOT:
            found.ordinal = cbor.loads(data[content : size - losses.AFTER])[1]
        if i > segment[COUNT]:
            _gap(spool, segment, i, count, mono, last, buf)
        segment[COUNT] = i + 1
        last = at
        segment[SIZE] = at = at + HEAD + size
    if segment[COUNT]:
        found.last = _end(spool, segment, last, buf)
    return size == 0


def _end(spool: "Spool", segment: list, at: int, buf: memoryview) -> tuple:
    """(boot, seq, readings of the boot so far, mono) after the frame at that offset."""
    data = buf[: spool.read(segment, at, buf)]
    _, boot, seq, count, mono, _, _ = frame.peek(data)
    item = losses.of(data, 0)[-1]
    return boot, seq, count + item[4], item[6]


def _gap(spool: "Spool", segment: list, i: int, count: int, mono: int, last: int, buf: memoryview) -> None:
    """The frames before the ``i``-th have rotted. last: offset of the last one that has not."""
    if losses.is_deep(spool):
        return
    n = segment[COUNT]
    boot, seq, before, since = segment[BOOT], segment[FIRST] + n - 1, count, mono
    if n:
        boot, seq, before, since = _end(spool, segment, last, buf)
    losses.owe(spool, [losses.TORN, boot, seq + 1, segment[FIRST] + i - 1, count - before, since, mono, {}])
    segment[DONE] |= (1 << i) - (1 << n)
