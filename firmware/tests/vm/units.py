"""Tests of the node's parts on the VM. Arguments: folder of the stand-ins, names of the tests."""

import asyncio
import gc
import os
import random
import sys
import time

import micropython
import vfs

sys.path.insert(0, __file__.rsplit("/", 1)[0])
import scratch
from scratch import frame, frames, mount, node, unmount
from time import ticks_add

from gasan.node import config, jobs, log, losses, recover
from gasan.node.batcher import Batcher
from gasan.node.clock import Clock
from gasan.node.sampler import Sampler
from gasan.node.spool import Spool
from gasan.wire import cbor

lines = []
log.sink = lines.append
PERIOD = time.ticks_add(0, -1) + 1  # of ticks_ms: 2**30 on 32 bits, as on a board


def heads(spool):
    """(kind, seq) of all frames that the spool would send."""
    return [(h[0], h[2]) for h in [frame.peek(data) for data in frames(spool)]]


def content(data):
    return cbor.loads(data[frame.peek(data)[6] : -9])


def fill(sampler, group, rows, value=7):
    src = bytearray(8)
    src[1] = value
    for _ in range(rows):
        sampler.start(group)
        for col in range(group.columns):
            group.put(col, src, 0)
        sampler.finish(group)


# Clock


def test_clock_goes_on_over_the_wrap_of_the_ticks():
    ticks = [PERIOD - 3]
    clock = Clock(lambda: ticks[0])
    now = 0
    for step in (1, 2, 5, PERIOD // 2 - 1, PERIOD // 2 - 1, PERIOD // 2 - 1, 9):
        ticks[0] = (ticks[0] + step) % PERIOD
        now += step
        assert clock.now() == now, (clock.now(), now)
    early = (ticks[0] - 100) % PERIOD
    assert clock.at(early) == now - 100


def test_clock_stays_exact_past_small_integers():
    ticks = [0]
    clock = Clock(lambda: ticks[0])
    for _ in range(9):
        ticks[0] = (ticks[0] + PERIOD // 3) % PERIOD
        clock.now()
    assert clock.now() == 9 * (PERIOD // 3)


class Ticks:
    """A tick counter over true milliseconds that a test moves; ``back`` is what a port has set it back."""

    def __init__(self, start):
        self.start = start
        self.ms = self.back = 0

    def __call__(self):
        return (self.start + self.ms - self.back) % PERIOD


def test_clock_holds_over_any_pause_below_a_whole_wrap():
    """Also where ticks_diff alone would say that time went back: 6.2 to 12.4 days between two calls."""
    ticks = Ticks(PERIOD - 5)
    clock = Clock(ticks)
    second = PERIOD // (1 << 20) + 1000  # what is left for a counter that was set back
    for pause in (0, 1, PERIOD // 2 - 1, PERIOD // 2, PERIOD // 2 + 1, PERIOD - second, 7, PERIOD - second):
        ticks.ms += pause
        assert clock.now() == ticks.ms, (pause, clock.now(), ticks.ms)
        assert clock.at(ticks_add(ticks(), -1234)) == ticks.ms - 1234


def test_clock_never_goes_back_when_a_sleep_has_set_the_counter_back():
    for start in (0, 400, PERIOD // 2 - 3, PERIOD - 3):
        ticks = Ticks(start)
        clock = Clock(ticks)
        ticks.ms = 5000
        assert clock.now() == 5000
        ticks.back = 999
        assert clock.now() == 5000  # not PERIOD - 999 later
        ticks.ms += 500
        assert clock.now() == 5000
        ticks.ms += 600
        assert clock.now() == 5101


def test_clock_at_random_pauses():
    for seed in range(20):
        random.seed(seed)
        ticks = Ticks(random.getrandbits(29))
        clock = Clock(ticks)
        for _ in range(300):
            ticks.ms += random.getrandbits(random.randrange(1, 29))
            read, then = ticks(), ticks.ms
            assert clock.now() == ticks.ms, seed
            ticks.ms += random.getrandbits(random.randrange(1, 29))
            assert clock.at(read) == then, seed
            assert clock.now() == ticks.ms, seed


# Log


def test_log_lines_are_bounded_and_dated():
    log.now = lambda: 12345
    lines.clear()
    log.info("spool: " + "x" * 5000)
    assert lines[0].startswith("12345 I spool: xx") and len(lines[0]) < 250
    log.error("a\nb")
    assert lines[1:] == ["12345 E a", "12345 E b"]


def test_log_ring_drops_the_oldest_and_says_so():
    log.ring(True)
    for i in range(20):
        log.info("line %d" % i)
    taken = []
    while True:
        line = log.take()
        if line is None:
            break
        taken.append(line)
    log.ring(False)
    assert "4" in taken[0] and "lost" in taken[0], taken[0]
    assert taken[1].endswith("line 4") and taken[-1].endswith("line 19"), taken


def test_log_survives_a_sink_that_fails():
    def broken(line):
        raise ValueError("of its own")

    log.sink = broken
    log.info("nobody hears this")
    log.sink = lines.append


def test_trace_is_bounded():
    def deep(n):
        if n:
            deep(n - 1)
        raise ValueError("x" * 5000)

    try:
        deep(20)
    except ValueError as e:
        assert len(log.trace(e)) == 900
        assert len(log.trace(e, 50)) == 50


# Config


def good(**changes):
    parts = {
        "version": 2,
        "name": "press-1",
        "limits": {1: 2000, 2: 1000, 3: 65536, 4: 0},
        "buses": [[1, "lan", {1: "127.0.0.1", 2: 502}, [["drive", 1, 500, 0, 125, [[0, 3, 0, 1, 0, 1000]]]]]],
        "meanings": [cbor.dumps([0, [["drive", "speed", "1", 1, 1, 1, 0, 1000, {}]]])],
    }
    parts.update(changes)
    return cbor.dumps([parts[k] for k in ("version", "name", "limits", "buses", "meanings")])


def test_config_tells_its_limits_and_buses():
    c = config.Config(good())
    assert (c.name, c.max_age_ms, c.max_bytes, c.spool_bytes, c.watchdog) == (
        "press-1",
        2000,
        1000,
        65536,
        False,
    )
    assert c.channels == 1 and c.buses[0][1] == "lan"
    c = config.Config(good(limits={}))
    assert (c.max_age_ms, c.max_bytes, c.watchdog) == (10000, 2048, True)
    assert config.Config(config.EMPTY).channels == 0


def test_config_births_carry_the_meanings_as_they_are():
    meanings = [cbor.dumps([i, [["d", "c%d" % i, "1", 1, 1, 1, 0, 1000, {}]]]) for i in range(30)]
    births = config.births(good(meanings=meanings))
    for i in range(30):
        assert cbor.loads(births[i]) == [i, 30] + cbor.loads(meanings[i])


def test_config_of_the_wrong_shape_is_refused():
    cases = [
        b"",
        b"\x00",
        b"\xff",
        good()[:-1],
        good(version=1),
        good(limits=[]),
        good(limits={1: 5}),
        good(limits={2: 4096}),
        good(limits={3: "x"}),
        good(buses=7),
        good(buses=[[0, "x", {}]]),
        good(buses=[[0, "x", {}, [7]]]),
        good(meanings=[b"\x00"]),
        good(meanings=[b""]),
        good(meanings=[7]),
        good(meanings=[{1: 2}]),
        good(buses=[[0, "x", {}, [{}]]]),
    ]
    for i, case in enumerate(cases):
        try:
            config.Config(case)
        except config.ConfigError:
            continue
        assert False, "case %d is taken" % i


def test_key_of_the_wrong_shape_is_refused():
    assert config.key(cbor.dumps([b"12345678", 3, bytes(32)])) == (b"12345678", 3, bytes(32))
    for case in (
        b"",
        b"\x01",
        cbor.dumps([b"1234567", 3, bytes(32)]),
        cbor.dumps([b"12345678", 256, bytes(32)]),
    ):
        try:
            config.key(case)
        except config.ConfigError:
            continue
        assert False, case


# Sampler


def test_sampling_allocates_nothing():
    sampler = Sampler(10000, 2048, 10, 8000)
    group = sampler.group(list(range(10)), b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a", 1000)
    src = bytearray(range(8))
    sampler.fail(group, 64)
    micropython.heap_lock()
    total = micropython.mem_total() if hasattr(micropython, "mem_total") else 0
    for _ in range(group.rows + 3):
        sampler.start(group)
        for col in range(10):
            group.put(col, src, 0)
        group.mark(3, 1)
        sampler.finish(group)
        sampler.due()
    sampler.fail(group, 65)
    sampler.missed(group, 2)
    total = (micropython.mem_total() if hasattr(micropython, "mem_total") else 0) - total
    micropython.heap_unlock()
    assert total == 0, total
    assert sampler.sampled == 10 * group.rows


def test_a_full_group_counts_rows_as_missed():
    sampler = Sampler(10000, 2048, 2, 4000)
    group = sampler.group([0, 1], b"\x01\x01", 1000)
    fill(sampler, group, group.rows)
    assert sampler.due() and sampler.missed_readings == 0
    fill(sampler, group, 3, 99)
    assert group.n == group.rows and sampler.missed_readings == 6
    assert sampler.sampled == 2 * group.rows == sampler.waiting


def test_a_group_holds_twice_what_is_due_in_a_batch():
    sampler = Sampler(10000, 2048, 100, 1 << 20)
    assert sampler.group([0], b"\x01", 1000).rows == 24
    assert sampler.group([1], b"\x01", 60000).rows == 4
    assert sampler.group([2], b"\x01", 0).rows == 16
    assert Sampler(10000, 2048, 100, 100).group([0], b"\x05", 10).rows == 4


def test_a_batch_is_due_by_age_and_by_size():
    sampler = Sampler(50, 2048, 1, 4000)
    group = sampler.group([0], b"\x01", 10)
    assert not sampler.due()
    fill(sampler, group, 1)
    assert not sampler.due()
    time.sleep_ms(60)
    assert sampler.due()
    sampler = Sampler(100000, 128, 60, 100000)
    group = sampler.group(list(range(60)), b"\x01" * 60, 1000)
    fill(sampler, group, 1)
    assert sampler.due()
    sampler.written(60, 60)
    assert not sampler.due()
    fill(sampler, group, 1)
    assert not sampler.due(), "the size of the last frames is learnt"


# Jobs


class Orders:
    def __init__(self, fail):
        self.fail = fail
        self.done = []

    def orders(self):
        return self

    async def command(self, name, args):
        self.done.append(name)
        if name in self.fail:
            raise ValueError(name)
        return 0, name

    async def put(self, kind, name, total, offset, data):
        if self.fail:
            raise self.fail.pop()
        return total, 1


def test_jobs_go_on_after_one_for_whose_answer_there_is_no_memory():
    answers = []
    trace = log.trace

    def no_memory(error):
        raise MemoryError

    orders = Orders(["bad"])
    work = jobs.Jobs(orders, lambda kind, body: answers.append(cbor.loads(body)))

    async def main():
        log.trace = no_memory
        assert work.add(0x17, [1, "bad", []])
        await asyncio.sleep_ms(5)
        log.trace = trace
        assert work.add(0x17, [2, "good", []])
        await asyncio.sleep_ms(5)

    asyncio.run(main())
    assert orders.done[-1] == "good" and answers[-1] == [2, 0, "good"], (orders.done, answers)


def test_a_put_without_memory_is_no_refusal():
    answers = []
    work = jobs.Jobs(Orders([OSError(5), MemoryError()]), lambda kind, body: answers.append(cbor.loads(body)))

    async def main():
        for _ in range(3):
            assert work.add(0x16, [1, b"name", 4, 0, b"data"])
            await asyncio.sleep_ms(5)

    asyncio.run(main())
    assert answers == [[1, b"name", 0, 2], [1, b"name", 4, 1]], answers


def test_jobs_go_on_after_one_for_which_no_task_could_be_made():
    answers = []
    orders = Orders([])
    work = jobs.Jobs(orders, lambda kind, body: answers.append(cbor.loads(body)))

    def no_memory(coroutine):
        raise MemoryError

    create = asyncio.create_task

    async def main():
        asyncio.create_task = no_memory
        try:
            work.add(0x17, [1, "first", []])
            assert False
        except MemoryError:
            pass
        asyncio.create_task = create
        assert work.add(0x17, [1, "first", []])
        await asyncio.sleep_ms(5)

    asyncio.run(main())
    assert answers == [[1, 0, "first"]] and orders.done == ["first"], (answers, orders.done)


# Batches and frames


def test_frames_are_numbered_and_counted():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one")
    group = sampler.group([0, 1], b"\x01\x05", 100)
    asyncio.run(batcher.put(frame.BOOT, {1: 1}))
    for _ in range(3):
        fill(sampler, group, 5)
        asyncio.run(batcher.flush())
    asyncio.run(batcher.flush())
    got = [frame.peek(data) for data in frames(spool)]
    assert [(h[0], h[1], h[2], h[3], h[5]) for h in got] == [
        (frame.BOOT, b"boot-one", 0, 0, scratch.REV),
        (frame.DATA, b"boot-one", 1, 0, scratch.REV),
        (frame.DATA, b"boot-one", 2, 10, scratch.REV),
        (frame.DATA, b"boot-one", 3, 20, scratch.REV),
    ], got
    assert (batcher.seq, batcher.count, sampler.waiting) == (4, 30, 0)
    unmount(store)


def test_a_batch_that_is_too_large_is_split_and_keeps_every_row():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one")
    sampler._share = 1 << 20
    wide = sampler.group(list(range(100)), b"\x05" * 100, 100)
    small = [sampler.group([100 + i], b"\x01", 100) for i in range(30)]
    src = bytearray(os.urandom(900))
    for row in range(6):
        sampler.start(wide)
        for col in range(100):
            wide.put(col, src, row + 8 * col)
        sampler.finish(wide)
        for group in small:
            fill(sampler, group, 1)
    asyncio.run(batcher.flush())
    assert sampler.waiting == 0
    rows = {}
    count = 0
    for data in frames(spool):
        assert len(data) <= frame.FRAME_MAX
        assert frame.peek(data)[3] == count
        for group in content(data):
            n = group[1] * len(group[4])
            count += n
            first = group[0] if isinstance(group[0], int) else group[0][0]
            rows[first] = rows.get(first, 0) + group[1]
    assert count == 6 * 130 and batcher.count == count
    assert rows[0] == 6 and all(rows[100 + i] == 6 for i in range(30)), rows
    unmount(store)


def test_times_count_from_the_earliest_sample_of_the_frame():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one")
    a = sampler.group([0], b"\x01", 100)
    b = sampler.group([1], b"\x01", 100)
    fill(sampler, b, 3)  # the ticks go on by 10 with each look at them
    fill(sampler, a, 2)
    asyncio.run(batcher.flush())
    data = frames(spool)[0]
    groups = content(data)
    starts = {g[0]: (g[2], g[3]) for g in groups}
    assert starts[1] == (0, 10) and starts[0] == (30, 10), starts
    unmount(store)


def test_rows_that_come_while_a_batch_waits_for_the_line_are_not_lost():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one")
    group = sampler.group([0], b"\x01", 100)
    lock = asyncio.Lock()
    batcher.locks.append(lock)

    async def busy():
        await lock.acquire()
        fill(sampler, group, 3)
        task = asyncio.create_task(batcher.flush())
        await asyncio.sleep_ms(20)
        assert not frames(spool), "written while the line was busy"
        fill(sampler, group, 2)
        lock.release()
        await task
        assert not lock.locked()

    asyncio.run(busy())
    assert batcher.count == 5 and sampler.waiting == 0
    unmount(store)


def test_a_line_that_stays_busy_delays_a_commit_but_not_for_ever():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one")
    lock = asyncio.Lock()
    free = asyncio.Lock()
    batcher.locks += [free, lock]

    async def main():
        await lock.acquire()
        await batcher.put(frame.HEALTH, {1: 1})
        assert lock.locked() and not free.locked()

    asyncio.run(main())
    assert heads(spool) == [(frame.HEALTH, 0)]
    unmount(store)


def test_a_line_that_falls_free_as_the_wait_for_it_ends_is_not_kept():
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one")
    lock = asyncio.Lock()
    batcher.locks.append(lock)

    async def source():
        await lock.acquire()
        await asyncio.sleep_ms(1480)
        lock.release()
        time.sleep_ms(60)  # with an answer, until after the 1500 ms

    async def main():
        task = asyncio.create_task(source())
        await asyncio.sleep_ms(0)
        await batcher.put(frame.HEALTH, {1: 1})
        await task
        await asyncio.sleep_ms(20)
        assert not lock.locked()

    asyncio.run(main())
    assert heads(spool) == [(frame.HEALTH, 0)]
    unmount(store)


def test_a_task_that_is_cancelled_while_it_waits_leaves_all_locks_free():
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one")
    first, second = asyncio.Lock(), asyncio.Lock()
    batcher.locks += [first, second]

    async def main():
        await second.acquire()
        task = asyncio.create_task(batcher.put(frame.HEALTH, {}))
        await asyncio.sleep_ms(20)
        task.cancel()
        await asyncio.sleep_ms(20)
        assert not first.locked()
        second.release()
        await batcher.put(frame.HEALTH, {})

    asyncio.run(main())
    assert heads(spool) == [(frame.HEALTH, 0)]
    unmount(store)


def test_rows_stay_until_their_frame_is_made():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one")
    group = sampler.group([0, 1], b"\x01\x01", 100)
    fill(sampler, group, 3)
    seal = batcher._writer.seal

    def no_memory():
        raise MemoryError

    batcher._writer.seal = no_memory
    try:
        asyncio.run(batcher.flush())
        assert False
    except MemoryError:
        pass
    batcher._writer.seal = seal
    fill(sampler, group, 2)
    asyncio.run(batcher.flush())
    assert (batcher.seq, batcher.count, sampler.waiting) == (1, 10, 0)
    assert content(frames(spool)[0])[0][1] == 5
    unmount(store)


def test_a_group_that_no_frame_could_hold_is_refused():
    sampler = Sampler(1000, 2048, 200, 4000)
    sampler.group(list(range(100)), b"\x01" * 100, 100)
    try:
        sampler.group(list(range(101)), b"\x01" * 101, 100)
    except ValueError:
        return
    assert False


def test_without_memory_for_details_the_oldest_is_dropped_all_the_same():
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one", 16384)
    drop = losses._drop_oldest

    def no_memory(spool, write):
        raise MemoryError

    losses._drop_oldest = no_memory
    for i in range(16):
        asyncio.run(batcher.put(frame.CRASH, "x" * 1000))
    losses._drop_oldest = drop
    data = frames(spool)
    stones = [content(d) for d in data if frame.peek(d)[0] == frame.TOMBSTONE]
    assert spool.used() <= 16384 and stones[0][:5] == [losses.OVERFLOW, b"boot-one", 0, 2, 0], stones
    unmount(store)


# Spool


def test_acknowledged_frames_are_not_sent_and_their_files_go():
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one")
    for _ in range(8):
        asyncio.run(batcher.put(frame.HEALTH, {1: 1}))
    assert spool.frames == 8
    spool.ack(b"boot-one", 2, [4, 5, 7, 99])
    assert spool.frames == 3 and spool.delivered == 2
    assert heads(spool) == [(4, 2), (4, 3), (4, 6)]
    spool.ack(b"boot-one", 2, [4, 5])
    spool.ack(b"boot-xyz", 99, [])
    assert spool.frames == 3
    spool.ack(b"boot-one", 8, [])
    assert spool.frames == 0 and heads(spool) == []
    spool.sweep()
    assert len(os.listdir("/f/spool")) == 1, "the newest stays, for the next boot"
    _, batcher, spool = node(b"boot-two")
    asyncio.run(batcher.put(frame.BOOT, {1: 2}))
    spool.ack(b"boot-one", 8, [])
    spool.sweep()
    assert heads(spool) == [(frame.BOOT, 0)] and len(os.listdir("/f/spool")) == 1
    unmount(store)


def test_frames_are_sent_in_order_and_again_after_rewind():
    store, _ = mount(IMAGE)
    buf = bytearray(frame.FRAME_MAX)
    _, batcher, spool = node(b"boot-one")
    for i in range(3):
        asyncio.run(batcher.put(frame.HEALTH, {1: i}))
    seen = []
    for _ in range(2):
        seen.append(frame.peek(memoryview(buf)[: spool.next(buf)])[2])
    asyncio.run(batcher.put(frame.HEALTH, {1: 3}))
    while True:
        n = spool.next(buf)
        if not n:
            break
        seen.append(frame.peek(memoryview(buf)[:n])[2])
    assert seen == [0, 1, 2, 3], seen
    assert len(frames(spool)) == 4
    unmount(store)


def test_the_next_boot_knows_where_the_last_one_ended():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one")
    group = sampler.group([0, 1], b"\x01\x01", 100)
    asyncio.run(batcher.put(frame.BOOT, {1: 41}))
    for _ in range(3):
        fill(sampler, group, 4)
        asyncio.run(batcher.flush())
    found = recover.recover(Spool("/f/spool", 65536))
    assert found.last[:3] == (b"boot-one", 3, 24) and found.ordinal == 41
    unmount(store)


def test_a_torn_tail_ends_a_segment_and_is_told():
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one")
    for i in range(4):
        asyncio.run(batcher.put(frame.HEALTH, {1: i}))
    name = "/f/spool/" + os.listdir("/f/spool")[0]
    size = os.stat(name)[6]
    for cut in (1, 5, size // 4 - 7, size // 4 - 1):
        with open(name, "rb") as f:
            whole = f.read()
        with open(name, "wb") as f:
            f.write(whole[:-cut])
        lines.clear()
        spool = Spool("/f/spool", 65536)
        recover.recover(spool)
        assert heads(spool) == [(4, 0), (4, 1), (4, 2)], (cut, heads(spool))
        assert "torn" in lines[0]
        assert [item[:5] for item in spool.debts] == [[losses.TORN, b"boot-one", 3, 3, 0]], spool.debts
        with open(name, "wb") as f:
            f.write(whole)
    unmount(store)


def rot(path, at):
    """Turn a bit of a byte of a file."""
    with open(path, "rb") as f:
        data = bytearray(f.read())
    data[at] ^= 4
    with open(path, "wb") as f:
        f.write(data)


def test_a_record_that_rots_while_the_node_runs_costs_one_frame_and_leaves_a_tombstone():
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one")
    for i in range(4):
        asyncio.run(batcher.put(frame.HEALTH, {1: i}))
    size = spool.segments[0][4] // 4
    spool._tail.seek(size + 20)
    spool._tail.write(b"?")
    spool._tail.flush()
    assert heads(spool) == [(4, 0), (4, 2), (4, 3)]
    assert heads(spool) == [(4, 0), (4, 2), (4, 3)]
    asyncio.run(batcher.put(frame.HEALTH, {1: 9}))
    got = frames(spool)
    assert content(got[3])[:5] == [losses.TORN, b"boot-one", 1, 1, 0], content(got[1])
    assert heads(spool) == [(4, 0), (4, 2), (4, 3), (3, 4), (4, 5)]
    spool._tail.seek(4 * size + 20)  # the tombstone itself, whose loss is told anew
    spool._tail.write(b"?")
    spool._tail.flush()
    assert heads(spool) == [(4, 0), (4, 2), (4, 3), (4, 5)]
    assert [item[:4] for item in spool.debts] == [[losses.TORN, b"boot-one", 4, 4]]
    unmount(store)


def test_every_record_that_rots_is_told_by_the_next_start_and_costs_no_other():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one")
    group = sampler.group([0, 1], b"\x01\x01", 100)
    sizes = []
    for i in range(5):
        fill(sampler, group, 3 + i)
        asyncio.run(batcher.flush())
        sizes.append(spool.segments[0][4] - sum(sizes))
    name = "/f/spool/" + os.listdir("/f/spool")[0]
    assert name.endswith("-%s-0" % b"boot-one".hex()), name
    with open(name, "rb") as f:
        whole = f.read()
    for i in range(5):
        for at in (0, 1, 2, 5, 6, 20, sizes[i] - 1):
            rot(name, sum(sizes[:i]) + at)
            spool = Spool("/f/spool", 65536)
            found = recover.recover(spool)
            where = (i, at, spool.debts)
            assert [seq for _, seq in heads(spool)] == [k for k in range(5) if k != i], where
            assert [item[:4] for item in spool.debts] == [[losses.TORN, b"boot-one", i, i]], where
            # A first one's and a middle one's readings are known by the counts around them.
            assert spool.debts[0][4] == (0 if i in (0, 4) else 2 * (3 + i)), where
            assert found.last[:3] == (b"boot-one", 3 if i == 4 else 4, 36 if i == 4 else 50), where
            with open(name, "wb") as f:
                f.write(whole)
    unmount(store)


def test_a_segment_of_which_nothing_can_be_read_is_told_and_then_goes():
    store, _ = mount(scratch.blank(32))
    sampler, batcher, spool = node(b"boot-one", 16384)
    for i in range(9):
        asyncio.run(batcher.put(frame.CRASH, "x" * 1000))
    assert [segment[2:4] for segment in spool.segments] == [[0, 3], [3, 3], [6, 3]]
    for name, lost in zip(sorted(os.listdir("/f/spool")), ([0, 2], [3, 5], [6, 6])):
        with open("/f/spool/" + name, "rb") as f:
            whole = f.read()
        with open("/f/spool/" + name, "wb") as f:
            f.write(b"\xff" * len(whole))
        spool = Spool("/f/spool", 16384)
        recover.recover(spool)
        assert [item[:4] for item in spool.debts] == [[losses.TORN, b"boot-one"] + lost], spool.debts
        assert len(heads(spool)) == 6 and name in os.listdir("/f/spool")
        with open("/f/spool/" + name, "wb") as f:
            f.write(whole)
    with open("/f/spool/" + name, "wb") as f:
        f.write(b"\xff" * len(whole))
    _, batcher, spool = node(b"boot-two", 32768)
    asyncio.run(batcher.put(frame.BOOT, {1: 2}))
    assert content(frames(spool)[-2])[:4] == [losses.TORN, b"boot-one", 6, 6]
    spool.sweep()
    assert name not in os.listdir("/f/spool")
    unmount(store)


def test_files_of_others_and_empty_ones_do_no_harm():
    store, _ = mount(IMAGE)
    here = ("readme", "0000000g", "0000000a-6161-1", "x-y-z-")
    for name, data in (
        ("0000000a", b""),
        ("0000000b", b"\x00\x05abcd"),
        ("0000000c", b"z" * 999),
        ("0000000d-%s-7" % b"boot-old".hex(), b""),
        ("owed", b"\x81\x01"),
    ) + tuple((name, b"x") for name in here):
        with open("/f/spool/" + name, "wb") as f:
            f.write(data)
    _, batcher, spool = node(b"boot-one")
    assert spool.frames == 0
    asyncio.run(batcher.put(frame.HEALTH, {}))
    assert heads(spool) == [(4, 0)] and not spool.debts
    spool.sweep()
    left = sorted(os.listdir("/f/spool"))
    assert left == sorted(here + ("0000000e-%s-0" % b"boot-one".hex(), "owed")), left
    unmount(store)


def test_much_that_rots_costs_no_whole_frame():
    """More than may be owed at a time: the rest is told when that is paid."""
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one")
    for i in range(51):
        asyncio.run(batcher.put(frame.HEALTH, {1: i % 20}))
    name = "/f/spool/" + os.listdir("/f/spool")[0]
    size = os.stat(name)[6] // 51
    assert os.stat(name)[6] == 51 * size
    for i in range(1, 50, 2):
        rot(name, i * size + 20)
    whole = list(range(0, 52, 2))
    spool = Spool("/f/spool", 65536)
    recover.recover(spool)
    _, batcher, spool = node(b"boot-two")
    told = set()
    for i in range(6):
        asyncio.run(batcher.put(frame.HEALTH, {1: 0}))
        sent = frames(spool)
        heads_ = [frame.peek(data) for data in sent]
        assert [h[2] for h in heads_ if h[1] == b"boot-one"] == whole
        for data, head in zip(sent, heads_):
            if head[0] == frame.TOMBSTONE:
                item = content(data)
                assert item[:2] == [losses.TORN, b"boot-one"] and item[2] == item[3], item
                told.add(item[2])
    assert told == set(range(1, 50, 2)), told
    unmount(store)


def test_many_debts_become_fewer_and_none_is_forgotten():
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one")
    for i in range(100):
        boot = b"boot-%03d" % (i % 20)
        losses.owe(spool, [losses.TORN, boot, 10 * i, 10 * i + 2, i, i, i + 1, {i % 3: i}])
    assert len(spool.debts) <= 20
    for i in range(100):
        boot = b"boot-%03d" % (i % 20)
        assert any(d[1] == boot and d[2] <= 10 * i and d[3] >= 10 * i + 2 for d in spool.debts), i
    assert sum(d[4] for d in spool.debts) == sum(range(100))
    assert sum(sum(d[7].values()) for d in spool.debts) == sum(range(100))
    unmount(store)


def test_live_frames_go_beside_the_backlog_in_its_share():
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one")
    for i in range(40):
        asyncio.run(batcher.put(frame.HEALTH, {1: i}))
    for share, live in ((50, 12), (75, 6), (90, 2), (100, 0)):
        spool.rewind()
        spool.share = share
        first = batcher.seq
        for i in range(16):
            asyncio.run(batcher.put(frame.HEALTH, {1: i}))
        buf = bytearray(frame.FRAME_MAX)
        got = [frame.peek(buf[: spool.next(buf)])[2] for _ in range(24)]
        back = [seq for seq in got if seq < first]
        new = [seq for seq in got if seq >= first]
        assert abs(len(new) - live) <= (share < 100), (share, got)
        assert back == list(range(len(back))) and new == list(range(first, first + len(new))), got
        while spool.next(buf):
            got.append(frame.peek(buf)[2])
        assert sorted(got) == list(range(batcher.seq)), "each once"
    spool.rewind()
    spool.share = 50
    asyncio.run(batcher.put(frame.HEALTH, {}))
    spool.ack(b"boot-one", 0, [batcher.seq - 1, batcher.seq - 1, 3, 9])
    assert [seq for _, seq in heads(spool)] == [0, 1, 2] + list(range(10, batcher.seq - 1))
    unmount(store)


def test_a_full_spool_may_drop_the_newest_and_tells_every_reading_after_a_cut_too():
    from gasan.node.newest import Newest

    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one", 32768, spool_class=Newest)
    group = sampler.group([0, 5], b"\x05\x05", 100)
    value = bytearray(8)
    asyncio.run(batcher.put(frame.BOOT, {1: 1}))
    for i in range(300):
        for row in range(5):
            sampler.start(group)
            for col in range(2):
                value[:] = os.urandom(8)
                group.put(col, value, 0)
            sampler.finish(group)
        asyncio.run(batcher.flush())
        assert spool.used() <= 32768
    kept = sum(1 for d in frames(spool) if frame.peek(d)[0] == frame.DATA)
    assert 50 < kept < 250 and batcher.lost == 10 * (300 - kept), kept
    assert [frame.peek(d)[2] for d in frames(spool)] == list(range(kept + 1)), "the oldest stay"
    # The power goes; what was dropped is known all the same.
    _, batcher, spool = node(b"boot-two", 32768, spool_class=Newest)
    asyncio.run(batcher.put(frame.BOOT, {1: 2}))
    stones = [content(d) for d in frames(spool) if frame.peek(d)[0] == frame.TOMBSTONE]
    n = 10 * (300 - kept)
    assert [s[:5] for s in stones] == [[losses.OVERFLOW, b"boot-one", kept + 1, 300, n]], stones
    assert stones[0][7] == [0, n // 2, 5, n // 2] and stones[0][5] < stones[0][6]
    assert not any(name[:4] == "owed" for name in os.listdir("/f/spool")), "it was told"
    # There is room again.
    spool.ack(b"boot-one", 150, ())
    spool.sweep()
    asyncio.run(batcher.put(frame.HEALTH, {}))
    assert heads(spool)[-1] == (frame.HEALTH, batcher.seq - 1) and not spool.refuses
    unmount(store)


def test_a_spool_in_memory_behaves_as_one_in_flash():
    from gasan.node import ramdisk

    folder = ramdisk.mount(24576)
    spool = Spool(folder, 24576)
    recover.recover(spool)
    writer = frame.FrameWriter(b"node-id-", 0, frame.frame_key(scratch.KEY))
    batcher = Batcher(
        writer, spool, Sampler(1000, 2048, 8, 8192), Clock(scratch.Ticks()), b"boot-one", scratch.REV
    )
    for i in range(60):
        asyncio.run(batcher.put(frame.CRASH, "x" * 1000))
        assert spool.used() <= 24576
    there = set(frame.peek(d)[2] for d in frames(spool))
    assert len(there) > 12
    for d in frames(spool):
        if frame.peek(d)[0] == frame.TOMBSTONE:
            assert content(d)[0] == losses.OVERFLOW, "the file system was never full"
            there.update(range(content(d)[2], content(d)[3] + 1))
    assert there == set(range(batcher.seq)), sorted(set(range(batcher.seq)) - there)
    vfs.umount("/ram")


def test_a_full_spool_drops_the_oldest_and_tells_every_reading():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one", 16384)
    groups = [sampler.group([0, 1], b"\x05\x05", 100), sampler.group([5], b"\x07", 100)]
    value = bytearray(8)
    asyncio.run(batcher.put(frame.BOOT, {1: 1}))
    asyncio.run(batcher.put(frame.BIRTH, b"\x84\x00\x01\x00\x80"))
    per_frame = 2 * 5 + 5
    for i in range(150):
        for group in groups:
            for row in range(5):
                sampler.start(group)
                for col in range(group.columns):
                    value[:] = os.urandom(8)
                    group.put(col, value, 0)
                sampler.finish(group)
        asyncio.run(batcher.flush())
        assert spool.used() <= 16384
    data = frames(spool)
    kept = sum(1 for d in data if frame.peek(d)[0] == frame.DATA) * per_frame
    stones = [content(d) for d in data if frame.peek(d)[0] == frame.TOMBSTONE]
    lost = sum(s[4] for s in stones)
    assert batcher.count == 150 * per_frame == kept + lost, (batcher.count, kept, lost)
    assert batcher.lost == lost
    channels = {}
    for s in stones:
        for i in range(0, len(s[7]), 2):
            channels[s[7][i]] = channels.get(s[7][i], 0) + s[7][i + 1]
        assert s[0] == losses.OVERFLOW and s[1] == b"boot-one" and s[5] <= s[6]
    assert channels == {0: lost // 3, 1: lost // 3, 5: lost // 3}
    covered = set()
    for s in stones:
        covered.update(range(s[2], s[3] + 1))
    there = set(frame.peek(d)[2] for d in data)
    assert there | covered == set(range(batcher.seq)) and not there & covered
    assert any(frame.peek(d)[0] == frame.BIRTH for d in data), "the birth is written again"
    assert len(stones) < 12, "they merge: %d" % len(stones)
    unmount(store)


def test_what_was_acknowledged_is_not_told_as_lost():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one", 16384)
    for i in range(3):
        asyncio.run(batcher.put(frame.CRASH, "x" * 900))
    spool.ack(b"boot-one", 2, [])
    for i in range(15):
        asyncio.run(batcher.put(frame.CRASH, "x" * 900))
    stones = [content(d) for d in frames(spool) if frame.peek(d)[0] == frame.TOMBSTONE]
    assert min(s[2] for s in stones) == 2, stones
    unmount(store)


class Refusing:
    """A file whose writes fail as told."""

    def __init__(self, file, errno):
        self.file = file
        self.errno = errno
        self.seek, self.readinto, self.close, self.flush = file.seek, file.readinto, file.close, file.flush

    def write(self, data):
        if self.errno[0]:
            raise OSError(self.errno[0])
        return self.file.write(data)


def refuse(errno, then):
    """Run ``then`` while opened files refuse writes with errno[0]."""
    from gasan.node import spool as module

    module.open = lambda path, mode: Refusing(open(path, mode), errno)
    try:
        then()
    finally:
        del module.open


class Full(list):
    """A list that cannot grow."""

    def append(self, item):
        raise MemoryError


def test_without_memory_for_a_segment_what_is_committed_stays():
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one")
    for i in range(3):
        asyncio.run(batcher.put(frame.HEALTH, {1: i}))
    _, batcher, spool = node(b"boot-two")
    spool.segments = Full(spool.segments)
    try:
        asyncio.run(batcher.put(frame.BOOT, {1: 1}))
        assert False
    except MemoryError:
        pass
    assert heads(spool) == [(frame.HEALTH, i) for i in range(3)] and not spool.debts
    spool.segments = list(spool.segments)
    asyncio.run(batcher.put(frame.BOOT, {1: 1}))
    assert heads(spool) == [(frame.HEALTH, i) for i in range(3)] + [(frame.BOOT, 0)]
    unmount(store)


def test_what_is_owed_stays_owed_until_it_is_written():
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one")
    losses.owe(spool, [losses.TORN, b"boot-old", 3, 5, 7, 10, 20, {1: 7}])
    encode = losses.content

    def no_memory(item):
        raise MemoryError

    losses.content = no_memory
    try:
        asyncio.run(batcher.put(frame.HEALTH, {}))
        assert False
    except MemoryError:
        pass
    losses.content = encode
    asyncio.run(batcher.put(frame.HEALTH, {}))
    assert heads(spool) == [(frame.TOMBSTONE, 0), (frame.HEALTH, 1)]
    assert content(frames(spool)[0])[:5] == [losses.TORN, b"boot-old", 3, 5, 7]
    unmount(store)


def test_a_tombstone_of_many_channels_fits_into_a_frame():
    store, _ = mount(IMAGE)
    _, batcher, spool = node(b"boot-one")
    channels = {1000 + i: 70000 + i for i in range(250)}
    losses.owe(spool, [losses.OVERFLOW, b"boot-old", 0, 70000, 1 << 30, 1 << 35, 1 << 36, channels])
    asyncio.run(batcher.put(frame.HEALTH, {}))
    assert content(frames(spool)[0])[4:] == [1 << 30, 1 << 35, 1 << 36, []]
    unmount(store)


def test_a_flash_that_fails_costs_frames_that_are_told_and_the_node_goes_on():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one", 16384)
    group = sampler.group([0, 1], b"\x01\x01", 100)
    errno = [0]

    def life():
        asyncio.run(batcher.put(frame.BOOT, {1: 1}))
        for bad in (0, 5, 5, 5, 0):
            errno[0] = bad
            fill(sampler, group, 3)
            asyncio.run(batcher.flush())

    refuse(errno, life)
    got = [(frame.peek(d)[0], frame.peek(d)[2], frame.peek(d)[3]) for d in frames(spool)]
    assert got == [(1, 0, 0), (0, 1, 0), (3, 7, 24), (0, 8, 24)], got  # 3 and 5 were refused as well
    stone = content(frames(spool)[2])
    assert stone[:5] == [losses.UNSENDABLE, b"boot-one", 2, 6, 18] and stone[7] == [0, 9, 1, 9], stone
    assert batcher.lost == 18 and batcher.count == 30
    unmount(store)


def test_a_flash_that_fails_without_memory_for_details_is_told_all_the_same():
    store, _ = mount(IMAGE)
    sampler, batcher, spool = node(b"boot-one", 16384)
    group = sampler.group([0, 1], b"\x01\x01", 100)
    errno = [0]
    of = losses.of

    def no_memory(data, reason):
        raise MemoryError

    def life():
        asyncio.run(batcher.put(frame.BOOT, {1: 1}))
        errno[0] = 5
        losses.of = no_memory
        fill(sampler, group, 3)
        asyncio.run(batcher.flush())
        losses.of = of
        errno[0] = 0
        asyncio.run(batcher.put(frame.HEALTH, {}))

    refuse(errno, life)
    assert heads(spool) == [(frame.BOOT, 0), (frame.TOMBSTONE, 2), (frame.HEALTH, 3)]
    assert content(frames(spool)[1])[:5] == [losses.UNSENDABLE, b"boot-one", 1, 1, 6]
    assert batcher.lost == 6 and sampler.waiting == 0
    unmount(store)


def test_a_flash_that_is_full_before_its_budget_makes_room():
    store, _ = mount(scratch.blank(10))
    sampler, batcher, spool = node(b"boot-one", 1 << 20)
    for i in range(60):
        asyncio.run(batcher.put(frame.CRASH, "x" * 1000))
    data = frames(spool)
    assert frame.peek(data[-1])[2] == batcher.seq - 1
    there = set(frame.peek(d)[2] for d in data)
    for d in data:
        if frame.peek(d)[0] == frame.TOMBSTONE:
            assert content(d)[0] == losses.OVERFLOW, "none was refused"
            there.update(range(content(d)[2], content(d)[3] + 1))
    assert there == set(range(batcher.seq)), sorted(set(range(batcher.seq)) - there)
    unmount(store)


def test_a_crash_loop_does_not_fill_memory_with_segments():
    store, _ = mount(scratch.blank(80))
    for i in range(110):
        _, batcher, spool = node(b"boot%04d" % i, 1 << 20)
        asyncio.run(batcher.put(frame.BOOT, {1: i}))
    assert len(spool.segments) <= 96
    data = frames(spool)
    assert frame.peek(data[-1])[1] == b"boot0109"
    stones = set(content(d)[1] for d in data if frame.peek(d)[0] == frame.TOMBSTONE)
    alive = set(frame.peek(d)[1] for d in data)
    assert len(stones | alive) == 110
    unmount(store)


IMAGE = scratch.blank(16)
if len(sys.argv) < 3:
    for name in sorted(globals()):
        if name.startswith("test_"):
            print(name)
for name in sys.argv[2:]:
    lines.clear()
    globals()[name]()
    gc.collect()
    print("ok", name)
