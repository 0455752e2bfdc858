"""The part that all Modbus buses share: which block is read when, and what becomes of each due sample.

Every block is due on a grid of its period; the one that has been due longest goes first, or where periods
differ the earliest deadline (gasan.node.deadline). A due sample becomes a reading, a bad one included, or is
counted as missed. A device that does not answer is asked again after growing pauses, and what is due of it
meanwhile is bad at once, so that it costs the others little.

The path from one request to the next is one flat coroutine over plain methods of the bus, since a nested
``await`` would allocate. On a serial line it is also short: an answer is handed to the sampler, with the time
at which it came, and the next block is chosen while the next request is on its way.
"""

import gc
from array import array
from asyncio import sleep_ms
from time import ticks_add, ticks_diff, ticks_ms

from gasan.wire.modbus import reorder
from gasan.wire.quality import EXCEPTION, NO_VALUE, TIMEOUT
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.sampler import Rows, Sampler
    from gasan.wire.modbus_rtu import RtuRead
    from gasan.wire.modbus_tcp import TcpRead

_ROOM = const(32768)  # bytes of heap without which nothing is learned: the code takes 15 KB
_NAP_MS = const(250)  # so long an urgent one may have to wait on an idle line

# A device's tally is what health frames say of it (keys 55 to 69, protocols/frame.md): its first channel,
# requests by what was wrong with them (by quality, from timeout on), good answers by turnaround, strays.
_ANSWERED = const(7)  # within 8 ms, 16, 32 and so on
STRAYS = const(14)
_COUNTED = b"\x0c\x0d\x0d\x0d\x0c\x0e"  # which of the source's counters a failure belongs to

# Pauses after 1, 2, ... requests without an answer, in timeouts. The first is also how late an answer may be
# without being taken for the next one, until one comes later; the last leaves a dead device 4 % of the line
# (1 of 25), and more than three of them share 12 %.
_PAUSES = b"\x03\x06\x0c\x18"


class Device:
    """One unit on the bus and what is known of its health; `first` channel stands for its name.

    says: the quality of what is due while it is not asked.
    """

    says = TIMEOUT

    def __init__(self, timeout_ms: int, gap_ms: int, first: int) -> None:
        self.tally = array("I", (first,) + (0,) * STRAYS)
        self.timeout_ms = timeout_ms
        self.gap_ms = gap_ms
        self.ready = ticks_ms()  # before which it is not to be asked
        self.late = _PAUSES[0]  # how late an answer may be, in timeouts
        self.silent = 0  # requests in a row that it may have left unanswered


class Block:
    """Registers that are read by one request, and the columns that are cut out of the answer."""

    trust = 0  # how many refusals are overlooked, once it has been read

    def __init__(self, device: Device, request: bytes, layout: bytes, group: "Rows") -> None:
        """``request``: the read as the bus sends it. ``layout``: two bytes for each column of ``group``:
        where it begins in the answer; 0 if it can be copied, else its order and, from bit 3, its registers.
        """
        self.device = device
        self.request = request
        self.layout = layout
        self.group = group
        self.due = ticks_ms()


class Poller:
    """Reads the blocks of one bus for ever; each kind of bus has its own transaction."""

    lock: "Any" = None  # an asyncio.Lock, held while a transaction is under way
    _learner: "Any" = None  # gasan.node.learn, from the first exception on
    _patient = True  # whether a single unanswered request already brings a pause

    if TYPE_CHECKING:
        _read: RtuRead | TcpRead

        def _begin(self, block: Block) -> None:
            """Start a transaction; nothing is waited for."""

        def _step(self) -> int:
            """Carry it on: ms until the next step (0: at once), or -1: the outcome is in ``_read``.

            A bus with a lock calls ``_meanwhile`` when the request is on its way, before it takes any answer.
            """

        def _end(self) -> None:
            """The transaction is over, perhaps cut short."""

    def __init__(self, bus: list, sampler: "Sampler") -> None:
        """``bus``: [type, name, params, devices] as compiled. Raises ValueError as ``plan`` does."""
        from gasan.node.plan import plan

        self.counters = {12: 0, 13: 0, 14: 0}  # timeouts, CRC errors, exceptions
        self.beat = ticks_ms()
        self.urgent: list[Any] = []  # what goes before the polls (gasan.node.urgent)
        self.writable = [(spec[1], spec[5].get(30, ())) for spec in bus[3] if len(spec) > 6]
        self._sampler = sampler
        self._blocks = plan(bus, sampler.group, self._read, self)
        self.devices = list(set([block.device for block in self._blocks]))
        self._block = self._blocks[0]  # that is being read
        self._held: Block | None = None  # whose answer is yet to be handed over
        self._following: Block | None = None  # to be read next, if that is known
        self._at = self._held_at = ticks_ms()  # when; and when the one that is held came
        self._data = self._quality = 0  # where that begins in the buffer, and how good it is
        self._value = bytearray(62)

    async def run(self) -> None:
        """Poll until cancelled."""
        lock = self.lock
        now = ticks_ms()
        for block in self._blocks:  # on one grid, so that what is due together can be read together
            block.due = block.device.ready = now
        try:
            while True:
                self.beat = now = ticks_ms()
                if self.urgent:
                    self._deliver()
                    await self.urgent.pop(0).run(self)
                    continue
                self._block = block = self._following = self._following or self._next()
                if (wait := ticks_diff(self._at, now)) > 0:
                    self._deliver()
                    await sleep_ms(min(wait, _NAP_MS))
                    continue
                self._following = None
                period = block.group.period_ms
                late = ticks_diff(now, block.due) // period
                self._sampler.missed(block.group, late)
                block.due = ticks_add(block.due, (late + 1) * period)
                if block.device.silent and ticks_diff(block.device.ready, now) > 0:
                    self._deliver()
                    self._sampler.fail(block.group, block.device.says)
                    await sleep_ms(0)
                    continue
                if lock:
                    if lock.state:  # held, or about to be
                        self._deliver()
                        await lock.acquire()
                    lock.state = 1  # as acquire does, whose coroutine would take memory
                self.beat = ticks_ms()
                try:
                    self._begin(block)
                    while True:
                        wait = self._step()
                        if wait > 0:
                            await sleep_ms(wait)
                        elif wait < 0:
                            break
                finally:
                    self._end()
                    if lock:
                        lock.release()
                self._settle(block)
                if not lock:
                    await sleep_ms(0)  # a server that answers at once must not starve the node
        finally:
            self._deliver()

    def _meanwhile(self) -> None:
        """Do what the next request need not wait for: hand over the answer before, choose the block after."""
        self._deliver()
        device = self._block.device
        if not (device.silent or device.gap_ms):
            device.ready = self.beat
            self._following = self._next()

    def _next(self) -> Block:
        """The block to read next; ``_at`` is when. A device's pause is waited for if that skips no sample."""
        best = self._blocks[0]
        for block in self._blocks:
            at = block.due
            wait = ticks_diff(block.device.ready, at)
            if wait > 0 and not (block.device.silent and wait >= block.group.period_ms):
                at = block.device.ready
            if block is best or ticks_diff(at, self._at) < 0:
                best = block
                self._at = at
        return best

    def _settle(self, block: Block) -> None:
        """Take note of the outcome of a transaction and decide when the device may be asked again."""
        device = block.device
        quality = self._read.quality
        now = ticks_ms()
        if self._read.stray:  # it is later than was reckoned with
            device.late = _PAUSES[1]
        wait = device.gap_ms
        if self._read.certain:
            device.silent = 0
        else:
            self._following = None
            device.silent += 1
            if (step := device.silent - (1 if self._patient else 2)) >= 0:
                dead = sum([one.silent > 3 for one in self.devices]) if step > 2 else 0
                step = max(device.late, _PAUSES[min(step, len(_PAUSES) - 1)], 9 * dead)
                wait = max(wait, device.timeout_ms * step)
        if not self._following:
            device.ready = ticks_add(now, wait)
        if quality >= EXCEPTION and not self._learner and gc.mem_free() > _ROOM:
            from gasan.node.learn import Learner

            self._learner = Learner(self)
        taken = self._learner and self._learner.settled(block, quality)
        if quality < NO_VALUE:
            slot = _ANSWERED
            turnaround = ticks_diff(now, self.beat) - self._read.least_ms
            while turnaround > 8 and slot < STRAYS - 1:
                turnaround >>= 1
                slot += 1
            device.tally[slot] += 1
            device.tally[STRAYS] += self._read.spoilt or self._read.echo
            block.trust = 2
            self._held = block
            self._quality = quality
            self._held_at = now
            self._data = self._read.data
            if not self.lock:
                self._deliver()
            return
        self._deliver()
        slot = min(quality - TIMEOUT, _ANSWERED - 2)
        device.tally[slot + 1] += 1
        self.counters[_COUNTED[slot]] += 1
        if not taken:
            self._sampler.fail(block.group, quality)

    def _deliver(self) -> None:
        """Copy each column's bytes from the held answer into its group, the most significant first."""
        block = self._held
        if not block:
            return
        self._held = None
        group = block.group
        layout = block.layout
        buf = self._read.buf
        at = self._data
        self._sampler.start(group, self._held_at)
        for column in range(group.columns):
            order = layout[2 * column + 1]
            if block.request[1] < 3:  # a bit
                self._value[0] = buf[at + layout[2 * column]] >> order & 1
                group.put(column, self._value, 0)
            elif order:
                reorder(buf, at + layout[2 * column], order >> 3, order & 7, self._value)
                group.put(column, self._value, 0)
            else:
                group.put(column, buf, at + layout[2 * column])
            if self._quality:
                group.mark(column, self._quality)
        self._sampler.finish(group)
