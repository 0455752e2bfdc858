"""A transaction that goes before the polls of a line: a write, a command's read, a probe. Loaded by need.

    job = Urgent(poller, read_request(1, 3, 100, 2), 2000)
    if await job.done() == GOOD: ... job.answer ...

The line is used as by a poll: its lock is held, a device's gap is waited for, and an answer that stays out
brings the device the same pause as after a poll. Those that wait on a line are done in their order.
"""

from asyncio import Event, sleep_ms
from time import ticks_add, ticks_diff, ticks_ms

from gasan.node.poll import Device
from gasan.wire.modbus_rtu import with_crc
from gasan.wire.quality import GOOD, TIMEOUT
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.app import Node
    from gasan.node.poll import Poller

_WAITING_MOST = const(8)
_PAUSE = const(3)  # timeouts: how late an answer may be, as of a poll
_TIMEOUT_MS = const(1000)  # of a unit that is not polled


class Busy(Exception):
    """So many wait for the line that no other is taken."""


class Urgent:
    """One transaction with a deadline, as the poller takes it.

    quality: its outcome, TIMEOUT until there is one. sent: whether the request may have gone out. answer: the
    registers, or bits, of a good read.
    """

    def __init__(self, poller: "Poller", request: bytes, deadline_ms: int) -> None:
        """Queue ``request`` (unit, function and data). It goes out within ``deadline_ms`` or not at all.

        Raises Busy.
        """
        if len(poller.urgent) >= _WAITING_MOST:
            raise Busy("%d commands wait for the line" % _WAITING_MOST)
        self.device = _device(poller, request[0])
        self.request = with_crc(request) if poller._patient else request
        self.quality = TIMEOUT
        self.sent = False
        self.answer = b""
        self._end = ticks_add(ticks_ms(), deadline_ms)
        self._event = Event()
        poller.urgent.append(self)

    async def done(self) -> int:
        """Wait for the outcome; returns the quality."""
        await self._event.wait()
        return self.quality

    def finished(self) -> bool:
        """Whether there is an outcome."""
        return self._event.is_set()

    async def run(self, poller: "Poller") -> None:
        """What the poller calls when it is this one's turn."""
        try:
            await self._run(poller)
        finally:
            poller._following = None  # it may have to wait for the device now
            self._event.set()  # whoever waits must not wait for ever

    async def _run(self, poller: "Poller") -> None:
        device = self.device
        # A silent device is asked nevertheless: somebody wants to know, and it may be back.
        while not device.silent and ticks_diff(device.ready, ticks_ms()) > 0:
            if ticks_diff(self._end, ticks_ms()) < 0:
                return
            poller.beat = ticks_ms()
            await sleep_ms(1)
        if poller.lock:
            await poller.lock.acquire()
        try:
            if ticks_diff(self._end, ticks_ms()) < 0:
                return
            self.sent = True
            poller.beat = ticks_ms()
            poller._begin(self)  # type: ignore[arg-type]  # of a block it takes device and request
            while True:
                wait = poller._step()
                if wait > 0:
                    await sleep_ms(wait)
                elif wait < 0:
                    break
        finally:
            poller._end()
            if poller.lock:
                poller.lock.release()
        read = poller._read
        self.quality = read.quality
        wait = device.gap_ms
        if read.certain:
            device.silent = 0
        else:
            device.silent = max(device.silent, 1)
            wait = max(wait, _PAUSE * device.timeout_ms)
        device.ready = ticks_add(ticks_ms(), wait)
        if read.quality == GOOD:
            self.answer = bytes(read.buf[read.data : read.data + read.buf[read.data - 1]])


def wake(node: "Node", poller: "Poller") -> None:
    """End the nap of a poller whose next block is not due yet, so that what is urgent need not wait for that.

    As Task.cancel does it (MicroPython's asyncio/task.py), without the exception.
    """
    from asyncio import core  # type: ignore[attr-defined]  # MicroPython's; the tests' virtual line has none

    if poller._following and not (poller.lock and poller.lock.state):
        for _, part, task in node._tasks:
            state: Any = task
            if part is poller and not hasattr(state.data, "remove"):
                if ticks_diff(state.ph_key, ticks_ms()) > 0:
                    core._task_queue.remove(task)
                    core._task_queue.push(task)


def _device(poller: "Poller", unit: int) -> Device:
    """What is known of a unit; of one that is not polled nothing."""
    for block in poller._blocks:
        if block.request[0] == unit and block.layout:  # not of what is retired
            return block.device
    return Device(_TIMEOUT_MS, 0, 0)
