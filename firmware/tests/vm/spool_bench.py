"""The spool on the VM, for gasan.hil.bench.spool: wear, outage, speed and memory, on littlefs.

Arguments: folder of the stand-ins; bytes of a program, of an erase; blocks of the file system; bytes of the
spool; what to measure; its number. On standard input: the workload as columns, one a line, then "files" and
the sizes of the files that are resident. Prints one line of figures.
"""

import asyncio
import gc
import io
import os
import sys
import time

import vfs

sys.path.insert(0, sys.argv[1])
import flash

sys.path.pop(0)

from gasan.node import log, recover
from gasan.node import sampler as sampler_module
from gasan.node.batcher import Batcher
from gasan.node.clock import Clock
from gasan.node.sampler import Sampler
from gasan.node.spool import Spool
from gasan.wire import frame

PAGE, BLOCK, BLOCKS, BUDGET = map(int, sys.argv[2:6])
WHAT, NUMBER = sys.argv[6], int(sys.argv[7])
log.sink = lambda line: None


class Worn(flash.Flash):
    """A flash that counts the erases of each block."""

    def _erase(self, block):
        worn[block] += 1
        return super()._erase(block)


class Ticks:
    """A tick counter that the program moves."""

    now = 0

    def __call__(self):
        return self.now


worn = [0] * BLOCKS
columns = []
line = sys.stdin.readline().strip()
while line != "files":
    columns.append([int(value) for value in line.split()])
    line = sys.stdin.readline().strip()
files = [int(size) for size in sys.stdin.readline().split()]

store = io.BytesIO(b"\xff" * (BLOCK * BLOCKS))
device = Worn(store, BLOCK, BLOCKS, PAGE)
vfs.VfsLfs2.mkfs(device, progsize=PAGE)
vfs.mount(vfs.VfsLfs2(device, progsize=PAGE), "/f")
os.mkdir("/f/lib")
for i, size in enumerate(files):
    with open("/f/lib/%d" % i, "wb") as f:
        f.write(b"x" * size)
os.mkdir("/f/spool")
resident = BLOCKS - os.statvfs("/f")[3]

ticks = sampler_module.ticks_ms = Ticks()
gc.collect()
before = gc.mem_alloc()
clock = Clock(ticks)
spool = Spool("/f/spool", BUDGET)
gc.collect()
parts = gc.mem_alloc() - before
recover.recover(spool)
sampler = Sampler(60000, 2048, len(columns), 65536)
writer = frame.FrameWriter(b"12345678", 0, bytes(32))
batcher = Batcher(writer, spool, sampler, clock, b"boot-one", b"revision")
group = sampler.group(list(range(len(columns))), b"\x03" * len(columns), 5000)
rows = len(columns[0])
# As full as they get, for their size.
HEALTH = {key: 1 << 20 for key in range(1, 22)}


def minute(i, health=True):
    """A batch of the workload, and a health frame."""
    for row in range(rows):
        ticks.now = (ticks.now + 60000 // rows) & 0x3FFFFFFF
        sampler.start(group)
        for col, values in enumerate(columns):
            group.put(
                col, ((values[row] + (i * 7 + col) % 3) & 0xFFFFFFFF).to_bytes(4, "big") + b"\0\0\0\0", 0
            )
        sampler.finish(group)
    asyncio.run(batcher.flush())
    if health:
        asyncio.run(batcher.put(frame.HEALTH, HEALTH))


def deliver():
    """The gateway takes and acknowledges all there is; returns how many frames."""
    n = 0
    while spool.next(buf):
        head = frame.peek(buf)
        spool.ack(head[1], head[2] + 1, ())
        n += 1
    return n


buf = bytearray(frame.FRAME_MAX)
if WHAT == "ram":
    gc.collect()
    others = gc.mem_alloc()
if WHAT == "wear":
    device.erases = device.programs = 0
    worn[:] = [0] * BLOCKS
    for i in range(NUMBER):
        minute(i)
        deliver()
        if spool.unswept:
            spool.sweep()
    print(device.erases, device.programs, max(worn), resident, sum(n > 0 for n in worn))
elif WHAT == "outage":
    i = 0
    while not batcher.lost and i < NUMBER:
        minute(i, i % 10 == 0)  # as a node writes them that has no gateway
        i += 1
    spool.rewind()
    size = data = 0
    n = spool.next(buf)
    while n:
        size += n
        data += frame.peek(buf)[0] == frame.DATA
        n = spool.next(buf)
    print(i, data, size // max(1, spool.frames), spool.used())
elif WHAT == "speed":
    began = time.ticks_us()
    for i in range(NUMBER):
        minute(i, False)
    committed = time.ticks_diff(time.ticks_us(), began)
    spool.rewind()
    began = time.ticks_us()
    n = deliver()
    print(committed / NUMBER, time.ticks_diff(time.ticks_us(), began) / n, n)
else:
    taken = []
    for i in range(NUMBER):
        if i in (NUMBER // 4, NUMBER - 1):
            spool.rewind()
            spool.next(buf)  # opens the oldest segment beside the newest
            gc.collect()
            taken.append(gc.mem_alloc())
        minute(i, False)
    print(spool.frames, parts, taken[0] - others, taken[1] - taken[0])
