"""Frames that have to be given up, and the tombstones that tell of them. Loaded when it comes to that.

An item is the content of a tombstone as a list, with the channels as a dict: [reason, boot, first seq, last
seq, readings, mono from, mono to, {channel: readings}]. Items of one boot whose sequence numbers follow each
other are merged, so that a long outage leaves a few of them. What is owed and cannot be written as a frame,
since the spool takes no more, stands in the file ``owed``.
"""

import os

from gasan.node import log
from gasan.node.spool import BOOT, COUNT, DONE, FIRST, HEAD
from gasan.wire import cbor, frame
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gasan.node.spool import Spool

    Writer = Callable[[int, bytes | None, Any], None]

# Reasons.
OVERFLOW = const(1)
TORN = const(2)
UNSENDABLE = const(3)

AFTER = const(9)  # bytes of a frame after its content
_CHANNELS_MAX = const(250)  # of more, only the sum is told
_CONTENT_MAX = const(1900)  # bytes that fit into a frame, whatever its head
_DROPS_MAX = const(8)  # segments dropped to make room for one frame
_DEBTS_MAX = const(16)
_OWED = "/owed"


def of(data: memoryview, reason: int) -> list[list]:
    """The items that stand for a frame which is given up: the one that it carried as a tombstone, its own."""
    kind, boot, seq, _, mono, _, at = frame.peek(data)
    item: list = [reason, boot, seq, seq, 0, mono, mono, {}]
    if kind == frame.TOMBSTONE:
        carried = cbor.loads(data[at : len(data) - AFTER])
        flat = carried[7]
        carried[7] = {flat[i]: flat[i + 1] for i in range(0, len(flat), 2)}
        return [carried, item]
    if kind == frame.DATA:
        counts = item[7]
        for group in cbor.loads(data[at : len(data) - AFTER]):
            channels, n, start, step, columns = group[:5]
            for i in range(len(columns)):
                channel = channels[i] if isinstance(channels, list) else channels + i
                counts[channel] = counts.get(channel, 0) + n
            item[4] += n * len(columns)
            span = step[0] * (n - 1) + sum(step[1:]) if isinstance(step, list) else step * (n - 1)
            item[6] = max(item[6], mono + start + span)
    return [item]


def merge(items: list, item: list) -> None:
    """Add ``item`` to ``items``, into the one that it continues if there is one."""
    for old in items:
        if old[0] == item[0] and old[1] == item[1] and old[3] + 1 == item[2]:
            old[3] = item[3]
            old[4] += item[4]
            old[5] = min(old[5], item[5])
            old[6] = max(old[6], item[6])
            for channel, n in item[7].items():
                old[7][channel] = old[7].get(channel, 0) + n
            return
    items.append(item)


def content(item: list) -> bytes:
    """The item as the content of a tombstone frame; without its channels where they would not fit."""
    flat: list[int] = []
    if len(item[7]) <= _CHANNELS_MAX:
        for channel in sorted(item[7]):
            flat += [channel, item[7][channel]]
    data = cbor.dumps(item[:7] + [flat])
    return data if len(data) <= _CONTENT_MAX else cbor.dumps(item[:7] + [[]])


def owe(spool: "Spool", item: list) -> None:
    """Keep an item until its tombstone can be written.

    When there are many, two of one boot and reason become one, which spans what lies between them too: the
    gateway takes nothing for lost that it has. So there are never more than there are boots in the spool.
    """
    debts = spool.debts
    merge(debts, item)
    for i in range(len(debts) - 1 if len(debts) > _DEBTS_MAX else 0):
        for other in debts[i + 1 :]:
            if other[:2] == debts[i][:2]:
                debts.remove(other)
                other[2] = debts[i][3] + 1
                return merge(debts, other)


def is_deep(spool: "Spool") -> bool:
    """Whether so much is owed that what has rotted in the midst of frames is left, to be met again later.

    To owe it as one with another would give up the whole frames between them.
    """
    return len(spool.debts) >= _DEBTS_MAX // 2


def recall(spool: "Spool") -> None:
    """Take in what an earlier boot owed."""
    try:
        with open(spool.folder + _OWED, "rb") as f:
            items = cbor.loads(f.read())
        for item in items:
            content(item)
            owe(spool, item)
    except (OSError, ValueError, TypeError, IndexError):
        pass  # nothing, as a rule


def refused(spool: "Spool", data: memoryview, readings: int) -> None:
    """The spool did not take a frame with so many readings: its tombstone is owed."""
    reason = OVERFLOW if spool.refuses else UNSENDABLE
    try:
        items = of(data, reason)
    except MemoryError:
        _, boot, seq, _, mono, _, _ = frame.peek(data)
        items = [[reason, boot, seq, seq, readings, mono, mono, {}]]
    for item in items:
        owe(spool, item)
    if spool.refuses:
        path = spool.folder + _OWED
        try:
            with open(path + ".new", "wb") as f:
                f.write(cbor.dumps(spool.debts))
            os.rename(path + ".new", path)
        except OSError as e:
            log.error("%s: %s" % (path, e))


def find(spool: "Spool", segment: list, i: int, at: int, buf: memoryview) -> int:
    """Where the next whole frame stands behind what has rotted at ``at``, the ``i``-th or a later one; or -1.

    The frame is in ``buf`` then.
    """
    while True:
        try:
            f = spool.open(segment)
            f.seek(at + 1)
            n = f.readinto(buf)
        except OSError:
            return -1
        found = bytes(buf[:n]).find(frame.HEAD)
        if found < 0:
            if n < len(buf):
                return -1
            at += n - len(frame.HEAD)
            continue
        at += found + 1
        size = spool.read(segment, at - HEAD, buf)
        if size > 0:
            _, boot, seq, _, _, _, _ = frame.peek(buf[:size])
            if boot == segment[BOOT] and seq >= segment[FIRST] + i:
                return at - HEAD


def skip(spool: "Spool", segment: list, cursor: list[int], buf: "Any") -> None:
    """The frame at the cursor has rotted: tell of it, and go on to the next one that has not."""
    i, end = cursor[1], segment[COUNT]
    at = find(spool, segment, i + 1, cursor[2], memoryview(buf))
    if at < 0:
        if segment is spool.segments[-1]:
            spool.close_tail()
    else:
        end = min(end, frame.peek(buf)[2] - segment[FIRST])
    gone = (1 << end) - (1 << i)
    if gone & ~segment[DONE] and not is_deep(spool):
        first = segment[FIRST]
        owe(spool, [TORN, segment[BOOT], first + i, first + end - 1, 0, 0, 0, {}])
        spool.mark(segment, gone)
    cursor[1], cursor[2] = end, at


def make_room(spool: "Spool", write: "Writer") -> int:
    """Write the tombstones that are owed and drop the oldest segments while the spool is full.

    write(kind, rev or None for the current one, content) writes a frame. Returns the readings that are lost.
    """
    lost = 0
    if not spool.refuses:
        _pay(spool, write)
    for _ in range(_DROPS_MAX):
        if not spool.is_full():
            break
        try:
            lost += _drop_oldest(spool, write)
        except MemoryError:
            segment = spool.segments[0]
            last = segment[FIRST] + segment[COUNT] - 1
            write(
                frame.TOMBSTONE, None, content([OVERFLOW, segment[BOOT], segment[FIRST], last, 0, 0, 0, {}])
            )
            spool.remove(segment)
        _pay(spool, write)  # a flash that had no room for it now has, and power may go at any moment
    return lost


def _pay(spool: "Spool", write: "Writer") -> None:
    """Write the tombstones that are owed."""
    for _ in range(len(spool.debts)):
        item = spool.debts.pop(0)
        try:
            write(frame.TOMBSTONE, None, content(item))
        except MemoryError:
            item[7] = {}  # which takes most of it
            spool.debts.insert(0, item)
            raise
    if not spool.debts:
        try:
            os.remove(spool.folder + _OWED)
        except OSError:
            pass  # there is none, as a rule


def _drop_oldest(spool: "Spool", write: "Writer") -> int:
    """Tell of the oldest segment's frames that the gateway does not have, then remove it."""
    segment = spool.segments[0]
    has_heirs = spool.segments[1][BOOT] == segment[BOOT]
    buf = memoryview(bytearray(frame.FRAME_MAX))
    items: list[list] = []
    cursor = [0, 0, 0]
    lost = 0
    while cursor[1] < segment[COUNT]:
        size = spool.read(segment, cursor[2], buf)
        if size <= 0:
            if is_deep(spool):
                _pay(spool, write)
            skip(spool, segment, cursor, buf)
            continue
        done = segment[DONE] >> cursor[1] & 1
        cursor[1] += 1
        cursor[2] += HEAD + size
        if done:
            continue
        data = buf[:size]
        for item in of(data, OVERFLOW):
            n = item[4]
            merge(items, item)
        lost += n  # of the frame itself, which comes last
        head = frame.peek(data)
        if head[0] == frame.BIRTH and has_heirs:
            # Frames that stay still need it.
            write(frame.BIRTH, head[5], data[head[6] : size - AFTER])
    for item in items:
        write(frame.TOMBSTONE, None, content(item))
    _pay(spool, write)  # what had rotted
    log.warn("spool: full, dropped %d frames with %d readings" % (segment[COUNT], lost))
    spool.remove(segment)
    return lost
