"""BLE sensors without an address in the site file: whoever sends what one of them is known by.

`opened` makes the source of a bus with such sensors out of the source that it would have without them. The
sender heard first is the sensor. Another one that matches takes its place only when that one has been silent:
for a quarter of the timeout where both have private addresses, which change now and then, else for the whole
timeout. Readings of two senders are never mixed: while a second one is heard beside the first, the first
one's readings are uncertain and what the second sends is refused and counted. A private address that comes
back is a second sender, since no sensor goes back to an old one.

device: its last element is [[+ [what a structure begins with, its size or 0]], what another one begins with
or b"", what the name begins with or b""].
"""

from time import ticks_diff, ticks_ms

from gasan.node import log
from gasan.wire.quality import UNCERTAIN
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.clock import Clock
    from gasan.node.sampler import Rows, Sampler

_HEARD = const(16)  # keys of the node's status
_REFUSED = const(21)

_IRQ_SCAN_RESULT = const(5)
_BUS = const(4)  # type of a bus that has such a sensor
_OPEN = const(0x20)  # of a sensor's format
_GATT = const(5)
_ADVERT = const(31)
_RANDOM = const(1)
_KEPT = const(4)  # addresses that a sensor had before
_NAMED = const(8)  # senders whose name is known, as it may come in a scan response alone
_COUNT = const(0x3FFFFFFF)


def _has(advert: "Any", size: int, wanted: "Any", whole: int) -> bool:
    """Whether there is a structure that begins with ``wanted`` and has ``whole`` bytes, 0 for any number."""
    n = len(wanted)
    at = 0
    while at + 1 < size:
        stop = at + 1 + advert[at]
        if stop > size:
            return False
        if stop - at > n and (not whole or advert[at] == whole):
            k = 0
            while k < n and advert[at + 1 + k] == wanted[k]:
                k += 1
            if k == n:
                return True
        at = stop
    return False


def _is_in(addresses: "Any", address: "Any") -> bool:
    """Whether a row of addresses has this one."""
    for at in range(0, len(addresses), 6):
        k = 0
        while k < 6 and addresses[at + k] == address[k]:
            k += 1
        if k == 6:
            return True
    return False


def _copy(address: "Any", out: bytearray, at: int) -> None:
    for k in range(6):
        out[at + k] = address[k]


class _Open:
    """Who a sensor without an address is. Made once; its methods are for the interrupt and allocate nothing.

    others: adverts of second senders. doubt: a second one is heard beside the first. moved: how often there
    was another.
    """

    def __init__(self, match: "Any", timeout: int) -> None:
        self.kinds, self.needs, name = match
        self.names = (b"\x08" + name, b"\x09" + name) if name else ()
        self.timeout = timeout
        self.address = bytearray(6)
        self.bound = self.private = self.doubt = False
        self.at = self.other_at = ticks_ms()
        self.other = bytearray(6)
        self.waits = False
        self.others = self.moved = 0
        self._before = bytearray(6 * _KEPT)
        self._named = bytearray(6 * _NAMED)
        self._next = 0

    def takes(self, address: "Any", advert: "Any", size: int) -> bool:
        """Whether this sender sends what the sensor is known by."""
        if self.names:
            if _has(advert, size, self.names[0], 0) or _has(advert, size, self.names[1], 0):
                if not _is_in(self._named, address):
                    _copy(address, self._named, self._next)
                    self._next = (self._next + 6) % (6 * _NAMED)
            elif not _is_in(self._named, address):
                return False
        if self.needs and not _has(advert, size, self.needs, 0):
            return False
        for kind in self.kinds:
            if _has(advert, size, kind[0], kind[1]):
                return True
        return False

    def may(self, kind: int, address: "Any") -> bool:
        """Whether a sender that is not the sensor's becomes it; else it is noted."""
        now = ticks_ms()
        private = kind == _RANDOM and address[0] < 0x80
        if self.bound:
            if _is_in(self._before, address):
                self.doubt = True
            limit = self.timeout
            if private and self.private and not self.doubt:
                limit >>= 2
            if ticks_diff(now, self.at) < limit:
                _copy(address, self.other, 0)
                self.other_at = now
                self.waits = True
                self.others = (self.others + 1) & _COUNT
                return False
            _copy(self.address, self._before, 6 * (self.moved % _KEPT))
        _copy(address, self.address, 0)
        self.bound, self.private = True, private
        self.doubt = self.waits = False
        self.at = now
        self.moved = (self.moved + 1) & _COUNT
        return True

    def speaks(self) -> None:
        """The sensor's own sender was heard."""
        self.at = ticks_ms()
        if self.waits:
            self.doubt = True


class _Marking:
    """The sampler, but while ``uncertain`` is set its good readings are not quite."""

    def __init__(self, sampler: "Sampler") -> None:
        self.uncertain = False
        self.group, self.start, self.fail = sampler.group, sampler.start, sampler.fail
        self._finish = sampler.finish

    def finish(self, group: "Rows") -> None:
        if self.uncertain:
            for column in range(group.columns):
                if not group.quality[column * group.capacity + group.n]:
                    group.mark(column, UNCERTAIN)
        self._finish(group)


def Source(bus: list, sampler: "Sampler", clock: "Clock") -> "Any":  # noqa: N802 - as other modules of buses
    """The source of a bus of this type: [4, name, params, [* device]]. Raises ValueError for another type."""
    if bus[0] != _BUS:
        raise ValueError("unknown type of bus %s" % bus[0])
    base: "Any" = None
    if any([device[2] == _GATT for device in bus[3]]):
        from gasan.node import ble_central as base
    else:
        from gasan.node import ble as base
    return opened(base.Source)(bus, sampler, clock)


def opened(base: "Any") -> "Any":
    """The class of a source for a bus with such sensors."""

    class Opened(base):  # type: ignore[misc]
        def __init__(self, bus: list, sampler: "Sampler", clock: "Clock") -> None:
            super().__init__(bus, sampler, clock)
            self._sampler = self._marking = _Marking(sampler)
            self._opens: "list[_Open]" = []
            self._told: "list[list]" = []  # of each: moved, others, whether the log knows of a second one
            for i in range(len(bus[3])):
                spec = bus[3][i]
                if spec[2] & _OPEN:
                    sensor = self.sensors[i]
                    sensor.open = _Open(spec[-1], sensor.timeout)
                    sensor.address = sensor.open.address
                    self._opens.append(sensor.open)
                    self._told.append([0, 0, False, sensor.name])

        def _irq(self, event: int, data: tuple) -> None:
            if event != _IRQ_SCAN_RESULT:
                super()._irq(event, data)
                return
            for one in self._opens:
                if one.bound and one.address == data[1]:
                    one.speaks()
            heard = self.counters[_HEARD]
            super()._irq(event, data)
            size = len(data[4])
            if self.counters[_HEARD] != heard or size > _ADVERT:
                return
            for one in self._opens:
                if one.takes(data[1], data[4], size):
                    if one.may(data[0], data[1]):
                        last = data[1][5]
                        self._wanted[last >> 3] |= 1 << (last & 7)
                        super()._irq(event, data)
                    return

        def _drain(self) -> None:
            for i in range(len(self._opens)):
                self._tell(self._opens[i], self._told[i])
            super()._drain()

        def _take(self, sensor: "Any", slot: bytearray, end: int) -> None:
            one = getattr(sensor, "open", None)
            self._marking.uncertain = bool(one and one.doubt)
            super()._take(sensor, slot, end)

        def _tell(self, one: _Open, told: "list[Any]") -> None:
            """Count and tell what the interrupt has noted."""
            if one.doubt and ticks_diff(ticks_ms(), one.other_at) >= one.timeout:
                one.doubt = one.waits = False
            others = one.others
            self.counters[_REFUSED] += (others - told[1]) & _COUNT
            told[1] = others
            if one.moved != told[0]:
                if not told[0]:
                    log.info("ble: %s is %s" % (told[3], one.address.hex(":")))
                told[0] = one.moved
                wanted = bytearray(32)
                for sensor in self.sensors:
                    if len(sensor.address) == 6:
                        wanted[sensor.address[5] >> 3] |= 1 << (sensor.address[5] & 7)
                self._wanted = wanted
            if one.doubt and not told[2]:
                told[2] = True
                log.warn(
                    "ble: %s: two senders match, %s and %s; only the first is read: write its address"
                    % (told[3], one.address.hex(":"), one.other.hex(":"))
                )

    return Opened
