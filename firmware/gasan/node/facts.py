"""What is known of one function of one device, and how blocks are taken apart. Loaded with what learns."""

from time import ticks_add, ticks_ms

from gasan.node.poll import Block, Device
from gasan.wire.columns import WIDTH
from gasan.wire.quality import EXCEPTION, TIMEOUT
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

RANGES = const(32)  # that are remembered of each kind
_ADDRESS = const(2)  # exception code
_FAR_MS = const(1 << 28)


class Facts:
    """What is known of one function of one device. Where it reads bits, a register here is a bit.

    limits: of the device, as planned. accepted, refused: the longest read that passed, the shortest that was
    refused for its length (0: none). good: [first, end] of registers that were read. walls: [first, end,
    probes, tick of the next]. shelf: likewise, of retired registers. asked: [first, end, end of the left
    half, start of the right one, halves that passed] of reads that were split.
    """

    def __init__(self, device: Device, unit: int, function: int) -> None:
        self.device = device
        self.unit = unit
        self.function = function
        self.accepted = self.refused = 0
        self.good: "list[list[Any]]" = []
        self.walls: "list[list[Any]]" = []
        self.shelf: "list[list[Any]]" = []
        self.asked: "list[list[Any]]" = []
        self.passed = self.since = ticks_ms()  # of the last read that passed; since when splits are counted
        self.splits = 0
        self.again = self.passed  # when a longer read is tried again
        self.tries = 0

    def limit(self) -> int:
        """The longest read worth trying."""
        most: int = self.device.limits[0]  # type: ignore[attr-defined]
        if self.function < 3:
            most = min(16 * most, 2000)  # bits
        if not self.refused:
            return most
        low = max(1, self.accepted)
        if self.refused - low > 1 + low // 16:
            low += (self.refused - low) // 2
        return min(most, low)

    def knows(self, first: int, end: int) -> bool:
        """Whether all these registers have been read."""
        return any(one[0] <= first and end <= one[1] for one in self.good)

    def read(self, first: int, end: int) -> None:
        """These registers were read."""
        apart = []
        for one in self.good:
            if one[0] <= end and first <= one[1]:
                first, end = min(first, one[0]), max(end, one[1])
            else:
                apart.append(one)
        self.good = apart[1 - RANGES :] + [[first, end]]

    def forget(self, first: int, end: int) -> None:
        """These registers were read once, and are refused now."""
        self.good = [one for one in self.good if one[1] <= first or end <= one[0]]


class Shelf(Device):
    """What stands for a device where registers are retired: never asked, and says why."""

    limits = (0, 0, 0, 0)  # it takes no line time

    def __init__(self, facts: Facts, items: "list[tuple]") -> None:
        super().__init__(facts.device.timeout_ms, 0, 0)
        self.facts = facts
        self.items = items
        self.silent = 1
        self.refresh()

    @property
    def ready(self) -> "Any":
        """Not for three days; ticks cannot tell of more."""
        return ticks_add(ticks_ms(), _FAR_MS)

    @ready.setter
    def ready(self, now: "Any") -> None:
        """A line that is started again has all its devices ready, but not this one."""

    def refresh(self) -> None:
        """Say what there is to say of the device."""
        self.says = TIMEOUT if self.facts.device.silent > 1 else EXCEPTION + _ADDRESS


def items_of(block: Block) -> "list[tuple]":
    """(register, end, channel, type code, odd byte, order) of each column; of bits the last two are 0."""
    if isinstance(block.device, Shelf):
        return block.device.items
    first = span(block)[0]
    group = block.group
    layout = block.layout
    out = []
    for i in range(len(group.types)):
        at = layout[2 * i]
        if block.request[1] < 3:  # bits: byte and bit
            register = first + 8 * at + layout[2 * i + 1]
            out.append((register, register + 1, group.channels[i], group.types[i], 0, 0))
            continue
        size = (WIDTH[group.types[i]] + 1) // 2
        register = first + at // 2
        out.append((register, register + size, group.channels[i], group.types[i], at & 1, layout[2 * i + 1]))
    return out


def span(block: Block) -> "tuple[int, int]":
    """The first register of a block's read and the one behind the last."""
    request = block.request
    first = request[2] << 8 | request[3]
    return first, first + (request[4] << 8 | request[5])
