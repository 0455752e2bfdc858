"""Turn the devices of a Modbus bus, as compiled, into block reads that take the least time of the line.

device = [name, unit, timeout_ms, gap_ms, max_registers, ? more, [* item]]
more = {? 1: longest hole that is read, ? 30: what may be written}
item = [channel, function, register, type code, order, period_ms]

Needed only while a bus is set up; nothing that lives on refers to this module.
"""

import os
from heapq import heapify, heappop

from gasan.node.poll import Block, Device
from gasan.wire.columns import WIDTH
from gasan.wire.modbus_plan import MAX_HOLE, cut, rtu_costs, tcp_costs
from gasan.wire.modbus_read import read_request
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PERIOD_MAX_MS = const(1 << 28)  # three days: ticks_ms counts to 2^30 on a board, differences to half of that
_HOLE = const(1)  # key of what a device may carry before its items
_TIMEOUT_MAX_MS = const(20000)  # the supervisor wants a sign of life every 30 s


def plan(bus: list, make_group: "Callable", read: "Any", poller: "Any" = None) -> "list[Block]":
    """The blocks of all devices: same function and period, no longer than the device takes.

    What was learned of a device before the restart holds: no read crosses a wall, and what was retired is
    read by itself. bus: [type, name, params, devices]. make_group(channels, types, period_ms) makes the group
    of a block, as the sampler does. read: the RtuRead of a serial line, which knows its characters, or a
    TcpRead.
    Raises ValueError for a read that no device can answer, or times that the node cannot keep.
    """
    specs: "list[list]" = bus[3]
    known = _known(bus[1])
    blocks: "list[Block]" = []
    devices: "dict[int, Device]" = {}
    char_us = getattr(read, "char_us", 0)
    request, register = rtu_costs(char_us, read.gap_us) if char_us else tcp_costs()
    alone = all(spec[1] == specs[0][1] for spec in specs)
    for spec in specs:
        _, unit, timeout_ms, gap_ms, most = spec[:5]
        items = spec[-1]
        hole = spec[5].get(_HOLE, MAX_HOLE) if len(spec) > 6 else MAX_HOLE
        if not 0 < timeout_ms <= _TIMEOUT_MAX_MS or not 0 <= gap_ms <= _TIMEOUT_MAX_MS:
            raise ValueError("timeout or gap")
        # What is due to be answered late is the unit's, however many devices it is described as.
        device = devices.setdefault(unit, Device(timeout_ms, gap_ms, items[0][0] if items else 0))
        device.timeout_ms = max(timeout_ms, device.timeout_ms)
        device.gap_ms = max(gap_ms, device.gap_ms)
        # A gap is line time when nobody else is there to be asked meanwhile.
        costs = (request + 1000 * gap_ms if alone else request, register)
        # Most registers of a read, of a hole; microseconds of a read, and of each register.
        device.limits = (most, hole) + costs  # type: ignore[attr-defined]
        run: "list[list[int]]" = []
        # Not list.sort: MicroPython's takes quadratic time for what is in order already, as configs are.
        heap: "list[tuple]" = [(item[1], item[5], item[2], item) for item in items]
        heapify(heap)
        while heap:
            item = heappop(heap)[3]
            if run and (item[1] != run[0][1] or item[5] != run[0][5]):
                _family(blocks, unit, device, run, known, make_group)
                run = []
            run.append(item)
        if run:
            _family(blocks, unit, device, run, known, make_group)
    if not blocks:
        raise ValueError("nothing to read")
    if poller and any(block.group.period_ms != blocks[0].group.period_ms for block in blocks):
        from gasan.node import deadline

        deadline.install(poller)
        if _may_join(blocks, deadline.joins):
            from gasan.node import together

            together.install(poller)
    return blocks


def _may_join(blocks: "list[Block]", joins: "Callable") -> bool:
    """Whether two blocks of different periods take less time by one request when both are due."""
    for one in blocks:
        first = one.request[2] << 8 | one.request[3]
        end = first + (one.request[4] << 8 | one.request[5])
        for other in blocks:
            if (
                other.device is one.device
                and other.request[1] == one.request[1] > 2
                and other.group.period_ms > one.group.period_ms
                and joins(first, end, other.request, one.device.limits)  # type: ignore[attr-defined]
            ):
                return True
    return False


def _known(name: str) -> "list[list[Any]]":
    try:
        os.stat("/learned")
    except OSError:
        return []
    from gasan.node.keeper import load

    return load(name)


def _family(
    blocks: "list[Block]",
    unit: int,
    device: Device,
    items: "list[list[int]]",
    known: "list[list[Any]]",
    make_group: "Callable",
) -> None:
    """Add the blocks of a device's items of one function and period."""
    most, hole, request, register = device.limits  # type: ignore[attr-defined]
    if items[0][1] < 3:
        most = min(16 * most, 2000)  # bits
    walls: "list[int]" = []
    retired: "list[int]" = []
    for at, function, accepted, refused, holes, shelf in known:
        if at == unit and function == items[0][1]:
            most = min(most, max(1, accepted)) if refused else most
            walls = holes + shelf
            retired = shelf[::2]
    alone = [item for item in items if item[2] in retired]
    items = [item for item in items if item[2] not in retired]
    starts = [item[2] for item in items]
    # An 8-bit value has a register to itself and is its low byte.
    ends = [item[2] + (WIDTH[item[3]] + 1) // 2 for item in items]
    i = 0
    for j in cut(starts, ends, most, (request, register), hole, walls):
        blocks.append(_block(unit, device, items[i:j], max(ends[i:j]) - starts[i], make_group))
        i = j
    for item in alone:
        blocks.append(_block(unit, device, [item], (WIDTH[item[3]] + 1) // 2, make_group))


def _block(unit: int, device: Device, items: "list[list[int]]", count: int, make_group: "Callable") -> Block:
    _, function, register, _, _, period_ms = items[0]
    request = read_request(unit, function, register, count)
    if not 0 < period_ms <= _PERIOD_MAX_MS:
        raise ValueError("period")
    layout = bytearray()
    for item in items:
        if not 0 <= item[4] <= 7:
            raise ValueError("order")
        at = 2 * (item[2] - register)
        size = WIDTH[item[3]]
        if function < 3:
            layout.append(item[2] - register >> 3)
            layout.append(item[2] - register & 7)
        elif size == 1:
            layout.append(at if item[4] & 2 else at + 1)
            layout.append(0)
        else:
            layout.append(at)
            layout.append(item[4] and item[4] | size << 2)
    group = make_group([item[0] for item in items], bytes([item[3] for item in items]), period_ms)
    return Block(device, request, bytes(layout), group)
