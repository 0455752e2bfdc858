"""The gateway's Bluetooth adapter, shared by all nodes that are linked by it.

bleak speaks to BlueZ; where GASAN_AIR=HOST:PORT is set, it speaks to a virtual air (gasan.boards.air)
instead. One scan serves all who look for a node, and it rests while a connection is being made, which many
adapters cannot do at the same time. An adapter keeps only so many connections: when more nodes wait for one,
those that have had theirs for a while give way.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from bleak import BleakClient, BleakScanner
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.exc import BleakError

__all__ = ["AIR", "Adapter", "Turn", "air_backends"]

AIR: Final = "GASAN_AIR"
"""The environment variable that names a virtual air."""

_SLOTS: Final = 4
"""Connections at a time; a Raspberry Pi's own adapter keeps about seven, some of which others may want."""

_TURN_S: Final = 30.0
_CONNECT_S: Final = 20.0
_FRESH_S: Final = 10.0
"""So long after it was heard, a node can be connected to; BlueZ forgets whom it has not heard for a while."""

log = logging.getLogger(__name__)


def air_backends(
    endpoint: str | None = None,
) -> tuple[type[BaseBleakScanner] | None, type[BaseBleakClient] | None]:
    """bleak's ``backend`` for scanners and clients: of the virtual air at HOST:PORT, or that of the
    environment; None for this machine's own adapter.
    """
    endpoint = endpoint or os.environ.get(AIR)
    if not endpoint:
        return None, None
    from gasan.boards.air_bleak import backends

    return backends(endpoint)


class Turn:
    """One of the adapter's connections, held for a while. over: set when another node should have it."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.begin()

    def begin(self) -> None:
        """It counts from now: the connection is there."""
        self.since = asyncio.get_running_loop().time()


class Adapter:
    """Use it in one event loop. service: UUID of those who are looked for. slots: connections at a time.
    turn_s: for how long a node has its connection, when others wait for one.
    """

    def __init__(
        self, service: str, endpoint: str | None = None, slots: int = _SLOTS, turn_s: float = _TURN_S
    ) -> None:
        self._service = service
        self._scanner_type, self._client_type = air_backends(endpoint)
        self._heard: dict[str, tuple[BLEDevice, float]] = {}  # by name and by address: and when
        self._news = asyncio.Event()
        self._lookers = 0
        self._scanner: BleakScanner | None = None
        self._busy = asyncio.Lock()
        self._slots = slots
        self._turn_s = turn_s
        self._turns: list[Turn] = []
        self._waiting: deque[asyncio.Future[Turn]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def find(self, target: str, timeout_s: float) -> BLEDevice | None:
        """The node of that name or address, once it is heard. Raises BleakError without an adapter."""
        target = target.lower()
        self._heard.pop(target, None)
        self._lookers += 1
        try:
            async with asyncio.timeout(timeout_s):
                while target not in self._heard:
                    async with self._busy:
                        await self._listen()
                    self._news.clear()
                    await self._news.wait()
            return self._heard[target][0]
        except TimeoutError:
            return None
        finally:
            self._lookers -= 1
            if not self._lookers:
                await self._rest()

    async def connect(self, device: BLEDevice, gone: asyncio.Event) -> BleakClient:
        """A connection; ``gone`` is set when it ends. Raises BleakError or TimeoutError."""
        async with self._busy:
            await self._rest()
            client = BleakClient(
                device,
                lambda _: gone.set(),
                services=[self._service],
                timeout=_CONNECT_S,
                backend=self._client_type,
            )
            try:
                await client.connect()
            finally:
                self._news.set()  # who still looks listens again
        return client

    def heard(self, target: str) -> BLEDevice | None:
        """The node of that name or address, if it was heard just now."""
        device, when = self._heard.get(target.lower(), (None, 0.0))
        return device if asyncio.get_running_loop().time() - when < _FRESH_S else None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Wait for one of the connections, and hold it. Who waits longest is next."""
        ticket: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        self._admit()
        try:
            turn = await ticket
        except asyncio.CancelledError:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            elif not ticket.cancelled():
                self._release(ticket.result())
            raise
        try:
            yield turn
        finally:
            self._release(turn)

    def _release(self, turn: Turn) -> None:
        self._turns.remove(turn)
        self._admit()

    def _admit(self) -> None:
        """Give what is free to those who wait; for the others the oldest give way when their time is up."""
        while self._waiting and len(self._turns) < self._slots:
            ticket = self._waiting.popleft()
            if not ticket.done():  # who waited may have been cancelled and not know yet
                turn = Turn()
                self._turns.append(turn)
                ticket.set_result(turn)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        for turn in sorted(self._turns, key=lambda turn: turn.since)[: len(self._waiting)]:
            end = turn.since + self._turn_s
            if end > loop.time():
                self._timer = loop.call_at(end, self._admit)
                break
            turn.over.set()

    async def _listen(self) -> None:
        if self._scanner is None:
            scanner = BleakScanner(self._note, [self._service], backend=self._scanner_type)
            try:
                await scanner.start()
            except OSError as error:  # what bleak does where D-Bus does not run
                raise BleakError(f"this machine's Bluetooth does not answer: {error}") from error
            self._scanner = scanner

    async def _rest(self) -> None:
        scanner, self._scanner = self._scanner, None
        if scanner is not None:
            try:
                await scanner.stop()
            except BleakError as error:
                log.debug("%s", error)

    def _note(self, device: BLEDevice, advertised: AdvertisementData) -> None:
        now = asyncio.get_running_loop().time()
        for key in (device.address, advertised.local_name):
            if key:
                self._heard[key.lower()] = device, now
        self._news.set()
