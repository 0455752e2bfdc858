"""Advertisements on tape: recorded by any adapter, and replayed into a virtual air.

    python -m gasan.boards.air_tape hci0 FILE --seconds 60

One JSON line for each: {"t": seconds from the start, "address", "random": whether that is a random one,
"kind": 0 connectable, 2 scannable, 3 neither, 4 a scan response, "rssi": dBm, "data": hex}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bumble import hci
from bumble.device import Device
from gasan.boards.adapters import AdapterMissing, open_adapter

if TYPE_CHECKING:
    from gasan.boards.air_link import AirLink

__all__ = ["advert_kind", "play", "record"]

_CONNECTABLE, _SCANNABLE, _NEITHER, _RESPONSE = 0, 2, 3, 4


def advert_kind(report: Any) -> int:
    """Of a report of either kind, as MicroPython counts them."""
    if isinstance(report, hci.HCI_LE_Advertising_Report_Event.Report):
        return int(report.event_type)
    kinds = hci.HCI_LE_Extended_Advertising_Report_Event.EventType
    if report.event_type & kinds.SCAN_RESPONSE:
        return _RESPONSE
    if report.event_type & kinds.CONNECTABLE_ADVERTISING:
        return _CONNECTABLE
    return _SCANNABLE if report.event_type & kinds.SCANNABLE_ADVERTISING else _NEITHER


async def record(adapter: str, seconds: float, write: Callable[[str], Any]) -> None:
    """Listen and write a line for each advertisement. Raises AdapterMissing."""
    transport = await open_adapter(adapter)
    loop = asyncio.get_running_loop()
    start = loop.time()

    def note(report: Any) -> None:
        line = {
            "t": round(loop.time() - start, 4),
            "address": str(report.address).split("/")[0],
            "random": not report.address.is_public,
            "kind": advert_kind(report),
            "rssi": report.rssi,
            "data": report.data.hex(),
        }
        write(json.dumps(line) + "\n")

    try:
        own = bytearray(os.urandom(6))
        own[5] |= 0xC0  # a static random address (Core 5.4, Vol 6, Part B, 1.3.2.1)
        address = hci.Address(bytes(own), hci.Address.RANDOM_DEVICE_ADDRESS)
        device = Device.with_hci("tape", address, transport.source, transport.sink)
        await device.power_on()
        device.host.on("advertising_report", note)
        await device.start_scanning(active=True, filter_duplicates=False)
        await asyncio.sleep(seconds)
        await device.stop_scanning()
    finally:
        await transport.close()


async def play(link: AirLink, lines: Iterable[str], speed: float = 1.0) -> int:
    """Let all who listen on an air hear what was recorded, at its times; how many adverts it was."""
    loop = asyncio.get_running_loop()
    start, count = loop.time(), 0
    for line in lines:
        it = json.loads(line)
        await asyncio.sleep(start + it["t"] / speed - loop.time())
        kind = hci.Address.RANDOM_DEVICE_ADDRESS if it["random"] else hci.Address.PUBLIC_DEVICE_ADDRESS
        link.hear(hci.Address(it["address"], kind), it["kind"], it["rssi"], bytes.fromhex(it["data"]))
        count += 1
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record the advertisements that an adapter hears.")
    parser.add_argument("adapter", help="hci0, usb:0, or HOST:PORT of a virtual air")
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    with arguments.file.open("w", encoding="utf-8") as tape:
        try:
            asyncio.run(record(arguments.adapter, arguments.seconds, tape.write))
        except AdapterMissing as error:
            parser.exit(1, f"{error}\n")
