"""Connections to sensors on a MicroPython VM, by a radio that does as BTstack does when things go wrong."""

import re

import pytest
from gasan.hil import vmrun

_PREAMBLE = """
import asyncio, errno, sys
from time import ticks_diff, ticks_ms

class Radio:
    handler = None
    calls = []
    full = False  # no memory for another connection
    silent = False  # connections neither come nor fail
    told = []  # what it says before the answer to a read
    def active(self, on=None):
        return True
    def irq(self, handler):
        Radio.handler = handler
    def gap_scan(self, *arguments):
        if arguments[0] is None:
            Radio.handler(6, ())
    def gap_connect(self, kind, address=None, ms=0):
        self.calls.append("call" if address else "cancel")
        if not address:
            if Radio.silent:  # as BTstack ends a call
                Radio.handler(7, (0, 1, SENSORS[0]))
        elif Radio.full:  # as BTstack refuses
            Radio.handler(7, (0, kind, memoryview(address)))
            raise OSError(errno.ENOMEM)
        elif not Radio.silent:
            Radio.handler(7, (SENSORS.index(address) + 64, kind, memoryview(address)))
    def gap_disconnect(self, handle):
        self.calls.append("end %d" % handle)
        Radio.handler(8, (handle, 0, bytes(6)))  # as BTstack ends one that it does not know
        return True
    def gattc_discover_services(self, handle):
        Radio.handler(9, (handle, 1, 9, b"\\x0f\\x18"))
        Radio.handler(10, (handle, 0))
    def gattc_discover_characteristics(self, handle, first, last):
        Radio.handler(11, (handle, 9, 3, 2, b"\\x19\\x2a"))
        Radio.handler(12, (handle, 0))
    def gattc_read(self, handle, value):
        for event, data in self.told:
            Radio.handler(event, data)
        Radio.handler(15, (handle, value, bytes((handle,))))
        Radio.handler(16, (handle, value, 0))

class bluetooth:
    BLE = Radio

SENSORS = [bytes((0xC4, 0, 0, 0, 0, i)) for i in range(2)]
sys.modules["bluetooth"] = bluetooth
from gasan.node import ble_central, ble_gatt, log, radio
from gasan.node.sampler import Sampler

def visited(i):
    wanted = [[b"\\x0f\\x18", b"\\x19\\x2a", False]]
    table = [[[b"\\xe0", b"", 0]], [[0, 0, 1]], False]
    return ["s%d" % i, SENSORS[i], 5, 60000, [[i, 0, 0, 9, 0]], table, [1, False, 60000, wanted]]

source = ble_central.Source([2, "hall", {}, [visited(0), visited(1)]], Sampler(60000, 4096, 8, 65536), None)
gatt = source._gatt
one, two = source._peers
radio.irq(gatt.irq)

async def failing(work):
    try:
        await work
    except Exception as e:
        return repr(e)
"""


def _on_vm(body: str) -> list[str]:
    """Run the body of an async function; returns what it prints.."""
    if why := vmrun.missing(64):
        pytest.skip(why)
    indented = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    program = f"{_PREAMBLE}\nasync def main():\n{indented}\n\nasyncio.run(main())\n"
    return [re.sub(r"^\d+ (?=[IWE] )", "", it) for it in vmrun.run(program, timeout=60).splitlines()]


def test_an_end_that_is_told_within_the_call_is_not_waited_for() -> None:
    out = _on_vm(
        """
await gatt.connect(one)
gatt.leave(one)
start = ticks_ms()
await gatt.connect(two)
print(two.connection, ticks_diff(ticks_ms(), start) < 2000, Radio.calls)
"""
    )
    assert out == ["65 True ['call', 'end 64', 'call']"]


def test_an_end_that_is_never_told_costs_one_visit() -> None:
    out = _on_vm(
        """
Radio.gap_disconnect = lambda self, handle: True
await gatt.connect(one)
gatt.leave(one)
print(await failing(gatt.connect(two)))
print(await failing(gatt.connect(two)), two.connection)
"""
    )
    assert out == ["VisitError('the last connection does not end',)", "None 65"]


def test_a_radio_without_memory_names_a_connection_that_is_none() -> None:
    """0 may be another's."""
    out = _on_vm(
        """
two.connection = 0
Radio.full = True
print(await failing(gatt.connect(one)), one.connection)
gatt.leave(one)
print(two.connection, Radio.calls)
Radio.full = False
print(await failing(gatt.connect(one)), one.connection)
"""
    )
    assert out == ["OSError(12,) -1", "0 ['call', 'cancel']", "None 64"]


def test_a_call_is_ended_when_the_visit_is_and_who_comes_late_is_sent_away() -> None:
    out = _on_vm(
        """
Radio.silent = True
calling = asyncio.create_task(gatt.connect(one))
await asyncio.sleep_ms(50)
calling.cancel()
await asyncio.sleep_ms(50)
print(Radio.calls, one.connection, gatt.calling)
gatt.tidy()
Radio.silent = False
await gatt.connect(two)
Radio.handler(7, (70, 1, memoryview(SENSORS[0])))
gatt.tidy()
gatt.tidy()
Radio.handler(7, (65, 1, memoryview(SENSORS[0])))
gatt.tidy()  # that one is a sensor's
print(Radio.calls[2:], one.connection, two.connection)
"""
    )
    assert out == ["['call', 'cancel'] -1 None", "['end 0', 'call', 'end 70'] -1 65"]


def test_an_answer_of_another_connection_is_none() -> None:
    out = _on_vm(
        """
await gatt.connect(one)
await gatt.connect(two)
Radio.told = [(15, (65, 3, b"wrong")), (16, (65, 3, 5)), (10, (65, 5)), (6, ())]
print(await gatt.read(one, 3))
Radio.gattc_write = lambda self, *arguments: Radio.handler(17, (65, 4, 5)) or Radio.handler(17, (64, 4, 0))
one.handles = [(3, 4, 1)]
print(await failing(gatt.subscribe(one)))
"""
    )
    assert out == ["b'@'", "None"]


@pytest.mark.parametrize("fails", ["gattc_read", "gap_connect"])
def test_visits_that_end_by_an_error_are_begun_again(fails: str) -> None:
    """As the node does: it starts a source again whose `run` raised. Nobody is kept from scanning."""
    out = _on_vm(
        f"""
def out_of_memory(self, *arguments):
    raise MemoryError("no room")
before, Radio.{fails} = Radio.{fails}, out_of_memory
running = asyncio.create_task(source.run())
await asyncio.sleep_ms(500)
print(running.done(), gatt.calling, one.connection)
print(await failing(running))
Radio.{fails} = before
running = asyncio.create_task(source.run())
await asyncio.sleep_ms(500)
print(running.done(), source.counters[16], len(radio._handlers))
"""
    )
    assert out[0] == "True None -1"
    assert "MemoryError('no room',)" in out
    assert out[-1] == "False 2 2"
