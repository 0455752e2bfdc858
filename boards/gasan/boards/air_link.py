"""What radio waves do: who hears whom, when a connection may send, and what gets lost.

bumble's `LocalLink` hands everything over at once and loses nothing. Here an advertisement can be out of
reach or lost, and the data of a connection waits for its connection events: every interval each side may send
so many packets of so many bytes (Bluetooth Core 5.4, Vol 6, Part B, 4.5.1). A packet that is lost is sent
again at the next chance, as the link layer does; a connection whose ends are out of reach ends after its
supervision timeout, at both of them.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from bumble import hci, ll
from bumble.controller import Connection, Controller
from bumble.link import LocalLink

if TYPE_CHECKING:
    from gasan.boards.air_controller import AirController

__all__ = ["PACES", "AirLink", "Pace", "Traffic"]

_MTU = 247
_L2CAP, _ATT = 4, 3  # bytes of the heads before the value of a notification
_CONNECTION_TIMEOUT = 0x08
_SUPERVISION_S = 2.0
_ONE_SIDED_S = 0.2
_RSSI = -50


@dataclass(frozen=True)
class Pace:
    """When the connections of an air may send.

    interval_ms: between two events. packets: of each side in an event. payload: bytes of a packet, 27 without
    data length extension and up to 251 with it.
    """

    interval_ms: float
    packets: int
    payload: int

    @property
    def values_per_s(self) -> float:
        """Most bytes of notified values that one side can send in a second, by an MTU of 247."""
        share = (_MTU - _ATT) / (_MTU + _L2CAP)
        return self.packets * self.payload * share * 1000 / self.interval_ms


PACES = {
    # From the ports' sources, not measured: NimBLE on the ESP32 extends the data length, BTstack on the Pico
    # W does not.
    "esp32": Pace(30.0, 4, 251),
    "pico_w": Pace(30.0, 6, 27),
}


@dataclass
class Traffic:
    """What a side of a connection has sent. events: in which it had something to send."""

    events: int = 0
    packets: int = 0
    lost: int = 0
    bytes: int = 0


@dataclass
class _Side:
    """A side of a connection: what it has still to send, as [packets left, data]."""

    sender: Controller
    waiting: deque[list[Any]] = field(default_factory=deque)
    queued: int = 0  # bytes
    traffic: Traffic = field(default_factory=Traffic)


class _Connected:
    """The two sides of a connection, by the sender's address."""

    def __init__(self, now: float) -> None:
        self.start = now
        self.sides: dict[str, _Side] = {}
        self.timer: asyncio.TimerHandle | None = None


class AirLink(LocalLink):
    """One radio. pace: of connections made from now on; None hands over at once. loss: share of packets and
    advertisements that are lost. seed: of which.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pace: Pace | None = None
        self.loss = 0.0
        self._random = random.Random(seed)
        self._bursts: tuple[float, float] | None = None  # s between two of them on average, s of each
        self._burst = (0.0, 0.0)  # start and end of the next, or of the one now
        self._apart: set[frozenset[str]] = set()
        self._rssi: dict[str, int] = {}
        self._connected: dict[frozenset[str], _Connected] = {}

    # Reach

    def set_apart(self, one: str, other: str, apart: bool = True) -> None:
        """Let two addresses not hear each other, or hear each other again."""
        pair = frozenset((one.upper(), other.upper()))
        self._apart.discard(pair)
        if apart:
            self._apart.add(pair)
            asyncio.get_running_loop().call_later(_SUPERVISION_S, self._miss, pair)

    def hears(self, one: str, other: str) -> bool:
        return frozenset((one, other)) not in self._apart

    def _miss(self, pair: frozenset[str]) -> None:
        if pair in self._apart:
            self._break(pair)

    def set_rssi(self, sender: str, dbm: int) -> None:
        """How strongly an address is heard, wherever it is heard."""
        self._rssi[sender.upper()] = dbm

    def rssi(self, sender: hci.Address, _receiver: hci.Address) -> int:
        return self._rssi.get(_text(sender), _RSSI)

    def cut(self, address: str) -> int:
        """Break all connections of an address, as when its radio went out of reach; how many they were."""
        found = [pair for pair in self._pairs() if address.upper() in pair]
        for pair in found:
            self._break(pair)
        asyncio.get_running_loop().call_later(_ONE_SIDED_S, self._end_one_sided, set())
        return len(found)

    def _end_one_sided(self, before: set[frozenset[str]]) -> None:
        """End what only one side takes for a connection: the other was cut while it was being made."""
        both = [_pair(it) for one in self.controllers for it in one.le_connections.values()]
        now = {pair for pair in both if both.count(pair) == 1}
        for pair in now & before:
            self._break(pair)
        if now - before:
            asyncio.get_running_loop().call_later(_ONE_SIDED_S, self._end_one_sided, now)

    def queued(self, address: str) -> int:
        """Bytes that an address has still to send over its connections."""
        sides = (it.sides.get(address) for it in self._connected.values())
        return sum(side.queued for side in sides if side is not None)

    def traffic(self, sender: str, receiver: str) -> Traffic:
        """What went from one to the other since they connected last."""
        found = self._connected.get(frozenset((sender.upper(), receiver.upper())))
        side = found.sides.get(sender.upper()) if found else None
        return side.traffic if side else Traffic()

    # What gets lost

    def interfere(self, every_s: float, lasts_s: float) -> None:
        """Bursts of interference in which nothing gets through: on average every so many seconds, so long."""
        self._bursts = (every_s, lasts_s)

    def _is_lost(self) -> bool:
        """Whether what is sent now gets lost."""
        if self._bursts is not None:
            every, lasts = self._bursts
            now = asyncio.get_running_loop().time()
            while now >= self._burst[1]:
                start = max(self._burst[1], now - lasts) + self._random.expovariate(1 / every)
                self._burst = (start, start + lasts)
            if now >= self._burst[0]:
                return True
        return bool(self.loss) and self._random.random() < self.loss

    def hear(self, sender: hci.Address, kind: int, rssi: int, data: bytes) -> None:
        """An advertisement from outside of this air, such as one on tape; kind: as in air_tape."""
        loop = asyncio.get_running_loop()
        for one in self.controllers:
            if self.hears(_text(sender), _address(one)) and not self._is_lost():
                loop.call_soon(cast("AirController", one).hear, sender, kind, rssi, data)

    # What bumble's controllers call

    def send_advertising_pdu(self, sender_controller: Controller, packet: Any) -> None:
        loop = asyncio.get_running_loop()
        sender = _address(sender_controller)
        packet.sender = sender_controller  # for AirController
        for other in self.controllers:
            if other is sender_controller or not self.hears(sender, _address(other)):
                continue
            if not self._is_lost():
                loop.call_soon(other.on_ll_advertising_pdu, packet)
            elif isinstance(packet, ll.ConnectInd):
                loop.call_later(_ONE_SIDED_S, self._end_one_sided, set())

    def send_acl_data(
        self, sender_controller: Controller, destination_address: hci.Address, transport: Any, data: bytes
    ) -> None:
        pace = self.pace
        if pace is None:
            super().send_acl_data(sender_controller, destination_address, transport, data)
            return
        sender, receiver = _address(sender_controller), str(destination_address).split("/")[0]
        pair = frozenset((sender, receiver))
        now = asyncio.get_running_loop().time()
        connected = self._connected.get(pair)
        if connected is None:
            connected = self._connected[pair] = _Connected(now)
        side = connected.sides.setdefault(sender, _Side(sender_controller))
        side.waiting.append([-(-len(data) // pace.payload), destination_address, transport, data])
        side.queued += len(data)
        self._plan(pair, connected, pace, now)

    def remove_controller(self, controller: Controller) -> None:
        super().remove_controller(controller)
        self._forget(_address(controller))

    # Connection events

    def _plan(self, pair: frozenset[str], connected: _Connected, pace: Pace, now: float) -> None:
        """Have the next event come, if there is something to send."""
        if connected.timer is None and any(side.waiting for side in connected.sides.values()):
            interval = pace.interval_ms / 1000
            done = int((now - connected.start) / interval)
            when = connected.start + (done + 1) * interval
            loop = asyncio.get_running_loop()
            connected.timer = loop.call_at(when, self._event, pair, connected, pace)

    def _event(self, pair: frozenset[str], connected: _Connected, pace: Pace) -> None:
        connected.timer = None
        if self._connected.get(pair) is not connected:
            return
        now = asyncio.get_running_loop().time()
        reached = pair not in self._apart
        for side in connected.sides.values():
            if side.waiting:
                side.traffic.events += 1
            for _ in range(pace.packets):
                if not side.waiting:
                    break
                if not reached or self._is_lost():
                    side.traffic.lost += 1
                    break  # nothing more is acknowledged in this event
                side.traffic.packets += 1
                first = side.waiting[0]
                first[0] -= 1
                if not first[0]:
                    side.waiting.popleft()
                    _, receiver, transport, data = first
                    side.queued -= len(data)
                    side.traffic.bytes += len(data)
                    super().send_acl_data(side.sender, receiver, transport, data)
        self._plan(pair, connected, pace, now)

    # Ends

    def send_ll_control_pdu(
        self, sender_address: hci.Address, receiver_address: hci.Address, packet: Any
    ) -> None:
        if type(packet).__name__ == "TerminateInd":
            self._end(frozenset((_text(sender_address), _text(receiver_address))))
        super().send_ll_control_pdu(sender_address, receiver_address, packet)

    def _pairs(self) -> set[frozenset[str]]:
        return {
            _pair(connection)
            for controller in self.controllers
            for connection in controller.le_connections.values()
        }

    def _break(self, pair: frozenset[str]) -> None:
        """Both ends learn that the connection timed out; what was on the way is lost."""
        self._end(pair)
        for controller in self.controllers:
            for connection in list(controller.le_connections.values()):
                if _pair(connection) == pair:
                    controller.on_le_disconnected(connection, _CONNECTION_TIMEOUT)

    def _forget(self, address: str) -> None:
        for pair in [pair for pair in self._pairs() | set(self._connected) if address in pair]:
            self._break(pair)

    def _end(self, pair: frozenset[str]) -> None:
        connected = self._connected.pop(pair, None)
        if connected is not None and connected.timer is not None:
            connected.timer.cancel()


def _text(address: hci.Address) -> str:
    return str(address).split("/")[0]


def _pair(connection: Connection) -> frozenset[str]:
    return frozenset((_text(connection.self_address), _text(connection.peer_address)))


def _address(controller: Controller) -> str:
    return _text(controller.random_address)
