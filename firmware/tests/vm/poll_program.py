"""Runs a Modbus source on the VM, with a sampler that keeps the rows, and prints what happened as JSON.

stdin: JSON {"kind": "rtu"|"tcp", "bus": [...], "port": pty, "standins": folder, "ms": how long, "keep": rows}
"""

import asyncio
import json
import os
import sys
from time import ticks_diff, ticks_ms, ticks_us

import vfs

job = json.loads(sys.stdin.read())
sys.path.append(job["standins"])

from gasan.wire.columns import Group  # noqa: E402


class Machine:
    """The stand-in for `machine`: the UART of the virtual board and a pin that remembers."""

    class Pin:
        OUT = 1

        def __init__(self, number, mode, value=0):
            self.history = []

        def __call__(self, value):
            self.history.append((value, ticks_us()))


class Sampler:
    """Rows as (ms since start, channels, big-endian values or quality)."""

    def __init__(self, keep):
        self.rows = []
        self.good = self.bad = self.missing = 0
        self.keep = keep
        self.t0 = ticks_ms()

    def group(self, channels, types, period_ms):
        return Group(channels, types, 1, period_ms)

    def start(self, g):
        g.clear()
        g.start(ticks_diff(ticks_ms(), self.t0))

    def finish(self, g):
        g.finish()
        self.good += 1
        if self.keep:
            self.rows.append([g.times[0], list(g.channels), bytes(g.data[:-8]).hex()])

    def fail(self, g, quality):
        self.bad += 1
        if self.keep:
            self.rows.append([ticks_diff(ticks_ms(), self.t0), list(g.channels), quality])

    def missed(self, g, rows):
        self.missing += rows


job["bus"][2] = {int(key): value for key, value in job["bus"][2].items()}


async def main():
    import uart

    os.chdir("/")
    uart.set_ports(vfs.VfsPosix("/"), {1: job.get("port")})
    Machine.UART = uart.UART
    sys.modules["machine"] = Machine
    if job["kind"] == "rtu":
        from gasan.node.modbus_rtu import Source
    else:
        from gasan.node.modbus_tcp import Source
    sampler = Sampler(job.get("keep", True))
    source = Source(job["bus"], sampler, None)
    sampler.t0 = ticks_ms()
    task = asyncio.create_task(source.run())
    await asyncio.sleep_ms(job["ms"])
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    pin = getattr(source, "_drive", None)
    print(
        json.dumps(
            {
                "rows": sampler.rows,
                "good": sampler.good,
                "bad": sampler.bad,
                "missed": sampler.missing,
                "counters": source.counters,
                "drive": pin.history if pin else [],
                "devices": [[b.device.unit, b.device.silent] for b in source._blocks],
                "blocks": [[b.function, b.register, b.count, list(b.group.channels)] for b in source._blocks],
            }
        )
    )


asyncio.run(main())
