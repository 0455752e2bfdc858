"""Sensors on the virtual air: one of BTHome v2, which never connects, and one with GATT services."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bumble import att, gatt
from bumble.core import UUID
from bumble.device import AdvertisingEventProperties, AdvertisingParameters, AdvertisingSet, Device
from bumble.keys import PairingKeys
from bumble.pairing import PairingConfig, PairingDelegate
from gasan.boards.air import Air
from gasan.hil.served import ServedLog

__all__ = ["BTHomeSensor", "GattSensor", "advertising_data"]

_FLAGS = b"\x02\x01\x06"  # general discoverable, no BR/EDR


def advertising_data(service_data: bytes) -> bytes:
    """What a sensor advertises: flags, and BTHome's service data."""
    return _FLAGS + bytes([len(service_data) + 3]) + b"\x16\xd2\xfc" + service_data


class BTHomeSensor:
    """A battery sensor. Every `say` is a new measurement: it gets the next packet id, is logged, and goes out
    every `interval_ms` until the next one."""

    def __init__(
        self, air: Air, log: ServedLog, address: str, name: str = "climate", interval_ms: float = 250
    ) -> None:
        self.address = address
        self.name = name
        self.packet_id = 0
        self._air = air
        self._log = log
        self._interval_ms = interval_ms
        self._device: Device | None = None
        self._advertising: AdvertisingSet | None = None

    async def say(self, objects: Iterable[tuple[int, bytes]]) -> None:
        """Advertise these objects: (object id, value little-endian), in any order."""
        self.packet_id = (self.packet_id + 1) & 0xFF
        packet_id = bytes([0x00, self.packet_id])
        body = b"".join(bytes([object_id]) + value for object_id, value in sorted(objects))
        await self.say_raw(b"\x40" + packet_id + body)

    async def say_raw(self, service_data: bytes) -> None:
        """Advertise this service data as it is."""
        self._log.advert(self.name, self.address, self.packet_id, service_data)
        data = advertising_data(service_data)
        if self._advertising is not None:
            await self._advertising.set_advertising_data(data)
            return
        if self._device is None:
            self._device = await self._air.device(self.name, self.address)
        self._advertising = await self._device.create_advertising_set(
            advertising_parameters=AdvertisingParameters(
                advertising_event_properties=AdvertisingEventProperties(is_legacy=True),
                primary_advertising_interval_min=self._interval_ms,
                primary_advertising_interval_max=self._interval_ms,
            ),
            random_address=self._device.random_address,
            advertising_data=data,
        )

    async def fall_silent(self) -> None:
        """Stop to advertise; the next `say` begins again."""
        if self._advertising is not None:
            await self._advertising.stop()
            await self._advertising.remove()
            self._advertising = None

    async def close(self) -> None:
        await self.fall_silent()
        if self._device is not None:
            await self._air.remove(self._device)
            self._device = None


class GattSensor:
    """A sensor that is connected to: services of characteristics, whose values are set from here.

    values: {(service, characteristic): value}; those in ``notified`` are notified or, if in ``indicated``,
    indicated, and cannot be read. paired: values can be read over an encrypted connection only. pairings: how
    often it was paired with; key: that of the last time.
    """

    def __init__(
        self,
        air: Air,
        address: str,
        values: dict[tuple[int, int], bytes],
        notified: Iterable[tuple[int, int]] = (),
        indicated: Iterable[tuple[int, int]] = (),
        paired: bool = False,
    ) -> None:
        self.address = address
        self.reads = 0
        self.pairings = 0
        self.key: bytes | None = None
        self._paired = paired
        self._air = air
        self._values = dict(values)
        self._notified = set(notified)
        self._indicated = set(indicated)
        self._characteristics: dict[tuple[int, int], gatt.Characteristic[bytes]] = {}
        self._device: Device | None = None

    async def start(self) -> None:
        """Offer the services and advertise."""
        self._device = await self._air.device("gatt", self.address)
        self._device.pairing_config_factory = lambda _: PairingConfig(
            sc=True, mitm=False, bonding=True, delegate=PairingDelegate()
        )
        self._device.on("connection", lambda connection: connection.on("pairing", self._was_paired))
        permissions = gatt.Characteristic.READABLE
        if self._paired:
            permissions |= gatt.Characteristic.READ_REQUIRES_ENCRYPTION
        services: dict[int, list[gatt.Characteristic[bytes]]] = {}
        for place in self._values:
            flags, value = gatt.Characteristic.READ, att.AttributeValue(read=self._reader(place))
            if place in self._notified | self._indicated:
                flags = (
                    gatt.Characteristic.INDICATE if place in self._indicated else gatt.Characteristic.NOTIFY
                )
            made: gatt.Characteristic[bytes] = gatt.Characteristic(
                UUID.from_16_bits(place[1]), flags, permissions, value
            )
            self._characteristics[place] = made
            services.setdefault(place[0], []).append(made)
        for uuid, characteristics in services.items():
            self._device.add_service(gatt.Service(UUID.from_16_bits(uuid), characteristics))
        await self._advertise()

    async def _advertise(self) -> None:
        assert self._device is not None
        await self._device.start_advertising(auto_restart=True, advertising_data=_FLAGS)

    def _was_paired(self, keys: PairingKeys) -> None:
        self.pairings += 1
        self.key = keys.ltk.value if keys.ltk else None

    async def rekey(self, key: bytes | None) -> None:
        """Have another key than the one of its pairing, or none, as after a change of its battery."""
        assert self._device is not None and self._device.keystore is not None
        for name, keys in await self._device.keystore.get_all():
            await self._device.keystore.delete(name)
            if key is not None:
                keys.ltk = PairingKeys.Key(key)
                await self._device.keystore.update(name, keys)

    def set(self, place: tuple[int, int], value: bytes) -> None:
        self._values[place] = value

    async def notify(self, place: tuple[int, int], value: bytes) -> None:
        """Notify all who have subscribed, or indicate."""
        assert self._device is not None
        characteristic = self._characteristics[place]
        if place in self._indicated:
            await self._device.indicate_subscribers(characteristic, value)
        else:
            await self._device.notify_subscribers(characteristic, value)

    @property
    def subscribers(self) -> int:
        assert self._device is not None
        return sum(any(it.values()) for it in self._device.gatt_server.subscribers.values())

    @property
    def connections(self) -> int:
        assert self._device is not None
        return len(self._device.connections)

    async def close(self) -> None:
        if self._device is not None:
            await self._air.remove(self._device)
            self._device = None

    def _reader(self, place: tuple[int, int]) -> Callable[[Any], bytes]:
        def read(_connection: Any) -> bytes:
            self.reads += 1
            return self._values[place]

        return read
