"""What is heard, kept as it came: a tape that a virtual air plays again (gasan.boards.air_tape)."""

import json
import time
from pathlib import Path
from typing import Any

from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from gasan.host.ble.hall import address_type
from gasan.host.ble.known import structures

__all__ = ["Recording"]

_NAME, _NAME_MAX = 0x09, 29
_NEITHER, _RESPONSE = 3, 4
_DATA_MAX = 255


class Recording:
    """Give `note` to a `bleak.BleakScanner`. Raises FileExistsError rather than write over a file, OSError.

    bleak tells an advertisement and its scan response as one; a name is written as a response, so that the
    rest is as long as it was.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("x", encoding="utf-8")
        self._start: float | None = None
        self.adverts = 0

    def note(self, device: BLEDevice, advertised: AdvertisementData) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = now
        data = structures(advertised.manufacturer_data, advertised.service_data)
        line: dict[str, Any] = {
            "t": round(now - self._start, 4),
            "address": device.address,
            "random": address_type(device) != "public",
            "kind": _NEITHER,  # nobody can connect to a tape
            "rssi": max(-128, min(127, advertised.rssi)),
        }
        if len(data) <= _DATA_MAX and (data or not advertised.local_name):
            self._write(line | {"data": data.hex()})
        name = (advertised.local_name or "").encode()[:_NAME_MAX]
        if name:
            self._write(line | {"data": bytes((len(name) + 1, _NAME, *name)).hex(), "kind": _RESPONSE})
        self.adverts += 1

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        self._file.close()
