"""A node's link over BLE, kept open as a serial port is: out of reach and back again, it goes on by itself.

The node offers a GATT service (gasan.node.ble_uplink, protocols/link.md): bytes come as notifications, and go
as writes without response. So that a node does not fill its radio's memory, the number of bytes that came is
reported to it, modulo 65,536.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from bleak import BleakClient
from bleak.backends.device import BLEDevice
from bleak.exc import BleakError
from gasan.host.ble.adapter import Adapter, Turn
from gasan.host.i18n import _
from gasan.host.link.ports import PortState

__all__ = ["SERVICE", "BlePort"]

SERVICE: Final = "b1d5a3f0-7c1e-4f0e-9c55-6761736e0001"
_UP: Final = "b1d5a3f0-7c1e-4f0e-9c55-6761736e0002"
_DOWN: Final = "b1d5a3f0-7c1e-4f0e-9c55-6761736e0003"
_HAD: Final = "b1d5a3f0-7c1e-4f0e-9c55-6761736e0004"

_FIND_S: Final = 15.0
_RETRY_S: Final = 1.0
_WRITE_MAX: Final = 4_096
"""Bytes that may wait: a node takes 256 at a time."""

_REPORT: Final = 1_024
"""Bytes that came after which the node is told at once; a node sends at most 4,096 ahead."""

_REPORT_S: Final = 0.25
_CLOSE_S: Final = 5.0

log = logging.getLogger(__name__)


class BlePort:
    """One node. `run()` keeps it connected until it is cancelled.

    target: the name that the node advertises, or its address. on_data and on_state: as of `SerialPort`.
    """

    def __init__(
        self,
        target: str,
        on_data: Callable[[bytes], None],
        on_state: Callable[[PortState, str], None],
        adapter: Adapter,
    ) -> None:
        self.path = target
        self.state = PortState.CLOSED
        self.dropped = 0  # bytes that were not written because there was no connection, or too much waited
        self._on_data = on_data
        self._on_state = on_state
        self._adapter = adapter
        self._open = False
        self._waiting = bytearray()
        self._work = asyncio.Event()
        self._had = 0
        self._told = 0

    async def run(self) -> None:
        """Connect, and connect again whenever it has gone; ends only by cancellation."""
        try:
            while True:
                if not await self._once():
                    await asyncio.sleep(_RETRY_S)
                _end_if_cancelled()
        finally:
            self._tell(PortState.CLOSED, _("{node} is disconnected"))

    def write(self, data: bytes) -> bool:
        """Write all of it soon; False if there is no connection, or too much waits: it is dropped then."""
        if not self._open or len(self._waiting) + len(data) > _WRITE_MAX:
            self.dropped += len(data)
            return False
        self._waiting += data
        self._work.set()
        return True

    def _tell(self, state: PortState, sentence: str) -> None:
        if state is not self.state and not (self.state is PortState.LOST and state is PortState.MISSING):
            self.state = state
            self._on_state(state, sentence.format(node=self.path))

    async def _once(self) -> bool:
        """Find the node, connect, and serve the connection until it ends; whether it came to that."""
        if await self._find() is None:
            return False
        gone = asyncio.Event()
        async with self._adapter.turn() as turn:
            device = self._adapter.heard(self.path) or await self._find()
            if device is None:
                return False
            try:
                client = await self._adapter.connect(device, gone)
            except (BleakError, TimeoutError, OSError) as error:
                log.debug("%s: %s", self.path, error)
                self._tell(PortState.MISSING, _("{node} does not take the Bluetooth connection"))
                return False
            try:
                await self._serve(client, gone, turn)
            except (BleakError, OSError) as error:
                log.debug("%s: %s", self.path, error)
            finally:
                was_open, self._open = self._open, False
                self._waiting.clear()
                with contextlib.suppress(BleakError, OSError, TimeoutError):
                    async with asyncio.timeout(_CLOSE_S):
                        await client.disconnect()
                if was_open:
                    self._tell(PortState.LOST, _("{node} has gone; waiting for it to come back"))
        return was_open

    async def _find(self) -> BLEDevice | None:
        """The node, once it is heard; None, and it is told why, if it is not."""
        try:
            device = await self._adapter.find(self.path, _FIND_S)
        except BleakError as error:
            log.debug("%s", error)
            self._tell(PortState.FAILED, _("no Bluetooth adapter can be used: {error}").format(error=error))
            return None
        if device is None:
            self._tell(PortState.MISSING, _("{node} is not heard by Bluetooth; is it powered, and near?"))
        return device

    async def _serve(self, client: BleakClient, gone: asyncio.Event, turn: Turn) -> None:
        """Move bytes until the connection ends, or another node should have it."""
        down = client.services.get_characteristic(_DOWN)
        if down is None:
            raise BleakError("the node offers no link")
        self._had, self._told = 0, -1  # the first report, of no bytes, lets the node send
        await client.start_notify(_UP, lambda _, data: self._came(data))
        _end_if_cancelled()
        self._open = True
        self._work.set()
        turn.begin()
        self._tell(PortState.OPEN, _("{node} is connected by Bluetooth"))
        pump = asyncio.create_task(self._pump(client, down.max_write_without_response_size))
        ends = [asyncio.create_task(it.wait()) for it in (gone, turn.over)]
        try:
            await asyncio.wait([pump, *ends], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, *ends):
                task.cancel()
            results = await asyncio.gather(pump, *ends, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    def _came(self, data: bytearray) -> None:
        self._had += len(data)
        if self._had - self._told >= _REPORT:
            self._work.set()
        self._on_data(bytes(data))

    async def _pump(self, client: BleakClient, size: int) -> None:
        """Write what waits, and report what came."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REPORT_S):
                    await self._work.wait()
            self._work.clear()
            if self._had != self._told:
                told = self._had
                report = (told & 0xFFFF).to_bytes(2, "little")
                await client.write_gatt_char(_HAD, report, response=False)
                self._told = told
            while self._waiting:
                piece = bytes(self._waiting[:size])
                del self._waiting[:size]
                await client.write_gatt_char(_DOWN, piece, response=False)


def _end_if_cancelled() -> None:
    """Raise a cancellation that was lost on the way: `asyncio.wait_for` of Python 3.11, which libraries use,
    swallows one that comes when what it waits for is done.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
