"""A transaction of any function, before the polls of a line: writes, and questions of commissioning.

The poller's own read knows functions 1 to 4 and is fast; while one of these has its turn it is put aside.
"""

from asyncio import TimeoutError, wait_for_ms

from gasan.node.urgent import Urgent
from gasan.wire import modbus, modbus_write
from gasan.wire.modbus_rtu import RtuRead, crc16
from gasan.wire.modbus_tcp import TcpRead
from gasan.wire.quality import BAD_ANSWER, BAD_CRC, EXCEPTION, GOOD, TIMEOUT
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.poll import Poller

_REPORT_ID = const(17)
_HEAD = const(6)  # of a TCP frame
_STRAYS = const(16)  # more answers that nobody asked for are no connection
_WRITES = b"\x05\x06\x0f\x10\x16\x17"
_LONGEST_MS = const(28000)  # the gateway gives a command up after 30 s
_PAUSE_US = const(30000)  # silence after which nothing more of an answer comes


def _judge(request: "Any", at: int, buf: bytearray, pos: int, size: int) -> int:
    function = request[at + 1]
    if 2 < function <= 4:
        return modbus.judge(request, at, buf, pos, size)
    if function <= 2 or function == _REPORT_ID:
        if buf[pos] != request[at] or size < 3:
            return BAD_ANSWER
        if buf[pos + 1] == function | 0x80 and size == 3 and 1 <= buf[pos + 2] <= 15:
            return EXCEPTION + buf[pos + 2]
        return GOOD if buf[pos + 1] == function and size == 3 + buf[pos + 2] else BAD_ANSWER
    return modbus_write.judge(request, at, buf, pos, size)


def _size(request: bytes, buf: bytearray, pos: int, n: int) -> int:
    """Bytes, without CRC, of an answer that begins at ``pos``; 0 while they cannot be known."""
    function = request[1]
    if buf[pos + 1] & 0x80:
        return 3
    if function <= 2:
        return 3 + ((request[4] << 8 | request[5]) + 7) // 8
    if function <= 4:
        return 3 + 2 * request[5]
    if function == _REPORT_ID:
        return 3 + buf[pos + 2]
    if function != modbus_write.IDENTIFY:
        return modbus_write.answer_size(request)
    at = pos + 8
    if at > n:
        return 0
    for _ in range(buf[pos + 7]):
        if at + 2 > n:
            return 0
        at += 2 + buf[at + 1]
    return at - pos


class _RtuAsk(RtuRead):
    """An answer of any function. What an adapter hears of itself looks like the answer to function 5 or 6."""

    def __init__(self, line: RtuRead) -> None:
        super().__init__(line.char_us, line.gap_us)
        self.echo = line.echo

    def ask(self, request: bytes, timeout_us: int) -> None:
        super().ask(request, timeout_us)
        self._limit = self.deadline + 256 * self.char_us + _PAUSE_US

    def step(self, now: int) -> int:
        return _found(self, self.request, now)


def _found(read: RtuRead, request: bytes, now: int) -> int:
    """As `RtuRead.step`, for a request of any function; to unit 0 nobody answers."""
    if not request[0]:
        return read.verdict(GOOD, True) if now >= read.deadline else 1
    start = len(request) if read.echo and read.buf[: len(request)] == request else 0
    for pos in range(start, read.n - 4):
        size = _size(request, read.buf, pos, read.n)
        if size and pos + size + 2 <= read.n and not crc16(read.buf, pos, pos + size + 2):
            quality = _judge(request, 0, read.buf, pos, size)
            if quality != BAD_ANSWER:
                read.data = pos + 3
                read.n = pos + size
                return read.verdict(quality, True)
    if read.n > start:
        if now - read._last > _PAUSE_US + read.gap_us or now > read._limit:
            read.quality = BAD_CRC
            if now >= read.deadline:
                return read.verdict(BAD_CRC, False)
    elif now >= read.deadline:
        return read.verdict(TIMEOUT, False)
    return 1


def _over_tcp() -> "Any":
    """As an `_RtuAsk`, on a connection; what may have been sent is not sent again on another one."""
    from gasan.node.modbus_rtu_tcp import Read

    class Ask(Read):
        def ask(self, request: bytes, timeout_us: int) -> None:
            super().ask(request, timeout_us)
            self.asked = request
            self._limit = self.deadline + 256 * self.char_us + _PAUSE_US

        def reset(self) -> None:
            super().reset()
            if self.start is not None:
                self.request = b""

        def step(self, now: int) -> int:
            if not self.request and not self.asked[0]:
                return self.verdict(TIMEOUT, True)
            return _found(self, self.asked, now)

    return Ask()


class _TcpAsk(TcpRead):
    """An answer of any function on a connection; goes on with the numbers and bytes of the read before it.

    A write that may have been sent is not sent again on another connection: then it stays unanswered.
    """

    def __init__(self, read: TcpRead) -> None:
        super().__init__()
        self.request[0], self.request[1] = read.request[0], read.request[1]
        self.buf, self.n, self._used = read.buf, read.n, read._used
        self.number = bytes(2)
        self.went = False  # the request may have left

    def reset(self) -> None:
        super().reset()
        if self.went and bytes(self.request[_HEAD + 1 : _HEAD + 2]) in _WRITES:
            self.request = bytearray()

    def ask(self, read: bytes) -> None:
        super().ask(bytes(6))
        self.number = bytes(self.request[:2])
        self.request = bytearray(self.number) + bytes((0, 0, 0, len(read))) + read

    def feed(self, chunk: bytearray, size: int) -> bool:
        buf = self.buf
        for i in range(size):
            buf[self.n + i] = chunk[i]
        self.n += size
        while self.n >= _HEAD:
            size = _HEAD + (buf[4] << 8 | buf[5])
            if buf[2] or buf[3] or not _HEAD + 3 <= size <= len(buf) or self._strays > _STRAYS:
                self.broken = True
                self.quality = BAD_ANSWER
                return True
            if self.n < size:
                return False
            if self.request and bytes(buf[:2]) == self.number:
                self.quality = _judge(self.request, _HEAD, buf, _HEAD, size - _HEAD)
                self._used = size
                return True
            self._strays += 1
            self._drop(size)
        return False


class Asked(Urgent):
    """One transaction of any function; `answer` is all of a good answer, from its function on."""

    async def outcome(self, poller: "Poller") -> int:
        """Wait for the quality; TIMEOUT also when the line is polled no more."""
        try:
            return await wait_for_ms(self.done(), _LONGEST_MS)  # type: ignore[no-any-return]
        except TimeoutError:
            if self in poller.urgent:
                poller.urgent.remove(self)
            return TIMEOUT

    async def _run(self, poller: "Poller") -> None:
        own: "Any" = poller._read
        line: "Any" = poller
        read: "Any"
        if poller.lock:
            read = _RtuAsk(own)
        elif poller._patient:
            read = _over_tcp()
        else:
            read = _TcpAsk(own)
            send = line._send

            def noted() -> bool:
                read.went = True
                return send()  # type: ignore[no-any-return]

            line._send = noted
        poller._read = read
        try:
            await super()._run(poller)
        finally:
            poller._read = own
            if not poller._patient:
                del line._send
                own.request[0], own.request[1] = read.number
                own.n, own._used = read.n, read._used
        if self.quality < TIMEOUT:
            first = read.data - 2
            self.answer = bytes(read.buf[first : read.n if poller._patient else read._used])
