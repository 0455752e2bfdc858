"""Modbus RTU: the CRC, a read and the wait for its answer, free of any line and clock.

Source: MODBUS over Serial Line V1.02 (2.5.1, 6.2.2). Nothing here allocates once an `RtuRead` is made.
"""

from gasan.wire.modbus import judge
from gasan.wire.quality import BAD_ANSWER, BAD_CRC, TIMEOUT, const

_ROOM = const(272)  # bytes: the longest answer (255) and some noise before it
_PATIENCE_US = const(10000)  # a pause inside an answer is forgiven up to 3.5 characters and this
_DONE = const(-1)
_SPIN_US = const(1400)  # shorter waits are not slept: the shortest sleep takes up to a millisecond and some
_WAKE_US = const(400)  # what a sleep may take longer than it should
_BYTE_US = const(25)  # to take in a byte that has come; on RP2040

# CRC-16 of polynomial 0xA001 per byte, low and high half: literals, so that frozen code keeps them in flash.
_LOW = (
    b"\x00\xc1\x81\x40\x01\xc0\x80\x41\x01\xc0\x80\x41\x00\xc1\x81\x40\x01\xc0\x80\x41\x00\xc1\x81\x40"
    b"\x00\xc1\x81\x40\x01\xc0\x80\x41\x01\xc0\x80\x41\x00\xc1\x81\x40\x00\xc1\x81\x40\x01\xc0\x80\x41"
    b"\x00\xc1\x81\x40\x01\xc0\x80\x41\x01\xc0\x80\x41\x00\xc1\x81\x40\x01\xc0\x80\x41\x00\xc1\x81\x40"
    b"\x00\xc1\x81\x40\x01\xc0\x80\x41\x00\xc1\x81\x40\x01\xc0\x80\x41\x01\xc0\x80\x41\x00\xc1\x81\x40"
    b"\x00\xc1\x81\x40\x01\xc0\x80\x41\x01\xc0\x80\x41\x00\xc1\x81\x40\x01\xc0\x80\x41\x00\xc1\x81\x40"
    b"\x00\xc1\x81\x40\x01\xc0\x80\x41\x01\xc0\x80\x41\x00\xc1\x81\x40\x00\xc1\x81\x40\x01\xc0\x80\x41"
    b"\x00\xc1\x81\x40\x01\xc0\x80\x41\x01\xc0\x80\x41\x00\xc1\x81\x40\x00\xc1\x81\x40\x01\xc0\x80\x41"
    b"\x01\xc0\x80\x41\x00\xc1\x81\x40\x01\xc0\x80\x41\x00\xc1\x81\x40\x00\xc1\x81\x40\x01\xc0\x80\x41"
    b"\x00\xc1\x81\x40\x01\xc0\x80\x41\x01\xc0\x80\x41\x00\xc1\x81\x40\x01\xc0\x80\x41\x00\xc1\x81\x40"
    b"\x00\xc1\x81\x40\x01\xc0\x80\x41\x01\xc0\x80\x41\x00\xc1\x81\x40\x00\xc1\x81\x40\x01\xc0\x80\x41"
    b"\x00\xc1\x81\x40\x01\xc0\x80\x41\x01\xc0\x80\x41\x00\xc1\x81\x40"
)
_HIGH = (
    b"\x00\xc0\xc1\x01\xc3\x03\x02\xc2\xc6\x06\x07\xc7\x05\xc5\xc4\x04\xcc\x0c\x0d\xcd\x0f\xcf\xce\x0e"
    b"\x0a\xca\xcb\x0b\xc9\x09\x08\xc8\xd8\x18\x19\xd9\x1b\xdb\xda\x1a\x1e\xde\xdf\x1f\xdd\x1d\x1c\xdc"
    b"\x14\xd4\xd5\x15\xd7\x17\x16\xd6\xd2\x12\x13\xd3\x11\xd1\xd0\x10\xf0\x30\x31\xf1\x33\xf3\xf2\x32"
    b"\x36\xf6\xf7\x37\xf5\x35\x34\xf4\x3c\xfc\xfd\x3d\xff\x3f\x3e\xfe\xfa\x3a\x3b\xfb\x39\xf9\xf8\x38"
    b"\x28\xe8\xe9\x29\xeb\x2b\x2a\xea\xee\x2e\x2f\xef\x2d\xed\xec\x2c\xe4\x24\x25\xe5\x27\xe7\xe6\x26"
    b"\x22\xe2\xe3\x23\xe1\x21\x20\xe0\xa0\x60\x61\xa1\x63\xa3\xa2\x62\x66\xa6\xa7\x67\xa5\x65\x64\xa4"
    b"\x6c\xac\xad\x6d\xaf\x6f\x6e\xae\xaa\x6a\x6b\xab\x69\xa9\xa8\x68\x78\xb8\xb9\x79\xbb\x7b\x7a\xba"
    b"\xbe\x7e\x7f\xbf\x7d\xbd\xbc\x7c\xb4\x74\x75\xb5\x77\xb7\xb6\x76\x72\xb2\xb3\x73\xb1\x71\x70\xb0"
    b"\x50\x90\x91\x51\x93\x53\x52\x92\x96\x56\x57\x97\x55\x95\x94\x54\x9c\x5c\x5d\x9d\x5f\x9f\x9e\x5e"
    b"\x5a\x9a\x9b\x5b\x99\x59\x58\x98\x88\x48\x49\x89\x4b\x8b\x8a\x4a\x4e\x8e\x8f\x4f\x8d\x4d\x4c\x8c"
    b"\x44\x84\x85\x45\x87\x47\x46\x86\x82\x42\x43\x83\x41\x81\x80\x40"
)


def crc16(buf: "bytes | bytearray", pos: int, end: int, crc: int = 0xFFFF) -> int:
    """CRC of ``buf[pos:end]``; sent low byte first, so that over a frame with its CRC it is 0.

    ``crc``: of what comes before, when the bytes are taken piece by piece.
    """
    lows = _LOW
    highs = _HIGH
    low = crc & 0xFF
    high = crc >> 8
    for i in range(pos, end):
        k = low ^ buf[i]
        low = high ^ lows[k]
        high = highs[k]
    return high << 8 | low


def with_crc(frame: bytes) -> bytes:
    """The frame as it is sent."""
    crc = crc16(frame, 0, len(frame))
    return frame + bytes((crc & 0xFF, crc >> 8))


class RtuRead:
    """A read on a serial line and its answer. Times are microseconds since the request began to leave.

    RTU has no transaction id: unit, function, length and CRC are all that tells whose answer this is. After a
    verdict with ``certain`` False the device may still be about to answer; whoever asks it a read of the same
    shape before that answer can no longer come would take an old value for a new one.
    """

    def __init__(self, char_us: int, gap_us: int) -> None:
        """``char_us``: one character on the line; ``gap_us``: the silence that ends a frame."""
        self.char_us = char_us
        self.gap_us = gap_us
        self.request = b""
        self.buf = bytearray(_ROOM)
        self.n = 0  # bytes of the present chunk in buf
        self.data = 0  # where the registers begin in buf, if the quality is GOOD
        self.quality = TIMEOUT
        self.certain = True
        self.spoilt = False  # what has come does not begin with the answer
        self._last = self._deadline = self._limit = self._need = 0
        self._crc = self._summed = 0  # CRC of the first `_summed` bytes, of no more than the answer

    def ask(self, request: bytes, timeout_us: int) -> None:
        """Expect the answer to ``request`` (a read with its CRC), to begin within ``timeout_us`` of its end.

        ``buf`` keeps the answer before until the first ``feed``.
        """
        self.request = request
        self._need = 5 + 2 * request[5]
        self._last = 8 * self.char_us
        self._deadline = self._last + timeout_us
        self._limit = self._deadline + self._need * self.char_us + self.gap_us + _PATIENCE_US
        self._begin()
        self.quality = TIMEOUT

    def _begin(self) -> None:
        self.spoilt = False
        self.n = self._summed = 0
        self._crc = 0xFFFF

    def feed(self, chunk: "bytes | bytearray", size: int, now: int) -> None:
        """Take the first ``size`` bytes of ``chunk``, read at ``now``. What finds no room is noise anyway.

        While ``n`` is 0, ``chunk`` may be ``buf`` itself, into which the bytes were read then.
        """
        buf = self.buf
        n = self.n
        size = min(size, _ROOM - n)
        if chunk is not buf:
            for i in range(size):
                buf[n + i] = chunk[i]
        self.n = n + size
        self._last = now

    def step(self, now: int) -> int:
        """Milliseconds until the next look (0: at once), or -1: there is a verdict in quality and certain.

        No look comes later than the last byte of an answer without pauses, so that its time is known.
        """
        n = self.n
        quiet = now - self._last
        if n == 0:
            if now >= self._deadline:
                return self._verdict(self.quality, False)
            rest = self._need * (self.char_us - _BYTE_US)
            if quiet < self.gap_us:
                rest += self.gap_us - quiet
            wait = self._sleep(min(rest, self._deadline - now))
            return wait if wait or quiet < self.gap_us else 1
        need = self._size(0)
        if self._summed < need and not self.spoilt:
            end = min(n, need)
            self._crc = crc16(self.buf, self._summed, end, self._crc)
            self._summed = end
            if end == need:
                if self._crc == 0:
                    self.data = 3
                    quality = judge(self.request, 0, self.buf, 0, need - 2)
                    if quality != BAD_ANSWER:
                        return self._verdict(quality, True)
                self.spoilt = True  # a foreign frame, or noise before the answer: silence will tell
        if quiet > self.gap_us + _PATIENCE_US or now > self._limit:
            return self._search(now)
        rest = (need - n) * self.char_us - quiet
        if n < need and rest > -1000:
            # The byte seen last may have come a character ago. What has come by then must have been taken in
            # when the last one comes.
            return self._sleep(rest - self.char_us - (need - n) * _BYTE_US)
        return 1

    def _sleep(self, rest: int) -> int:
        """Milliseconds that may be slept if something is to be met in ``rest`` microseconds."""
        return (rest - _WAKE_US) // 1000 if rest >= _SPIN_US else 0

    def _size(self, pos: int) -> int:
        """Bytes of an answer that begins at ``pos``."""
        return 5 if pos + 1 < self.n and self.buf[pos + 1] & 0x80 else self._need

    def _judge(self, pos: int, size: int) -> int:
        if crc16(self.buf, pos, pos + size):
            return BAD_CRC
        self.data = pos + 3
        return judge(self.request, 0, self.buf, pos, size - 2)

    def _verdict(self, quality: int, certain: bool) -> int:
        self.quality = quality
        self.certain = certain
        return _DONE

    def _search(self, now: int) -> int:
        """The chunk is over and does not begin with the answer: find it further on, or go on waiting."""
        buf = self.buf
        request = self.request
        n = self.n
        for pos in range(n - 4):
            size = self._size(pos)
            if buf[pos] == request[0] and pos + size <= n:
                quality = self._judge(pos, size)
                if quality != BAD_CRC and quality != BAD_ANSWER:
                    return self._verdict(quality, True)
        whole = crc16(buf, 0, n) == 0
        if (
            n >= 3
            and not whole
            and buf[0] == request[0]
            and buf[1] == request[1]
            and buf[2] == 2 * request[5]
        ):
            return self._verdict(BAD_CRC, True)  # its head is right, so this was the answer, and is damaged
        self.quality = BAD_ANSWER if whole else BAD_CRC
        self._begin()
        return self._verdict(self.quality, False) if now >= self._deadline else 1
