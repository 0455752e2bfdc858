"""What a node says about frames that it had to give up, in the place of those frames.

An item is the content of a tombstone frame as a list, with the channels as a dict:
[reason, boot, first seq, last seq, readings, mono from, mono to, {channel: readings}]. Items of one boot whose
sequence numbers follow each other are merged, so that a long outage leaves a few of them.
"""

from gasan.wire import cbor, frame
from micropython import const

# Reasons.
OVERFLOW = const(1)
TORN = const(2)
UNSENDABLE = const(3)

_TAG = const(9)  # bytes after the content of a frame
_CHANNELS_MAX = const(250)  # a list of more could exceed a frame; then only the sum is told


def of(data, reason: int) -> list:
    """The items that stand for a frame which is given up: its own, and before it the one that a tombstone carried."""
    kind, boot, seq, _, mono, _, at = frame.peek(data)
    item = [reason, boot, seq, seq, 0, mono, mono, {}]
    if kind == frame.TOMBSTONE:
        carried = cbor.loads(data[at : len(data) - _TAG])
        flat = carried[7]
        carried[7] = {flat[i]: flat[i + 1] for i in range(0, len(flat), 2)}
        return [carried, item]
    if kind == frame.DATA:
        counts = item[7]
        for group in cbor.loads(data[at : len(data) - _TAG]):
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
    """The item as the content of a tombstone frame."""
    flat = []
    if len(item[7]) <= _CHANNELS_MAX:
        for channel in sorted(item[7]):
            flat += [channel, item[7][channel]]
    return cbor.dumps(item[:7] + [flat])
