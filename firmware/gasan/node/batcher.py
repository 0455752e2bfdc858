"""Frames of this boot: numbers them, writes batches and messages, and sees that what is lost is told.

The only writer of the spool. Flash is written while no line has a transaction under way, since a board
switches its interrupts off for each erase (rp2: 45 ms). A frame that the flash refuses is lost, its number is
spent, and a tombstone tells of it as soon as the flash takes one.
"""

import asyncio
import gc
from time import ticks_add, ticks_diff, ticks_ms

from gasan.node import log
from gasan.wire import frame
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gasan.node.clock import Clock
    from gasan.node.sampler import Rows, Sampler
    from gasan.node.spool import Spool

_TICK_MS = const(50)
_COLLECT_MS = const(5000)  # a collection of 200 KB takes some 20 ms on rp2
_LOOK_MS = const(2)
_QUIET_MS = const(1500)  # so long a line is waited for; what takes longer waits for a device that is dead


class Batcher:
    """Writes the frames of one boot.

    boot, rev: 8 bytes each. locks: of the lines that must be quiet. seq: of the next frame. count: readings
    in all frames so far. lost: readings in frames that were given up. heap_free, heap_low: bytes free after
    the last collection, and after the worst one.
    """

    def __init__(
        self,
        writer: frame.FrameWriter,
        spool: "Spool",
        sampler: "Sampler",
        clock: "Clock",
        boot: bytes,
        rev: bytes,
    ) -> None:
        self.seq = 0
        self.count = 0
        self.lost = 0
        self.locks: list[asyncio.Lock] = []
        self.beat = ticks_ms()
        self.heap_free = self.heap_low = 0x3FFFFFFF  # until the first collection
        self._collected = ticks_ms()
        self._writer = writer
        self._spool = spool
        self._sampler = sampler
        self._clock = clock
        self._boot = boot
        self._rev = rev
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Write each batch when it is due, and remove what the gateway has."""
        while True:
            self.beat = ticks_ms()
            if self._sampler.due():
                await self.flush()
            elif self._spool.unswept:
                await self.quietly(self._spool.sweep)
            await asyncio.sleep_ms(_TICK_MS)

    async def flush(self) -> None:
        """Write what was sampled so far."""
        await self.quietly(self._flush)

    async def put(self, kind: int, content: "Any") -> None:
        """Write a frame of another kind than data; content: as FrameWriter.content takes it, or CBOR."""
        await self.quietly(self._put, kind, content)

    async def quietly(self, work: "Callable[..., Any]", *args: "Any") -> "Any":
        """Call what writes to flash while the lines are quiet; returns its result."""
        async with self._turn:
            held = []
            try:
                end = ticks_add(ticks_ms(), _QUIET_MS)
                for lock in self.locks:
                    # wait_for_ms may give up a lock that it has just got, and then nobody ever gets it.
                    task = asyncio.create_task(lock.acquire())
                    try:
                        while not task.done() and ticks_diff(end, ticks_ms()) > 0:
                            await asyncio.sleep_ms(_LOOK_MS)
                    finally:
                        if task.done():
                            held.append(lock)
                        else:
                            task.cancel()
                # A line that was not had: what is under way on it may have to be asked again.
                return work(*args)
            finally:
                if ticks_diff(ticks_ms(), self._collected) > _COLLECT_MS:
                    self.collect()
                for lock in held:
                    lock.release()

    def collect(self) -> None:
        """Collect garbage here, where no answer is under way, so that it seldom happens where one is."""
        gc.collect()
        self.heap_free = gc.mem_free()
        self.heap_low = min(self.heap_low, self.heap_free)
        self._collected = ticks_ms()

    def _flush(self) -> None:
        groups = self._sampler.groups
        while True:
            base = None
            for g in groups:
                if g.n and (base is None or ticks_diff(g.oldest(), base) < 0):
                    base = g.oldest()
            if base is None:
                return
            self._make_room()
            self._begin(frame.DATA, self._clock.at(base), self._rev)
            full = False
            for g in groups:
                g.offered = 0 if full else self._add(g, ticks_diff(base, g.base))
                full = full or g.first + g.offered < g.n
            readings = self._writer.readings
            size = self._commit(readings)
            for g in groups:
                g.take()
            self._sampler.written(readings, size)

    def _add(self, g: "Rows", shift: int) -> int:
        """Add as many rows of a group as fit; returns their number."""
        rows = g.n - g.first
        while rows and not self._writer.add(g, shift, g.first, g.first + rows):
            rows >>= 1
        return rows

    def _put(self, kind: int, content: "Any") -> None:
        self._make_room()
        self._write(kind, None, content)

    def _write(self, kind: int, rev: bytes | None, content: "Any") -> None:
        self._begin(kind, self._clock.now(), rev or self._rev)
        if isinstance(content, (bytes, memoryview)):
            self._writer.raw(content)
        else:
            self._writer.content(content)
        self._commit(0)

    def _begin(self, kind: int, mono: int, rev: bytes) -> None:
        self._writer.begin(kind, self._boot, self.seq, self.count, mono, rev)

    def _commit(self, readings: int) -> int:
        """Seal the frame and give it to the spool, or account for its loss; returns its length."""
        data = self._writer.seal()
        count = self.count + readings  # takes memory beyond 2**30; behind a commit nothing may fail
        try:
            try:
                self._spool.append(data, self._boot, self.seq)
            except OSError:
                self._spool.append(data, self._boot, self.seq)  # once more, in a segment of its own
        except OSError as e:
            log.error("spool: frame %d with %d readings is lost: %s" % (self.seq, readings, e))
            from gasan.node import losses

            losses.refused(self._spool, data, readings)
            self.lost += readings
        self.seq += 1
        self.count = count
        return len(data)

    def _make_room(self) -> None:
        if self._spool.debts or self._spool.is_full():
            from gasan.node import losses

            self.lost += losses.make_room(self._spool, self._write)
