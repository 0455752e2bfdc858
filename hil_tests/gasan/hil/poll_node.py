# mypy: ignore-errors
# Runs on the MicroPython VM, whose modules the host's type checker does not know.
"""A node that is nothing but one Modbus source: prints as JSON what its sampler was given.

`gasan.hil.polling` writes the job to its standard input and reads the answer.
"""

import asyncio
import gc
import json
import sys
from time import ticks_diff, ticks_us

import vfs
from gasan.wire.columns import Group

job = json.loads(sys.stdin.read())


class Pin:
    """A pin that remembers when it was set (us)."""

    OUT = 1

    def __init__(self, number, mode, value=0):
        self.history = []

    def __call__(self, level):
        self.history.append([ticks_us(), level])


class Machine:
    """Stands in for the module: the virtual board's UART without the rest of that board."""

    Pin = Pin


class Sampler:
    """Counts rows, and keeps them if the job says so."""

    def __init__(self):
        self.rows = []
        self.settled = 0  # when the answer came that is handed over now or next (us)
        self.good = self.bad = self.missing = 0

    def group(self, channels, types, period_ms):
        return Group(channels, types, 1, period_ms)

    def start(self, g, t=None):
        g.clear()
        g.start(0)

    def finish(self, g):
        self.good += 1
        if job["keep"]:
            self.rows.append([self.settled, g.channels[0], max(g.quality), bytes(g.data[:-8]).hex()])

    def fail(self, g, quality):
        self.bad += 1
        if job["keep"]:
            self.rows.append([ticks_us(), g.channels[0], quality, ""])

    def missed(self, g, rows):
        self.missing += rows
        if rows and job["keep"]:
            self.rows.append([ticks_us(), g.channels[0], -rows, ""])


async def commit(lock, waits):
    """Take the line now and then, as a spool does, and note how long that took (us)."""
    while True:
        await asyncio.sleep_ms(50)
        start = ticks_us()
        await lock.acquire()
        waits.append(ticks_diff(ticks_us(), start))
        lock.release()


async def hurry(source, ms, request, deadline_ms, outcomes):
    """Have an urgent transaction done after a while, and note what became of it and when (us)."""
    if job["general"]:
        from gasan.node.general import Asked as Urgent
    else:
        from gasan.node.urgent import Urgent

    await asyncio.sleep_ms(ms)
    start = ticks_us()
    one = Urgent(source, bytes(request), deadline_ms)
    quality = await one.done()
    outcomes.append([ticks_diff(ticks_us(), start), quality, one.sent, one.answer.hex()])


def burst(source, sampler):
    """Transactions of the first block, one right after the other; returns how long they took (us)."""
    block = source._blocks[0]
    start = ticks_us()
    for _ in range(job["burst"]):
        source._begin(block)
        while source._step() >= 0:
            pass
        source._end()
        source._settle(block)
    return ticks_diff(ticks_us(), start)


async def main():
    if job["kind"] == "rtu":
        sys.path.append(job["standins"])
        import uart

        sys.path.pop()  # the other stand-ins want a whole virtual board
        uart.set_ports(vfs.VfsPosix("/"), {1: job["port"]})
        Machine.UART = uart.UART
        sys.modules["machine"] = Machine
        from gasan.node.modbus_rtu import Source
    elif job["kind"] == "rtu-tcp":
        from gasan.node.modbus_rtu_tcp import Source
    else:
        from gasan.node.modbus_tcp import Source
    bus = job["bus"]
    bus[2] = {int(key): value for key, value in bus[2].items()}
    for device in bus[3]:
        if len(device) > 6:
            device[5] = {int(key): value for key, value in device[5].items()}
    sampler = Sampler()
    source = Source(bus, sampler, None)
    waits = []
    if job["keep"]:
        # Rows are handed over behind the next request; on a busy machine that may have been answered by then.
        settle = source._settle

        def noted(block):
            sampler.settled = ticks_us()
            settle(block)

        source._settle = noted
    start = ticks_us()
    took = burst(source, sampler) if job["burst"] else 0
    tasks = [asyncio.create_task(source.run())]
    if job["commit"]:
        tasks.append(asyncio.create_task(commit(source.lock, waits)))
    outcomes = []
    for one in job["urgent"]:
        tasks.append(asyncio.create_task(hurry(source, *one, outcomes)))
    garbage = 0
    if job["garbage"]:  # bytes that stay on the heap per transaction, once all is warm
        await asyncio.sleep_ms(200)
        gc.collect()
        gc.disable()
        before, done = gc.mem_alloc(), sampler.good
    await asyncio.sleep_ms(job["ms"])
    if job["garbage"]:
        garbage = (gc.mem_alloc() - before) / (sampler.good - done)
    for task in tasks:
        task.cancel()
        try:  # noqa: SIM105 - MicroPython has no contextlib
            await task
        except asyncio.CancelledError:
            pass
    pin = getattr(source, "_drive", None)
    print(
        json.dumps(
            {
                "start_us": start,
                "rows": sampler.rows,
                "good": sampler.good,
                "bad": sampler.bad,
                "missed": sampler.missing,
                "counters": source.counters,
                "tallies": [list(device.tally) for device in source.devices],
                "drive": pin.history if pin else [],
                "commit_waits_us": waits,
                "garbage": garbage,
                "burst_us": took,
                "urgent": outcomes,
            }
        )
    )


asyncio.run(main())
