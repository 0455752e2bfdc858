"""Bluetooth controllers that bumble speaks HCI to: those of a virtual air, and real ones of this machine."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from bumble.transport import open_transport

__all__ = ["AdapterMissing", "open_adapter"]

_OPEN_S = 5.0
_HCI = re.compile(r"hci(\d+)")
_ENDPOINT = re.compile(r"[^:\[\]]+:\d+|\[[^\]]+\]:\d+")


class AdapterMissing(OSError):
    """There is no such adapter, or it cannot be had; the text says so in a sentence."""


async def open_adapter(name: str) -> Any:
    """A transport of HCI. name: ``hci0`` for Linux' own name of one, ``HOST:PORT`` of a virtual air, or a
    transport as bumble has them, such as ``usb:0``. Raises AdapterMissing.
    """
    transport = name
    if found := _HCI.fullmatch(name):
        transport = f"hci-socket:{found[1]}"
    elif name.split(":")[0] not in ("usb", "pyusb", "hci-socket") and _ENDPOINT.fullmatch(name):
        transport = f"tcp-client:{name}"
    try:
        async with asyncio.timeout(_OPEN_S):
            return await open_transport(transport)
    except Exception as error:  # bumble raises whatever the platform does, bare Exception too
        why = str(error) or "it does not answer"
        raise AdapterMissing(f"the Bluetooth adapter {name} cannot be opened: {why}") from error
