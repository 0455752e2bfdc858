"""Turn the devices of a Modbus bus, as compiled, into block reads of neighbouring registers.

device = [name, unit, timeout_ms, gap_ms, max_registers, [* item]]
item = [channel, function, register, type code, order, period_ms]

Needed only while a bus is set up; nothing that lives on refers to this module.
"""

from heapq import heapify, heappop

from gasan.node.poll import Block, Device
from gasan.wire.columns import WIDTH
from gasan.wire.modbus_read import read_request
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Callable

_PERIOD_MAX_MS = const(1 << 28)  # three days: ticks_ms counts to 2^30 on a board, differences to half of that
_TIMEOUT_MAX_MS = const(20000)  # the supervisor wants a sign of life every 30 s


def plan(specs: "list[list]", make_group: "Callable") -> "list[Block]":
    """The blocks of all devices: same function and period, no holes, no longer than the device takes.

    make_group(channels, types, period_ms) makes the group of a block, as the sampler does.
    Raises ValueError for a read that no device can answer, or times that the node cannot keep.
    """
    blocks: "list[Block]" = []
    devices: "dict[int, Device]" = {}
    for _, unit, timeout_ms, gap_ms, most, items in specs:
        if not 0 < timeout_ms <= _TIMEOUT_MAX_MS or not 0 <= gap_ms <= _TIMEOUT_MAX_MS:
            raise ValueError("timeout or gap")
        # What is due to be answered late is the unit's, however many devices it is described as.
        device = devices.setdefault(unit, Device(timeout_ms, gap_ms))
        device.timeout_ms = max(timeout_ms, device.timeout_ms)
        device.gap_ms = max(gap_ms, device.gap_ms)
        run: "list[list[int]]" = []
        count = 0
        # Not list.sort: MicroPython's takes quadratic time for what is in order already, as configs are.
        heap: "list[tuple]" = [(item[1], item[5], item[2], item) for item in items]
        heapify(heap)
        while heap:
            item = heappop(heap)[3]
            # An 8-bit value has a register to itself and is its low byte.
            end = item[2] + (WIDTH[item[3]] + 1) // 2
            if run:
                first = run[0]
                together = max(count, end - first[2])
                if (
                    item[1] == first[1]
                    and item[5] == first[5]
                    and item[2] <= first[2] + count
                    and together <= most
                ):
                    run.append(item)
                    count = together
                    continue
                blocks.append(_block(unit, device, run, count, make_group))
            run = [item]
            count = end - item[2]
        if run:
            blocks.append(_block(unit, device, run, count, make_group))
    if not blocks:
        raise ValueError("nothing to read")
    return blocks


def _block(unit: int, device: Device, items: "list[list[int]]", count: int, make_group: "Callable") -> Block:
    _, function, register, _, _, period_ms = items[0]
    request = read_request(unit, function, register, count)
    if not 0 < period_ms <= _PERIOD_MAX_MS:
        raise ValueError("period")
    layout = bytearray()
    for item in items:
        if not 0 <= item[4] <= 3:
            raise ValueError("order")
        at = 2 * (item[2] - register)
        size = WIDTH[item[3]]
        if size == 1:
            layout.append(at if item[4] & 2 else at + 1)
            layout.append(0)
        else:
            layout.append(at)
            layout.append(item[4] and item[4] | size << 1)
    group = make_group([item[0] for item in items], bytes([item[3] for item in items]), period_ms)
    return Block(device, request, bytes(layout), group)
