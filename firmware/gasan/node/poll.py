"""The part that all Modbus buses share: which block is read when, and what becomes of each due sample.

Every block is due on a grid of its period; the block that has been due longest goes first. A due sample
becomes a reading, a bad one included, or is counted as missed. A device that does not answer is asked again
after growing pauses, and what is due of it meanwhile is bad at once, so that it costs the others little.

The path from one request to the next is one flat coroutine over plain methods of the bus, since a nested
``await`` would allocate.
"""

from asyncio import sleep_ms
from time import ticks_add, ticks_diff, ticks_ms

from gasan.node.plan import Block, plan
from gasan.wire.modbus import reorder
from gasan.wire.quality import BAD_ANSWER, BAD_CRC, EXCEPTION, GOOD, TIMEOUT
from micropython import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Lock

    from gasan.node.sampler import Sampler
    from gasan.wire.modbus_rtu import RtuAnswer
    from gasan.wire.modbus_tcp import TcpAnswer

_TIMEOUTS = const(12)  # keys of the node's status
_CRC_ERRORS = const(13)
_EXCEPTIONS = const(14)
_NAP_MS = const(2000)

# Pauses after 1, 2, ... requests without an answer, in timeouts. The first is also how late an answer may be
# without being taken for the next one; the last leaves a dead device 4 % of the line (1 of 25).
_PAUSES = b"\x03\x06\x0c\x18"


class Poller:
    """Reads the blocks of one bus for ever; each kind of bus has its own transaction."""

    lock: "Lock | None" = None  # held while a transaction is under way
    _answer: "RtuAnswer | TcpAnswer"
    _patient = True  # whether a single unanswered request already brings a pause

    def __init__(self, specs: "list[list]", sampler: "Sampler") -> None:
        """``specs``: the bus's devices as compiled. Raises ValueError as ``plan`` does."""
        self.counters = {_TIMEOUTS: 0, _CRC_ERRORS: 0, _EXCEPTIONS: 0}
        self.beat = ticks_ms()
        self._sampler = sampler
        self._blocks = plan(specs, sampler.group)
        self._at = ticks_ms()
        self._value = bytearray(8)
        self._quality = GOOD
        self._certain = True  # False: the device may be yet to answer

    async def run(self) -> None:
        """Poll until cancelled."""
        lock = self.lock
        for block in self._blocks:
            block.due = ticks_ms()
            block.device.ready = block.due
        while True:
            block = self._next()
            while True:
                self.beat = now = ticks_ms()
                wait = ticks_diff(self._at, now)
                if wait <= 0:
                    break
                await sleep_ms(min(wait, _NAP_MS))
            late = ticks_diff(now, block.due) // block.period_ms
            if late > 0:
                self._sampler.missed(block.group, late)
            block.due = ticks_add(block.due, (late + 1) * block.period_ms)
            if block.device.silent and ticks_diff(block.device.ready, now) > 0:
                self._sampler.fail(block.group, TIMEOUT)
                await sleep_ms(0)
                continue
            if lock:
                await lock.acquire()
            try:
                self._begin(block)
                while True:
                    pause = self._step()
                    if pause > 0:
                        await sleep_ms(pause)
                    elif pause < 0:
                        break
            finally:
                self._end()
                if lock:
                    lock.release()
            if not lock:
                await sleep_ms(0)  # a server that answers at once must not starve the node
            self._settle(block)

    def _begin(self, block: Block) -> None:
        """Start a transaction; nothing is waited for."""
        raise NotImplementedError

    def _step(self) -> int:
        """Carry it on: ms until the next step (0: at once), or ``DONE`` and the outcome in ``_quality``."""
        raise NotImplementedError

    def _end(self) -> None:
        """The transaction is over, perhaps cut short."""

    def _next(self) -> Block:
        """The block to read next; ``_at`` is when. A device's pause is waited for if that skips no sample."""
        best = self._blocks[0]
        for block in self._blocks:
            at = block.due
            hold = ticks_diff(block.device.ready, at)
            if hold > 0 and not (block.device.silent and hold >= block.period_ms):
                at = block.device.ready
            if block is best or ticks_diff(at, self._at) < 0:
                best = block
                self._at = at
        return best

    def _settle(self, block: Block) -> None:
        """Hand the outcome of a transaction to the sampler and decide when the device may be asked again."""
        device = block.device
        pause = device.gap_ms
        if self._certain:
            device.silent = 0
        else:
            device.silent += 1
            step = device.silent - (1 if self._patient else 2)
            if step >= 0:
                pause = max(pause, device.timeout_ms * _PAUSES[min(step, len(_PAUSES) - 1)])
        device.ready = ticks_add(ticks_ms(), pause)
        if self._quality == GOOD:
            self._deliver(block)
        else:
            self._fail(block, self._quality)

    def _fail(self, block: Block, quality: int) -> None:
        if quality == TIMEOUT:
            self.counters[_TIMEOUTS] += 1
        elif quality == BAD_CRC or quality == BAD_ANSWER:
            self.counters[_CRC_ERRORS] += 1
        elif quality >= EXCEPTION:
            self.counters[_EXCEPTIONS] += 1
        self._sampler.fail(block.group, quality)

    def _deliver(self, block: Block) -> None:
        """Copy each column's bytes from the answer into the group, the most significant first."""
        group = block.group
        buf = self._answer.buf
        value = self._value
        self._sampler.start(group)
        for column in range(len(block.offsets)):
            pos = self._answer.data + block.offsets[column]
            width = block.widths[column]
            order = block.orders[column]
            if order:
                reorder(buf, pos, (width + 1) // 2, order, value)
                group.put(column, value, width & 1)
            else:
                group.put(column, buf, pos + (width & 1))
        self._sampler.finish(group)
