"""Modbus RTU: the CRC, a request and the wait for its answer, free of any line and clock.

Source: MODBUS over Serial Line V1.02 (2.5.1, 6.2.2). Nothing here allocates once an `RtuRead` is made.
"""

from gasan.wire.modbus import answer_size, judge
from gasan.wire.quality import BAD_ANSWER, GOOD, SUSPECT, TIMEOUT, const

_ROOM = const(272)  # bytes: the longest answer (255) and some noise before it
_PATIENCE_US = const(10000)  # a pause inside an answer is forgiven up to 3.5 characters and this
_DONE = const(-1)
_SPIN_US = const(1400)  # shorter waits are not slept: the shortest sleep takes up to a millisecond and some
_WAKE_US = const(400)  # what a sleep may take longer than it should
_BYTE_US = const(25)  # to take in a byte that has come; on RP2040

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

# CRC-16 of polynomial 0xA001 for each value of four bits: constants, so that frozen code keeps them in flash.
_CRC = (0x0000, 0xCC01, 0xD801, 0x1400, 0xF001, 0x3C00, 0x2800, 0xE401,
        0xA001, 0x6C00, 0x7800, 0xB401, 0x5000, 0x9C01, 0x8801, 0x4400)  # fmt: skip


def crc16(buf: "bytes | bytearray", pos: int, end: int, crc: int = 0xFFFF) -> int:
    """CRC of ``buf[pos:end]``; sent low byte first, so that over a frame with its CRC it is 0.

    ``crc``: of what comes before, when the bytes are taken piece by piece.
    """
    table = _CRC
    for i in range(pos, end):
        crc ^= buf[i]
        crc = crc >> 4 ^ table[crc & 15]
        crc = crc >> 4 ^ table[crc & 15]
    return crc


def with_crc(frame: bytes) -> bytes:
    """The frame as it is sent."""
    crc = crc16(frame, 0, len(frame))
    return frame + bytes((crc & 0xFF, crc >> 8))


class RtuRead:
    """A request on a serial line and its answer. Times are microseconds since the request began to leave.

    RTU has no transaction id: unit, function, length and CRC are all that tells whose answer this is. After a
    verdict with ``certain`` False the device may still be about to answer; whoever asks it a read of the same
    shape before that answer can no longer come would take an old value for a new one. A value that may be the
    answer to another master's request is ``SUSPECT``, and uncertain in this sense too.

    A request to unit 0 is for all and answered by none; its ``timeout_us`` is the time that they need.
    """

    # Here, since a full table of attributes is slow.
    foreign = 0  # other masters' requests that were heard
    begun: "bytes | bytearray" = b""  # the beginning of one, perhaps: up to seven bytes, and how many

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
        self.echo = False  # the line lets us hear ourselves, as far as is known
        self.intruded = self.intruder = 0  # other masters' requests without an answer; the unit of the last
        self.stray = False  # the unit has sent an answer of another shape, or before it was asked
        self._resync: Any = None
        self._last = self.deadline = self._limit = self.need = self.sent_us = self.least_ms = 0
        self._crc = self._summed = 0  # CRC of the first `_summed` bytes, of no more than the answer

    def ask(self, request: bytes, timeout_us: int) -> None:
        """Expect the answer to ``request`` (with its CRC), to begin within ``timeout_us`` of its end.

        ``buf`` keeps the answer before until the first ``feed``.
        """
        self.request = request
        self.need = answer_size(request, 0) + 2
        self._last = self.sent_us = len(request) * self.char_us
        self.deadline = self._last + timeout_us
        self._limit = self.deadline + self.need * self.char_us + self.gap_us + _PATIENCE_US
        self.least_ms = (self.sent_us + self.need * self.char_us) // 1000  # for both on the line
        self.begin()
        self.stray = False
        self.quality = TIMEOUT

    def begin(self) -> None:
        """Forget what has come."""
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
        if self.echo:
            self.resync().unecho(self)
        n = self.n
        quiet = now - self._last
        if not self.request[0]:
            return self.verdict(GOOD, True) if now >= self.deadline else 1
        if n == 0:
            if now >= self.deadline:
                return self.verdict(self.quality, False)
            rest = self.need * (self.char_us - _BYTE_US)
            if quiet < self.gap_us:
                rest += self.gap_us - quiet
            wait = self._sleep(min(rest, self.deadline - now))
            return wait if wait or quiet < self.gap_us else 1
        need = self.size(0)
        if self._summed < need and not self.spoilt:
            end = min(n, need)
            self._crc = crc16(self.buf, self._summed, end, self._crc)
            self._summed = end
            if end == need:
                if self._crc == 0:
                    self.data = 3
                    quality = judge(self.request, 0, self.buf, 0, need - 2)
                    if quality != BAD_ANSWER:
                        self.verdict(quality, True)
                        if n > need:
                            self.resync().behind(self, need)
                        return _DONE
                self.spoilt = self.need > 1  # a foreign frame, or noise before the answer: silence will tell
        if quiet > self.gap_us + _PATIENCE_US or now > self._limit:
            return int(self.resync().search(self, now))
        rest = (need - n) * self.char_us - quiet
        if n < need and rest > -1000:
            # The byte seen last may have come a character ago. What has come by then must have been taken in
            # when the last one comes.
            return self._sleep(rest - self.char_us - (need - n) * _BYTE_US)
        return 1

    def _sleep(self, rest: int) -> int:
        """Milliseconds that may be slept if something is to be met in ``rest`` microseconds."""
        return (rest - _WAKE_US) // 1000 if rest >= _SPIN_US else 0

    def size(self, pos: int) -> int:
        """Bytes of an answer that begins at ``pos``."""
        if pos + 1 < self.n and self.buf[pos + 1] & 0x80:
            return 5
        return self.need if self.need > 1 else max(5, self.n - pos)

    def verdict(self, quality: int, certain: bool) -> int:
        """What `step` returns when it is over."""
        if quality == GOOD and self.intruded:
            quality = SUSPECT
            certain = False
            self.intruded = 0
        self.quality = quality
        self.certain = certain
        return _DONE

    def resync(self) -> "Any":
        """What is needed on a line with faults only, loaded at the first one."""
        if not self._resync:
            from gasan.wire import modbus_resync

            self._resync = modbus_resync
            self.begun = bytearray(8)
        return self._resync
