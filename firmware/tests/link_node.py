"""A node that is nothing but its link: runs on the VM, with the real link and console and a spool in memory.

    link_node.py KEY_HEX NODE_ID_HEX GENERATION FRAMES CONSOLE [STANDINS]

CONSOLE 0: the stream is not the console, so that lines of the log travel in packets. 2: it is BLE, by the
module `bluetooth` in the folder STANDINS. The commands let a test look inside; see gasan.hil.link_bench.
"""

import asyncio
import os
import sys
import time

from gasan.node import log
from gasan.node.console import Console
from gasan.node.link import Link
from gasan.wire import frame, link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Clock:
    """Milliseconds since the start."""

    def __init__(self) -> None:
        self._start = time.ticks_ms()

    def now(self) -> int:
        return time.ticks_diff(time.ticks_ms(), self._start)


class MemorySpool:
    """What the link asks of a spool, without the flash."""

    def __init__(self, writer: "Any", boot: bytes) -> None:
        self.records: list[list[Any]] = []  # [seq, frame, acknowledged]
        self.rewinds = 0
        self._writer = writer
        self._boot = boot
        self._at = 0

    def add(self, size: int = 0) -> None:
        """One more frame: a crash report; size: bytes of text, 0: it depends on the frame's number."""
        seq = len(self.records)
        self._writer.begin(frame.CRASH, self._boot, seq, 0, seq, bytes(8))
        self._writer.content("%d " % seq + "\x00x" * (size // 2 or seq * 37 % 400))
        self.records.append([seq, bytes(self._writer.seal()), False])

    def next(self, buf: "Any") -> int:
        while self._at < len(self.records):
            _, data, acknowledged = self.records[self._at]
            self._at += 1
            if not acknowledged:
                buf[: len(data)] = data
                return len(data)
        return 0

    def rewind(self) -> None:
        self.rewinds += 1
        self._at = 0

    def ack(self, boot: bytes, upto: int, ranges: "list[int]") -> None:
        if boot != self._boot:
            return
        for record in self.records:
            seq = record[0]
            for i in range(0, len(ranges), 2):
                record[2] = record[2] or ranges[i] <= seq <= ranges[i + 1]
            record[2] = record[2] or seq < upto
            if record[2]:
                record[1] = b""  # or long tests fill the heap

    def left(self) -> int:
        return sum([not record[2] for record in self.records])


class Sampler:
    sampled = 0


class Starved:
    def __getitem__(self, key: Any) -> str:
        raise MemoryError


class Node:
    """The app as the link sees it."""

    def __init__(self, key: bytes, node_id: bytes, generation: int) -> None:
        self.id = node_id
        self.generation = generation
        self.boot = os.urandom(8)
        self.k_link = link.link_key(key)
        self.clock = Clock()
        self.sampler = Sampler()
        self.spool = MemorySpool(frame.FrameWriter(node_id, generation, frame.frame_key(key)), self.boot)
        self.done = 0  # commands that were carried out
        self.blob = bytearray()
        self.late_ms = 0  # the longest that another task had to wait for its turn
        self.link: Any = None

    def status(self) -> "dict[int, int]":
        return {
            1: self.sampler.sampled,
            5: self.spool.left(),
            10: len(self.spool.records),
            11: self.clock.now(),
        }

    def orders(self) -> "Node":
        return self

    async def command(self, name: str, args: "list[Any]") -> "tuple[int, str]":
        self.done += 1
        if name == "refused":  # what the link has refused, as reason=count
            return 0, " ".join(["%s=%d" % item for item in self.link.refused.items()])
        if name == "look":
            text = "left=%d rewinds=%d done=%d late_ms=%d blob=%d"
            return 0, text % (self.spool.left(), self.spool.rewinds, self.done, self.late_ms, len(self.blob))
        if name == "frames":  # how many, and how long if it matters
            for _ in range(args[0]):
                self.spool.add(*args[1:])
        elif name == "sample":  # a while after the status that follows the result
            asyncio.create_task(self._sample(args[0]))
        elif name == "print":
            print(args[0])
        elif name == "log":
            for line in args:
                log.info(line)
        elif name == "slow":
            await asyncio.sleep_ms(args[0])
        elif name == "starved":  # done, and then there is no memory to note it
            return 0, Starved()  # type: ignore[return-value]
        elif name == "raise":
            raise OSError(5)
        elif name == "farewell":
            asyncio.create_task(self._leave())
        else:
            return 1, "unknown command"
        return 0, name

    async def _sample(self, readings: int) -> None:
        await asyncio.sleep_ms(200)
        self.sampler.sampled += readings

    async def _leave(self) -> None:
        await asyncio.sleep_ms(100)
        await self.link.farewell()
        sys.exit(0)

    async def put(self, kind: int, digest: bytes, total: int, offset: int, data: bytes) -> "tuple[int, int]":
        """Kind 9 is refused, kind 8 never gets on."""
        if kind == 9:
            return offset, link.PUT_REFUSED
        if kind == 8:
            return 0, link.PUT_MORE
        if offset == len(self.blob):
            self.blob.extend(data)
        return len(self.blob), link.PUT_COMPLETE if len(self.blob) == total else link.PUT_MORE

    async def watch(self) -> None:
        """Measure how long the link keeps others waiting."""
        while True:
            before = self.clock.now()
            await asyncio.sleep_ms(20)
            self.late_ms = max(self.late_ms, self.clock.now() - before - 20)


async def main() -> None:
    key, node_id, generation, frames, console = sys.argv[1:6]
    node = Node(bytes.fromhex(key), bytes.fromhex(node_id), int(generation))
    for _ in range(int(frames)):
        node.spool.add()
    if console == "2":
        sys.path.insert(0, sys.argv[6])
        import bluetooth

        sys.path.pop(0)
        del bluetooth
        from gasan.node.ble_uplink import Stream

        node.link = Link(node, Stream(node.id.decode()))
    else:
        stream = Console()
        stream.is_console = console == "1"
        node.link = Link(node, stream)
    asyncio.create_task(node.watch())
    await node.link.run()


asyncio.run(main())
