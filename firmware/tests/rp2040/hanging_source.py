# Stands in for gasan.node.modbus_rtu on the emulated RP2040: a source that hangs, as the bus's name says.

from asyncio import Lock, sleep_ms
from time import ticks_ms


class Source:
    def __init__(self, bus, sampler, clock):
        self.lock = Lock()
        self.counters = {}
        self.beat = ticks_ms()
        self.busily = bus[2][2] == 9600  # the baud rate chooses

    async def run(self):
        await sleep_ms(2000)
        while self.busily:  # nothing else runs any more: the watchdog's case
            pass
        while True:  # others run, this part makes no progress: the supervisor's case
            await sleep_ms(1000)
