"""Modbus RTU master on a UART, polling as ``gasan.node.poll`` says.

params = {1: uart id, 2: baud rate, 3: parity (0 none, 1 even, 2 odd), 4: stop bits, 5: pin of DE and /RE,
          6 and 7: pins of TX and RX, when they are not the port's own, 30: ms that a broadcast is given,
          31: us from DE to the first bit, 32: 1 if the adapter lets us hear ourselves}

The silence of 3.5 characters between frames is kept to a fraction of a millisecond. From the last moments of
a request until DE is released nothing else runs, so that no answer meets a driven line.
"""

from asyncio import Lock
from time import sleep_us, ticks_add, ticks_diff, ticks_ms, ticks_us

from gasan.node.poll import STRAYS, Poller
from gasan.wire.modbus_rtu import RtuRead, with_crc
from gasan.wire.quality import BAD_CRC
from machine import UART, Pin
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.clock import Clock
    from gasan.node.poll import Block
    from gasan.node.sampler import Sampler

_QUIET = const(0)  # waiting for 3.5 characters of silence
_SENDING = const(1)
_WAITING = const(2)

_GAP_FAST_US = const(1750)  # above 19200 baud, by MODBUS over Serial Line V1.02, 2.5.1.1
_LONG_AGO_MS = const(1000)  # longer than any gap, far shorter than the wrap of ticks_us
_TX_SLACK_US = const(5000)  # how long a UART may claim to be sending beyond the computed time
_HOLD_US = const(20000)  # longer than other tasks run in one go: so much of a request is waited out
_SLEEP_US = const(2500)  # shorter waits are not left to asyncio, which may take a millisecond more
_LOOKS = const(16)  # for the next byte, between two looks at the clock
_CHUNK = const(64)
_RXBUF = const(512)


def _wait(end: "Any") -> None:
    """Wait for a tick of ticks_us. On rp2 only a sleep of up to 1 ms ends in time, longer ones 1 ms later."""
    while (left := ticks_diff(end, ticks_us())) > 1000:
        sleep_us(left - 1500 if left > 2500 else 1000)
    if left > 0:
        sleep_us(left)


class Source(Poller):
    """One RS-485 or RS-232 line."""

    _read: RtuRead

    def __init__(self, bus: list, sampler: "Sampler", clock: "Clock") -> None:
        """``bus``: [type, name, params, devices]. Raises ValueError or OSError when it cannot be had."""
        self.params = params = bus[2]
        parity = params.get(3, 0)
        stop = params.get(4, 1)
        char_us = -(-(9 + (parity > 0) + stop) * 1000000 // params[2])
        self._read = RtuRead(char_us, _GAP_FAST_US if params[2] > 19200 else char_us * 7 // 2)
        self._read.echo = params.get(32, 0) == 1
        pins: dict = {"tx": Pin(params[6]), "rx": Pin(params[7])} if 6 in params else {}
        # Read with timeout 0 and never more than any() says: rp2 waits for each missing character.
        code = (None, 0, 1)[parity]
        self._uart = UART(params[1], params[2], 8, code, stop, timeout=0, rxbuf=_RXBUF, **pins)
        self._drive = Pin(params[5], Pin.OUT, value=0) if 5 in params else None
        self._chunk = bytearray(_CHUNK)
        self._state = _QUIET
        self._timeout = 0  # us
        self._start = self._last = ticks_us()
        self._last_ms = ticks_ms()
        self.lock = Lock()
        super().__init__(bus, sampler)
        for block in self._blocks:
            block.request = with_crc(block.request)

    def _begin(self, block: "Block") -> None:
        self._timeout = (block.device.timeout_ms if block.request[0] else self.params.get(30, 100)) * 1000
        self._read.ask(block.request, self._timeout)
        self._start = ticks_us()
        if ticks_diff(ticks_ms(), self._last_ms) > _LONG_AGO_MS:
            self._last = ticks_add(self._start, -self._read.gap_us)
        self._state = _QUIET

    def _step(self) -> int:
        if self._state == _WAITING:
            return self._receive()
        now = ticks_us()
        left = ticks_diff(self._last, now)
        if self._state == _SENDING:
            if left > _HOLD_US:
                return (left - _HOLD_US) // 1000 + 1
            _wait(self._last)
            while not self._uart.txdone() and ticks_diff(ticks_us(), self._last) < _TX_SLACK_US:
                pass
            self._end()
            return self._sent()
        left += self._read.gap_us
        if left < _SLEEP_US:
            _wait(ticks_add(now, left))
        elif not self._uart.any():  # the answer that another master waits for ends it
            return min(left // 1000 - 1, 5)
        read = self._read
        if size := self._uart.any():  # a late answer, noise or another master: have the line quiet first
            self._deliver()
            read.n = read.resync().room(read)
            read.feed(self._chunk, self._uart.readinto(self._chunk, min(size, _CHUNK)) or 0, 0)
            self._block.device.tally[STRAYS] += 1
            self._last = ticks_us()
        elif read.n and read.resync().heard(read, 0, read.n):  # another master waits: let it have its answer
            self._last = ticks_add(now, self._timeout)
            read.n = 0
        else:
            return self._send()
        return 1 if ticks_diff(now, self._start) < 2 * self._timeout else read.verdict(BAD_CRC, True)

    def _send(self) -> int:
        if self._drive:
            self._drive(1)
            sleep_us(self.params.get(31, 0))
        self._read.n = 0
        self._read.stray = self._read.stray and not self._block.device.silent  # else it was waited for
        self._start = ticks_us()
        self._uart.write(self._read.request)
        self._last = ticks_add(self._start, self._read.sent_us)
        if self._drive:
            self._state = _SENDING
            return 0
        return self._sent()

    def _sent(self) -> int:
        self._state = _WAITING
        self._meanwhile()
        return 1  # so that other tasks have their turn, however fast the line is

    def _receive(self) -> int:
        """Take what has come of the answer; returns as `_step`."""
        read = self._read
        uart = self._uart
        while True:
            size = uart.any()
            now = ticks_us()
            if size:
                self._last = now
                chunk = self._chunk if read.n else read.buf
                size = uart.readinto(chunk, min(size, len(chunk))) or 0
                read.feed(chunk, size, ticks_diff(now, self._start))
            wait = read.step(ticks_diff(now, self._start))
            # To take in has cost time, so the wait is not right any more; but a line that never falls silent
            # must not keep the other tasks from running.
            if wait < 0 or wait and (not size or read.spoilt):
                return wait
            for _ in range(_LOOKS):
                if uart.any():
                    break

    def _end(self) -> None:
        self._last_ms = ticks_ms()
        if self._drive:
            self._drive(0)
