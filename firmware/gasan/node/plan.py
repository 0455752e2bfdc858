"""Turn the devices of a Modbus bus, as compiled, into block reads of neighbouring registers.

device = [name, unit, timeout_ms, gap_ms, max_registers, [* item]]
item = [channel, function, register, type code, order, period_ms]
"""

from time import ticks_ms

from gasan.wire.columns import width
from gasan.wire.modbus import put_read
from micropython import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

_LONGEST_MS = const(
    1 << 28
)  # three days: ticks_ms counts to 2^30 on a board, and differences to half of that
_TIMEOUT_MAX_MS = const(20000)  # the supervisor wants a sign of life every 30 s


class Device:
    """One unit on the bus and what is known of its health."""

    def __init__(self, unit: int, timeout_ms: int, gap_ms: int) -> None:
        self.unit = unit
        self.timeout_ms = timeout_ms
        self.gap_ms = gap_ms
        self.ready = ticks_ms()  # before which it is not to be asked
        self.silent = 0  # requests in a row without a certain answer


class Block:
    """Registers that are read by one request at one period, and the columns cut out of the answer."""

    def __init__(self, device: Device, items: "list[list[int]]", count: int, make_group: "Callable") -> None:
        types = bytes([item[3] for item in items])
        self.device = device
        self.function = items[0][1]
        self.register = items[0][2]
        self.count = count
        self.period_ms = items[0][5]
        self.widths = bytes([width(code) for code in types])  # bytes
        self.offsets = bytes(
            [2 * (item[2] - self.register) for item in items]
        )  # bytes into the answer's data
        self.orders = bytes([item[4] for item in items])
        self.due = ticks_ms()
        put_read(bytearray(6), 0, device.unit, self.function, self.register, count)
        self.group = make_group([item[0] for item in items], types, self.period_ms)


def registers(type_code: int) -> int:
    """Registers that a value takes; an 8-bit value has one to itself and is its low byte."""
    return (width(type_code) + 1) // 2


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
        device = devices.setdefault(unit, Device(unit, timeout_ms, gap_ms))
        device.timeout_ms = max(timeout_ms, device.timeout_ms)
        device.gap_ms = max(gap_ms, device.gap_ms)
        run: "list[list[int]]" = []
        count = 0
        for item in sorted(items, key=lambda i: (i[1], i[5], i[2])):
            if not 0 < item[5] <= _LONGEST_MS or not 0 <= item[4] <= 3:
                raise ValueError("period or order")
            end = item[2] + registers(item[3])
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
                blocks.append(Block(device, run, count, make_group))
            run = [item]
            count = end - item[2]
        if run:
            blocks.append(Block(device, run, count, make_group))
    if not blocks:
        raise ValueError("nothing to read")
    return blocks
