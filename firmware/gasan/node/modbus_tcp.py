"""Modbus TCP client of one server, polling as ``gasan.node.poll`` says.

params = {1: host, 2: port}

The connection is kept. It is made again, after growing pauses, when the server closes it, when the stream has
lost its frames, or when three requests in a row brought nothing (a half-open connection looks like that).
Connecting waits at most for one timeout of the block at hand; but a host *name* is looked up by the port's
``getaddrinfo``, which blocks the whole node: give an address where the name server may be away.
"""

import select
import socket
from errno import EINPROGRESS
from time import ticks_add, ticks_diff, ticks_ms, ticks_us

from gasan.node.poll import Poller
from gasan.wire.modbus import DONE
from gasan.wire.modbus_tcp import FRAME_MAX, REQUEST_SIZE, TcpAnswer, build_read
from gasan.wire.quality import DISCONNECTED, TIMEOUT
from micropython import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gasan.node.clock import Clock
    from gasan.node.plan import Block
    from gasan.node.sampler import Sampler

_CLOSED = const(0)
_CONNECTING = const(1)
_OPEN = const(2)

_CONNECT_MS = const(5000)
_RETRY_MIN_MS = const(500)
_RETRY_MAX_MS = const(30000)
_SILENT = const(3)  # unanswered requests in a row after which the connection is not believed any more
_SPIN_US = const(1000)  # an answer that is this quick is met without a pause


class Source(Poller):
    """One server, with one or more units behind it."""

    _answer: TcpAnswer
    _socket: "socket.socket"
    _patient = False  # transaction ids tell a late answer from the right one

    def __init__(self, bus: list, sampler: "Sampler", clock: "Clock") -> None:
        """``bus``: [type, name, params, devices]. Raises ValueError when it cannot be had."""
        self._host = bus[2][1]
        self._port = bus[2][2]
        self._poll = select.poll()
        self._state = _CLOSED
        self._since = self._retry = ticks_ms()  # when connecting began; when to try next
        self._pause_ms = 0
        self._silent = 0
        self._sent = False
        self._start = self._now = ticks_ms()
        self._start_us = ticks_us()
        self._timeout_ms = 0
        self._transaction = 0
        self._request = bytearray(REQUEST_SIZE)
        self._chunk = bytearray(FRAME_MAX)
        self._answer = TcpAnswer()
        super().__init__(bus[3], sampler)

    def _begin(self, block: "Block") -> None:
        device = block.device
        self._transaction = (self._transaction + 1) & 0xFFFF
        build_read(self._request, self._transaction, device.unit, block.function, block.register, block.count)
        self._answer.expect(self._transaction, device.unit, block.function, block.count)
        self._timeout_ms = device.timeout_ms
        self._sent = False
        self._start = ticks_ms()

    def _step(self) -> int:
        """Milliseconds until the next step (0: at once) or ``DONE``."""
        self._now = now = ticks_ms()
        if ticks_diff(now, self._start) >= self._timeout_ms:
            return self._late()
        if self._state == _CLOSED and not self._connect():
            return self._done(DISCONNECTED)
        events = 0
        for _, events in self._poll.ipoll(0):
            pass
        if self._state == _CONNECTING:
            age = ticks_diff(now, self._since)
            if events & (select.POLLERR | select.POLLHUP) or age > _CONNECT_MS:
                return self._lost()
            if not events:  # a slow connect costs one block one timeout, not every block
                return 1 if age < self._timeout_ms else self._done(DISCONNECTED)
            self._poll.modify(self._socket, select.POLLIN)
            self._state = _OPEN
        elif events:
            size = self._read()
            if size == 0:
                return self._lost()
            if size > 0 and self._answer.feed(self._chunk, size):
                return self._answered()
        if not self._sent:
            if self._write() != REQUEST_SIZE:
                return self._lost()
            self._sent = True
            self._start_us = ticks_us()
            return 0
        return 0 if ticks_diff(ticks_us(), self._start_us) < _SPIN_US else 1

    def _answered(self) -> int:
        self._silent = 0
        if self._answer.broken:
            self._lost()
        else:
            self._pause_ms = 0
        return self._done(self._answer.quality)

    def _late(self) -> int:
        if not self._sent:
            return self._done(DISCONNECTED)
        self._silent += 1
        if self._silent >= _SILENT:
            self._lost()
        self._certain = False
        self._quality = TIMEOUT
        return DONE

    def _done(self, quality: int) -> int:
        self._quality = quality
        self._certain = True
        return DONE

    def _read(self) -> int:
        """Bytes read into the chunk, -1 for none yet; 0 when the connection is closed."""
        try:
            size = self._socket.readinto(self._chunk, FRAME_MAX - self._answer.n)
        except OSError:
            return 0
        return -1 if size is None else size

    def _write(self) -> int:
        try:
            return self._socket.write(self._request) or 0
        except OSError:
            return 0

    def _connect(self) -> bool:
        """Begin to connect, unless it is too early; True when that is under way."""
        if ticks_diff(self._now, self._retry) < 0:
            return False
        link = None
        try:
            info = socket.getaddrinfo(self._host, self._port, 0, socket.SOCK_STREAM)[0]
            link = socket.socket(info[0], info[1], info[2])
            link.setblocking(False)
            link.connect(info[-1])
        except OSError as error:
            if link is None or error.errno != EINPROGRESS:
                if link:
                    link.close()
                self._later()
                return False
        self._socket = link
        self._poll.register(link, select.POLLOUT)
        self._state = _CONNECTING
        self._since = self._now
        self._silent = 0
        self._answer.reset()
        return True

    def _lost(self) -> int:
        """Close the connection. The request may go out again on the next one: a read changes nothing."""
        self._poll.unregister(self._socket)
        self._socket.close()
        self._state = _CLOSED
        self._sent = False
        self._later()
        return 0

    def _later(self) -> None:
        """At once the first time after an answer, then after growing pauses."""
        self._retry = ticks_add(self._now, self._pause_ms)
        self._pause_ms = min(max(2 * self._pause_ms, _RETRY_MIN_MS), _RETRY_MAX_MS)
