"""Modbus TCP: a read and the wait for its answer among whatever else the connection brings.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b (3.1.3).
Nothing here allocates once a `TcpRead` is made.
"""

from struct import pack_into

from gasan.wire.modbus import judge
from gasan.wire.quality import BAD_ANSWER, TIMEOUT, const

_ROOM = const(260)  # bytes of the longest frame
_STRAYS = const(16)  # more answers that nobody asked for are no connection
_HEAD = const(6)  # transaction, protocol, length: the length counts what follows


class TcpRead:
    """A read on a connection and its answer; answers to older reads are passed over."""

    def __init__(self) -> None:
        self.request = bytearray(b"\0\0\0\0\0\6" + bytes(6))  # six bytes follow the head
        self.buf = bytearray(_ROOM)
        self.n = 0  # bytes in buf
        self.data = _HEAD + 3  # where the registers begin in buf, if the quality is GOOD
        self.quality = TIMEOUT
        self.certain = True  # for the caller: False when the device may be dead
        self.stray = False  # as of `RtuRead`: transaction ids tell here
        self.broken = False  # the stream has lost its frames: only a new connection helps
        self._strays = 0
        self._used = self.spoilt = self.echo = self.least_ms = 0  # the last three as of an RtuRead

    def reset(self) -> None:
        """A new connection begins."""
        self.n = self._used = 0
        self.broken = False

    def ask(self, read: bytes) -> None:
        """Make ``request`` of a read's first 6 bytes, with the next transaction id."""
        request = self.request
        pack_into("6s", request, _HEAD, read)
        request[1] = request[1] + 1 & 0xFF
        if not request[1]:
            request[0] = request[0] + 1 & 0xFF
        self._drop(self._used)
        self._used = self._strays = 0
        self.quality = TIMEOUT

    def room(self, size: int) -> int:
        """How many bytes, at most ``size``, may be fed next."""
        return min(size, _ROOM - self.n)

    def feed(self, chunk: bytearray, size: int) -> bool:
        """Take ``size`` bytes of ``chunk``; True when there is a verdict: see quality, data and broken.

        While ``n`` is 0, ``chunk`` may be ``buf`` itself, into which the bytes were read then.
        """
        buf = self.buf
        n = self.n
        if chunk is not buf:
            for i in range(size):
                buf[n + i] = chunk[i]
        self.n = n + size
        while self.n >= _HEAD:
            size = _HEAD + (buf[4] << 8 | buf[5])
            # A frame that came short has swallowed the head of the one behind it.
            short = self.n > size + 3 and buf[size + 2] | buf[size + 3]
            if short or buf[2] or buf[3] or not _HEAD + 3 <= size <= _ROOM or self._strays > _STRAYS:
                self.broken = True
                self.quality = BAD_ANSWER
                return True
            if self.n < size:
                return False
            if buf[0] == self.request[0] and buf[1] == self.request[1]:
                self.quality = judge(self.request, _HEAD, buf, _HEAD, size - _HEAD)
                self._used = size
                return True
            self._strays += 1
            self._drop(size)
        return False

    def _drop(self, size: int) -> None:
        """Forget the first ``size`` bytes."""
        buf = self.buf
        for i in range(size, self.n):
            buf[i - size] = buf[i]
        self.n -= size
