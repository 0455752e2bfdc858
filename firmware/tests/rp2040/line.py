# Runs on the emulated RP2040: the Modbus RTU source alone on UART 1, as /job says, and prints what it got.

import asyncio
import json

from gasan.node.modbus_rtu import Source
from gasan.wire.columns import Group


class Sampler:
    """Checks each row against what the slave's registers must hold."""

    def __init__(self):
        self.good = self.bad = self.wrong = 0

    def group(self, channels, types, period_ms):
        return Group(channels, types, 1, period_ms)

    def start(self, g, t=None):
        g.clear()
        g.start(0)

    def finish(self, g):
        self.good += 1

    def fail(self, g, quality):
        self.bad += 1

    def missed(self, g, rows):
        pass


class Committer:
    """Erases a sector now and then, under the line's lock or without it, as the job says."""

    def __init__(self, lock, locked):
        import rp2

        self.flash = rp2.Flash()
        self.lock = lock
        self.locked = locked

    async def run(self):
        while True:
            await asyncio.sleep_ms(37)
            if self.locked:
                await self.lock.acquire()
            self.flash.ioctl(6, 340)
            if self.locked:
                self.lock.release()


async def main(job):
    bus = job["bus"]
    bus[2] = {int(key): value for key, value in bus[2].items()}
    sampler = Sampler()
    source = Source(bus, sampler, None)
    tasks = [asyncio.create_task(source.run())]
    if job["erase"]:
        tasks.append(asyncio.create_task(Committer(source.lock, job["erase"] == "locked").run()))
    await asyncio.sleep_ms(job["ms"])
    for task in tasks:
        task.cancel()
    print(json.dumps({"good": sampler.good, "bad": sampler.bad, "counters": source.counters}))


with open("/job") as f:
    asyncio.run(main(json.load(f)))
