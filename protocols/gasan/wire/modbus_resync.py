"""Modbus RTU among faults: what came that is no plain answer, and where the answer is in it.

Loaded by an `RtuRead` at the first fault of its line. Nothing here allocates.
"""

from gasan.wire.modbus import judge
from gasan.wire.modbus_rtu import crc16
from gasan.wire.quality import BAD_ANSWER, BAD_CRC, const

_BEGUN = const(7)  # bytes that may be a request but for the last
_FULL = const(192)  # bytes beyond which there is no room for as many again as are read at a time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gasan.wire.modbus_rtu import RtuRead


def search(read: "RtuRead", now: int) -> int:
    """The chunk is over and does not begin with the answer: find it further on, or go on waiting.

    Returns as `RtuRead.step`.
    """
    buf = read.buf
    request = read.request
    n = read.n
    for pos in range(n - 4):
        size = read.size(pos)
        if buf[pos] == request[0] and pos + size <= n and crc16(buf, pos, pos + size) == 0:
            quality = judge(request, 0, buf, pos, size - 2)
            if quality != BAD_ANSWER:
                read.data = pos + 3
                heard(read, 0, pos)
                read.verdict(quality, True)
                behind(read, pos + size)
                return -1
    heard(read, 0, n)
    whole = crc16(buf, 0, n) == 0
    if now - read._last <= read.gap_us:
        _begin(read, 0)
    if n > 2 and not whole and buf[0] == request[0] and buf[1] == request[1] and buf[2] == read.need - 5:
        # Its head is right, so this was the answer, and is damaged; unless it may be our echo's.
        return read.verdict(BAD_CRC, buf[2] != request[2] and not read.intruded)
    read.quality = BAD_ANSWER if whole else BAD_CRC
    read.begin()
    return read.verdict(read.quality, False) if now >= read.deadline else 1


def behind(read: "RtuRead", end: int) -> None:
    """Take note of what came behind the answer, which ends at ``end``."""
    heard(read, end, read.n)
    _begin(read, end)


def _begin(read: "RtuRead", start: int) -> None:
    """Remember what came last, from ``start`` on: it may be the beginning of another master's request."""
    begun: "Any" = read.begun
    start = max(start, read.n - _BEGUN)
    for i in range(start, read.n):
        begun[i - start] = read.buf[i]
    begun[_BEGUN] = max(0, read.n - start)


def room(read: "RtuRead") -> int:
    """What is in ``buf`` when more is heard before a request is sent: its bytes.

    That is, at first, what was remembered; where others speak much, their latest is kept.
    """
    if read.n > _FULL:
        behind(read, 0)
    elif read.n:
        return read.n
    begun: "Any" = read.begun
    size: int = begun[_BEGUN]
    for i in range(size):
        read.buf[i] = begun[i]
    begun[_BEGUN] = 0
    return size


def heard(read: "RtuRead", at: int, end: int) -> bool:
    """Take note of other masters' requests in ``buf[at:end]``, and of an answer that nobody waits for.

    True if such a request is without its answer yet: that could be taken for an answer to ours.
    """
    buf = read.buf
    # An answer says how long it is; a CRC alone fits other bytes too, once in 65,536 times.
    size = 0 if end - at < 5 else 5 if buf[at + 1] & 0x80 else 5 + buf[at + 2]
    if end - at == size and size != 8 and buf[at] and crc16(buf, at, end) == 0:
        if read.intruded and buf[at] == read.intruder:
            read.intruded -= 1
        elif buf[at] == read.request[0]:
            read.stray = True
        return False
    asked = False
    while at + 8 <= end:
        if not (1 <= buf[at + 1] <= 6 and crc16(buf, at, at + 8) == 0):
            at += 1
            continue
        own = True
        for i in range(8):
            own = own and buf[at + i] == read.request[i]
        unit = buf[at]
        at += 8
        size = 5 if at + 1 < end and buf[at + 1] & 0x80 else 5 + buf[at + 2] if at + 2 < end else 256
        if own:
            read.echo = True
            continue
        read.foreign += 1
        if at + size <= end and buf[at] == unit and crc16(buf, at, at + size) == 0:
            at += size
        elif unit:
            read.intruded += 1
            read.intruder = unit
            asked = True
    return asked


def unecho(read: "RtuRead") -> None:
    """Drop our own request, if that is what was heard first."""
    buf = read.buf
    size = len(read.request)
    rest = read.n - size
    if rest >= 0:
        for i in range(size):
            if buf[i] != read.request[i]:
                return
        for i in range(rest):
            buf[i] = buf[size + i]
        read.begin()
        read.n = rest
