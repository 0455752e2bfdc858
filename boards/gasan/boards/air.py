"""The air of virtual boards: one radio shared by nodes and sensors, played by bumble.

Every node that connects over TCP (boards/standins/bluetooth.py) gets a bumble controller and host of
its own on one link; its `gap_scan` is a real HCI scan there. A host that speaks HCI over TCP, such as the
gateway's (gasan.boards.air_bleak), gets a controller alone. Sensors live in this process: `Air.device` gives
a powered-on bumble `Device` that advertises to all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import struct
from pathlib import Path
from typing import Any

from bumble import core, hci
from bumble.device import Device, DeviceConfiguration
from bumble.host import Host
from bumble.transport.common import AsyncPipeSink, PacketParser, StreamPacketSink
from gasan.boards.adapters import AdapterMissing, open_adapter
from gasan.boards.air_board import REPLY, BoardRadio
from gasan.boards.air_controller import AirController
from gasan.boards.air_link import PACES, AirLink
from gasan.boards.air_tape import play
from gasan.boards.parent import parent_gone

__all__ = ["Air"]

log = logging.getLogger(__name__)

_COMMAND = 0
_MAX_COMMAND = 4096  # bytes of one command
_HCI_COMMAND = 1  # first byte of a host that speaks HCI, as H4 has it
_CHUNK = 4096


class Air:
    """One radio. `port` is where nodes and hosts connect, once started.

    adapter: a real one (gasan.boards.adapters), which the one device that is made here has then.
    """

    def __init__(self, seed: int = 0, adapter: str | None = None) -> None:
        self._adapter = adapter
        self._real: Any = None  # that adapter's transport, while somebody has it
        self.link = AirLink(seed)
        self.port = 0
        self.mtu = 517  # most that a board on this air agrees to
        self.board_connections = 4  # that a board keeps, and a host that speaks HCI
        self.host_connections = 7
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
        """A powered-on bumble device on this air; its address is a static random one. Raises OSError where
        the real adapter is missing or taken.
        """
        self._addresses += 1
        own = hci.Address(
            address or f"C0:00:00:00:00:{self._addresses:02X}", hci.Address.RANDOM_DEVICE_ADDRESS
        )
        if self._adapter is not None:
            return await self._real_device(self._adapter, name, own)
        controller = AirController(name, link=self.link)
        host = Host()
        host.controller = controller
        controller.host = AsyncPipeSink(host)
        device = Device(config=DeviceConfiguration(name=name, address=own), host=host)
        await device.power_on()
        return device

    async def _real_device(self, adapter: str, name: str, own: hci.Address) -> Device:
        if self._real is not None:
            raise AdapterMissing(f"the Bluetooth adapter {adapter} is taken by another device")
        self._real = await open_adapter(adapter)
        device = Device.with_hci(name, own, self._real.source, self._real.sink)
        await device.power_on()
        return device

    async def remove(self, device: Device) -> None:
        """Take a device out of the air."""
        if self._real is not None:
            transport, self._real = self._real, None
            with contextlib.suppress(core.BaseBumbleError, TimeoutError):
                await device.power_off()
            await transport.close()
            return
        controller = device.host.controller
        if controller in self.link.controllers:
            self.link.remove_controller(controller)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._nodes.add(task)
        task.add_done_callback(self._nodes.discard)
        try:
            first = await reader.readexactly(1)
            if first[0] == _HCI_COMMAND:
                await self._serve_host(first, reader, writer)
            else:
                await self._serve_board(first, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the board was reset or switched its radio off
        except asyncio.CancelledError:
            pass  # the air is being stopped, and this task was only waiting
        except (ValueError, TypeError) as e:
            log.warning("a node sent a command that cannot be read: %s", e)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve_board(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Do the commands of a virtual board."""

        def send(kind: int, body: bytes) -> None:
            writer.write(struct.pack(">HB", len(body), kind) + body)

        radio = BoardRadio(self, send, writer.transport.get_write_buffer_size)
        try:
            while True:
                size, kind = struct.unpack(">HB", first + await reader.readexactly(3 - len(first)))
                first = b""
                if kind != _COMMAND or size > _MAX_COMMAND:
                    break
                command = json.loads(await reader.readexactly(size))
                send(REPLY, json.dumps(await radio.run(**command)).encode())
        finally:
            await radio.close()

    async def _serve_host(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Be the controller of a host that speaks HCI, as a Bluetooth adapter is."""
        controller = AirController("host", link=self.link)
        controller.connections_most = self.host_connections
        controller.host = StreamPacketSink(writer.transport)
        parser = PacketParser(controller)
        try:
            while first:
                parser.feed_data(first)
                first = await reader.read(_CHUNK)
        finally:
            self.link.remove_controller(controller)


async def _serve(port: int, pace: str | None, tape: list[str]) -> None:
    air = Air()
    air.link.pace = PACES[pace] if pace else None
    await air.start(port=port)
    print(json.dumps({"air": f"127.0.0.1:{air.port}"}), flush=True)
    playing = asyncio.create_task(_play(air, tape)) if tape else None
    await parent_gone()
    if playing is not None:
        playing.cancel()
    await air.stop()


async def _play(air: Air, tape: list[str]) -> None:
    """Over and over again."""
    while await play(air.link, tape):
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An empty air for virtual boards; prints where it listens.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pace", choices=sorted(PACES), help="of connections: as with this radio")
    parser.add_argument("--play", type=Path, metavar="FILE", help="advertisements on tape (air_tape)")
    arguments = parser.parse_args()
    tape = arguments.play.read_text(encoding="utf-8").splitlines() if arguments.play else []
    asyncio.run(_serve(arguments.port, arguments.pace, tape))
