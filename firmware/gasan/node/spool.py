"""Frames in flash, until the gateway has them: append-only segment files, the oldest dropped first.

The format is protocols/spool.md: files of records, a length, a CRC-32 and a frame each. A frame is committed
when ``append`` returns. A segment holds frames of one boot, numbered without a gap; each boot begins a new
one. What was acknowledged is marked in memory only: after a restart the gateway says again what it has.
``sweep`` removes files, and is called while the lines are quiet, as every other write.

``gasan.node.recover`` takes in what earlier boots left, ``gasan.node.losses`` drops the oldest when flash
runs out and passes over what has rotted.
"""

import os
from binascii import crc32
from struct import pack_into, unpack_from

from gasan.node import log
from gasan.wire.frame import FRAME_MAX
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    Buffer = bytes | bytearray | memoryview

# Items of a segment, which is a list.
NUMBER = const(0)  # names the file
BOOT = const(1)
FIRST = const(2)  # sequence number of its first frame
COUNT = const(3)  # frames in it
SIZE = const(4)  # bytes of its good records
DONE = const(5)  # bit i: frame i is acknowledged, or known to be lost

HEAD = const(6)  # bytes of a record before its frame
_SEGMENTS_MAX = const(96)
_RESERVE = const(4)  # blocks that stay free, for copies that littlefs makes and for tombstones
_ENOSPC = const(28)


class Spool:
    """The frames in ``folder``, which may take ``budget`` bytes of flash.

    frames: neither acknowledged nor dropped. delivered: the gateway has all frames of this boot below that
    number. share: percent of the link that goes to the backlog while there are live frames too. unswept:
    there is something to sweep. refuses: the newest are dropped (gasan.node.newest). debts: items of
    tombstones that are still to be written (gasan.node.losses). segments: oldest first. next_number:
    of a segment.
    """

    def __init__(self, folder: str, budget: int) -> None:
        self.frames = 0
        self.delivered = 0
        self.share = 50
        self.unswept = self.refuses = False
        self.debts: list[list] = []
        self.segments: list[list] = []
        self.folder = folder
        self.budget = self._room = budget
        # What a backlog of one boot takes is taken now.
        self._spare: list[list] = [[0, b"", 0, 0, 0, 0] for _ in range(max(8, budget // 32768) + 2)]
        self._block = os.statvfs(folder)[0]
        self._head = bytearray(HEAD)
        self._tail: "Any" = None  # file of the newest segment, when it is one of this boot
        self._file: "Any" = None  # file of another segment, which is being read
        self._file_number = 0
        # Of the next frame to send, of the backlog and of what is live: segment number, index, offset.
        self._cursors = ([0, 0, 0], [0, 0, 0])
        self._live = [0, 0]  # where the backlog ends: segment number, index
        self._credit = 0
        self.next_number = 1
        self._boot = b""  # that appends

    def measure(self) -> None:
        """See how much flash there is: that may be less than what was promised."""
        free = (os.statvfs(self.folder)[3] - _RESERVE) * self._block
        self.budget = min(self._room, self.used() + free)
        self._segment_max = min(max(self.budget // 8, 4096), 32768)

    def segment(self, number: int, boot: bytes, first: int) -> list:
        """A new segment, which is not in the spool yet."""
        segment = self._spare.pop() if self._spare else [0, b"", 0, 0, 0, 0]
        segment[NUMBER], segment[BOOT], segment[FIRST] = number, boot, first
        segment[COUNT] = segment[SIZE] = segment[DONE] = 0
        return segment

    def append(self, data: "Buffer", boot: bytes, seq: int) -> None:
        """Commit a frame. OSError when the flash does not take it: then no part of it is kept."""
        segment = self.segments[-1] if self._tail else None
        if (
            segment is None
            or segment[FIRST] + segment[COUNT] != seq
            or segment[SIZE] + HEAD + len(data) > self._segment_max
        ):
            self.close_tail()
            self.measure()
            segment = self.segment(self.next_number, boot, seq)
            self.segments.append(segment)
            try:
                self._tail = open(self._path(segment), "w+b")
            finally:
                if not self._tail:
                    self.segments.pop()
            self.next_number += 1
            self._boot = boot
            self.unswept = True  # the newest so far may be done with
        pack_into(">HI", self._head, 0, len(data), crc32(data))
        try:
            self._tail.seek(segment[SIZE])
            self._tail.write(self._head)
            self._tail.write(data)
            self._tail.flush()
        except OSError as e:
            self.close_tail()
            if e.errno == _ENOSPC:
                self.budget = self.used()
            raise
        segment[SIZE] += HEAD + len(data)
        segment[COUNT] += 1
        self.frames += 1

    def close_tail(self) -> None:
        """Append no more to the newest segment."""
        if self._tail:
            try:
                self._tail.close()
            except OSError:
                pass  # what was committed is on flash already
            self._tail = None
            if self.segments[-1][COUNT] == 0:
                self.remove(self.segments[-1])

    # Sending

    def next(self, buf: "Buffer") -> int:
        """Copy the next frame to be sent into ``buf`` and return its length; 0 when there is none."""
        if not self.frames:
            return 0  # as most of the time
        self._credit += self.share
        live = self._credit < 100
        if not live:
            self._credit -= 100
        return self._next(live, buf) or self._next(not live, buf)

    def _next(self, live: bool, buf: "Buffer") -> int:
        cursor = self._cursors[live]
        for segment in self.segments:
            number, end = segment[NUMBER], segment[COUNT]
            if number < cursor[0] or _is_done(segment):
                continue
            if not live and number >= self._live[0]:
                end = self._live[1] if number == self._live[0] else 0
            if number > cursor[0]:
                cursor[0], cursor[1], cursor[2] = number, 0, 0
            while cursor[1] < end:
                i = cursor[1]
                size = self.read(segment, cursor[2], buf)
                if size > 0:
                    cursor[1] = i + 1
                    cursor[2] += HEAD + size
                    if not segment[DONE] >> i & 1:
                        return size
                else:
                    from gasan.node import losses

                    losses.skip(self, segment, cursor, buf)
        return 0

    def rewind(self) -> None:
        """Send again, from the oldest frame that is not acknowledged; what comes from now on is live."""
        self._cursors[0][0] = self._live[0] = 0
        if self.segments:
            last, live = self.segments[-1], self._cursors[1]
            self._live[0], self._live[1] = live[0], live[1] = last[NUMBER], last[COUNT]
            live[2] = last[SIZE]

    def ack(self, boot: bytes, upto: int, ranges: "list[int] | tuple[int, ...]") -> None:
        """The gateway has the frames of ``boot`` below ``upto``, and of ``ranges``: from, to, from, to..."""
        for segment in self.segments:
            if segment[BOOT] == boot:
                mask = _mask(segment, 0, upto - 1)
                for i in range(0, len(ranges) - 1, 2):
                    mask |= _mask(segment, ranges[i], ranges[i + 1])
                self.mark(segment, mask)
        if boot == self._boot:
            self.delivered = max(self.delivered, upto)

    def mark(self, segment: list, mask: int) -> None:
        """The frames of these bits are done with."""
        fresh = mask & ~segment[DONE]
        n = bin(fresh).count("1")
        segment[DONE] |= fresh  # the last that takes memory
        self.frames -= n
        if _is_done(segment) and segment is not self.segments[-1]:
            self.unswept = True

    def read(self, segment: list, offset: int, buf: "Buffer") -> int:
        """Read the frame at ``offset`` into ``buf``: its length, 0 at the end, -1 if there is none."""
        try:
            f = self.open(segment)
            f.seek(offset)
            n = f.readinto(self._head)
            if n == 0:
                return 0
            size, crc = unpack_from(">HI", self._head)
            if n < HEAD or not 0 < size <= FRAME_MAX:
                return -1
            view = memoryview(buf)[:size]
            return size if f.readinto(view) == size and crc32(view) == crc else -1
        except OSError:
            return -1

    def open(self, segment: list) -> "Any":
        """The file of a segment, to read from. OSError."""
        if self._tail and segment is self.segments[-1]:
            return self._tail
        if self._file_number != segment[NUMBER]:
            self._close_file()
            self._file = open(self._path(segment), "rb")
            self._file_number = segment[NUMBER]
        return self._file

    def _close_file(self) -> None:
        if self._file:
            self._file.close()
        self._file = None
        self._file_number = 0

    # Room

    def used(self) -> int:
        """Bytes of flash that the segments take."""
        used = 0
        for segment in self.segments:
            used += -(-segment[SIZE] // self._block) * self._block
        return used

    def is_full(self) -> bool:
        """True when the oldest segment has to go before another frame is written."""
        n = len(self.segments)
        return n > 1 and (n >= _SEGMENTS_MAX or self.used() + self._block > self.budget)

    def sweep(self) -> None:
        """Remove the segments that are done, save the newest: it tells the next boot where this one ended."""
        self.unswept = False
        for segment in self.segments[:-1]:
            if _is_done(segment):
                self.remove(segment)

    def remove(self, segment: list) -> None:
        """Drop a segment, whatever it holds."""
        self.mark(segment, (1 << segment[COUNT]) - 1)
        if self._file_number == segment[NUMBER]:
            self._close_file()
        self.segments.remove(segment)
        try:
            os.remove(self._path(segment))
        except OSError as e:
            log.warn("spool: cannot remove %08x: %s" % (segment[NUMBER], e))
        self._spare.append(segment)

    def _path(self, segment: list) -> str:
        return "%s/%08x-%s-%x" % (self.folder, segment[NUMBER], segment[BOOT].hex(), segment[FIRST])


def _is_done(segment: list) -> bool:
    return segment[DONE] + 1 == 1 << segment[COUNT]


def _mask(segment: list, first: int, last: int) -> int:
    """The bits of the frames first..last, as far as the segment has them."""
    low = max(first - segment[FIRST], 0)
    high = min(last - segment[FIRST] + 1, segment[COUNT])
    return (1 << high) - (1 << low) if high > low else 0
