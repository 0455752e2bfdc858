"""What was learned, over a restart; what polling and 100 channels take of the heap. On the VM."""

import json
from typing import Any

import pytest
from gasan.hil import vmrun

KEEP = """
import asyncio, json, os, sys
from gasan.node import keeper, plan
job = json.loads(sys.stdin.read())
keeper._FILE = job["file"]
class Limits: limits = (125, 124, 22500, 2084)
class Poller: pass
saved = []
def quietly(work):
    async def now():
        saved.append(1)
        work()
    return now()
poller = Poller()
poller.keep = ("line", quietly)
from gasan.node.facts import Facts
async def main():
    one = keeper.Keeper(poller)
    facts = Facts(Limits(), 7, 3)
    one.restore(facts)
    told = [facts.accepted, facts.refused, [w[:2] for w in facts.walls], one.retired(facts, 50)]
    facts.accepted, facts.refused = 60, 70
    facts.walls = [[10, 12, 0, 0], [20, 20, 0, 0]]
    facts.shelf = [[50, 51, 0, 0]]
    now = one._since
    one.changed(now)
    from time import ticks_add
    one.tick([facts], ticks_add(now, 20000))
    await asyncio.sleep_ms(10)
    early = len(saved)
    one.tick([facts], ticks_add(now, 31000))
    await asyncio.sleep_ms(10)
    one.changed(ticks_add(now, 32000))
    one.tick([facts], ticks_add(now, 90000))
    await asyncio.sleep_ms(10)
    print(json.dumps([told, early, len(saved), keeper.load("line"), keeper.load("other")]))
asyncio.run(main())
"""


def keep(file: str) -> list[Any]:
    answer: list[Any] = json.loads(vmrun.run(KEEP, stdin=json.dumps({"file": file}).encode()))
    return answer


def test_what_was_learned_is_written_seldom_and_is_there_after_a_restart(tmp_path: Any) -> None:
    file = tmp_path / "learned"
    rows = [[7, 3, 60, 70, [10, 12, 20, 20], [50, 51]]]
    # Not before 30 s of calm, then once, and not again within 15 minutes.
    assert keep(str(file)) == [[0, 0, [], False], 0, 1, rows, []]
    assert keep(str(file))[0] == [60, 70, [[10, 12], [20, 20]], True]
    assert file.stat().st_size < 64


LATER = """
    one = keeper.Keeper(poller)
    written = one._since
    from time import ticks_add
    for days in (0, 7):
        for _ in range(days):
            written = ticks_add(written, 86400000)
        one.changed(written)
        one.tick([], ticks_add(written, 31000))
        await asyncio.sleep_ms(10)
    print(len(saved))
asyncio.run(main())
"""


@pytest.mark.parametrize("bits", [64, 32])
def test_what_is_learned_a_week_after_the_last_writing_is_written_too(tmp_path: Any, bits: int) -> None:
    """Ticks of 32 bits tell of six days."""
    program = KEEP[: KEEP.index("    one =")] + LATER
    job = json.dumps({"file": str(tmp_path / "learned")}).encode()
    assert vmrun.run(program, bits=bits, stdin=job) == "2\n"


def test_a_damaged_file_is_as_if_it_were_not_there(tmp_path: Any) -> None:
    file = tmp_path / "learned"
    keep(str(file))
    whole = file.read_bytes()
    program = KEEP[: KEEP.index("class Limits")] + 'print(json.dumps(keeper.load("line")))\n'
    good = json.loads(vmrun.run(program, stdin=json.dumps({"file": str(file)}).encode()))
    assert good
    for at in range(0, len(whole), 3):
        for bad in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :]):
            file.write_bytes(bad)
            told = vmrun.run(program, stdin=json.dumps({"file": str(file)}).encode())
            assert json.loads(told) == []


SHELF = """
from gasan.node.facts import Facts, Shelf
from gasan.node.poll import Device
from time import ticks_diff, ticks_ms
shelf = Shelf(Facts(Device(1000, 0, 0), 1, 3), [])
shelf.ready = ticks_ms()
print(ticks_diff(shelf.ready, ticks_ms()) > 1 << 27, shelf.says)
"""


@pytest.mark.parametrize("bits", [64, 32])
def test_what_is_retired_is_ready_for_nobody(bits: int) -> None:
    assert vmrun.run(SHELF, bits=bits) == "True 82\n"


BITS = """
import json
from gasan.node import plan
class Line:  # 9600 8N1
    char_us, gap_us = 1042, 3647
known = [[1, f, 60, 70, [], []] for f in (1, 3)]
plan._known = lambda name: known
def spans(function, step):
    items = [[i, function, step * i, 9 if function < 3 else 1, 0, 1000] for i in range(100)]
    blocks = plan.plan([0, "line", {}, [["d", 1, 500, 0, 125, items]]], lambda *a: Rows(a[2]), Line())
    return [b.request[4] << 8 | b.request[5] for b in blocks]
class Rows:
    def __init__(self, period_ms):
        self.period_ms = period_ms
print(json.dumps([spans(1, 2), spans(3, 1)]))
"""


def test_a_limit_that_was_learned_holds_after_a_restart_in_bits_and_in_registers() -> None:
    bits, registers = json.loads(vmrun.run(BITS))
    print(bits, registers)
    assert max(bits) <= 60 and max(registers) <= 60
    assert len(bits) == 4 and len(registers) == 2


HEAP = """
import gc, sys
class Uart:
    def __init__(self, *a, **k):
        pass
class Machine:
    UART = Uart
    Pin = None
sys.modules["machine"] = Machine
from gasan.node.modbus_rtu import Source
from gasan.node.plan import plan
from gasan.node.sampler import Sampler
sampler = Sampler(10000, 2048, 100, 16384)
items = [[i, 3, 4 * i, 1, 0, 1000] for i in range(100)]
gc.collect()
before = gc.mem_alloc()
source = Source([0, "line", {1: 1, 2: 9600}, [["d", 1, 500, 0, 125, items]]], sampler, None)
gc.collect()
print(len(source._blocks), gc.mem_alloc() - before)
"""


@pytest.mark.skipif(bool(vmrun.missing(32)), reason=vmrun.missing(32))
def test_100_channels_take_at_most_24_kb_beside_the_code() -> None:
    blocks, taken = map(int, vmrun.run(HEAP, bits=32, heap="8m").split())
    print(f"100 channels in {blocks} blocks take {taken} bytes, rows for ten seconds of samples included")
    assert taken <= 24 * 1024


LOCKED = """
import micropython, sys
from gasan.wire.modbus_rtu import with_crc
answer = with_crc(b"\\x01\\x03\\x14" + bytes(range(20)))
class Uart:
    def __init__(self, *a, **k):
        self.at = len(answer)
    def any(self):
        return len(answer) - self.at
    def readinto(self, buf, n):
        for i in range(n):
            buf[i] = answer[self.at]
            self.at += 1
        return n
    def write(self, data):
        self.at = 0
        return len(data)
    def txdone(self):
        return True
class Machine:
    UART = Uart
    Pin = None
sys.modules["machine"] = Machine
from gasan.node.modbus_rtu import Source
from gasan.node.sampler import Sampler
from gasan.wire.columns import U16
sampler = Sampler(1000000, 2048, 20, 65536)
def items(first):
    return [[first + i, 3, first + i, U16, 0, 1000] for i in range(10)]
devices = [["d", 1, 500, 0, 10, items(0) + items(10)]]
source = Source([0, "line", {1: 1, 2: 115200}, devices], sampler, None)
N = 60
def transactions(n):
    for i in range(n):
        block = source._next()
        source._block = block
        source._begin(block)
        while source._step() >= 0:
            pass
        source._end()
        source._settle(block)
    source._deliver()
transactions(2)
if LEARN:
    from gasan.node.learn import Learner
    source._learner = Learner(source)
    source._learner._next = 0
    transactions(2)
before = sampler.sampled
micropython.heap_lock()
transactions(N)
micropython.heap_unlock()
print(sampler.sampled - before)
"""


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("bits", [32, 64])
def test_steady_polling_takes_nothing_from_the_heap(bits: int, learn: bool) -> None:
    """From the choice of a block to its row in the sampler, with the heap locked."""
    if missing := vmrun.missing(bits):
        pytest.skip(missing)
    program = LOCKED.replace("if LEARN:", f"if {learn}:")
    assert int(vmrun.run(program, bits=bits, heap="8m")) == 600
