"""Frames in flash, until the gateway has them: append-only segment files, the oldest dropped first.

/spool/XXXXXXXX holds records: length (u16) and CRC-32 of the frame, big-endian, then the frame. A frame is committed
when ``append`` returns. A segment holds frames of one boot, numbered without a gap; each boot begins a new one. What
was acknowledged is marked in memory only: after a restart the gateway says again what it has. ``sweep`` removes
files, and is called while the lines are quiet, as every other write.
"""

import asyncio
import os
from binascii import crc32
from struct import pack_into, unpack_from

from gasan.node import log, tombstone
from gasan.wire import cbor, frame
from micropython import const

# Items of a segment, which is a list: some 50 bytes on a board.
_NUMBER = const(0)  # names the file
_BOOT = const(1)
_FIRST = const(2)  # sequence number of its first frame
_COUNT = const(3)  # frames in it
_SIZE = const(4)  # bytes of its good records
_DONE = const(5)  # bit i: frame i is acknowledged, or known to be lost

_HEAD = const(6)
_TAG = const(9)  # bytes after the content of a frame
_SEGMENTS_MAX = const(96)
_DEBTS_MAX = const(16)


class Spool:
    """The frames in ``folder``, which may take ``budget`` bytes of flash. OSError when it cannot be read.

    event: set when a frame was committed. frames: neither acknowledged nor dropped. delivered: the gateway has all
    frames of this boot below that number. unswept: there is something to sweep. debts: items of tombstones that
    are still to be written. last: (boot, seq, readings) at the end of the boot before this one, or None.
    ordinal: of the newest boot frame found, or 0.
    """

    def __init__(self, folder: str, budget: int) -> None:
        self.event = asyncio.Event()
        self.frames = 0
        self.delivered = 0
        self.unswept = False
        self.debts: list = []
        self.last: tuple | None = None
        self.ordinal = 0
        self._folder = folder
        self._budget = budget
        self._segment_max = min(max(budget // 8, 4096), 32768)
        self._block = os.statvfs(folder)[0]
        self._segments: list = []
        self._head = bytearray(_HEAD)
        self._buf = memoryview(bytearray(frame.FRAME_MAX))
        self._tail = None  # file of the newest segment, when it is one of this boot
        self._file = None  # file of another segment, which is being read
        self._file_number = 0
        self._cursor = [0, 0, 0]  # of the next frame to send: segment number, index, offset
        self._number = 0
        for name in sorted(os.listdir(folder)):
            try:
                self._number = int(name, 16)
            except ValueError:
                continue  # no file of ours
            self._scan(self._number)

    def _scan(self, number: int) -> None:
        """Take in a segment of an earlier boot."""
        before = self.last
        segment = [number, b"", 0, 0, 0, 0]
        at = 0  # of its last good record
        size = self._read(segment, 0, self._buf)
        try:
            while size > 0:
                kind, boot, seq, count, mono, _, content = frame.peek(self._buf[:size])
                if segment[_COUNT] == 0:
                    segment[_BOOT], segment[_FIRST] = boot, seq
                    if before and before[0] == boot and before[1] + 1 < seq:
                        # The segment before this one has lost its tail.
                        self.owe([tombstone.TORN, boot, before[1] + 1, seq - 1, count - before[2], mono, mono, {}])
                    if kind == frame.BOOT:
                        self.ordinal = cbor.loads(self._buf[content : size - _TAG])[1]
                at = segment[_SIZE]
                segment[_COUNT] += 1
                segment[_SIZE] += _HEAD + size
                size = self._read(segment, segment[_SIZE], self._buf)
            if segment[_COUNT]:
                data = self._buf[: self._read(segment, at, self._buf)]
                _, boot, seq, count, _, _, _ = frame.peek(data)
                self.last = (boot, seq, count + tombstone.of(data, tombstone.TORN)[-1][4])
        except (ValueError, KeyError, TypeError):
            size = -1  # a record of something else
        if size < 0:
            log.warn("spool: %08x is torn behind %d frames" % (number, segment[_COUNT]))
        self._segments.append(segment)
        self.frames += segment[_COUNT]
        if segment[_COUNT] == 0:
            self._remove(segment)

    # Writing

    def append(self, data, boot: bytes, seq: int) -> None:
        """Commit a frame. OSError when the flash does not take it: then no part of it is kept."""
        segment = self._segments[-1] if self._tail else None
        if (
            segment is None
            or segment[_FIRST] + segment[_COUNT] != seq
            or segment[_SIZE] + _HEAD + len(data) > self._segment_max
        ):
            self._close_tail()
            self._number += 1
            self._tail = open(self._path(self._number), "w+b")
            segment = [self._number, boot, seq, 0, 0, 0]
            self._segments.append(segment)
        pack_into(">HI", self._head, 0, len(data), crc32(data))
        try:
            self._tail.seek(segment[_SIZE])
            self._tail.write(self._head)
            self._tail.write(data)
            self._tail.flush()
        except OSError:
            self._close_tail()
            raise
        segment[_SIZE] += _HEAD + len(data)
        segment[_COUNT] += 1
        self.frames += 1
        self.event.set()

    def _close_tail(self) -> None:
        if self._tail:
            try:
                self._tail.close()
            except OSError:
                pass  # what was committed is on flash already
            self._tail = None
            if self._segments[-1][_COUNT] == 0:
                self._remove(self._segments[-1])

    # Sending

    def next(self, buf) -> int:
        """Copy the next frame to be sent, in order, into ``buf`` and return its length; 0 when there is none."""
        cursor = self._cursor
        for segment in self._segments:
            if segment[_NUMBER] < cursor[0] or _is_done(segment):
                continue
            if segment[_NUMBER] > cursor[0]:
                cursor[0], cursor[1], cursor[2] = segment[_NUMBER], 0, 0
            while cursor[1] < segment[_COUNT]:
                i = cursor[1]
                size = self._read(segment, cursor[2], buf)
                if size > 0:
                    cursor[1] = i + 1
                    cursor[2] += _HEAD + size
                    if not segment[_DONE] >> i & 1:
                        return size
                    continue
                # It has rotted, and with it what stands behind it.
                last = segment[_FIRST] + segment[_COUNT] - 1
                self.owe([tombstone.TORN, segment[_BOOT], segment[_FIRST] + i, last, 0, 0, 0, {}])
                self._mark(segment, (1 << segment[_COUNT]) - (1 << i))
                cursor[1] = segment[_COUNT]
        return 0

    def rewind(self) -> None:
        """Send again, from the oldest frame that is not acknowledged."""
        self._cursor[0] = 0

    def ack(self, boot: bytes, upto: int, ranges) -> None:
        """The gateway has the frames of ``boot`` below ``upto``, and of ``ranges``: from, to, from, to..."""
        for segment in self._segments:
            if segment[_BOOT] == boot:
                mask = _mask(segment, 0, upto - 1)
                for i in range(0, len(ranges) - 1, 2):
                    mask |= _mask(segment, ranges[i], ranges[i + 1])
                self._mark(segment, mask)
        if self._tail and self._segments[-1][_BOOT] == boot:
            self.delivered = max(self.delivered, upto)

    def _mark(self, segment: list, mask: int) -> None:
        fresh = mask & ~segment[_DONE]
        segment[_DONE] |= fresh
        while fresh:
            fresh &= fresh - 1
            self.frames -= 1
        if _is_done(segment):
            self.unswept = True

    def _read(self, segment: list, offset: int, buf) -> int:
        """Read the record at ``offset`` into ``buf``: its length, 0 at the end of the file, -1 if it is no frame."""
        try:
            f = self._open(segment)
            f.seek(offset)
            n = f.readinto(self._head)
            if n == 0:
                return 0
            size, crc = unpack_from(">HI", self._head)
            if n < _HEAD or not 0 < size <= frame.FRAME_MAX:
                return -1
            view = memoryview(buf)[:size]
            return size if f.readinto(view) == size and crc32(view) == crc else -1
        except OSError:
            return -1

    def _open(self, segment: list):
        if self._tail and segment is self._segments[-1]:
            return self._tail
        if self._file_number != segment[_NUMBER]:
            self._close_file()
            self._file = open(self._path(segment[_NUMBER]), "rb")
            self._file_number = segment[_NUMBER]
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
        for segment in self._segments:
            used += -(-segment[_SIZE] // self._block) * self._block
        return used

    def is_full(self) -> bool:
        """True when the oldest segment has to go before another frame is written."""
        many = len(self._segments) >= _SEGMENTS_MAX
        return self.has_spare() and (many or self.used() + self._block > self._budget)

    def has_spare(self) -> bool:
        """True when there is a segment that could be dropped."""
        return len(self._segments) > 1

    def oldest(self):
        """Yield (frame, has_heirs) for each frame of the oldest segment that the gateway does not have.

        The frame is a view that is good until the next one. has_heirs: younger segments hold frames of its boot.
        """
        segment = self._segments[0]
        heirs = len(self._segments) > 1 and self._segments[1][_BOOT] == segment[_BOOT]
        offset = 0
        for i in range(segment[_COUNT]):
            size = self._read(segment, offset, self._buf)
            if size <= 0:
                break
            offset += _HEAD + size
            if not segment[_DONE] >> i & 1:
                yield self._buf[:size], heirs

    def drop_oldest(self) -> None:
        """Remove the oldest segment, whatever it holds."""
        segment = self._segments[0]
        before = self.frames
        self._mark(segment, (1 << segment[_COUNT]) - 1)
        self._remove(segment)
        log.warn("spool: full, dropped %d frames" % (before - self.frames))

    def sweep(self) -> None:
        """Remove the segments that are done with, save the newest: the next boot learns from it where this one ended."""
        self.unswept = False
        for segment in self._segments[:-1]:
            if _is_done(segment):
                self._remove(segment)

    def owe(self, item: list) -> None:
        """Keep the item of a tombstone until it can be written."""
        tombstone.merge(self.debts, item)
        if len(self.debts) > _DEBTS_MAX:
            self.debts.pop(0)

    def _remove(self, segment: list) -> None:
        if self._file_number == segment[_NUMBER]:
            self._close_file()
        self._segments.remove(segment)
        try:
            os.remove(self._path(segment[_NUMBER]))
        except OSError as e:
            log.warn("spool: cannot remove %08x: %s" % (segment[_NUMBER], e))

    def _path(self, number: int) -> str:
        return "%s/%08x" % (self._folder, number)


def _is_done(segment: list) -> bool:
    return segment[_DONE] + 1 == 1 << segment[_COUNT]


def _mask(segment: list, first: int, last: int) -> int:
    """The bits of the frames first..last, as far as the segment has them."""
    low = max(first - segment[_FIRST], 0)
    high = min(last - segment[_FIRST] + 1, segment[_COUNT])
    return (1 << high) - (1 << low) if high > low else 0
