"""The world around a board as its stand-ins see it: pin levels, voltages, Wi-Fi (standins/levels.py)."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["World"]

_LAYOUT = struct.Struct("<BB64s8H")
_UNDRIVEN = 255


class World:
    """Writes the small file that the VM reads; nothing drives a pin until told."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wifi = True
        self._rssi = 50
        self._pins = bytearray([_UNDRIVEN] * 64)
        self._analogue = [0] * 8
        path.write_bytes(self._packed())

    def change(self, request: Mapping[str, Any]) -> None:
        """``wifi``: in range; ``rssi``: -dBm; ``pins``: {pin: level or None}; ``analogue``: {input: u16}.

        Raises ValueError, IndexError.
        """
        self._wifi = bool(request.get("wifi", self._wifi))
        self._rssi = int(request.get("rssi", self._rssi))
        for pin, level in request.get("pins", {}).items():
            self._pins[int(pin)] = _UNDRIVEN if level is None else int(bool(level))
        for channel, value in request.get("analogue", {}).items():
            self._analogue[int(channel)] = int(value)
        with self._path.open("r+b") as f:  # in place: the VM has it open
            f.write(self._packed())

    def _packed(self) -> bytes:
        return _LAYOUT.pack(self._wifi, self._rssi, bytes(self._pins), *self._analogue)
