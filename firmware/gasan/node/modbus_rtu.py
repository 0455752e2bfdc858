"""Modbus RTU master on a UART, polling as ``gasan.node.poll`` says.

params = {1: uart id, 2: baud rate, 3: parity (0 none, 1 even, 2 odd), 4: stop bits, 5: pin of DE and /RE,
          6 and 7: pins of TX and RX, when they are not the port's own}

The silence of 3.5 characters between frames is kept to a fraction of a millisecond by spinning the last one.
"""

from asyncio import Lock
from time import ticks_add, ticks_diff, ticks_ms, ticks_us

from gasan.node.poll import Poller
from gasan.wire.modbus_rtu import RtuRead
from gasan.wire.quality import BAD_CRC
from machine import UART, Pin
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.clock import Clock
    from gasan.node.poll import Block
    from gasan.node.sampler import Sampler

_QUIET = const(0)  # waiting for 3.5 characters of silence
_SENDING = const(1)
_WAITING = const(2)

_GAP_FAST_US = const(1750)  # above 19200 baud, by MODBUS over Serial Line V1.02, 2.5.1.1
_LONG_AGO_MS = const(1000)  # longer than any gap, far shorter than the wrap of ticks_us
_TX_SLACK_US = const(5000)  # how long a UART may claim to be sending beyond the computed time
_CHUNK = const(64)
_RXBUF = const(512)


class Source(Poller):
    """One RS-485 or RS-232 line."""

    _read: RtuRead

    def __init__(self, bus: list, sampler: "Sampler", clock: "Clock") -> None:
        """``bus``: [type, name, params, devices]. Raises ValueError or OSError when it cannot be had."""
        params = bus[2]
        parity = params.get(3, 0)
        stop = params.get(4, 1)
        char_us = -(-(9 + (parity > 0) + stop) * 1000000 // params[2])
        self._read = RtuRead(char_us, _GAP_FAST_US if params[2] > 19200 else char_us * 7 // 2)
        pins: dict = {"tx": Pin(params[6]), "rx": Pin(params[7])} if 6 in params else {}
        # Read with timeout 0 and never more than any() says: rp2 waits for each missing character.
        self._uart = UART(
            params[1],
            baudrate=params[2],
            bits=8,
            parity=(None, 0, 1)[parity],
            stop=stop,
            timeout=0,
            rxbuf=_RXBUF,
            **pins,
        )
        self._drive = Pin(params[5], Pin.OUT, value=0) if 5 in params else None
        self._chunk = bytearray(_CHUNK)
        self._state = _QUIET
        self._timeout = 0  # us
        self._start = self._last = ticks_us()
        self._last_ms = ticks_ms()
        self.lock = Lock()
        super().__init__(bus[3], sampler)

    def _begin(self, block: "Block") -> None:
        device = block.device
        self._timeout = device.timeout_ms * 1000
        self._read.ask(device.unit, block.function, block.register, block.count, self._timeout)
        self._start = ticks_us()
        if ticks_diff(ticks_ms(), self._last_ms) > _LONG_AGO_MS:
            self._last = ticks_add(self._start, -self._read.gap_us)
        self._state = _QUIET

    def _step(self) -> int:
        now = ticks_us()
        since = ticks_diff(now, self._start)
        if self._state == _WAITING:
            while True:
                size = self._take()
                if not size:
                    return self._read.step(since)
                self._last = ticks_us()  # not `now`: the byte may be younger
                since = ticks_diff(self._last, self._start)
                self._read.feed(self._chunk, size, since)
        if self._state == _SENDING:
            left = ticks_diff(self._last, now)
            if left <= 0 and (self._uart.txdone() or left < -_TX_SLACK_US):
                self._end()
                self._state = _WAITING
                return 1
        elif self._take():  # a late answer, noise or another master: have the line quiet first
            self._last = ticks_us()
            if since < self._timeout:
                return 1
            self._read.quality = BAD_CRC
            self._read.certain = True
            return -1
        else:
            left = self._read.gap_us - ticks_diff(now, self._last)
            if left <= 0:
                self._send()
                return 1
        return left // 1000 - 1 if left >= 2000 else 0

    def _send(self) -> None:
        self._state = _WAITING
        if self._drive:
            self._drive(1)
            self._state = _SENDING
        self._start = ticks_us()
        self._uart.write(self._read.request)
        self._last = ticks_add(self._start, 8 * self._read.char_us)

    def _take(self) -> int:
        """Read what has come in, nothing waited for, up to a chunk; returns how many bytes."""
        size = self._uart.any()
        return (self._uart.readinto(self._chunk, min(size, _CHUNK)) or 0) if size else 0

    def _end(self) -> None:
        self._last_ms = ticks_ms()
        if self._drive:
            self._drive(0)
