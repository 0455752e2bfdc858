"""Who is in the air: a bounded list of what was heard."""

from dataclasses import dataclass, field

from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from gasan.host.ble.known import Known, Parts, parts, recognise, structures
from gasan.host.ble.node_air import Record

__all__ = ["Hall", "Heard", "address_type"]

_MOST = 1000
"""Addresses; phones change theirs each quarter of an hour."""


@dataclass
class Heard:
    """An address and what it sent. rssi: the strongest, dBm. known: by the last advertisement that was.
    private: the address changes now and then.
    """

    address: str
    name: str = ""
    adverts: int = 0
    rssi: int = -128
    services: set[str] = field(default_factory=set)
    manufacturer: dict[int, bytes] = field(default_factory=dict)
    service_data: dict[str, bytes] = field(default_factory=dict)
    known: tuple[Known, ...] = ()
    private: bool = False


def is_private(random_address: str) -> bool:
    """Whether a random address is no static one (Core 5.4, Vol 6, Part B, 1.3.2)."""
    return random_address[:1] in set("01234567") and random_address.count(":") == 5


def address_type(device: BLEDevice) -> str:
    """ "public" or "random": BlueZ says it, a virtual air too; "" elsewhere."""
    details = device.details
    if isinstance(details, dict):
        return str(details.get("props", {}).get("AddressType", ""))
    public = getattr(details, "is_public", None)
    return "" if public is None else "public" if public else "random"


class Hall:
    """Give `note` to a `bleak.BleakScanner`, and `note_record` what a node tells."""

    def __init__(self) -> None:
        self.heard: dict[str, Heard] = {}
        self.unnoted = 0  # advertisements of addresses that came when the list was full

    def note(self, device: BLEDevice, advertised: AdvertisementData) -> None:
        """What bleak tells."""
        it = self._of(device.address)
        if it is not None:
            said = Parts(
                advertised.local_name or "",
                frozenset(advertised.service_uuids),
                advertised.manufacturer_data,
                advertised.service_data,
            )
            data = structures(said.manufacturer, said.service_data)
            it.private = address_type(device) == "random" and is_private(device.address)
            self._add(it, said, data, advertised.rssi, 1)

    def note_record(self, record: Record) -> None:
        """What a node tells."""
        it = self._of(record.address.hex(":").upper())
        if it is not None:
            it.private = record.random and is_private(it.address)
            self._add(it, parts(record.data), record.data, record.rssi, record.adverts)

    def _of(self, address: str) -> Heard | None:
        it = self.heard.get(address)
        if it is None:
            if len(self.heard) >= _MOST:
                self.unnoted += 1
                return None
            it = self.heard[address] = Heard(address)
        return it

    def _add(self, it: Heard, said: Parts, data: bytes, rssi: int, adverts: int) -> None:
        it.adverts += adverts
        it.name = said.name or it.name
        it.rssi = max(it.rssi, rssi)
        it.services.update(said.services)
        it.manufacturer.update(said.manufacturer)
        it.service_data.update(said.service_data)
        try:
            address = bytes.fromhex(it.address.replace(":", ""))
        except ValueError:  # macOS tells no addresses
            address = bytes(6)
        it.known = recognise(data, address) or it.known

    def strongest_first(self) -> list[Heard]:
        """Those that a profile reads first, then by strength."""
        return sorted(self.heard.values(), key=lambda it: (not it.known, -it.rssi, it.address))
