"""The columnar encoding of a group of samples: `group` of protocols/frame.cddl.

Nothing here allocates, neither on 32 bits nor for 64-bit integers: differences are made of the bytes of the
samples, never of their numbers. A MicroPython function whose locals, arguments and operands take more than
11 words gets its frame from the heap; the loops that need more are generators, whose frame is made once.
"""

from gasan.wire.cbor import put_head, shorten
from gasan.wire.columns import F32, F64, I8, WIDTH
from gasan.wire.quality import NO_VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gasan.wire.columns import Group

    Buffer = bytes | bytearray
    Writable = bytearray | memoryview


class Encoder:
    """Writes into ``buf`` at ``pos``, which moves on.

    Before `group`: ``first`` and ``n`` are the rows to write (n >= 1), ``shift`` is taken off their times, so
    that they count from the frame's `mono`; no time may be below it.
    """

    def __init__(self, buf: "Writable", pos: int = 0) -> None:
        self.buf = buf
        self.pos = pos
        self.first = 0
        self.n = 0
        self.shift = 0
        # What the generators share: the group, its samples and qualities (none when all are good); and of a
        # column where its first sample and quality lie, the size of a sample and whether it is signed.
        self._group: "Any" = None
        self._data: "Buffer" = b""
        self._quality: "Buffer" = b""
        self._at = self._q = self._size = self._begin = 0
        self._signed = self._write = False
        self._start()

    def _start(self) -> None:
        self._groups = self._encode_groups()
        self._runs = self._encode_runs()
        self._integers = self._encode_integers()
        self._floats = self._encode_floats()
        next(self._groups)
        next(self._runs)
        next(self._integers)
        next(self._floats)

    def head(self, major: int, argument: int) -> None:
        """Write a CBOR head; ``argument`` of 2**30 and more allocates on 32 bits. IndexError: no room."""
        self.pos = put_head(self.buf, self.pos, major, argument)

    def group(self, group: "Group") -> bool:
        """Write the rows of a group; False: they do not fit, and ``pos`` stays."""
        self._group = group
        self._begin = self.pos
        try:
            next(self._groups)
        except IndexError:
            self.pos = self._begin
            self._start()  # a generator that has raised is finished
            return False
        return True

    def _encode_groups(self) -> "Iterator[None]":
        """Each step writes a group."""
        while True:
            yield
            group = self._group
            self._data = group.data
            first = self.first
            end = first + self.n
            self._write = False
            runs = next(self._runs) if group.marked else 0
            self._quality = group.quality if runs else b""
            self.head(4, 6 if runs else 5)

            channels = group.channels
            i = 1
            while i < len(channels) and channels[i] == channels[0] + i:
                i += 1
            if i == len(channels):
                self.head(0, channels[0])
            else:
                self.head(4, len(channels))
                for channel in channels:
                    self.head(0, channel)

            self.head(0, self.n)
            times = group.times
            self.head(0, times[first] - self.shift)
            step = times[first + 1] - times[first] if self.n > 1 else 0
            i = first + 1
            while i < end and times[i] - times[i - 1] == step:
                i += 1
            if i == end and step >= 0:
                self.head(0, step)
            else:
                step = group.period_ms or max(0, (times[end - 1] - times[first]) // (self.n - 1))
                self.head(4, self.n)
                self.head(0, step)
                for i in range(first + 1, end):
                    jitter = times[i] - times[i - 1] - step
                    if jitter < 0:
                        self.head(1, -1 - jitter)
                    else:
                        self.head(0, jitter)

            self.head(4, group.columns)
            for i in range(group.columns):
                code = group.types[i]
                self._size = WIDTH[code]
                self._at = group.offsets[i] + first * self._size
                self._q = i * group.capacity + first
                self._signed = not code & 1
                next(self._floats if code == F32 or code == F64 or code > I8 else self._integers)
            if runs:
                self.head(4, 5 * runs)
                self._write = True
                next(self._runs)

    def _encode_runs(self) -> "Iterator[int]":
        """Each step counts the runs of samples that are not good, and writes them if ``_write`` says so.

        A run is a rectangle: neighbouring columns of one quality, over the rows that have just the same ones.
        """
        count = 0
        while True:
            yield count
            count = 0
            group = self._group
            quality = group.quality
            end = self.first + self.n
            for row in range(self.first, end):
                col = 0
                while col < group.columns:
                    start = col
                    q = quality[col * group.capacity + row]
                    while col < group.columns and quality[col * group.capacity + row] == q:
                        col += 1
                    if q == 0 or (row > self.first and self._has_run(row - 1, start, col, q)):
                        continue
                    count += 1
                    if self._write:
                        below = row + 1
                        while below < end and self._has_run(below, start, col, q):
                            below += 1
                        self.head(0, start)
                        self.head(0, col - start)
                        self.head(0, row - self.first)
                        self.head(0, below - row)
                        self.head(0, q)

    def _has_run(self, row: int, start: int, stop: int, q: int) -> bool:
        """Whether the columns start..stop-1 of a row, and not their neighbours, are of quality q."""
        at = start * self._group.capacity + row
        if start and self._group.quality[at - self._group.capacity] == q:
            return False
        while start < stop and self._group.quality[at] == q:
            start += 1
            at += self._group.capacity
        return start == stop and (stop == self._group.columns or self._group.quality[at] != q)

    def _encode_integers(self) -> "Iterator[None]":
        """Each step writes a column: n integers of data[at:], null where quality[q + i] >= 64."""
        while True:
            yield
            buf = self.buf
            data = self._data
            at = self._at
            size = self._size
            quality = self._quality
            q = self._q
            flip = 0x80 << (8 * size - 8) if self._signed and size < 3 else 0
            start = self.pos
            self.head(4, self.n)
            pos = self.pos
            base = -1  # where the first value lies
            previous = -1
            last = 0  # the previous value's low 16 bits, as an unsigned number of the same order
            alike = True
            for i in range(self.n):
                if quality and quality[q + i] >= NO_VALUE:
                    buf[pos] = 0xF6
                    pos += 1
                    at += size
                    alike = False
                    continue
                k = at + size - 1
                low = data[k] if size == 1 else data[k - 1] << 8 | data[k]
                low ^= flip
                k = size - 2  # bytes above the low 16 bits, as far as they differ from the previous value's
                while k > 0 and data[at + k - 1] == data[previous + k - 1]:
                    k -= 1
                if k > 0 or base < 0:
                    self.pos = pos
                    if base < 0:
                        base = at
                        self._put_difference(at, len(data) - 8)
                    else:
                        alike = False
                        self._put_difference(at, previous)
                    pos = self.pos
                else:
                    k = low - last
                    major = 0
                    if k:
                        alike = False
                        if k < 0:
                            major = 0x20
                            k = -1 - k
                    if k < 24:
                        buf[pos] = major | k
                        pos += 1
                    elif k < 0x100:
                        buf[pos] = major | 24
                        buf[pos + 1] = k
                        pos += 2
                    else:
                        buf[pos] = major | 25
                        buf[pos + 1] = k >> 8
                        buf[pos + 2] = k & 0xFF
                        pos += 3
                last = low
                previous = at
                at += size
            self.pos = pos
            if base < 0:
                buf[start] = 0xF6
                self.pos = start + 1
            elif alike:
                self.pos = start
                self._put_difference(base, len(data) - 8)

    def _put_difference(self, a: int, b: int) -> None:
        """Write the integer at data[a:] less the one at data[b:]; the data end with eight zeros."""
        sign = _subtract(self.buf, self.pos + 1, self._data, a, b, self._size)
        if self._signed:
            sign += (self._data[b] >> 7) - (self._data[a] >> 7)
        self.pos = shorten(self.buf, self.pos, self._size, 0x20 if sign < 0 else 0)

    def _encode_floats(self) -> "Iterator[None]":
        """Each step writes a column: n floats of data[at:], without those whose quality[q + i] >= 64."""
        while True:
            yield
            buf = self.buf
            data = self._data
            at = self._at
            size = self._size
            quality = self._quality
            q = self._q
            base = -1  # where the first value lies
            count = 0
            shared = size  # leading bytes that all values have in common
            for i in range(self.n):
                if not quality or quality[q + i] < NO_VALUE:
                    if base < 0:
                        base = at
                    k = 0
                    while k < shared and data[at + k] == data[base + k]:
                        k += 1
                    shared = k
                    count += 1
                at += size
            if not count:
                self.head(7, 22)
                continue
            self.head(4, 2)
            self.head(2, shared)
            pos = self.pos
            for k in range(base, base + shared):
                buf[pos] = data[k]
                pos += 1
            self.pos = pos
            self.head(2, count * (size - shared))
            pos = self.pos
            at = self._at
            for i in range(self.n):
                at += size
                if not quality or quality[q + i] < NO_VALUE:
                    for k in range(at - size + shared, at):
                        buf[pos] = data[k]
                        pos += 1
            self.pos = pos


def _subtract(buf: "Writable", pos: int, data: "Buffer", a: int, b: int, size: int) -> int:
    """buf[pos:] = data[a:] - data[b:], big-endian; returns the carry into the next higher byte (0 or -1)."""
    t = 0
    while size:
        size -= 1
        t = (t >> 8) + data[a + size] - data[b + size]
        buf[pos + size] = t & 0xFF
    return t >> 8
