"""Modbus RTU frames over a TCP connection, as serial device servers pass them.

params = {1: host, 2: port, 30: ms that a broadcast is given}

The connection is that of Modbus TCP, the answers are told apart as on a serial line, for there are no
transaction ids: what comes before a request is sent is dropped, and after an answer that stayed out the unit
is left alone until it can no longer come. But a network may hold back what it carries for longer than any
device takes, so that unit is asked again on another connection only, where nothing old comes.
"""

from time import ticks_diff, ticks_ms, ticks_us

from gasan.node import modbus_tcp
from gasan.wire.modbus_rtu import RtuRead, with_crc
from gasan.wire.quality import DISCONNECTED, TIMEOUT
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.clock import Clock
    from gasan.node.poll import Block
    from gasan.node.sampler import Sampler

_OPEN = const(2)  # as of `modbus_tcp`
_WAITING = const(3)
_CHAR_US = const(90)  # the line behind the server is not known; bytes come in segments
_GAP_US = const(30000)  # between two segments of an answer


class Read(RtuRead):
    """An `RtuRead` with the face of a `TcpRead`; ``start`` is None until the request has left."""

    broken = False

    def __init__(self) -> None:
        super().__init__(_CHAR_US, _GAP_US)
        self.start: Any = None

    def reset(self) -> None:
        self.begin()

    def room(self, size: int) -> int:
        return size

    def look(self) -> bool:
        """Whether there is a verdict."""
        return self.start is not None and self.step(ticks_diff(ticks_us(), self.start)) < 0

    def feed(self, chunk: "bytes | bytearray", size: int, now: int = 0) -> bool:  # type: ignore[override]
        if self.start is None:
            return False
        super().feed(chunk, size, ticks_diff(ticks_us(), self.start))
        return self.look()


class Source(modbus_tcp.Source):
    """One server, with one or more units behind it."""

    _read: Read  # type: ignore[assignment]
    _kind = Read  # type: ignore[assignment]
    _patient = True

    def __init__(self, bus: list, sampler: "Sampler", clock: "Clock") -> None:
        """``bus``: [type, name, params, devices]. Raises ValueError when it cannot be had."""
        super().__init__(bus, sampler, clock)
        self._turnaround_ms = bus[2].get(30, 100)
        for block in self._blocks:
            block.request = with_crc(block.request)

    def _begin(self, block: "Block") -> None:
        self._timeout = block.device.timeout_ms if block.request[0] else self._turnaround_ms
        self._read.ask(block.request, 1000 * self._timeout)
        self._read.start = None
        self._start = ticks_ms()
        if self._state == _WAITING:
            self._state = _OPEN
        if self._state == _OPEN and block.device.silent:
            pause = self._pause
            self._lost()
            self._pause = pause
            self._retry = self._start

    def _step(self) -> int:
        wait = super()._step()
        if wait >= 0 and self._state == _OPEN and ticks_diff(self._now, self._start) >= self._timeout:
            self._lost()  # so much came unasked that nothing could be sent
            return self._done(DISCONNECTED)
        return self._answered() if wait >= 0 and self._state == _WAITING and self._read.look() else wait

    def _send(self) -> bool:
        self._read.start = ticks_us()
        return super()._send()

    def _late(self) -> int:
        return 1 if self._state == _WAITING else super()._late()  # `_read` knows when it is over

    def _answered(self) -> int:
        if self._read.quality == TIMEOUT:
            self._silent += 1
            if self._silent >= modbus_tcp.SILENT:
                self._lost()
        else:
            self._silent = self._pause = 0
        return -1
