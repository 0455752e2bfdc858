"""The air of virtual boards: one radio shared by nodes and sensors, played by bumble.

Every node that connects over TCP (boards/standins/bluetooth.py) gets a bumble controller and host of
its own on one `LocalLink`; its `gap_scan` is a real HCI scan there. Sensors live in this process:
`Air.device` gives a powered-on bumble `Device` that advertises to all of them.

bumble 0.0.236 reports every advertisement a second time as if it were a scan response. Those are not
passed on. Nor does its controller leave gaps between scan windows: a scanning node hears everything.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import json
import logging
import struct
from typing import Any

from bumble import hci
from bumble.controller import Controller
from bumble.device import Device, DeviceConfiguration
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink
from gasan.boards.parent import parent_gone

__all__ = ["Air"]

log = logging.getLogger(__name__)

_COMMAND = 0
_REPLY = 0
_SCAN_RESULT = 1
_INTERRUPT = 2

_IRQ_SCAN_DONE = 6

_ADV_IND, _ADV_SCAN_IND, _ADV_NONCONN_IND = 0, 2, 3

_MAX_COMMAND = 4096  # bytes of one command
_MAX_UNSENT = 65536  # bytes waiting for a node that does not read; what comes on top is not heard by it
_UNSUPPORTED = {"errno": errno.EOPNOTSUPP}


class Air:
    """One radio. `port` is where nodes connect, once started."""

    def __init__(self) -> None:
        self.link = LocalLink()  # type: ignore[no-untyped-call]
        self.port = 0
        self.unheard = 0  # scan results dropped because a node did not read
        self._server: asyncio.Server | None = None
        self._nodes: set[asyncio.Task[None]] = set()
        self._addresses = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server = await asyncio.start_server(self._connected, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        for task in list(self._nodes):
            task.cancel()
        await asyncio.gather(*self._nodes, return_exceptions=True)

    async def device(self, name: str, address: str | None = None) -> Device:
        """A powered-on bumble device on this air; its address is a static random one."""
        self._addresses += 1
        own = hci.Address(
            address or f"C0:00:00:00:00:{self._addresses:02X}", hci.Address.RANDOM_DEVICE_ADDRESS
        )
        controller = Controller(name, link=self.link)
        host = Host()
        host.controller = controller
        controller.host = AsyncPipeSink(host)
        device = Device(config=DeviceConfiguration(name=name, address=own), host=host)
        await device.power_on()
        return device

    def remove(self, device: Device) -> None:
        """Take a device out of the air."""
        controller = device.host.controller
        if controller in self.link.controllers:
            self.link.remove_controller(controller)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._nodes.add(task)
        task.add_done_callback(self._nodes.discard)
        node = _Node(self, writer)
        try:
            while True:
                size, kind = struct.unpack(">HB", await reader.readexactly(3))
                if kind != _COMMAND or size > _MAX_COMMAND:
                    break
                command = json.loads(await reader.readexactly(size))
                node.send(_REPLY, json.dumps(await node.run(**command)).encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the board was reset or switched its radio off
        except asyncio.CancelledError:
            pass  # the air is being stopped, and this task was only waiting
        except (ValueError, TypeError) as e:
            log.warning("a node sent a command that cannot be read: %s", e)
        finally:
            await node.close()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


class _Node:
    """One connected board: its controller and host, and what they report to it."""

    def __init__(self, air: Air, writer: asyncio.StreamWriter) -> None:
        self._air = air
        self._writer = writer
        self._device: Device | None = None
        self._end: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, kind: int, body: bytes) -> None:
        self._writer.write(struct.pack(">HB", len(body), kind) + body)

    async def run(self, op: str, **fields: Any) -> dict[str, Any]:
        """Do one command; a dict for the node, with "errno" when it failed."""
        if op == "active":
            return await self._activate(**fields)
        if self._device is None:
            return {"errno": errno.ENODEV}
        if op == "gap_scan":
            return await self._scan(**fields)
        return _UNSUPPORTED

    async def close(self) -> None:
        if self._end is not None:
            self._end.cancel()
        for task in self._tasks:
            task.cancel()
        if self._device is not None:
            self._air.remove(self._device)
            self._device = None

    async def _activate(self, address: str | None = None) -> dict[str, Any]:
        if self._device is None:
            self._device = await self._air.device("node", address)
            self._device.host.on("advertising_report", self._on_report)
        own = self._device.random_address
        return {"address_type": int(own.address_type), "address": bytes(own)[::-1].hex()}

    async def _scan(
        self,
        duration_ms: int | None,
        interval_us: int = 1_280_000,
        window_us: int = 11_250,
        active: bool = False,
    ) -> dict[str, Any]:
        device = self._device
        assert device is not None
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if device.is_scanning:
            await device.stop_scanning()
            if duration_ms is None:
                self._done()
        if duration_ms is None:
            return {}
        if not 0 < window_us <= interval_us:
            return {"errno": errno.EINVAL}
        await device.start_scanning(
            active=active,
            scan_interval=interval_us / 1000,
            scan_window=window_us / 1000,
            scanning_phys=[hci.HCI_LE_1M_PHY],
        )
        if duration_ms:
            self._end = asyncio.get_running_loop().call_later(duration_ms / 1000, self._time_is_up)
        return {}

    def _time_is_up(self) -> None:
        self._end = None
        task = asyncio.ensure_future(self._finish())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self) -> None:
        if self._device is not None and self._device.is_scanning:
            await self._device.stop_scanning()
            self._done()

    def _done(self) -> None:
        self.send(_INTERRUPT, json.dumps([_IRQ_SCAN_DONE, []]).encode())

    def _on_report(self, report: Any) -> None:
        kinds = hci.HCI_LE_Extended_Advertising_Report_Event.EventType
        if report.event_type & kinds.SCAN_RESPONSE:
            return
        if self._writer.transport.get_write_buffer_size() > _MAX_UNSENT:
            self._air.unheard += 1
            return
        kind = _ADV_NONCONN_IND
        if report.event_type & kinds.CONNECTABLE_ADVERTISING:
            kind = _ADV_IND
        elif report.event_type & kinds.SCANNABLE_ADVERTISING:
            kind = _ADV_SCAN_IND
        address = bytes(report.address)[::-1]
        body = (
            struct.pack(">B6sBb", int(report.address.address_type), address, kind, report.rssi) + report.data
        )
        self.send(_SCAN_RESULT, body)


async def _serve(port: int) -> None:
    air = Air()
    await air.start(port=port)
    print(json.dumps({"air": f"127.0.0.1:{air.port}"}), flush=True)
    await parent_gone()
    await air.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An empty air for virtual boards; prints where it listens.")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.port))
