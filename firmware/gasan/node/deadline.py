"""Which block is read next where periods differ: earliest deadline first. Loaded when a line has such blocks.

A due sample's deadline is when the next one of its block is due. As long as the line can keep all deadlines,
this order keeps them. When a sample was missed, it cannot; then the block that has been due longest goes
first, so that all have their share.
"""

from time import ticks_add, ticks_diff, ticks_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from gasan.node.poll import Block, Poller


def install(poller: "Poller") -> None:
    """Let a line choose so."""
    poller._next = lambda: choose(poller)  # type: ignore[method-assign]


def choose(poller: "Poller") -> "Block":
    """As Poller._next."""
    now = ticks_ms()
    if poller.lock and poller.lock.state:  # chosen while another is read: as things will stand behind it
        reading = poller._block
        limits = reading.device.limits  # type: ignore[attr-defined]
        count = reading.request[4] << 8 | reading.request[5]
        now = ticks_add(now, (limits[2] + limits[3] * count) // 1000)
    late = False
    best: "Any" = None  # the first deadline of those that may be read now
    oldest: "Any" = None  # that has been due longest
    early: "Any" = None  # that may be read first of the others
    end = at = now
    for block in poller._blocks:
        start = block.due
        period = block.group.period_ms
        device = block.device
        wait = ticks_diff(device.ready, start)
        if wait > 0 and not (device.silent and wait >= period):
            start = device.ready
        if ticks_diff(start, now) > 0:
            if not early or ticks_diff(start, at) < 0:
                early = block
                at = start
            continue
        until = ticks_add(block.due, period)
        if not best or ticks_diff(until, end) < 0:
            best = block
            end = until
        if not oldest or ticks_diff(block.due, oldest.due) < 0:
            oldest = block
        late = late or ticks_diff(until, now) <= 0
    if not best:
        poller._at = at
        return early
    if late:
        best = oldest
    poller._at = best.due
    if ticks_diff(best.device.ready, best.due) > 0 and not best.device.silent:
        poller._at = best.device.ready
    return best


def joins(first: int, end: int, other: bytes, limits: "Sequence[int]") -> bool:
    """Whether one request for registers ``first`` to ``end`` and those of another read costs less than two.

    limits: of the device of both, as planned.
    """
    start = other[2] << 8 | other[3]
    stop = start + (other[4] << 8 | other[5])
    count = max(end, stop) - min(first, start)
    more = count - (end - first) - (stop - start)  # less than 0 where they overlap
    return count <= limits[0] and more <= limits[1] and more * limits[3] < limits[2]
