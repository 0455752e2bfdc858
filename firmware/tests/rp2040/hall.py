# Runs on the emulated RP2040: the Modbus RTU source on UART 1 with a block always due, and beside it the BLE
# observer in a hall full of adverts, as /job says. The chip has no radio: a timer plays it, and its interrupt
# hands the source what a port would.

import asyncio
import gc
import json
import sys
from random import getrandbits, randrange, seed
from time import ticks_diff, ticks_ms

from machine import Timer

_IRQ_SCAN_RESULT = 5
_FLAGS_AND_HEAD = bytes.fromhex("020106 0a16d2fc40 0000 020000 0100".replace(" ", ""))


class Radio:
    """One advert at each tick of its timer; every `share`-th is of a wanted sensor and a new measurement."""

    strangers = 480
    wanted = 20

    def active(self, on=None):
        pass

    def irq(self, handler):
        Radio.handler = handler

    def gap_scan(self, *arguments):
        pass

    def play(self, rate, share):
        self.share = share
        self.ticks = self.told = 0
        self.address = bytearray(6)
        self.advert = bytearray(_FLAGS_AND_HEAD)
        self.result = (1, memoryview(self.address), 0, -60, memoryview(self.advert))
        self.pool = [bytes([0xC0, getrandbits(8), 0, 0, 1, getrandbits(8)]) for _ in range(self.strangers)]
        self.timer = Timer(freq=rate, mode=Timer.PERIODIC, callback=self.tick)

    def tick(self, timer):
        self.ticks += 1
        if self.ticks % self.share:
            self.address[:] = self.pool[randrange(self.strangers)]
        else:
            self.told += 1
            sensor = self.told % self.wanted
            self.address[:] = address(sensor)
            self.advert[9] = self.told // self.wanted & 255
            self.advert[11] = self.told & 255
        Radio.handler(_IRQ_SCAN_RESULT, self.result)


class bluetooth:
    BLE = Radio


sys.modules["bluetooth"] = bluetooth

from gasan.node import ble  # noqa: E402
from gasan.node.modbus_rtu import Source  # noqa: E402
from gasan.node.sampler import Sampler  # noqa: E402


def address(sensor):
    return bytes((0xC4, 0x7C, 0x8D, 0, 0, sensor))


class Taker:
    """Takes the rows as a batcher does, and counts them."""

    def __init__(self, sampler, first):
        self.sampler = sampler
        self.first = first
        self.rows = [0, 0]

    async def run(self):
        while True:
            await asyncio.sleep_ms(250)
            self.take()

    def take(self):
        for i, g in enumerate(self.sampler.groups):
            g.offered = g.n - g.first
            self.rows[i >= self.first] += g.offered
            g.take()


async def main(job):
    seed(job["seed"])
    bus = job["bus"]
    bus[2] = {int(key): value for key, value in bus[2].items()}
    sampler = Sampler(2000, 4096, 80, 40000)
    line = Source(bus, sampler, None)
    taker = Taker(sampler, len(sampler.groups))
    work = [line, taker]
    radio = Radio()
    if job["rate"]:
        items = [[100, 0x02, 0, 2, 0], [101, 0x01, 0, 9, 0]]
        sensors = [["s%d" % i, address(i), 0, 60000, items] for i in range(radio.wanted)]
        hall = ble.Source([2, "hall", {}, sensors], sampler, None)
        work.append(hall)
    tasks = [asyncio.create_task(it.run()) for it in work]
    await asyncio.sleep_ms(100)
    if job["rate"]:
        radio.play(job["rate"], job["share"])
    start = ticks_ms()
    free = []
    for share in (4, 2, 4):  # a quarter of the time, a half, a quarter
        await asyncio.sleep_ms(job["ms"] // share)
        gc.collect()
        free.append(gc.mem_free())
    taker.take()
    rows = taker.rows[0]
    ms = ticks_diff(ticks_ms(), start)
    said = {}
    if job["rate"]:
        radio.timer.deinit()
        await asyncio.sleep_ms(300)
        heard = [hall.counters[key] for key in (16, 17, 21)]
        said = {"ticks": radio.ticks, "told": radio.told, "heard": heard}
    for task in tasks:
        task.cancel()
    taker.take()
    said.update(
        {"ms": ms, "line_rows": rows, "hall_rows": taker.rows[1], "line": line.counters, "free": free}
    )
    print(json.dumps(said))


with open("/job") as f:
    asyncio.run(main(json.load(f)))
