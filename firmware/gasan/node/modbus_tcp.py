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
from time import ticks_add, ticks_diff, ticks_ms

from gasan.node.poll import Poller
from gasan.wire.modbus_tcp import TcpRead
from gasan.wire.quality import DISCONNECTED, TIMEOUT
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.clock import Clock
    from gasan.node.poll import Block
    from gasan.node.sampler import Sampler

_CLOSED = const(0)
_CONNECTING = const(1)
_OPEN = const(2)  # and the request is yet to be sent
_WAITING = const(3)

_CONNECT_MS = const(5000)
_RETRY_MIN_MS = const(500)
_RETRY_MAX_MS = const(30000)
SILENT = const(3)  # unanswered requests in a row after which the connection is not believed any more
_SPIN_MS = const(2)  # an answer that comes this soon is waited for, and met without a pause
_CHUNK = const(64)


class Source(Poller):
    """One server, with one or more units behind it."""

    _read: TcpRead
    _socket: "socket.socket"
    _kind = TcpRead
    _patient = False  # transaction ids tell a late answer from the right one

    def __init__(self, bus: list, sampler: "Sampler", clock: "Clock") -> None:
        """``bus``: [type, name, params, devices]. Raises ValueError when it cannot be had."""
        self._server = (bus[2][1], bus[2][2])
        self._poll = select.poll()
        self._state = _CLOSED
        self._start = self._now = ticks_ms()
        self._since = self._retry = self._now  # when connecting began; when to try next
        self._pause = 0  # ms
        self._silent = 0
        self._timeout = 0  # ms
        self._chunk = bytearray(_CHUNK)
        self._read = self._kind()
        super().__init__(bus, sampler)

    def _begin(self, block: "Block") -> None:
        self._timeout = block.device.timeout_ms
        self._read.ask(block.request)
        self._start = ticks_ms()
        # A read goes out at once; what is left of others is told apart, and a closed connection shows later.
        if self._state == _WAITING and not (block.request[1] <= 4 and self._send()):
            self._state = _OPEN

    def _step(self) -> int:
        self._now = now = ticks_ms()
        age = ticks_diff(now, self._start)
        if self._state == _CLOSED and (age >= self._timeout or not self._connect()):
            return self._done(DISCONNECTED)
        events = 0
        for _, events in self._poll.ipoll(_SPIN_MS if self._state == _WAITING and age < _SPIN_MS else 0):
            pass
        if self._state == _CONNECTING:
            since = ticks_diff(now, self._since)
            if events & (select.POLLERR | select.POLLHUP) or since > _CONNECT_MS:
                return self._lost()
            if not events:  # a slow connect costs one block one timeout, not every block
                return 1 if since < self._timeout else self._done(DISCONNECTED)
            self._poll.modify(self._socket, select.POLLIN)
            self._state = _OPEN
        elif events:
            read = self._read
            chunk = self._chunk if read.n else read.buf
            try:
                size = self._socket.readinto(chunk, read.room(len(chunk)))
            except OSError:
                size = 0
            if size == 0:
                return self._lost()
            if size is not None:
                return self._answered() if read.feed(chunk, size) else 0 if age < _SPIN_MS else 1
        if age >= self._timeout:  # and nothing is left to be read, for the node may have been busy itself
            return self._late()
        if self._state == _OPEN:
            if not self._send():
                return self._lost()
            self._state = _WAITING
        return 0 if age < _SPIN_MS else 1

    def _answered(self) -> int:
        self._silent = 0
        if self._read.broken:
            self._lost()
        else:
            self._pause = 0
        self._read.certain = True
        return -1

    def _late(self) -> int:
        if self._state != _WAITING:
            return self._done(DISCONNECTED)
        self._silent += 1
        if self._silent >= SILENT:
            self._lost()
        self._read.certain = False
        self._read.quality = TIMEOUT
        return -1

    def _done(self, quality: int) -> int:
        self._read.quality = quality
        self._read.certain = True
        return -1

    def _send(self) -> bool:
        try:
            return self._socket.write(self._read.request) == len(self._read.request)
        except OSError:
            return False

    def _connect(self) -> bool:
        """Begin to connect, unless it is too early; True when that is under way."""
        if ticks_diff(self._now, self._retry) < 0:
            return False
        link = None
        try:
            info = socket.getaddrinfo(self._server[0], self._server[1], 0, socket.SOCK_STREAM)[0]
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
        self._read.reset()
        return True

    def _lost(self) -> int:
        """Close the connection. The request may go out again on the next one: a read changes nothing."""
        self._poll.unregister(self._socket)
        self._socket.close()
        self._state = _CLOSED
        self._later()
        return 0

    def _later(self) -> None:
        """Connect again at once the first time after an answer, then after growing pauses."""
        self._retry = ticks_add(self._now, self._pause)
        self._pause = min(max(2 * self._pause, _RETRY_MIN_MS), _RETRY_MAX_MS)

    def _end(self) -> None:
        pass
