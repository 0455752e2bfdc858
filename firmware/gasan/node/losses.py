"""Frames that have to be given up, and the tombstones that tell of them. Loaded when it comes to that.

An item is the content of a tombstone as a list, with the channels as a dict: [reason, boot, first seq, last
seq, readings, mono from, mono to, {channel: readings}]. Items of one boot whose sequence numbers follow each
other are merged, so that a long outage leaves a few of them.
"""

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


def refused(spool: "Spool", data: memoryview, readings: int) -> None:
    """The flash did not take a frame with so many readings: its tombstone is owed."""
    try:
        items = of(data, UNSENDABLE)
    except MemoryError:
        _, boot, seq, _, mono, _, _ = frame.peek(data)
        items = [[UNSENDABLE, boot, seq, seq, readings, mono, mono, {}]]
    debts: list[list] = []
    for item in spool.debts + items:
        merge(debts, item)
    spool.debts = debts[-16:]


def make_room(spool: "Spool", write: "Writer") -> int:
    """Write the tombstones that are owed and drop the oldest segments while the spool is full.

    write(kind, rev or None for the current one, content) writes a frame. Returns the readings that are lost.
    """
    for _ in range(len(spool.debts)):
        item = spool.debts.pop(0)
        try:
            write(frame.TOMBSTONE, None, content(item))
        except MemoryError:
            item[7] = {}  # which takes most of it
            spool.debts.insert(0, item)
            raise
    lost = 0
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
    return lost


def _drop_oldest(spool: "Spool", write: "Writer") -> int:
    """Tell of the oldest segment's frames that the gateway does not have, then remove it."""
    segment = spool.segments[0]
    has_heirs = spool.segments[1][BOOT] == segment[BOOT]
    buf = memoryview(bytearray(frame.FRAME_MAX))
    items: list[list] = []
    lost = offset = 0
    for i in range(segment[COUNT]):
        size = spool.read(segment, offset, buf)
        if size <= 0:
            first = segment[FIRST]
            merge(items, [TORN, segment[BOOT], first + i, first + segment[COUNT] - 1, 0, 0, 0, {}])
            break
        offset += HEAD + size
        if segment[DONE] >> i & 1:
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
    log.warn("spool: full, dropped %d frames with %d readings" % (segment[COUNT], lost))
    spool.remove(segment)
    return lost
