"""A BTHome v2 sensor on the virtual air: measures now and then, advertises all the time, never connects."""

from __future__ import annotations

from collections.abc import Iterable

from bumble.device import AdvertisingEventProperties, AdvertisingParameters, AdvertisingSet, Device
from gasan.boards.air import Air
from gasan.hil.served import ServedLog

__all__ = ["BTHomeSensor", "advertising_data"]

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
            self._air.remove(self._device)
            self._device = None
