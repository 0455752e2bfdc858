"""Cut the power at every program and erase of a scenario, start the node again with its own code, and look.

Arguments: folder of the stand-ins; seed; bytes of a program and of an erase; what to do ("cuts", "pairs",
"rot"); step: of the operations every so manyth is cut; names of scenarios. A scenario runs once, uncut, over
the recording flash below. From its journal the flash of a cut at any operation is made, in four ways: before
it, torn after k bytes, half done (bits of a program, anything at all of an erase), after it. Then the node's
own start runs on that flash: `gasan.node.begin` with spool, slots, keys. "pairs" does the same with each
operation of that start. "rot" starts on the flash as each life has left it, with a bit of one record of the
spool turned, or all of one of its files.

Prints for each scenario its operations and the cuts that were made, or the first broken invariant:

- it boots, and its first frame is committed;
- each frame that was committed and not acknowledged is there, bit for bit, or a tombstone that is there (or
  was acknowledged) tells of it, and no tombstone tells of more readings than the frames that are gone had;
- no other frame is there, save the one that was being written, and none twice;
- what a data frame's channels mean is there as long as the frame, or was acknowledged;
- a frame that a full spool has refused is not there, and a tombstone tells of it;
- of a spool in memory nothing is written to flash, and nothing of an earlier boot is there;
- config, node key and sensors' keys are the old or the new, whole, and the config in the state that follows;
- what was learned of devices is the old or the new, whole, and can be written anew;
- the number of the boot goes on, and the boot frame knows where the boot before ended.

With rot, what stood in that record may be gone, also a tombstone, and nothing else; behind the last whole
record of a boot nobody can count, so there a tombstone names the first frame that is gone.
"""

import asyncio
import hashlib
import io
import os
import random
import sys

import vfs


class Machine:
    """machine, as far as a start needs it."""

    def reset_cause(self):
        return 1

    def reset(self):
        raise SystemExit


sys.modules["machine"] = Machine()
sys.path.insert(0, sys.argv[1])
import flash

sys.path.pop(0)

# What a node imports by need too, since the firmware is not on this flash.
from gasan.node import app, begin, ble_formats, end, log, losses, newest, orders  # noqa: F401
from gasan.node import keeper, ramdisk, sampler, secrets  # noqa: F401
from gasan.node.clock import Clock
from gasan.node.spool import Spool
from gasan.ota import slots
from gasan.wire import cbor, frame, lockbox  # noqa: F401

SEED = int(sys.argv[2])
PAGE, BLOCK = int(sys.argv[3]), int(sys.argv[4])
WORK = sys.argv[5]
STEP = int(sys.argv[6])
BLOCKS = 28
BUDGET = 16384
CHECKER, SECOND = b"checker!", b"checker2"
OLD_KEY = cbor.dumps([b"node-id-", 0, bytes(range(32))])
NEW_KEY = cbor.dumps([b"node-id-", 1, bytes(range(1, 33))])
log.sink = lambda line: None


class Broken(Exception):
    pass


def check(ok, what):
    if not ok:
        raise Broken(what)


def no_key(seconds):
    raise Broken("the key is not whole")


begin.sleep = no_key


class Ticks:
    """A tick counter that goes on by 10 ms whenever it is read, so that each run writes the same bytes."""

    now = 0

    def __call__(self):
        self.now = (self.now + 10) & 0x3FFFFFFF
        return self.now


TICKS = sampler.ticks_ms = Ticks()


def config(name, more):
    """A config of no bus that says what eight channels mean. more: limits."""
    meanings = [
        cbor.dumps([4 * i, [["meter", "ch%d" % (4 * i + k), "V", 1, 1, 10, 0, 1000, {}] for k in range(4)]])
        for i in range(2)
    ]
    limits = {1: 60000, 2: 1600, 3: BUDGET, 4: 0}
    limits.update(more)
    return cbor.dumps([2, name, limits, [], meanings])


OLD = NEW = b""  # of the scenario


def box(number):
    """The keys of sensors, as a gateway sends them."""
    return lockbox.lock(bytes(range(32)), cbor.dumps({b"sensor": bytes([number]) * 16}))


# The flash and its journal


class Tape(flash.Flash):
    """A flash that notes what each operation leaves: (address, content, whether it was an erase)."""

    def _program(self, at, buf, start):
        failed = super()._program(at, buf, start)
        if not failed:
            page = bytearray(self._page)
            self._store.seek(at)
            self._store.readinto(page)
            journal.append((at, page, False))
        return failed

    def _erase(self, block):
        failed = super()._erase(block)
        if not failed:
            journal.append((block * BLOCK, BLANK, True))
        return failed


BLANK = b"\xff" * BLOCK
journal = []
events = []  # (operations done, what, ...)
told = True  # whether the ledger notes


def note(*event):
    if told:
        events.append((len(journal),) + event)


def ledger(kind):
    """A spool that notes what it has promised."""

    class Ledger(kind):
        def append(self, data, boot, seq):
            data = bytes(data)
            note("begun", data)
            super().append(data, boot, seq)
            if self.folder == "/spool":
                note("committed", data)

        def ack(self, boot, upto, ranges):
            spans = [(boot, 0, upto - 1)]
            for i in range(0, len(ranges), 2):
                spans.append((boot, ranges[i], ranges[i + 1]))
            note("acked", spans)
            super().ack(boot, upto, ranges)

    return Ledger


def refused(sp, data, readings):
    data = bytes(data)
    refuse(sp, memoryview(data), readings)
    note("refused", data)


refuse, losses.refused = losses.refused, refused
newest.Newest = ledger(newest.Newest)
begin.Spool = ledger(Spool)
device = None


def mount(store, kind=flash.Flash):
    """Mount as /. A new device for every boot: a file that died with an old one must not write into it."""
    global device
    device = kind(store, BLOCK, BLOCKS, PAGE)
    vfs.mount(vfs.VfsLfs2(device, progsize=PAGE, readsize=32), "/")


def unmount():
    """The power is gone."""
    device.dead = True
    vfs.umount("/")
    try:
        vfs.umount("/ram")
    except OSError:
        pass  # as a rule


def start(boot):
    """A start, with the node's own code; returns the node."""
    crashes, crash = begin.crashed("")
    node_id, generation, key = begin.identity()
    node = app.Node(node_id, generation, key, crashes)
    node.boot = boot
    node.clock = Clock(TICKS)
    asyncio.run(begin.begin(node, key, "", crashes, crash))
    return node


def name(data):
    head = frame.peek(data)
    return head[1], head[2]


def content(data):
    return cbor.loads(data[frame.peek(data)[6] : -9])


def frames(sp):
    """Copies of all frames that the spool would send."""
    buf = bytearray(frame.FRAME_MAX)
    out = []
    sp.rewind()
    n = sp.next(buf)
    while n:
        out.append(bytes(buf[:n]))
        n = sp.next(buf)
    return out


# Scenarios: what is on the flash before (files), then the lives of the node, one after the other


class Life:
    """One boot of a scenario and what it does."""

    def __init__(self, boot):
        note("life", (boot,))
        note("config", states | trial(states))
        self.node = start(boot)
        settle(self.node)
        note("config", set(states))
        sampler = self.node.sampler
        self.groups = [sampler.group([0, 1, 2, 3], b"\x05\x05\x05\x07", 1000), sampler.group([6], b"\x01", 0)]
        self.value = bytearray(8)

    def data(self, frames, rows=28):
        for _ in range(frames):
            for g in self.groups:
                for _ in range(min(rows, g.rows)):
                    self.node.sampler.start(g)
                    for col in range(g.columns):
                        for at in range(8):
                            self.value[at] = random.getrandbits(8)
                        g.put(col, self.value, 0)
                    self.node.sampler.finish(g)
            asyncio.run(self.node.batcher.flush())

    def health(self, frames=1):
        for _ in range(frames):
            asyncio.run(self.node.batcher.put(frame.HEALTH, self.node.status(True)))

    def ack(self, upto, *ranges):
        self.node.spool.ack(self.node.boot, upto, ranges)

    def ack_boot(self, boot, upto):
        self.node.spool.ack(boot, upto, ())

    def sweep(self):
        asyncio.run(self.node.batcher.quietly(self.node.spool.sweep))

    def put(self, kind, data):
        """A put in pieces, as the gateway sends it; the last one is noted by the caller."""
        digest = hashlib.sha256(data).digest()[:8]
        at = 0
        while at < len(data):
            piece = data[at : at + 128]
            last = at + len(piece) == len(data)
            at, answer = asyncio.run(self.node.orders().put(kind, digest, len(data), at, piece))
            check(answer == (1 if last else 0), "the put is refused")
        return digest

    def config(self, new):
        """Take another config and ask for the restart into it."""
        digest = self.put(1, new)
        note("config", states | {(new, slots.TRIAL)})
        done = asyncio.run(self.node.orders().command("activate", [digest]))
        check(done[0] == 0, "the config is not activated")
        states.clear()
        states.add((new, slots.TRIAL))
        note("config", set(states))

    def confirm(self):
        was = running[0]
        note("config", trial({(was, slots.TRIAL)}) | {(was, slots.STABLE)})
        self.node.orders().confirm()
        states.clear()
        states.add((was, slots.STABLE))
        note("config", set(states))

    def sensor_keys(self, number):
        old = keys[-1]
        keys.append(box(number))
        note("keys", {old, keys[-1]})
        self.put(2, keys[-1])
        note("keys", {keys[-1]})

    def learned(self, number):
        """Keep facts of so many functions of a device."""
        old = learnt[-1]
        learnt.append(cbor.dumps([Fact(i).row() for i in range(number)]))
        note("learned", {old, learnt[-1]})
        asyncio.run(self.node.batcher.quietly(lambda: keep(number)))
        note("learned", {learnt[-1]})

    def node_key(self, new):
        """As provisioning writes it."""
        note("key", {OLD_KEY, new})
        slots.replace("/secret/key", new)
        note("key", {new})


class Fact:
    """As gasan.node.facts has it, with as many walls as there may be."""

    def __init__(self, number):
        self.unit, self.function, self.accepted, self.refused = 7, number, 60 + number, 70
        self.walls = [[300 * i + number, 300 * i + 9, 0, 0] for i in range(32)]
        self.shelf = [[20000 + number, 20001 + number, 0, 0]]

    def row(self):
        walls = [n for one in self.walls for n in one[:2]]
        return [self.unit, self.function, self.accepted, self.refused, walls, self.shelf[0][:2]]


class Line:
    keep = ("line", None)


def keep(number):
    one = keeper.Keeper(Line)
    one._facts = [Fact(i) for i in range(number)]
    one.save()


states = set()  # (content, state) that the next start may find
running = [None, None]  # the config that runs, the one before it
keys = [None]
learnt = [b""]  # rows


def trial(allowed):
    """What a start may find after one that found ``allowed`` has begun."""
    out = set()
    for content, state in allowed:
        if state == slots.TRIAL:
            out.add((running[0] if running[0] != content else running[1], slots.ROLLED_BACK))
        else:
            out.add((content, state))
    return out


def settle(node):
    """The uncut start chose what it had to; what the next one has to choose."""
    found = [one for one in states if slots.digest(one[0]) == node.rev and one[1] == node.slots_state]
    check(found, "the uncut start runs another config")
    if running[0] != found[0][0]:
        running[1], running[0] = running[0], found[0][0]
    after = trial(states)
    states.clear()
    states.update(after)


def first_boot():
    life = Life(b"boot-one")
    life.data(2)


def normal_run():
    life = Life(b"boot-one")
    life.data(5)
    life.health()
    life = Life(b"boot-two")
    life.data(2)
    life.health()
    end.replace(end.CRASH, b"1\nTraceback: of a test")
    life = Life(b"boot-3rd")
    life.data(1)


def full():
    life = Life(b"boot-one")
    life.data(5)
    life.ack(2)
    life = Life(b"boot-two")
    life.data(3)
    life.ack(2, 4, 4)
    life.data(6)
    life.health()


def acknowledged():
    life = Life(b"boot-one")
    life.data(8)  # segments of 0 to 5, 6 to 9, 10
    life.ack(5, 7, 8)
    life.sweep()
    life.data(1)
    life.ack(6, 8, 9)
    life.sweep()
    life.data(1)
    life = Life(b"boot-two")
    life.ack_boot(b"boot-one", 25)
    life.ack(2)
    life.sweep()
    life.data(4)
    life.ack(7)
    life.sweep()
    life = Life(b"boot-3rd")
    life.ack(1)


def config_change():
    life = Life(b"boot-one")
    life.data(1)
    life.config(NEW)
    life.data(1)
    life = Life(b"boot-two")  # on trial
    life.data(1)
    life.ack_boot(b"boot-one", 9)
    life.ack(3)
    life.confirm()
    life.config(OLD)
    life = Life(b"boot-3rd")  # on trial, and not confirmed
    life.data(1)
    life = Life(b"boot-4th")  # rolled back
    life.config(OLD)  # a second try
    life = Life(b"boot-5th")
    life.confirm()


def key_change():
    life = Life(b"boot-one")
    life.data(2)
    life.sensor_keys(1)
    life.data(1)
    life.sensor_keys(2)
    life = Life(b"boot-two")
    life.data(1)
    life.node_key(NEW_KEY)
    life = Life(b"boot-3rd")
    life.data(1)


def drop_newest():
    life = Life(b"boot-one")
    life.data(5)  # the last of them are refused
    life.health()
    life.ack(6)
    life.sweep()
    life.data(2)  # there is room: what is owed is paid
    life = Life(b"boot-two")
    life.data(3)
    life = Life(b"boot-3rd")
    life.data(1)
    life.ack_boot(b"boot-one", 40)
    life.ack_boot(b"boot-two", 40)
    life.sweep()
    life.data(1)


def in_memory():
    """Only what is no frame is written to flash."""
    life = Life(b"boot-one")
    written = len(journal)
    life.data(9)
    life.health()
    life.ack(6)
    life.sweep()
    life.data(1)
    check(len(journal) == written, "flash is written for a spool in memory")
    life.sensor_keys(1)
    life.config(NEW)
    life = Life(b"boot-two")
    life.data(2)
    life.confirm()
    end.replace(end.CRASH, b"1\nTraceback: of a test")
    life = Life(b"boot-3rd")
    life.data(1)


def learned():
    """The file of what was learned: made, made twelve times as long, and short again."""
    life = Life(b"boot-one")
    life.data(1)
    life.learned(1)
    life.learned(12)
    life = Life(b"boot-two")
    life.learned(2)
    life.data(1)


def bounded():
    """A little of everything, for the pairs."""
    life = Life(b"boot-one")
    life.data(2)
    life.ack(2)
    life.config(NEW)
    life = Life(b"boot-two")
    life.ack_boot(b"boot-one", 9)
    life.sweep()
    life.data(1, 4)
    life.confirm()
    life.sensor_keys(1)


def wrapping():
    """The full spool drops a segment with the meaning of another config's frames, for the pairs."""
    life = Life(b"boot-one")
    life.data(8)
    life.ack(1)
    life.config(NEW)
    life = Life(b"boot-two")
    life.confirm()
    note("from")
    life.data(2)


def refusing():
    """The full spool refuses the newest and pays what it owes, for the pairs."""
    life = Life(b"boot-one")
    life.data(3)
    note("from")
    life.data(2)
    life.ack(6)
    life.sweep()
    life.data(1)


LIMITS = {"drop_newest": {5: 1}, "refusing": {5: 1}, "in_memory": {7: 1}}
SCENARIOS = {
    "first_boot": first_boot,
    "normal_run": normal_run,
    "full": full,
    "acknowledged": acknowledged,
    "config_change": config_change,
    "key_change": key_change,
    "drop_newest": drop_newest,
    "in_memory": in_memory,
    "learned": learned,
    "bounded": bounded,
    "wrapping": wrapping,
    "refusing": refusing,
}


def provisioned():
    """The flash as it leaves provisioning: key and config, no spool yet."""
    store = io.BytesIO(b"\xff" * (BLOCK * BLOCKS))
    vfs.VfsLfs2.mkfs(flash.Flash(store, BLOCK, BLOCKS, PAGE), progsize=PAGE, readsize=32)
    mount(store)
    os.mkdir("/secret")
    os.mkdir("/cfg")
    for path, data in (("/secret/key", OLD_KEY), ("/cfg/a", slots.pack(OLD))):
        with open(path, "wb") as f:
            f.write(data)
    unmount()
    return store.getvalue()


def play(title):
    """Run a scenario uncut: (image before, journal, events)."""
    global journal, events, Life, device, OLD, NEW
    OLD, NEW = [config(name, LIMITS.get(title, {})) for name in ("old", "new")]
    journal, events = [], []
    random.seed(SEED)
    TICKS.now = 0
    states.clear()
    states.add((OLD, slots.STABLE))
    running[0], running[1] = OLD, None
    keys[:] = [None]
    learnt[:] = [cbor.dumps([])]
    image = provisioned()
    journal = []
    note("config", set(states))
    note("key", {OLD_KEY})
    note("keys", {None})
    note("learned", set(learnt))
    store = io.BytesIO(image)
    lives = Life

    def life(boot):
        if device and not device.dead:
            unmount()
        mount(store, Tape)
        return lives(boot)

    Life = life
    try:
        SCENARIOS[title]()
    finally:
        Life = lives
        unmount()
    return image, journal, events


# What has to be there after a cut


class Promise:
    """What was promised up to an operation."""

    def __init__(self, events):
        self.events = events
        self.at = 0
        self.begun = {}
        self.committed = {}
        self.refused = {}
        self.boots = []  # of committed frames, in order
        self.lives = []  # of all boots, in order
        self.acked = []
        self.config = self.key = self.keys = self.life = self.learned = None
        self.start = 0

    def until(self, operation):
        while self.at < len(self.events) and self.events[self.at][0] <= operation:
            event = self.events[self.at]
            self.at += 1
            what = event[1]
            if what == "begun":
                self.begun[name(event[2])] = event[2]
            elif what == "committed":
                which = name(event[2])
                self.committed[which] = event[2]
                if which[0] not in self.boots:
                    self.boots.append(which[0])
            elif what == "acked":
                self.acked += event[2]
            elif what == "refused":
                self.refused[name(event[2])] = event[2]
            elif what == "from":
                self.start = event[0]
            else:
                setattr(self, what, event[2])
                if what == "life":
                    self.lives += event[2]

    def is_news(self, operation):
        return self.at < len(self.events) and self.events[self.at][0] <= operation

    def add(self, since):
        """What a start has promised since then."""
        self.begun.update(since.begun)
        self.committed.update(since.committed)
        self.refused.update(since.refused)
        self.boots += since.boots
        self.life += (CHECKER,)
        self.lives.append(CHECKER)

    def copy(self):
        other = Promise([])
        other.begun, other.committed = self.begun.copy(), self.committed.copy()
        other.refused = self.refused.copy()
        other.boots, other.acked, other.lives = list(self.boots), list(self.acked), list(self.lives)
        other.config, other.key, other.keys, other.life = self.config, self.key, self.keys, self.life
        other.learned = self.learned
        return other

    def is_acked(self, which):
        return any(b == which[0] and lo <= which[1] <= hi for b, lo, hi in self.acked)


def readings(data):
    if frame.peek(data)[0] != frame.DATA:
        return 0
    return sum(group[1] * len(group[4]) for group in content(data))


def look(promise, node, rotten=()):
    """The invariants, after a start. rotten: the frames that rot has hit."""
    found = [one for one in promise.config if slots.digest(one[0]) == node.rev]
    check(found, "another config than the old or the new")
    check(any(one[1] == node.slots_state for one in found), "the config is in state %d" % node.slots_state)
    there = frames(node.spool)
    names = set()
    meant = set()
    gone = []  # [boot, first, last, readings]
    last = None
    for data in there:
        head = frame.peek(data)
        which = head[1], head[2]
        check(which not in names, "frame %s %d is there twice" % which)
        names.add(which)
        if head[1] == node.boot:
            if head[0] == frame.BOOT:
                last = content(data)
        else:
            check(promise.begun.get(which) == data, "frame %s %d is there, and nobody wrote it so" % which)
            check(which not in promise.refused, "frame %s %d is there, and was refused" % which)
            check(node.spool.folder == "/spool", "memory has outlived its power")
    for data in there + [d for w, d in promise.committed.items() if rotten or promise.is_acked(w)]:
        head = frame.peek(data)
        if head[0] == frame.TOMBSTONE:
            told = content(data)
            gone.append([told[1], told[2], told[3], told[4], told[0]])
        elif head[0] == frame.BIRTH:
            meant.add((head[5], content(data)[0]))
    for item in node.spool.debts:
        gone.append([item[1], item[2], item[3], item[4], item[0]])
    check(last is not None, "its boot frame is not there")
    lost = 0
    for which, data in promise.committed.items():
        if which not in names and not promise.is_acked(which):
            covered = [g for g in gone if g[0] == which[0] and g[1] <= which[1] <= g[2]]
            if which in rotten and not any(b == which[0] and seq > which[1] for b, seq in names):
                # Behind the last whole record: the first that is gone is told.
                covered += [g for g in gone if g[0] == which[0] and g[1] <= which[1] and g[4] == losses.TORN]
            elif which not in rotten:
                covered = [g for g in covered if g[4] != losses.TORN]
            check(covered, "frame %s %d is lost in silence" % which)
            lost += readings(data)
    for which, data in promise.refused.items():
        if not promise.is_acked(which):
            check(
                any(g[0] == which[0] and g[1] <= which[1] <= g[2] for g in gone),
                "frame %s %d is refused in silence" % which,
            )
            lost += readings(data)
    for data in there:
        head = frame.peek(data)
        known = (head[5], 0) in meant and (head[5], 1) in meant
        check(rotten or head[0] != frame.DATA or known, "a frame whose channels mean nothing")
    if not rotten:
        check(lost <= sum(g[3] for g in gone), "%d readings are lost, and fewer are told" % lost)
    if promise.boots and not rotten:
        before = promise.boots[-1]
        seq = max(which[1] for which in promise.committed if which[0] == before)
        most = max(which[1] for which in promise.begun if which[0] == before)
        if last[2] == before:
            check(last[3] is not None and seq <= last[3] <= most, "where the boot before ended is unknown")
        else:  # its boot frame had not been committed
            check(last[2] in promise.life, "the boot before is another")
            check(last[3] is None or (last[2], last[3]) in promise.begun, "the boot before has no such frame")
        for which, data in promise.committed.items():
            if frame.peek(data)[0] == frame.BOOT:
                check(content(data)[1] < last[1], "two boots have one number")
    if node.spool.folder != "/spool":
        check(last[2] in promise.lives[-2:] or not promise.lives[1:], "the boot before is another")
        check(0 <= last[1] - len(promise.lives) <= 1, "the number of the boot does not go on")
    with open("/secret/key", "rb") as f:
        check(f.read() in promise.key, "the key is not whole")
    try:
        with open("/secret/ble", "rb") as f:
            held = f.read()
        secrets._unlock(held)
    except OSError:
        held = None
    except ValueError:
        check(promise.key != {OLD_KEY}, "the keys of the sensors are not whole")
    check(held in promise.keys, "the keys of the sensors are neither the old nor the new")
    found = cbor.dumps(keeper.load("line"))
    check(found in promise.learned, "what was learned is neither the old nor the new")


def partly(old, new, way, erase):
    """What a cut leaves of an operation."""
    size = len(new)
    if way == "torn":
        k = random.randrange(1, size)
        out = bytearray(new[:k])
        out.extend(old[k:])
        if not erase:
            mask = random.getrandbits(8)
            out[k - 1] = old[k - 1] & mask | new[k - 1] & ~mask & 255
        return out
    noise = NOISE[random.randrange(len(NOISE) - size) :][:size]
    if erase and random.getrandbits(1):
        return noise  # anything
    mask = int.from_bytes(noise, "big")
    mixed = int.from_bytes(old, "big") & mask | int.from_bytes(new, "big") & ~mask & ((1 << 8 * size) - 1)
    return mixed.to_bytes(size, "big")


random.seed(SEED)
NOISE = bytes(random.getrandbits(8) for _ in range(3 * BLOCK))


def states_of(image, journal, first=0):
    """(operation, way, store) of each cut; the store is made anew for each of them.

    "whole": all operations before this one are done, which is the state before it and after the last one.
    """
    image = bytearray(image)
    store = io.BytesIO(image)
    chosen = False
    for k in range(len(journal) + 1):
        last, chosen = chosen, first <= k < len(journal) and k % STEP == SEED % STEP
        if last or chosen:
            store.seek(0)
            store.write(image)
            yield k, "whole", store, last + chosen
        if k == len(journal):
            break
        at, new, erase = journal[k]
        if chosen:
            old = image[at : at + len(new)]
            for way in ("torn", "half"):
                store.seek(0)
                store.write(image)
                store.seek(at)
                store.write(partly(old, new, way, erase))
                yield k, way, store, 1
        image[at : at + len(new)] = new


def boot_and_look(store, promises, boot, kind=flash.Flash, rotten=()):
    mount(store, kind)
    try:
        node = start(boot)
        for promise in promises:
            look(promise, node, rotten)
        if len(promises[0].learned) > 1:  # it was being written
            keep(3)
            found = keeper.load("line")
            check(found == [Fact(i).row() for i in range(3)], "nothing can be learned any more")
    finally:
        unmount()


def sweep(title, pairs):
    """All cuts of a scenario, or all pairs: (operations, cuts)."""
    global told, where, journal, events
    where = title
    told = True
    image, tape, happened = play(title)
    told = False
    promise = Promise(happened)
    promise.until(len(tape))
    first = promise.start if pairs else 0
    promise = Promise(happened)
    cuts = 0
    for k, way, store, ways in states_of(image, tape, first):
        where = "%s, %s operation %d of %d" % (title, way, k, len(tape))
        promises = [promise]
        if way == "whole" and ways == 2 and promise.is_news(k):
            promises.append(promise.copy())  # what was promised when the operation before had just been done
        promise.until(k)
        if not pairs:
            boot_and_look(store, promises, CHECKER)
            cuts += ways
            continue
        cut = store.getvalue()
        journal, events, told = [], [], True
        boot_and_look(store, promises, CHECKER, Tape)
        told = False
        again, since, journal, events = journal, Promise(events), [], []
        after = [one.copy() for one in promises]
        for one in after:
            for found in list(one.config):
                if found[1] == slots.TRIAL:
                    one.config = one.config | {(o, slots.ROLLED_BACK) for o in (OLD, NEW) if o != found[0]}
        for j, second, other, more in states_of(cut, again):
            since.until(j)
            now = []
            for one in after:
                one = one.copy()
                one.add(since)
                now.append(one)
            where = "%s, %s operation %d of %d, then %s operation %d of %d of the start" % (
                (title, way, k, len(tape)) + (second, j, len(again))
            )
            boot_and_look(other, now, SECOND)
            cuts += ways * more
    return len(tape), cuts


def rot(title):
    """Start when one record or file of the spool has rotted: (records and files, starts)."""
    global told, where
    where = title
    told = True
    image, tape, happened = play(title)
    told = False
    image = bytearray(image)
    done = parts = starts = 0
    promise = Promise(happened)
    for k in sorted(set([event[0] for event in happened if event[1] == "life" and event[0]] + [len(tape)])):
        for at, new, _ in tape[done:k]:
            image[at : at + len(new)] = new
        done = k
        promise.until(k)
        mount(io.BytesIO(image))
        files = {}
        for path in ["/spool/" + one for one in os.listdir("/spool") if "-" in one]:
            with open(path, "rb") as f:
                files[path] = f.read()
        unmount()
        for path in files:
            data = files[path]
            every = set()
            cases = [(every, bytes(len(data))), (every, NOISE[: len(data)])]
            parts += 1
            at = 0
            while at < len(data):
                size = 6 + int.from_bytes(data[at : at + 2], "big")
                which = name(data[at + 6 : at + size])
                every.add(which)
                parts += 1
                # Of its length, its CRC, what a search looks for, its content, its MAC.
                for low, high in ((0, 2), (2, 6), (6, 15), (15, size - 8), (size - 8, size)):
                    turned = bytearray(data)
                    turned[at + random.randrange(low, high)] ^= 1 << random.getrandbits(3)
                    cases.append(({which}, turned))
                at += size
            for i, (hit, turned) in enumerate(cases):
                store = io.BytesIO(image)
                mount(store)
                with open(path, "wb") as f:
                    f.write(turned)
                unmount()
                where = "%s, operation %d of %d, %s, case %d" % (title, k, len(tape), path, i)
                boot_and_look(store, [promise], CHECKER, rotten=hit)
                starts += 1
    return parts, starts


where = ""
try:
    for title in sys.argv[7:]:
        operations, cuts = rot(title) if WORK == "rot" else sweep(title, WORK == "pairs")
        print(title, operations, cuts)
except (Broken, OSError, ValueError, MemoryError) as e:
    print("broken: %s, seed %d: %s" % (where, SEED, e if isinstance(e, Broken) else repr(e)))
    if not isinstance(e, Broken):
        sys.print_exception(e)
