"""Modbus TCP: a read request, and the wait for its answer among whatever else the connection brings.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b (3.1.3).
Nothing here allocates after construction.
"""

from gasan.wire.modbus import judge, put_read
from gasan.wire.quality import BAD_ANSWER, TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:

    def const(value: int) -> int:
        return value
else:
    try:
        from micropython import const
    except ImportError:

        def const(value):
            return value


REQUEST_SIZE = 12  # bytes
FRAME_MAX = 260  # bytes

_HEAD = const(6)  # transaction, protocol, length: the length counts what follows


def build_read(buf: bytearray, transaction: int, unit: int, function: int, register: int, count: int) -> None:
    """Write the ``REQUEST_SIZE`` bytes of a read to the start of ``buf``; ``transaction`` is 0..65535."""
    put_read(buf, _HEAD, unit, function, register, count)
    buf[0] = transaction >> 8
    buf[1] = transaction & 0xFF
    buf[2] = buf[3] = buf[4] = 0
    buf[5] = REQUEST_SIZE - _HEAD


class TcpAnswer:
    """The answer to one read, awaited on a connection; answers to older reads are passed over."""

    def __init__(self) -> None:
        self.buf = bytearray(FRAME_MAX)
        self.n = 0  # bytes in buf; never read more than FRAME_MAX - n into it
        self.data = _HEAD + 3  # where the registers begin in buf, if the quality is GOOD
        self.quality = TIMEOUT
        self.strays = 0  # frames so far that answered nothing
        self.broken = False  # the stream has lost its frames: only a new connection helps
        self._used = 0
        self._transaction = self._unit = self._function = self._count = 0

    def reset(self) -> None:
        """A new connection begins."""
        self.n = self._used = 0
        self.broken = False

    def expect(self, transaction: int, unit: int, function: int, count: int) -> None:
        """Await the answer to this read."""
        self._transaction = transaction
        self._unit = unit
        self._function = function
        self._count = count
        self._drop(self._used)
        self._used = 0
        self.quality = TIMEOUT

    def feed(self, chunk: bytearray, size: int) -> bool:
        """Take ``size`` bytes of ``chunk``; True when there is a verdict: see quality, data and broken."""
        buf = self.buf
        n = self.n
        for i in range(size):
            buf[n] = chunk[i]
            n += 1
        self.n = n
        return self.look()

    def look(self) -> bool:
        """Look through what is in the buffer already; True when there is a verdict."""
        buf = self.buf
        while self.n >= _HEAD:
            size = buf[4] << 8 | buf[5]
            if buf[2] or buf[3] or not 3 <= size <= FRAME_MAX - _HEAD:
                self.broken = True
                self.quality = BAD_ANSWER
                return True
            if self.n < _HEAD + size:
                return False
            if buf[0] << 8 | buf[1] == self._transaction:
                self.quality = judge(buf, _HEAD, size, self._unit, self._function, self._count)
                self._used = _HEAD + size
                return True
            self.strays += 1
            self._drop(_HEAD + size)
        return False

    def _drop(self, size: int) -> None:
        """Forget the first ``size`` bytes."""
        buf = self.buf
        for i in range(size, self.n):
            buf[i - size] = buf[i]
        self.n -= size
