"""GATT procedures with sensors, one at a time: connect, find, subscribe, read. Each wait has a deadline.

The interrupt notes what came and returns; who asked looks for it every 20 ms. Only `ble_central` uses this.
"""

from asyncio import sleep_ms
from time import ticks_diff, ticks_ms

from gasan.node import radio
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

NONE = const(-1)  # no connection
_CONNECTED = const(7)  # interrupts
_DISCONNECTED = const(8)
_SERVICE, _SERVICES_DONE = const(9), const(10)
_CHARACTERISTIC, _CHARACTERISTICS_DONE = const(11), const(12)
_DESCRIPTOR, _DESCRIPTORS_DONE = const(13), const(14)
_READ, _READ_DONE, _WRITE_DONE = const(15), const(16), const(17)
_NOTIFIED, _INDICATED = const(18), const(19)

_NOTIFIES = const(0x10)  # properties
_CCCD = b"\x02\x29"  # client characteristic configuration (Core 5.4, Vol 3, Part G, 3.3.3.3)
_CONNECT_MS = const(5000)
_ANSWER_MS = const(5000)
_TURN_MS = const(20)
_FOUND_MAX = const(64)  # services, or characteristics of one, that are looked at


class VisitError(Exception):
    """A visit has failed; its text says at what."""


class WrongKeyError(VisitError):
    """A sensor that was paired with does not have the key."""


class Peer:
    """A sensor to connect to. index: among the source's sensors. handles: per characteristic (the value's,
    the one that switches its notifications on or 0, what to write there); None until they were found.
    """

    def __init__(self, index: int, spec: list) -> None:
        self.index = index
        self.name, self.address = spec[0], spec[1]
        self.kind, self.pair, self.period, self.wanted = spec[6][:4]
        self.about = len(spec[6]) > 4  # it is still to be asked what it is
        self.stays = False
        for service, uuid, notifies in self.wanted:
            if len(service) not in (2, 16) or len(uuid) not in (2, 16):
                raise ValueError("a UUID of the wrong length")
            self.stays = self.stays or bool(notifies)
        if not 0 < len(self.wanted) <= 16 or self.kind not in (0, 1) or self.period < 0:
            raise ValueError("a GATT sensor that this firmware does not take")
        self.connection = NONE
        self.handles: "list | None" = None
        self.due = ticks_ms()
        self.pause = 0
        self.told = False  # that it fails


class Gatt:
    """The connections to ``peers``. notified: called in an interrupt with (peer, number of the
    characteristic, value); the value does not outlive the call.
    """

    def __init__(self, peers: "list[Peer]", notified: "Any") -> None:
        self.calling: "Peer | None" = None  # the one that is being connected
        self._peers = peers
        self._notified = notified
        self._leaving = NONE  # the connection that is being ended: until then it takes one of the radio's few
        self._stray = NONE  # one that came when nobody waited for it any more
        self._asked = NONE  # the connection whose answer is waited for
        self._ended = 0  # the interrupt that has ended what is waited for
        self._status = 0
        self._found: "list[Any]" = []
        self.bonds: "Any" = None
        if any([peer.pair for peer in peers]):
            from gasan.node.ble_bonds import Bonds

            self.bonds = Bonds(peers)

    async def connect(self, peer: Peer) -> None:
        """Connect, and pair if that is wanted; nobody may scan. Raises VisitError, OSError."""
        self.calling = peer
        try:
            await self.until(lambda: self._leaving == NONE, _ANSWER_MS, "the last connection does not end")
            self._ended = 0
            if peer.connection == NONE:  # else the last try has come late
                self._call(peer)
                await self.until(lambda: self._ended, _CONNECT_MS + _ANSWER_MS, "it does not answer")
        finally:
            self.calling = None
            self._leaving = NONE  # if its end was not told, it is not waited for again
            if peer.connection == NONE:
                try:
                    radio.ble.gap_connect(None)  # type: ignore  # if it is still trying
                except OSError:
                    pass  # it is not
        if peer.connection == NONE:
            raise VisitError("it cannot be connected to")
        if peer.pair:
            await self.bonds.secure(self, peer)

    async def find(self, peer: Peer, wanted: list, needed: bool) -> list:
        """Per wanted characteristic what `Peer.handles` has; zeros for one that is not there nor needed.
        Raises VisitError, OSError.
        """
        gatt = radio.ble
        services = await self._all(_SERVICES_DONE, gatt.gattc_discover_services, peer)
        handles = []
        for service, uuid, notifies in wanted:
            at = None
            for first, last, its_service in services:
                if its_service == service:
                    for end, value, flags, its in await self._all(
                        _CHARACTERISTICS_DONE, gatt.gattc_discover_characteristics, peer, first, last
                    ):
                        if its == uuid and not at:
                            at = (value, end if end > value else last, flags)
            if not at:
                if not needed:
                    handles.append((0, 0, 0))
                    continue
                raise VisitError("it has no characteristic %s" % _text(uuid))
            switch = 0
            if notifies:
                for handle, its in await self._all(
                    _DESCRIPTORS_DONE, gatt.gattc_discover_descriptors, peer, at[0], at[1]
                ):
                    if its == _CCCD and not switch:
                        switch = handle
                if not switch:
                    raise VisitError("characteristic %s does not notify" % _text(uuid))
            handles.append((at[0], switch, 1 if at[2] & _NOTIFIES else 2))
        return handles

    async def subscribe(self, peer: Peer) -> None:
        """Switch on the notifications that are wanted. Raises VisitError, OSError."""
        for _, switch, bits in peer.handles or ():
            if switch:
                self._ended, self._asked = 0, peer.connection
                on = bytes((bits, 0))
                radio.ble.gattc_write(peer.connection, switch, on, 1)  # type: ignore[arg-type]
                await self._answer(peer, _WRITE_DONE)

    async def read(self, peer: Peer, handle: int) -> bytes:
        """A value. Raises VisitError, OSError."""
        found = await self._all(_READ_DONE, radio.ble.gattc_read, peer, handle)
        return found[0] if found else b""

    async def until(self, happened: "Any", most: int, text: str) -> None:
        """Wait for at most that many ms; then raise VisitError."""
        start = ticks_ms()
        while not happened():
            if ticks_diff(ticks_ms(), start) > most:
                raise VisitError(text)
            await sleep_ms(_TURN_MS)

    def leave(self, peer: Peer) -> None:
        """Disconnect, if it is connected."""
        handle, peer.connection = peer.connection, NONE
        if handle != NONE:
            self._hang_up(handle)

    def tidy(self) -> None:
        """Disconnect who was connected too late."""
        handle = self._stray
        if handle != NONE and self._leaving == NONE:
            self._stray = NONE
            if not any([peer.connection == handle for peer in self._peers]):
                self._hang_up(handle)

    def _hang_up(self, handle: int) -> None:
        self._leaving = handle  # before the call: BTstack may tell of the end within it
        try:
            if radio.ble.gap_disconnect(handle):  # type: ignore[arg-type]
                return
        except OSError:
            pass  # it has gone
        self._leaving = NONE

    def _call(self, peer: Peer) -> None:
        try:
            radio.ble.gap_connect(peer.kind, peer.address, _CONNECT_MS)
        except OSError:
            peer.connection = NONE  # without memory BTstack tells of a connection 0 as well
            raise

    async def _all(self, done: int, ask: "Any", peer: Peer, *args: int) -> list:
        """What comes of a request until it is done."""
        self._found = []
        self._ended, self._asked = 0, peer.connection
        ask(peer.connection, *args)
        await self._answer(peer, done)
        return self._found

    async def _answer(self, peer: Peer, done: int) -> None:
        await self.until(
            lambda: self._ended == done or peer.connection == NONE, _ANSWER_MS, "it does not answer"
        )
        if peer.connection == NONE:
            raise VisitError("it has disconnected")
        if self._status:
            raise VisitError("it has refused (%d)" % self._status)

    def irq(self, event: int, data: tuple) -> None:
        """Runs between any two bytecodes of a task."""
        if event == _NOTIFIED or event == _INDICATED:
            for peer in self._peers:
                if peer.connection == data[0] and peer.handles:
                    for k in range(len(peer.handles)):
                        if peer.handles[k][0] == data[1]:
                            self._notified(peer, k, data[2])
        elif event == _CONNECTED:
            called = self.calling
            if called and data[2] == called.address:
                called.connection = data[0]
                self._ended = event
            else:
                self._stray = data[0]
        elif event == _DISCONNECTED:
            if data[0] == self._leaving:
                self._leaving = NONE
                return
            for peer in self._peers:
                if peer.connection == data[0]:
                    peer.connection = NONE
                    peer.due = ticks_ms()
                    return
            self._ended = event  # a connection could not be made
        elif not _SERVICE <= event <= _WRITE_DONE or data[0] != self._asked:
            pass  # nothing that was asked
        elif event in (_SERVICES_DONE, _CHARACTERISTICS_DONE, _DESCRIPTORS_DONE):
            self._status, self._ended = data[1], event
        elif event in (_READ_DONE, _WRITE_DONE):
            self._status, self._ended = data[2], event
        elif len(self._found) < _FOUND_MAX:
            if event == _SERVICE:
                self._found.append((data[1], data[2], bytes(data[3])))
            elif event == _CHARACTERISTIC:
                self._found.append((data[1], data[2], data[3], bytes(data[4])))
            elif event == _DESCRIPTOR:
                self._found.append((data[1], bytes(data[2])))
            elif event == _READ:
                self._found.append(bytes(data[2]))


def _text(uuid: bytes) -> str:
    return bytes(reversed(uuid)).hex()
