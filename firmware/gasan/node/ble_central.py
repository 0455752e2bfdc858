"""Sensors that are connected to: their characteristics are read by turns, or notified of.

Used in place of gasan.node.ble where a bus has such sensors; those that advertise are heard as there. A
sensor without notifications is visited every period: connected, read, left alone again. One with
notifications stays connected. A visit that fails is tried again after growing pauses. Handles are found once
and kept while they work. All that was read in a visit is one row; a notification is one of its own.

What a characteristic holds goes to the same decoder as an advertisement: as an AD structure of the type
`_FIRST` + its number, which no advertisement of such a sensor can fake, since those are not listened to.

device: [name, address, 5, timeout_ms, [* item], layout, [address type, pair, period_ms, [+ characteristic],
? true: it is asked what it is]];
characteristic: [service, UUID, whether it notifies], UUIDs as bytes, little-endian.
"""

from asyncio import create_task, sleep_ms
from time import ticks_add, ticks_diff, ticks_ms

from gasan.node import ble, log, radio
from gasan.node.ble_gatt import NONE, Gatt, Peer, VisitError, WrongKeyError
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.clock import Clock
    from gasan.node.sampler import Sampler

_HEARD = const(16)  # keys of the node's status
_DROPPED = const(17)
_REFUSED = const(21)

_GATT = const(5)  # format of a sensor
_FIRST = const(0xE0)
_SLOTS = const(32)  # notifications that wait
_SLOT = const(33)  # index of the sensor, bytes, an AD structure
_HEAD = const(2)
_VALUE = const(29)  # bytes of a notification
_ROW = const(256)  # bytes of AD structures of one visit
_COUNT = const(0x3FFFFFFF)
_SCAN_MS = const(5000)  # for a scan to end
_TURN_MS = const(100)
_PAUSE_MS = const(2000)  # after a visit that failed; doubles up to the most
_PAUSE_MOST_MS = const(120000)


class Source(ble.Source):
    """The sensors of one BLE bus, some of which are connected to."""

    keep: "Any" = None  # (name, what calls a write to flash); gasan.node.sources

    def __init__(self, bus: list, sampler: "Sampler", clock: "Clock") -> None:
        super().__init__(bus, sampler, clock)
        self._peers = [Peer(i, bus[3][i]) for i in range(len(bus[3])) if bus[3][i][2] == _GATT]
        for peer in self._peers:
            self.sensors[peer.index].address = b""  # its advertisements are not for us
        self._listens = len(self._peers) < len(self.sensors)
        self._gatt = Gatt(self._peers, self._notified)
        self._failed: "Exception | None" = None  # what has ended the visits
        self._ring = memoryview(bytearray(_SLOTS * _SLOT))
        self._in = self._out = 0
        self._one = bytearray(_SLOT)
        self._row = bytearray(_HEAD + _ROW)

    async def run(self) -> None:
        """Listen and visit until cancelled."""
        radio.irq(self._gatt.irq)
        self._failed = None
        task = create_task(self._visit_all())
        try:
            await super().run()
        finally:
            task.cancel()
            for peer in self._peers:
                self._gatt.leave(peer)

    def _scan(self) -> None:
        """As in the observer, but not while a connection is being made, and only for who advertises."""
        if self._gatt.calling:
            self._next_try = ticks_add(ticks_ms(), _TURN_MS)
        elif self._listens:
            super()._scan()
        else:
            try:
                self._ble.active(True)
                self._scanning = True
            except OSError as e:
                self._next_try = ticks_add(ticks_ms(), _PAUSE_MS)
                log.warn("ble: the radio does not work: %r" % e)

    def _repeats(self, sensor: "Any", kind: "Any") -> bool:
        """Whatever was read is a new measurement."""
        return super()._repeats(sensor, kind) if sensor.address else False

    def _drain(self) -> None:
        if self._failed:
            raise self._failed
        super()._drain()
        one = self._one
        while self._out != self._in:
            lost = ((self._in - self._out) & _COUNT) - _SLOTS
            if lost > 0:
                self.counters[_DROPPED] += lost
                self._out = (self._out + lost) & _COUNT
            at = self._out % _SLOTS * _SLOT
            one[:] = self._ring[at : at + _SLOT]
            if (self._in - self._out) & _COUNT > _SLOTS:
                continue  # written over while it was copied
            self._out = (self._out + 1) & _COUNT
            self._take(self.sensors[one[0]], one, _HEAD + one[1])

    async def _keep_bonds(self) -> None:
        bonds = self._gatt.bonds
        if bonds and bonds.changed:
            await bonds.save(self.keep[1] if self.keep else None)

    async def _visit_all(self) -> None:
        try:
            while True:
                for peer in self._peers:
                    await self._keep_bonds()
                    self._gatt.tidy()
                    if ticks_diff(ticks_ms(), peer.due) >= 0:
                        await self._attend(peer)
                await sleep_ms(_TURN_MS)
        except Exception as e:  # `run` raises it, and is started again
            self._failed = e
            self._flag.set()

    async def _attend(self, peer: Peer) -> None:
        """One visit, whatever comes of it."""
        start = ticks_ms()
        try:
            await self._visit(peer)
        except (VisitError, OSError) as e:
            if isinstance(e, WrongKeyError):
                self.counters[_REFUSED] += 1
            if not peer.told:
                log.warn("ble: %s: %s" % (peer.name, e if isinstance(e, VisitError) else repr(e)))
            peer.told = True
            peer.handles = None
            self._gatt.leave(peer)
            peer.pause = min(max(_PAUSE_MS, 2 * peer.pause), _PAUSE_MOST_MS)
            peer.due = ticks_add(ticks_ms(), peer.pause)
            return
        finally:
            self._gatt.calling = None  # or nobody scans any more
        if peer.told:
            log.info("ble: %s is there again" % peer.name)
        peer.told = False
        peer.pause = 0
        if not peer.stays:
            self._gatt.leave(peer)
        # One that only notifies is looked at now and then, to see that it is still connected.
        peer.due = ticks_add(start, peer.period or _PAUSE_MOST_MS)
        if ticks_diff(ticks_ms(), peer.due) > 0:
            peer.due = ticks_ms()

    async def _visit(self, peer: Peer) -> None:
        """Connect where needed, and read what does not notify. Raises VisitError, OSError."""
        gatt = self._gatt
        if peer.connection == NONE:
            gatt.calling = peer
            if self._scanning and self._listens:
                self._ble.gap_scan(None)  # type: ignore[arg-type]  # no port connects while it scans
                await gatt.until(lambda: not self._scanning, _SCAN_MS, "the scan does not end")
            await gatt.connect(peer)
            await self._keep_bonds()  # before a reading of it is; a port may hand them out later still
            if peer.handles is None:
                peer.handles = await gatt.find(peer, peer.wanted, True)
            await gatt.subscribe(peer)
            if peer.about:
                from gasan.node import ble_about

                await ble_about.tell(gatt, peer)
        handles = peer.handles or []
        row = self._row
        end = _HEAD
        for k in range(len(peer.wanted)):
            if not peer.wanted[k][2]:
                value = await gatt.read(peer, handles[k][0])
                size = min(len(value), _HEAD + _ROW - end - 2)
                if size > 0:
                    row[end] = size + 1
                    row[end + 1] = _FIRST + k
                    row[end + 2 : end + 2 + size] = value[:size]
                    end += 2 + size
        if end > _HEAD:
            self.counters[_HEARD] += 1
            self._take(self.sensors[peer.index], row, end)

    def _notified(self, peer: Peer, k: int, value: "Any") -> None:
        """Runs in the interrupt: copies and returns."""
        size = len(value)
        self.counters[_HEARD] += 1
        if size > _VALUE:
            self.counters[_DROPPED] += 1
            return
        at = self._in % _SLOTS * _SLOT
        ring = self._ring
        ring[at] = peer.index
        ring[at + 1] = size + 2
        ring[at + 2] = size + 1
        ring[at + 3] = _FIRST + k
        ring[at + 4 : at + 4 + size] = value
        self._in = (self._in + 1) & _COUNT
        self._flag.set()
