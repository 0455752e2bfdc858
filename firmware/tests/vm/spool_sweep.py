"""Cut the power at every flash operation while frames are written, acknowledged and dropped; start again and
look.

Arguments: folder of the stand-ins, seed, name of a deliberate mistake ("none" for none). Prints the number of
cuts, or the first broken invariant: a committed frame is there bit for bit, or acknowledged, or told by a
tombstone that is there; no other frame is there, save the one that was being written; the spool takes new
frames.
"""

import asyncio
import gc
import random
import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0])
from scratch import PAGE, blank, flash, frame, frames, mount, node, unmount

from gasan.node import batcher, log, losses, spool
from gasan.wire import cbor

log.sink = lambda line: None
SEED = int(sys.argv[2])
MISTAKE = sys.argv[3]
BUDGET = 16384


class Ledger(spool.Spool):
    """A spool that notes what it has promised."""

    flash = None
    begun = []
    committed = []
    acked = []

    def append(self, data, boot, seq):
        data = bytes(data)
        self.begun.append(data)
        super().append(data, boot, seq)
        self.committed.append(data)

    def ack(self, boot, upto, ranges):
        if not self.flash.dead:
            self.acked.append((boot, 0, upto - 1))
        super().ack(boot, upto, ranges)


class NoFlush:
    def __init__(self, file):
        self.seek, self.write, self.readinto, self.close = file.seek, file.write, file.readinto, file.close

    def flush(self):
        pass


def open_without_flush(path, mode):
    f = open(path, mode)
    return NoFlush(f) if mode == "w+b" else f


def drop_before_told(self):
    later = []
    losses.make_room(self._spool, lambda *frame: later.append(frame))
    for args in later:
        self._write(*args)


if MISTAKE == "no flush":
    spool.open = open_without_flush
elif MISTAKE == "dropped before it is told":
    batcher.Batcher._make_room = drop_before_told
elif MISTAKE == "removed when partly acknowledged":
    spool._is_done = lambda segment: segment[5]


def name(data):
    head = frame.peek(data)
    return head[1], head[2]


def is_in(data, ranges):
    boot, seq = name(data)
    return any(b == boot and first <= seq <= last for b, first, last in ranges)


def write(boot, steps):
    """Start as ``boot`` and do the steps: a number of data frames, ("ack", boot, upto), or "sweep"."""
    Ledger.committed.clear()
    Ledger.acked.clear()
    random.seed(SEED)
    sampler, batch, sp = node(boot, BUDGET, spool_class=Ledger)
    group = sampler.group([0, 1, 2, 3], b"\x01\x01\x05\x07", 100)
    asyncio.run(batch.put(frame.BOOT, {1: 1}))
    asyncio.run(batch.put(frame.BIRTH, b"\x84\x00\x01\x00\x80"))
    value = bytearray(8)
    for step in steps:
        if step == "sweep":
            sp.sweep()
        elif isinstance(step, tuple):
            sp.ack(*step[1:], ())
        else:
            for _ in range(step):
                for _ in range(12):
                    sampler.start(group)
                    for col in range(4):
                        for at in range(8):
                            value[at] = random.getrandbits(8)
                        group.put(col, value, 0)
                    sampler.finish(group)
                asyncio.run(batch.flush())


def check(ok, what):
    if not ok:
        print("broken: %s: %s" % (where, what))
        sys.exit(0)


def look(image, known):
    """The invariants at the next start. ``known``: frames committed before the run."""
    store, _ = mount(image)
    _, batch, sp = node(b"another!", BUDGET)
    there = frames(sp)
    covered = [item[1:4] for item in sp.debts] + Ledger.acked
    for data in there:
        head = frame.peek(data)
        if head[0] == frame.TOMBSTONE:
            covered.append(cbor.loads(data[head[6] : -9])[1:4])
        check(data in Ledger.begun, "a frame that nobody wrote")
    for data in known + Ledger.committed:
        if data not in there:
            check(is_in(data, covered), "frame %s %d is lost in silence" % name(data))
    check(len(set([name(data) for data in there])) == len(there), "a frame is there twice")
    asyncio.run(batch.put(frame.BOOT, {1: 2}))
    check(name(frames(sp)[-1]) == (b"another!", batch.seq - 1), "no frame can be written")
    unmount(store)


def run(image, known, boot, steps):
    """Do the steps uncut; returns (operations, image after it, frames that it leaves)."""
    store, f = mount(image)
    Ledger.flash = f
    write(boot, steps)
    left = [data for data in known + Ledger.committed if not is_in(data, Ledger.acked)]
    return f.operations, unmount(store), left


def sweep(title, image, known, boot, steps):
    """Do the steps, cut before and inside each operation; returns (image, frames left) of an uncut run."""
    global where, cuts
    where = title
    operations, after, left = run(image, known, boot, steps)
    look(after, known)
    begun = len(Ledger.begun)
    for k in range(operations):
        tear = (flash.TORN, 1 + (SEED + 37 * k) % (PAGE - 1)) if (SEED + k) % 2 else (flash.BITS, SEED + k)
        for mode, arg in ((flash.BEFORE, 0), tear):
            where = "%s, operation %d of %d, mode %d, seed %d" % (title, k, operations, mode, SEED)
            store, f = mount(image)
            Ledger.flash = f
            f.cut(k, mode, arg)
            try:
                write(boot, steps)
            except OSError:
                pass
            check(f.dead, "the cut did not happen")
            cuts += 1
            look(unmount(store), known)
            del Ledger.begun[begun:]
            store = f = None
            gc.collect()
    return after, left


cuts = 0
image = blank(14)
image, known = sweep("a segment and a new one", image, [], b"boot-one", [16])
acked = [("ack", b"boot-one", 4), "sweep", 1, ("ack", b"boot-one", 99), "sweep", 1]
image, known = sweep("acknowledged", image, known, b"boot-two", acked)
_, image, known = run(image, known, b"boot-3rd", [34])
sweep("full", image, known, b"boot-4th", [16])
print("cuts", cuts)
