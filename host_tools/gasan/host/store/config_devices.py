"""The Modbus devices that a compiled config describes, and the lines they are on."""

from typing import Any

import cbor2

__all__ = ["modbus_devices"]

_PARITY = "NEO"


def modbus_devices(config: bytes) -> list[tuple[int, str, str, int, int, str]]:
    """(first channel, device, line, kind, unit, setting) of each, as the table `modbus_device` has them."""
    try:
        return _devices(cbor2.loads(config)[3])
    except (LookupError, TypeError, ValueError):  # the node will say what is wrong with it
        return []


def _devices(buses: Any) -> list[tuple[int, str, str, int, int, str]]:
    found = []
    for kind, line, params, devices in buses:
        if kind not in (0, 1, 3):  # Modbus RTU, TCP, RTU over TCP
            continue
        if kind == 0:
            setting = f"{params[2]} 8{_PARITY[params.get(3, 0)]}{params.get(4, 1)}"
        else:
            setting = f"{params[1]}:{params[2]}"
        found += [
            (device[-1][0][0], device[0], line, kind, device[1], setting) for device in devices if device[-1]
        ]
    return found
