"""BLE observer: sensors that advertise what they measure and are never connected to.

The interrupt copies what configured sensors send into fixed slots and returns. A task decodes it, drops
what only repeats the last measurement, and hands rows to the sampler. When more comes than the slots hold,
the oldest goes and is counted. A sensor that gives nothing readable for its timeout yields one stale reading
per channel and per timeout. A scan that ends by itself, or a radio that fails, is started again.

Plain BTHome is decoded by gasan.wire.bthome, everything else by what gasan.node.ble_formats makes; a decoder
has the methods and attributes of `bthome.Advert`. What a decoder does not believe is refused and counted.

An advertisement need not hold all channels of its sensor (some sensors send two kinds by turns), so there is
a group of columns for every combination that was met, at most `_KINDS` of a sensor; that of all channels is
made first.
"""

import sys
from asyncio import ThreadSafeFlag, create_task, sleep_ms
from time import ticks_add, ticks_diff, ticks_ms

import bluetooth
from gasan.node import log
from gasan.wire import bthome, columns
from gasan.wire.quality import BAD_NO_VALUE, STALE
from micropython import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gasan.node.clock import Clock
    from gasan.node.sampler import Rows, Sampler

_HEARD = const(16)  # keys of the node's status
_DROPPED = const(17)
_REFUSED = const(21)

_IRQ_SCAN_RESULT = const(5)
_IRQ_SCAN_DONE = const(6)

_BTHOME = const(0)  # formats of a sensor
_REPEATED = const(3)  # what a decoder of gasan.wire.ccm says
_SLOTS = const(16)
_ADVERT = const(31)  # bytes of advertising data, as the ports of MicroPython report them
_HEAD = const(2)  # of a slot: index of the sensor, bytes of advertising data
_RSSI = const(33)  # of a slot: where the strength stands, behind head and advert
_SLOT = const(34)
_COUNT = const(0x3FFFFFFF)  # slots are counted in small integers
_TICK_MS = const(250)
_RETRY_MS = const(2000)  # until a radio that failed is tried again
_KINDS = const(4)
_LONGEST = const(32)  # bytes of a value: a text


class _Kind:
    """Advertisements of a sensor with the same channels in them: their group and the last content."""

    def __init__(self, group: "Rows") -> None:
        self.group = group
        self.content = bytearray(_ADVERT)
        self.size = 0
        self.at = ticks_ms()


class _Sensor:
    """One configured device: [name, address, format, timeout_ms, [* item], ? format's own].

    told: a bit for each reason of a refusal that the log has been told.
    """

    def __init__(self, spec: list, sampler: "Sampler", advert: "bthome.Advert") -> None:
        self.name, self.address, form, self.timeout, self.items = spec[:5]
        if len(self.address) != 6 or self.timeout <= 0 or not 0 < len(self.items) <= 16:
            raise ValueError("a BLE device that this firmware does not take")
        self.advert = advert
        self.told = 0
        if form == _BTHOME:
            for _, object_id, _, code, _ in self.items:
                if bthome.width(object_id) > columns.width(code):
                    raise ValueError("a BTHome value that does not fit its channel")
        else:
            from gasan.node import ble_formats

            self.advert = ble_formats.advert(spec)
        self.heard = ticks_ms()
        self.kinds: "dict[int, _Kind]" = {}
        every = (1 << len(self.items)) - 1
        self.kind(every, sampler)
        self.whole = self.kinds[every].group

    def kind(self, mask: int, sampler: "Sampler") -> "_Kind | None":
        """The kind whose items are the set bits of mask; None when a sensor has shown too many."""
        kind = self.kinds.get(mask)
        if kind is None and len(self.kinds) < _KINDS:
            items = [item for k, item in enumerate(self.items) if mask >> k & 1]
            codes = bytes([item[3] for item in items])
            group = sampler.group([item[0] for item in items], codes, items[0][4])
            kind = self.kinds[mask] = _Kind(group)
        return kind


class Source:
    """The sensors of one BLE bus: [type, name, params, [* device]].

    params: {1: scan interval ms, 2: scan window ms, ? 3: 1 when sensors are asked for scan responses}.
    """

    lock = None

    def __init__(self, bus: list, sampler: "Sampler", clock: "Clock") -> None:
        params = bus[2]
        self.counters = {_HEARD: 0, _DROPPED: 0, _REFUSED: 0}
        self.beat = ticks_ms()
        self._interval_us = params.get(1, 100) * 1000
        self._window_us = params.get(2, 50) * 1000
        self._active = params.get(3) == 1
        self._sampler = sampler
        plain = bthome.Advert()
        self.sensors = [_Sensor(spec, sampler, plain) for spec in bus[3]]
        self._ble = sys.modules.get("gasan.node.radio") or bluetooth.BLE()
        self._scanning = False
        self._next_try = ticks_ms()
        # The interrupt writes _put and the slots, the task _got: neither writes what is the other's.
        self._slots = memoryview(bytearray(_SLOTS * _SLOT))
        self._put = 0
        self._got = 0
        self._slot = bytearray(_SLOT)
        self._flag = ThreadSafeFlag()
        # One bit per last byte of a wanted address, so that strangers cost the interrupt one look.
        self._wanted = bytearray(32)
        for sensor in self.sensors:
            self._wanted[sensor.address[5] >> 3] |= 1 << (sensor.address[5] & 7)
        self._value = bytearray(_LONGEST)

    async def run(self) -> None:
        """Listen until cancelled."""
        for sensor in self.sensors:
            sensor.heard = ticks_ms()
        self._scanning = False
        self._next_try = ticks_ms()
        self._ble.irq(self._irq)
        tick = create_task(self._ticks())
        try:
            while True:
                self.beat = ticks_ms()
                if not self._scanning and ticks_diff(ticks_ms(), self._next_try) >= 0:
                    self._scan()
                self._drain()
                self._silence()
                await self._flag.wait()
        finally:
            tick.cancel()
            self._stop()

    async def _ticks(self) -> None:
        while True:
            await sleep_ms(_TICK_MS)
            self._flag.set()

    def _irq(self, event: int, data: tuple) -> None:
        """Runs between any two bytecodes of a task: copies and returns."""
        if event == _IRQ_SCAN_RESULT:
            address = data[1]
            if not self._wanted[address[5] >> 3] >> (address[5] & 7) & 1:
                return
            sensors = self.sensors
            for i in range(len(sensors)):
                if sensors[i].address == address:
                    advert = data[4]
                    size = len(advert)
                    self.counters[_HEARD] += 1
                    if size > _ADVERT:
                        self.counters[_DROPPED] += 1
                        return
                    at = self._put % _SLOTS * _SLOT
                    self._slots[at] = i
                    self._slots[at + 1] = size
                    self._slots[at + _RSSI] = data[3] & 0xFF
                    at += _HEAD
                    self._slots[at : at + size] = advert
                    self._put = (self._put + 1) & _COUNT
                    self._flag.set()
                    return
        elif event == _IRQ_SCAN_DONE:
            self._scanning = False
            self._flag.set()

    def _drain(self) -> None:
        """Take what the interrupt has put, the oldest first."""
        slot = self._slot
        while self._got != self._put:
            lost = ((self._put - self._got) & _COUNT) - _SLOTS
            if lost > 0:
                self.counters[_DROPPED] += lost
                self._got = (self._got + lost) & _COUNT
            at = self._got % _SLOTS * _SLOT
            slot[:] = self._slots[at : at + _SLOT]
            if (self._put - self._got) & _COUNT > _SLOTS:
                continue  # written over while it was copied
            self._got = (self._got + 1) & _COUNT
            self._take(self.sensors[slot[0]], slot, _HEAD + slot[1])

    def _take(self, sensor: _Sensor, slot: bytearray, end: int) -> None:
        """Decode one advertisement and hand its row on, unless it repeats the last one."""
        advert = sensor.advert
        state = advert.open(slot, _HEAD, end)
        if state != bthome.READABLE:
            if state != bthome.FOREIGN and state != _REPEATED:
                self._refuse(sensor, state)
            return
        mask = 0
        items = sensor.items
        for k in range(len(items)):
            if advert.find(items[k][1], items[k][2]) >= 0:
                mask |= 1 << k
        if not mask:
            return
        sensor.heard = ticks_ms()
        kind = sensor.kind(mask, self._sampler)
        if kind is None:
            self.counters[_DROPPED] += 1
            return
        if self._repeats(sensor, kind):
            return
        group = kind.group
        self._sampler.start(group)
        column = 0
        for k in range(len(items)):
            if mask >> k & 1:
                _, object_id, index, code, _ = items[k]
                at = advert.find(object_id, index)
                if not advert.widen(object_id, at, self._value, columns.width(code)):
                    group.mark(column, BAD_NO_VALUE)
                group.put(column, self._value, 0)
                column += 1
        self._sampler.finish(group)

    def _refuse(self, sensor: _Sensor, state: int) -> None:
        """Count what is not believed, and tell the log once for each reason."""
        self.counters[_REFUSED] += 1
        if not sensor.told >> state & 1:
            sensor.told |= 1 << state
            from gasan.node import ble_refusals

            ble_refusals.tell(sensor.name, state)

    def _repeats(self, sensor: _Sensor, kind: _Kind) -> bool:
        """Whether the content is the last one again; else it becomes the last one.

        With a packet id in it, the same content is the same measurement however often it comes. Without one
        it may be a new measurement of the same value: it is taken again after a quarter of the timeout.
        """
        advert = sensor.advert
        buf = advert.buf
        start = advert.start
        size = advert.end - start
        content = kind.content
        same = size == kind.size
        for i in range(size):
            if content[i] != buf[start + i]:
                same = False
                content[i] = buf[start + i]
        kind.size = size
        if same and (advert.packet_id >= 0 or 0 <= ticks_diff(sensor.heard, kind.at) < sensor.timeout // 4):
            return True
        kind.at = sensor.heard
        return False

    def _silence(self) -> None:
        """A stale row for each sensor that was silent for its timeout, and a fresh start of the scan."""
        now = ticks_ms()
        for sensor in self.sensors:
            if ticks_diff(now, sensor.heard) >= sensor.timeout:
                sensor.heard = ticks_add(sensor.heard, sensor.timeout)
                seal = getattr(sensor.advert, "seal", None)
                if seal:
                    seal.fell_silent()
                self._sampler.fail(sensor.whole, STALE)
                if self._scanning:
                    try:
                        self._ble.gap_scan(None)  # type: ignore[arg-type]  # ends in _IRQ_SCAN_DONE
                    except OSError:
                        self._scanning = False

    def _scan(self) -> None:
        """Start to scan, without end; a radio that fails is tried again."""
        try:
            self._ble.active(True)
            self._scanning = True
            self._ble.gap_scan(0, self._interval_us, self._window_us, self._active)
        except OSError as e:
            self._scanning = False
            self._next_try = ticks_add(ticks_ms(), _RETRY_MS)
            log.warn("ble: the radio does not scan: %r" % e)

    def _stop(self) -> None:
        try:
            self._ble.active(False)
        except OSError:
            pass  # then it is off
