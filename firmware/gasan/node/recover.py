"""What a start finds in the spool of earlier boots."""

import os

from gasan.node import log, losses
from gasan.node.spool import BOOT, COUNT, FIRST, HEAD, SIZE
from gasan.wire import cbor, frame
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.spool import Spool


class Found:
    """last: (boot, seq, readings) at the end of the boot before, or None; ordinal: the newest seen, or 0."""

    last: tuple | None = None
    ordinal = 0


def recover(spool: "Spool") -> Found:
    """Take all whole segments into the spool. OSError when its folder cannot be read."""
    found = Found()
    buf = memoryview(bytearray(frame.FRAME_MAX))
    for name in sorted(os.listdir(spool.folder)):
        try:
            segment: list = [int(name, 16), b"", 0, 0, 0, 0]
        except ValueError:
            continue  # no file of ours
        try:
            whole = _walk(spool, segment, buf, found)
        except (ValueError, KeyError, TypeError):
            whole = False  # a record of something else
        if not whole:
            log.warn("spool: %s is torn behind %d frames" % (name, segment[COUNT]))
        spool.take_in(segment)
        if segment[COUNT] == 0:
            spool.remove(segment)
    return found


def _walk(spool: "Spool", segment: list, buf: memoryview, found: Found) -> bool:
    """Fill in what the file of a segment holds; False when it ends in something that is no frame."""
    before = found.last
    size = spool.read(segment, 0, buf)
    while size > 0:
        data = buf[:size]
        kind, boot, seq, count, mono, _, at = frame.peek(data)
        if segment[COUNT] == 0:
            segment[BOOT], segment[FIRST] = boot, seq
            if before and before[0] == boot and before[1] + 1 < seq:
                # The segment before this one has lost its tail.
                n = count - before[2]
                spool.owe([losses.TORN, boot, before[1] + 1, seq - 1, n, mono, mono, {}])
            if kind == frame.BOOT:
                found.ordinal = cbor.loads(data[at : size - losses.AFTER])[1]
        segment[COUNT] += 1
        segment[SIZE] += HEAD + size
        last = segment[SIZE] - HEAD - size
        size = spool.read(segment, segment[SIZE], buf)
    if segment[COUNT]:
        data = buf[: spool.read(segment, last, buf)]
        found.last = (segment[BOOT], frame.peek(data)[2], frame.peek(data)[3] + losses.of(data, 0)[-1][4])
    return size == 0
