"""The BLE observer on a MicroPython VM, with a radio that does as it is told: what its tests run in."""

import re

import pytest
from gasan.hil import vmrun

__all__ = ["on_vm"]

_PREAMBLE = """
import asyncio, errno, sys
from time import ticks_diff, ticks_ms
from gasan.wire import cbor, frame

class Radio:
    fails = False
    calls = []
    handler = None
    def active(self, on=None):
        self.calls.append(("active", on))
    def irq(self, handler):
        Radio.handler = handler
    def gap_scan(self, *arguments):
        if Radio.fails:
            raise OSError(errno.ENODEV)
        self.calls.append(("gap_scan",) + arguments)
        if arguments[0] is None:
            Radio.handler(6, ())

class bluetooth:
    BLE = Radio

sys.modules["bluetooth"] = bluetooth
from gasan.node import ble
from gasan.node.sampler import Sampler

ADDRESS = bytes.fromhex("c47c8d6a0001")
OTHER = bytes.fromhex("c47c8d6a0101")  # the same last byte

def advert(body, information=b"\\x40"):
    data = information + body
    return b"\\x02\\x01\\x06" + bytes((len(data) + 3, 0x16, 0xD2, 0xFC)) + data

def result(body, address=ADDRESS, information=b"\\x40"):
    data = advert(body, information)
    return (1, memoryview(bytearray(address)), 0, -50, memoryview(bytearray(data)))

def hear(*what, **how):
    Radio.handler(5, result(*what, **how))

# temperature, humidity and a second temperature, as I16, U16, I32
ITEMS = [[10, 0x02, 0, 2, 0], [20, 0x03, 0, 1, 0], [30, 0x02, 1, 4, 0]]
BUS = [2, "hall", {1: 100, 2: 50}, [["press", ADDRESS, 0, 60000, ITEMS]]]

def rows():
    # what the sampler holds, as it would go out: the groups of a frame
    writer = frame.FrameWriter(bytes(8), 0, bytes(32))
    writer.begin(0, bytes(8), 0, 0, 0, bytes(8))
    for group in sampler.groups:
        if group.n:
            writer.add(group)
    return cbor.loads(cbor.loads(writer.seal()).value[2])[6]

def counts():
    # adverts heard, dropped, refused
    return [source.counters[key] for key in (16, 17, 21)]

def columns():
    return [(group[0], group[4]) for group in rows()]

async def started(bus=BUS):
    global sampler, source, task
    sampler = Sampler(60000, 4096, 8, 65536)
    source = ble.Source(bus, sampler, None)
    task = asyncio.create_task(source.run())
    await asyncio.sleep_ms(1)

async def settled():
    await asyncio.sleep_ms(20)
"""


def on_vm(body: str, bits: int = 64) -> list[str]:
    """Run the body of an async function on the VM; returns the lines that it prints."""
    if why := vmrun.missing(bits):
        pytest.skip(why)
    indented = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    program = f"{_PREAMBLE}\nasync def main():\n    await started()\n{indented}\n\nasyncio.run(main())\n"
    return [
        re.sub(r"^\d+ (?=[IWE] )", "", line)
        for line in vmrun.run(program, bits=bits, timeout=30).splitlines()
    ]
