"""One read for blocks of different periods that are due together. Loaded when a line has such blocks.

A block that is read takes along those of its device and function that are due as well, where one request
takes less line time than two. What they are is found anew each time, so nothing is kept of it. Only blocks
that have been read by themselves go together, so that nothing has to be learned of such reads: after one that
fails, the block that came in last is read by itself for a minute, then four, up to 17 hours.
"""

from time import ticks_add, ticks_diff, ticks_ms

from gasan.node.deadline import joins
from gasan.node.poll import Block
from gasan.wire.modbus_rtu import crc16
from gasan.wire.quality import EXCEPTION, NO_VALUE
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.poll import Poller

_MOST = const(4)  # that are taken along; a list of so many takes no memory to fill
_APART_MS = const(60000)  # first pause after a read that failed, four times as long each time, up to 17 hours
_APART_STEPS = const(5)
_BODY = const(6)  # bytes of a request without a CRC
_REFUSALS = const(6)  # in a device's tally
_EXCEPTIONS = const(14)  # of a source's counters
_REFUSED = (EXCEPTION + 2, EXCEPTION + 3)  # for an address or a length


def install(poller: "Poller") -> None:
    """Let a line read so. A block's ``failed``: how often it was read with others in vain; ``again``: not
    before that.
    """
    Block.failed = 0  # type: ignore[attr-defined]
    Together(poller)


class Together:
    """Stands between a poller and the transactions of its bus."""

    def __init__(self, poller: "Poller") -> None:
        self._poller = poller
        self._begin = poller._begin
        self._settle = poller._settle
        self._along: "list[Any]" = []  # read by the present request, beside the poller's block
        self._request = bytearray(_BODY)
        self._reader: "Any" = None  # the poller's block,
        self._own: "Any" = b""  # and its own request
        poller._begin = self.begin  # type: ignore[method-assign]
        poller._settle = self.settle  # type: ignore[method-assign]

    def begin(self, block: Block) -> None:
        """As Poller._begin; ``block`` may be an urgent request."""
        along = self._along
        if along:  # a transaction that was broken off has left it so
            self._reader.request = self._own
        while along:
            along.pop()
        if block is self._poller._block and block.trust > 0 and block.request[1] > 2:
            if not block.device.silent:
                self._gather(block)
        self._begin(block)

    def _gather(self, block: Block) -> None:
        """Find what can be taken along, and let the block's request ask for it too."""
        now = ticks_ms()
        along = self._along
        request = block.request
        device = block.device
        first = request[2] << 8 | request[3]
        end = first + (request[4] << 8 | request[5])
        one: "Any"
        found = True
        while found and len(along) < _MOST:
            found = False
            for one in self._poller._blocks:
                if ticks_diff(one.due, now) > 0 or one.device is not device or one.trust <= 0:
                    continue
                asks = one.request
                period = one.group.period_ms
                if asks[1] != request[1] or period == block.group.period_ms or one in along:
                    continue
                if one.failed and ticks_diff(one.again, now) > 0:
                    continue
                if joins(first, end, asks, device.limits):  # type: ignore[attr-defined]
                    start = asks[2] << 8 | asks[3]
                    end = max(end, start + (asks[4] << 8 | asks[5]))
                    first = min(first, start)
                    late = ticks_diff(now, one.due) // period
                    self._poller._sampler.missed(one.group, late)
                    one.due = ticks_add(one.due, (late + 1) * period)
                    along.append(one)
                    found = True
                    break
        if along:
            self._reader, self._own = block, request
            block.request = self._ask(request, first, end - first)

    def _ask(self, request: "Any", first: int, count: int) -> "Any":
        asks = self._request
        if len(asks) < len(request):
            asks = self._request = bytearray(len(request))
        asks[0] = request[0]
        asks[1] = request[1]
        asks[2] = first >> 8
        asks[3] = first & 0xFF
        asks[4] = 0
        asks[5] = count
        if len(asks) > _BODY:
            crc = crc16(asks, 0, _BODY)
            asks[6] = crc & 0xFF
            asks[7] = crc >> 8
        return asks

    def settle(self, block: Block) -> None:
        """As Poller._settle."""
        if not self._along:
            self._settle(block)
            return
        poller = self._poller
        read = poller._read
        quality = read.quality
        asked = block.request
        block.request = self._own
        now = ticks_ms()
        if quality < NO_VALUE:
            data = read.data
            for one in self._along:
                one.failed = 0
                poller._held = one
                poller._held_at = now
                poller._quality = quality
                poller._data = data + _offset(one.request, asked)
                poller._deliver()
            read.data = data + _offset(block.request, asked)
            self._settle(block)
            read.data = data
            return
        last = self._along[-1]
        last.again = ticks_add(now, _APART_MS << 2 * min(last.failed, _APART_STEPS))
        last.failed += 1
        if quality not in _REFUSED:
            for one in self._along:
                poller._sampler.fail(one.group, quality)
            self._settle(block)
            return
        # All are due again at once, and were read before without the last one.
        self._along.append(block)
        for one in self._along:
            one.due = ticks_add(one.due, -one.group.period_ms)
        device = block.device
        device.silent = 0
        device.ready = ticks_add(now, device.gap_ms)
        device.tally[_REFUSALS] += 1
        poller.counters[_EXCEPTIONS] += 1
        poller._following = None


def _offset(request: "Any", asked: "Any") -> int:
    """Where a block's registers begin in the answer to a longer read."""
    return 2 * ((request[2] << 8 | request[3]) - (asked[2] << 8 | asked[3]))
