"""bleak over bumble: what `bleak.BleakScanner` and `bleak.BleakClient` take as ``backend=``.

    scanner, client = backends("127.0.0.1:7300")
    bleak.BleakScanner(found, backend=scanner)

A virtual air gives this process a Bluetooth controller, spoken to in HCI over TCP; bumble is the host. It can
be a real controller too (gasan.boards.adapters). One process has one adapter.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from bleak.assigned_numbers import gatt_char_props_to_strs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDeviceNotFoundError, BleakError
from bumble import core, hci
from bumble.core import AdvertisingData
from bumble.device import Advertisement, Connection, Device
from gasan.boards.adapters import AdapterMissing, open_adapter

__all__ = ["backends"]

_MTU = 517
_OPEN_S = 10.0


class _Adapter:
    """This process's adapter, opened when it is first used in an event loop."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._device: Device | None = None
        self._transport: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self.listeners: list[Callable[[Advertisement], None]] = []

    async def device(self) -> Device:
        """A powered-on device. Raises BleakError when there is none."""
        async with self._opening:
            loop = asyncio.get_running_loop()
            if self._device is None or self._loop is not loop or self._transport.source.terminated.done():
                try:
                    async with asyncio.timeout(_OPEN_S):
                        await self._open()
                except AdapterMissing as error:
                    raise BleakError(str(error)) from error
                except (OSError, TimeoutError, core.BaseBumbleError) as error:
                    what = f"the Bluetooth adapter {self._endpoint} does not work: {error}"
                    raise BleakError(what) from error
                self._loop = loop
            assert self._device is not None
            return self._device

    async def _open(self) -> None:
        self._transport = await open_adapter(self._endpoint)
        own = bytearray(os.urandom(6))
        own[5] |= 0xC0  # a static random address (Vol 6, Part B, 1.3.2.1)
        address = hci.Address(bytes(own), hci.Address.RANDOM_DEVICE_ADDRESS)
        self._device = Device.with_hci("gateway", address, self._transport.source, self._transport.sink)
        self._device.on("advertisement", self._heard)
        await self._device.power_on()

    def _heard(self, advertisement: Advertisement) -> None:
        for listener in list(self.listeners):
            listener(advertisement)

    async def listen(self, listener: Callable[[Advertisement], None]) -> None:
        device = await self.device()
        self.listeners.append(listener)
        if not device.is_scanning:
            await device.start_scanning(active=True, filter_duplicates=False)

    async def ignore(self, listener: Callable[[Advertisement], None]) -> None:
        if listener in self.listeners:
            self.listeners.remove(listener)
        if not self.listeners and self._device is not None and self._device.is_scanning:
            with contextlib.suppress(core.BaseBumbleError):
                await self._device.stop_scanning()


class _Scanner(BaseBleakScanner):
    adapter: _Adapter

    def __init__(
        self,
        detection_callback: Any,
        service_uuids: list[str] | None,
        scanning_mode: str = "active",
        **kwargs: Any,
    ) -> None:
        super().__init__(detection_callback, service_uuids)

    async def start(self) -> None:
        self.seen_devices = {}
        await self.adapter.listen(self._heard)

    async def stop(self) -> None:
        await self.adapter.ignore(self._heard)

    def _heard(self, it: Advertisement) -> None:
        address = str(it.address).split("/")[0]
        data = it.data  # a scan response's is what came before it, too
        uuids = [str(_long(uuid)) for uuid in _service_uuids(data)]
        if not self.is_allowed_uuid(uuids):
            return
        name = data.get(AdvertisingData.COMPLETE_LOCAL_NAME) or data.get(AdvertisingData.SHORTENED_LOCAL_NAME)
        advertised = AdvertisementData(
            local_name=name if isinstance(name, str) else None,
            manufacturer_data=dict(data.get_all(AdvertisingData.MANUFACTURER_SPECIFIC_DATA)),
            service_data=_service_data(data),
            service_uuids=uuids,
            tx_power=None,
            rssi=it.rssi,
            platform_data=(it,),
        )
        device = self.create_or_update_device(address, address, advertised.local_name, it.address, advertised)
        self.call_detection_callbacks(device, advertised)


class _Client(BaseBleakClient):
    adapter: _Adapter

    def __init__(self, address_or_ble_device: Any, services: set[str] | None = None, **kwargs: Any) -> None:
        super().__init__(address_or_ble_device, **kwargs)
        self._wanted = [core.UUID(uuid) for uuid in services or ()]
        self._peer = (
            address_or_ble_device.details
            if isinstance(address_or_ble_device, BLEDevice)
            else hci.Address(self.address, hci.Address.RANDOM_DEVICE_ADDRESS)
        )
        self._connection: Connection | None = None
        self._leaving = False
        self._asked: set[asyncio.Future[Any]] = set()

    @property
    def name(self) -> str:
        return self.address

    @property
    def mtu_size(self) -> int:
        return self._connection.att_mtu if self._connection is not None else 23

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    async def connect(self, pair: bool, **kwargs: Any) -> None:
        device = await self.adapter.device()
        try:
            connection = await device.connect_le(self._peer, timeout=self._timeout)
        except (core.BaseBumbleError, TimeoutError) as error:
            what = f"{self.address} does not answer: {error}"
            raise BleakDeviceNotFoundError(self.address, what) from error
        if connection.handle not in device.connections:
            raise BleakError(f"{self.address} has gone again")
        self._connection = connection
        connection.on("disconnection", self._gone)
        try:
            async with asyncio.timeout(self._timeout):
                await self._ask(connection.gatt_client.request_mtu(_MTU))
                self.services = await self._ask(self._discover(connection))
                if pair:
                    await self.pair()
        except (BleakError, TimeoutError):
            await self.disconnect()
            raise

    async def _ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What the peer answers; an error as soon as it has gone, which bumble tells some requests only."""
        asked = asyncio.ensure_future(work)
        self._asked.add(asked)
        try:
            with _told():
                return await asked
        finally:
            self._asked.discard(asked)

    def _gone(self, _reason: int) -> None:
        self._connection = None
        for asked in self._asked:
            asked.cancel()
        if self._disconnected_callback is not None and not self._leaving:
            self._disconnected_callback()

    async def _discover(self, connection: Connection) -> BleakGATTServiceCollection:
        client = connection.gatt_client
        found = BleakGATTServiceCollection()
        for service in await client.discover_services(self._wanted):
            its = BleakGATTService(service, service.handle, str(_long(service.uuid)))
            found.add_service(its)
            for one in await service.discover_characteristics():
                characteristic = BleakGATTCharacteristic(
                    one,
                    one.handle,
                    str(_long(one.uuid)),
                    list(gatt_char_props_to_strs(int(one.properties))),
                    lambda: self.mtu_size - 3,
                    its,
                )
                found.add_characteristic(characteristic)
                for each in await one.discover_descriptors():
                    descriptor = BleakGATTDescriptor(each, each.handle, str(_long(each.type)), characteristic)
                    found.add_descriptor(descriptor)
        return found

    async def disconnect(self) -> None:
        if self._connection is not None:
            self._leaving = True
            with _told():
                await self._connection.disconnect()

    async def pair(self, *args: Any, **kwargs: Any) -> None:
        await self._ask(self._connected().pair())

    async def unpair(self) -> None:
        raise BleakError("the virtual air keeps no bonds")

    async def read_gatt_char(self, characteristic: BleakGATTCharacteristic, **kwargs: Any) -> bytearray:
        return await self._read(characteristic.handle)

    async def read_gatt_descriptor(self, descriptor: BleakGATTDescriptor, **kwargs: Any) -> bytearray:
        return await self._read(descriptor.handle)

    async def _read(self, handle: int) -> bytearray:
        return bytearray(await self._ask(self._connected().gatt_client.read_value(handle)))

    async def write_gatt_char(
        self, characteristic: BleakGATTCharacteristic, data: Any, response: bool
    ) -> None:
        client = self._connected().gatt_client
        await self._ask(client.write_value(characteristic.handle, bytes(data), response))

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: Any) -> None:
        await self._ask(self._connected().gatt_client.write_value(descriptor.handle, bytes(data), True))

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **kwargs: Any
    ) -> None:
        client = self._connected().gatt_client
        await self._ask(client.subscribe(characteristic.obj, lambda value: callback(bytearray(value))))

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        await self._ask(self._connected().gatt_client.unsubscribe(characteristic.obj))

    def _connected(self) -> Connection:
        if self._connection is None:
            raise BleakError("not connected")
        return self._connection


def backends(endpoint: str) -> tuple[type[BaseBleakScanner], type[BaseBleakClient]]:
    """The scanner and the client of one adapter: HOST:PORT of a virtual air, or what `open_adapter` takes."""
    own = _Adapter(endpoint)

    class AirScanner(_Scanner):
        adapter = own

    class AirClient(_Client):
        adapter = own

    return AirScanner, AirClient


@contextlib.contextmanager
def _told() -> Any:
    """Raise what fails as bleak does."""
    try:
        yield
    except (core.BaseBumbleError, TimeoutError, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        raise BleakError(str(error) or "disconnected") from error


def _long(uuid: core.UUID) -> UUID:
    """Of 128 bits; bumble keeps the bytes little-endian."""
    return UUID(bytes=bytes(reversed(uuid.to_bytes(force_128=True))))


def _service_uuids(data: AdvertisingData) -> list[core.UUID]:
    """Those of the lists of 16 and of 128 bits, whole or not (Core Specification Supplement, Part A, 1.1)."""
    return [
        core.UUID.from_bytes(value[at : at + size])
        for kinds, size in (((2, 3), 2), ((6, 7), 16))
        for kind in kinds
        for value in data.get_all(kind, raw=True)
        for at in range(0, len(value), size)
    ]


def _service_data(data: AdvertisingData) -> dict[str, bytes]:
    kinds = (AdvertisingData.SERVICE_DATA_16_BIT_UUID, AdvertisingData.SERVICE_DATA_128_BIT_UUID)
    found: Any = [pair for kind in kinds for pair in data.get_all(kind)]
    return {str(_long(uuid)): bytes(value) for uuid, value in found}
