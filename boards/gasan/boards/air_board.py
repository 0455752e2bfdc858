"""The radio of one virtual board on the air: MicroPython's `bluetooth.BLE` calls, done by a bumble device.

A board sends each call as a command (boards/standins/bluetooth.py) and gets its result, or the errno that the
call raises; what happens later comes as an interrupt, with the numbers and arguments that MicroPython's
documentation of `BLE.irq` gives. Bytes travel as {"hex": ...}, UUIDs as {"uuid": ...}, little-endian both.

Like NimBLE it takes so many notifications and no more (ENOMEM) until the connection has sent some.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from bumble import att, core, gatt, hci
from bumble.device import AdvertisingType, Connection, ConnectionParametersPreferences, Device
from bumble.keys import PairingKeys
from bumble.pairing import PairingConfig, PairingDelegate
from gasan.boards.adapters import AdapterMissing
from gasan.boards.air_tape import advert_kind

if TYPE_CHECKING:
    from gasan.boards.air import Air

__all__ = ["INTERRUPT", "REPLY", "SCAN_RESULT", "BoardRadio"]

log = logging.getLogger(__name__)

REPLY, SCAN_RESULT, INTERRUPT = 0, 1, 2
"""Kinds of frames to a board."""

_CENTRAL_CONNECT, _CENTRAL_DISCONNECT, _GATTS_WRITE = 1, 2, 3
_SCAN_DONE, _PERIPHERAL_CONNECT, _PERIPHERAL_DISCONNECT = 6, 7, 8
_SERVICE_RESULT, _SERVICE_DONE = 9, 10
_CHARACTERISTIC_RESULT, _CHARACTERISTIC_DONE = 11, 12
_DESCRIPTOR_RESULT, _DESCRIPTOR_DONE = 13, 14
_READ_RESULT, _READ_DONE, _WRITE_DONE, _NOTIFY, _INDICATE = 15, 16, 17, 18, 19
_INDICATE_DONE, _MTU_EXCHANGED, _ENCRYPTION_UPDATE, _SET_SECRET = 20, 21, 28, 30

_NO_CONNECTION = 0xFFFF
_MTU_MAX = 517
_UNSENT_MAX = 65536  # bytes waiting for a board that does not read; what comes on top is not heard by it
_QUEUED_MAX = 12 * 292  # bytes of unsent notifications: the 12 mbufs of MicroPython's NimBLE on the ESP32

_SECRET_KINDS = (1, 2)  # what the board gave the peer, what the peer gave: as NimBLE counts them
_KEY, _SECRET = 16, 80  # bytes of a key, and of what NimBLE keeps of one pairing, about

_Send = Callable[[int, bytes], None]


class BoardRadio:
    """One board's controller and host. send: a frame to the board. unsent: bytes that it has not read yet."""

    def __init__(self, air: Air, send: _Send, unsent: Callable[[], int]) -> None:
        self._air = air
        self._send = send
        self._unsent = unsent
        self._device: Device | None = None
        self._end: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._mtu = 256
        self._values: dict[int, _Value] = {}  # by handle
        self._connections: dict[int, Connection] = {}
        self._asking: set[int] = set()  # connections with a procedure under way

    async def run(self, op: str, **fields: Any) -> dict[str, Any]:
        """Do one call; a dict for the board, with "errno" when it failed."""
        if op == "active":
            try:
                return await self._active(**fields)
            except AdapterMissing as error:
                log.warning("%s", error)
                return {"errno": errno.ENODEV}
        if self._device is None:
            return {"errno": errno.ENODEV}
        call: Callable[..., Awaitable[dict[str, Any] | None]] | None = getattr(self, "do_" + op, None)
        if call is None:
            return {"errno": errno.EOPNOTSUPP}
        try:
            return await call(**fields) or {}
        except OSError as e:
            return {"errno": e.errno}

    async def close(self) -> None:
        if self._end is not None:
            self._end.cancel()
        for task in self._tasks:
            task.cancel()
        if self._device is not None:
            device, self._device = self._device, None
            await self._air.remove(device)

    async def _active(self, address: str | None = None) -> dict[str, Any]:
        if self._device is None:
            device = self._device = await self._air.device("node", address)
            device.host.on("advertising_report", self._on_report)
            device.on("connection", self._on_connection)
        own = self._device.random_address
        return {"address_type": int(own.address_type), "address": bytes(own)[::-1].hex()}

    @property
    def _own(self) -> Device:
        assert self._device is not None
        return self._device

    def _irq(self, event: int, *data: Any) -> None:
        self._send(INTERRUPT, json.dumps([event, [_packed(it) for it in data]]).encode())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _connection(self, handle: int) -> Connection:
        if handle not in self._connections:
            raise OSError(errno.ENOTCONN, "not connected")
        return self._connections[handle]

    async def do_config(self, mtu: int) -> None:
        if not 23 <= mtu <= _MTU_MAX:
            raise OSError(errno.EINVAL, "MTU")
        self._mtu = mtu
        self._own.gatt_server.max_mtu = min(mtu, self._air.mtu)

    def _make_room(self) -> None:
        """For a connection; as NimBLE, which has so many and no more."""
        if len(self._connections) >= self._air.board_connections:
            raise OSError(errno.ENOMEM, "no connection is left")

    # Scanning

    async def do_gap_scan(
        self,
        duration_ms: int | None,
        interval_us: int = 1_280_000,
        window_us: int = 11_250,
        active: bool = False,
    ) -> None:
        device = self._own
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if device.is_scanning:
            await device.stop_scanning()
            if duration_ms is None:
                self._irq(_SCAN_DONE)
        if duration_ms is None:
            return
        if not 0 < window_us <= interval_us:
            raise OSError(errno.EINVAL, "window")
        await device.start_scanning(
            active=active,
            scan_interval=interval_us / 1000,
            scan_window=window_us / 1000,
            scanning_phys=[hci.HCI_LE_1M_PHY],
        )
        if duration_ms:
            loop = asyncio.get_running_loop()
            self._end = loop.call_later(duration_ms / 1000, lambda: self._later(self._scan_is_over()))

    async def _scan_is_over(self) -> None:
        self._end = None
        if self._device is not None and self._device.is_scanning:
            await self._device.stop_scanning()
            self._irq(_SCAN_DONE)

    def _on_report(self, report: Any) -> None:
        if self._unsent() > _UNSENT_MAX:
            self._air.unheard += 1
            return
        address = bytes(report.address)[::-1]
        head = bytes((int(report.address.address_type), *address, advert_kind(report), report.rssi & 0xFF))
        self._send(SCAN_RESULT, head + report.data)

    # Connections of either role

    def _on_connection(self, connection: Connection) -> None:
        handle = connection.handle
        self._connections[handle] = connection
        peer = connection.peer_address
        about = handle, int(peer.address_type), bytes(peer)[::-1]
        central = connection.role == hci.Role.CENTRAL
        connection.on("disconnection", lambda _: self._on_disconnection(central, *about))
        connection.on("connection_att_mtu_update", lambda: self._on_mtu(connection))
        if central:
            client = connection.gatt_client
            client.on_att_handle_value_notification = lambda it: self._irq(  # type: ignore[method-assign,assignment]
                _NOTIFY, handle, it.attribute_handle, it.attribute_value
            )

            def indicated(it: Any) -> None:
                self._irq(_INDICATE, handle, it.attribute_handle, it.attribute_value)
                client.send_confirmation(att.ATT_Handle_Value_Confirmation())

            client.on_att_handle_value_indication = indicated  # type: ignore[method-assign,assignment]
        self._irq(_PERIPHERAL_CONNECT if central else _CENTRAL_CONNECT, *about)

    def _on_disconnection(self, central: bool, handle: int, kind: int, address: bytes) -> None:
        self._connections.pop(handle, None)
        self._asking.discard(handle)
        self._irq(_PERIPHERAL_DISCONNECT if central else _CENTRAL_DISCONNECT, handle, kind, address)

    def _on_mtu(self, connection: Connection) -> None:
        self._irq(_MTU_EXCHANGED, connection.handle, connection.att_mtu)

    async def do_gap_disconnect(self, conn_handle: int) -> dict[str, Any]:
        if conn_handle not in self._connections:
            return {"done": False}
        self._later(_quiet(self._connections[conn_handle].disconnect()))
        return {"done": True}

    async def do_gap_pair(
        self, conn_handle: int, secret: str | None, bond: bool, mitm: bool, io: int, le_secure: bool
    ) -> None:
        """secret: of the last pairing with this peer, as it was handed out; the connection is encrypted with
        it. Without one the two are paired, and what comes of it is handed out.
        """
        connection, device = self._connection(conn_handle), self._own
        store = device.keystore
        assert store is not None
        peer = connection.peer_address

        async def encrypt() -> None:
            if secret is None:
                await store.delete(str(peer))
                delegate = PairingDelegate(PairingDelegate.IoCapability(io))
                device.pairing_config_factory = lambda _: PairingConfig(le_secure, mitm, bond, delegate)
                await connection.pair()
                keys = await store.get(str(peer))
                if bond and keys is not None and keys.ltk is not None:
                    name = bytes((int(peer.address_type),)) + bytes(peer)
                    for kind in _SECRET_KINDS:
                        self._irq(_SET_SECRET, kind, name, keys.ltk.value.ljust(_SECRET, b"\0"))
            else:
                key = PairingKeys.Key(bytes.fromhex(secret)[:_KEY])
                await store.update(str(peer), PairingKeys(ltk=key))
                await connection.encrypt()

        async def pair() -> None:
            await _quiet(encrypt())
            keyed = bool(connection.is_encrypted) and conn_handle in self._connections
            bonded = keyed and (bond or secret is not None)
            self._irq(_ENCRYPTION_UPDATE, conn_handle, keyed, bool(connection.authenticated), bonded, _KEY)

        self._later(pair())

    # Peripheral

    async def do_gap_advertise(
        self,
        interval_us: int | None,
        adv_data: str = "",
        resp_data: str = "",
        connectable: bool = True,
    ) -> None:
        device = self._own
        if interval_us is None:
            await device.stop_advertising()
            return
        if connectable:
            self._make_room()
        kind = AdvertisingType.UNDIRECTED
        if connectable:
            kind = AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE
        elif resp_data:
            kind = AdvertisingType.UNDIRECTED_SCANNABLE
        await device.start_advertising(
            advertising_type=kind,
            advertising_data=bytes.fromhex(adv_data),
            scan_response_data=bytes.fromhex(resp_data),
            advertising_interval_min=interval_us / 1000,
            advertising_interval_max=interval_us / 1000,
        )

    async def do_gatts_register_services(self, services: list[Any]) -> dict[str, Any]:
        """services: as MicroPython takes them, with UUIDs in hex."""
        handles = []
        for uuid, characteristics in services:
            values: list[_Value] = []
            made = [self._characteristic(values, *it) for it in characteristics]
            self._own.add_service(gatt.Service(_uuid(uuid), made))
            handles.append([it.attribute.handle for it in values])
            self._values.update((it.attribute.handle, it) for it in values)
        return {"handles": handles}

    def _characteristic(
        self, values: list[_Value], uuid: str, flags: int, descriptors: list[Any] | None = None
    ) -> gatt.Characteristic[bytes]:
        """Its value and those of its descriptors are added to ``values``."""
        own = _Value(self._irq)
        values.append(own)
        inner = []
        for its_uuid, its_flags in descriptors or ():
            value = _Value(self._irq)
            value.attribute = gatt.Descriptor(_uuid(its_uuid), _permissions(its_flags), value.served)
            values.append(value)
            inner.append(value.attribute)
        properties = gatt.Characteristic.Properties(flags & 0x3F)
        made: gatt.Characteristic[bytes] = gatt.Characteristic(
            _uuid(uuid), properties, _permissions(flags), own.served, inner
        )
        own.attribute = made
        return made

    def _value(self, handle: int) -> _Value:
        if handle not in self._values:
            raise OSError(errno.EINVAL, "no such value")
        return self._values[handle]

    async def do_gatts_write(self, value_handle: int, data: str) -> None:
        self._value(value_handle).content = bytes.fromhex(data)

    async def do_gatts_notify(self, conn_handle: int, value_handle: int, data: str) -> None:
        connection, attribute = self._connection(conn_handle), self._value(value_handle).attribute
        if self._air.link.queued(str(self._own.random_address)) > _QUEUED_MAX:
            raise OSError(errno.ENOMEM, "no buffer")
        await self._own.gatt_server.notify_subscriber(connection, attribute, bytes.fromhex(data), force=True)

    async def do_gatts_indicate(self, conn_handle: int, value_handle: int, data: str) -> None:
        connection, attribute = self._connection(conn_handle), self._value(value_handle).attribute
        server = self._own.gatt_server

        async def indicate() -> None:
            status = 0
            try:
                await server.indicate_subscriber(connection, attribute, bytes.fromhex(data), force=True)
            except (core.TimeoutError, TimeoutError):
                status = errno.ETIMEDOUT
            self._irq(_INDICATE_DONE, conn_handle, value_handle, status)

        self._later(indicate())

    # Central

    async def do_gap_connect(
        self,
        addr_type: int | None,
        addr: str = "",
        scan_duration_ms: int = 2000,
        min_conn_interval_us: int | None = None,
        max_conn_interval_us: int | None = None,
    ) -> None:
        device = self._own
        if addr_type is None:
            await _quiet(device.cancel_connection())  # type: ignore[no-untyped-call]
            return
        if device.is_le_connecting:
            raise OSError(errno.EALREADY, "connecting")
        self._make_room()
        peer = hci.Address(bytes.fromhex(addr)[::-1], hci.AddressType(addr_type))
        wish = ConnectionParametersPreferences(
            connection_interval_min=(min_conn_interval_us or 30_000) / 1000,
            connection_interval_max=(max_conn_interval_us or 50_000) / 1000,
        )

        async def connect() -> None:
            try:
                await device.connect_le(peer, {hci.Phy.LE_1M: wish}, timeout=scan_duration_ms / 1000)
            except (core.BaseBumbleError, TimeoutError, asyncio.CancelledError):
                self._irq(_PERIPHERAL_DISCONNECT, _NO_CONNECTION, 0xFF, bytes(6))

        self._later(connect())

    async def do_gattc_exchange_mtu(self, conn_handle: int) -> None:
        connection = self._connection(conn_handle)
        self._later(_quiet(connection.gatt_client.request_mtu(self._mtu)))

    async def do_gattc_discover_services(self, conn_handle: int, uuid: str | None = None) -> None:
        async def discover(client: Any) -> None:
            for it in await client.discover_services([_uuid(uuid)] if uuid else []):
                self._irq(_SERVICE_RESULT, conn_handle, it.handle, it.end_group_handle, it.uuid)

        self._ask(conn_handle, discover, _SERVICE_DONE)

    async def do_gattc_discover_characteristics(
        self, conn_handle: int, start_handle: int, end_handle: int, uuid: str | None = None
    ) -> None:
        async def discover(client: Any) -> None:
            from bumble.gatt_client import ServiceProxy

            place = ServiceProxy(client, start_handle, end_handle, core.UUID.from_16_bits(0))  # type: ignore[no-untyped-call]
            for it in await client.discover_characteristics([_uuid(uuid)] if uuid else [], place):
                flags = int(it.properties)
                self._irq(_CHARACTERISTIC_RESULT, conn_handle, it.end_group_handle, it.handle, flags, it.uuid)

        self._ask(conn_handle, discover, _CHARACTERISTIC_DONE)

    async def do_gattc_discover_descriptors(
        self, conn_handle: int, start_handle: int, end_handle: int
    ) -> None:
        async def discover(client: Any) -> None:
            for it in await client.discover_descriptors(None, start_handle, end_handle):
                self._irq(_DESCRIPTOR_RESULT, conn_handle, it.handle, it.type)

        self._ask(conn_handle, discover, _DESCRIPTOR_DONE)

    async def do_gattc_read(self, conn_handle: int, value_handle: int) -> None:
        async def read(client: Any) -> None:
            value = await client.read_value(value_handle)
            self._irq(_READ_RESULT, conn_handle, value_handle, value)

        self._ask(conn_handle, read, _READ_DONE, value_handle)

    async def do_gattc_write(self, conn_handle: int, value_handle: int, data: str, mode: int = 0) -> None:
        value = bytes.fromhex(data)

        async def write(client: Any) -> None:
            await client.write_value(value_handle, value, with_response=True)

        if mode == 1:
            self._ask(conn_handle, write, _WRITE_DONE, value_handle)
        else:
            await self._connection(conn_handle).gatt_client.write_value(value_handle, value)

    def _ask(
        self,
        handle: int,
        work: Callable[[Any], Awaitable[None]],
        done: int,
        value_handle: int | None = None,
    ) -> None:
        """Do a procedure of a client, one at a time; ``done`` is raised with its status at the end."""
        client = self._connection(handle).gatt_client
        if handle in self._asking:
            raise OSError(errno.EBUSY, "a procedure is under way")
        self._asking.add(handle)

        async def ask() -> None:
            status = 0
            try:
                await work(client)
            except core.ProtocolError as e:
                status = 0x100 + (e.error_code or 0)  # as NimBLE adds to the error of ATT
            except (core.BaseBumbleError, TimeoutError):
                status = 13  # BLE_HS_ETIMEOUT
            except asyncio.CancelledError:
                if handle in self._connections:
                    raise
                return  # disconnected meanwhile
            self._asking.discard(handle)
            if handle in self._connections:
                about = (handle,) if value_handle is None else (handle, value_handle)
                self._irq(done, *about, status)

        self._later(ask())


class _Value:
    """What a peer reads is what the board wrote last; what the peer writes, the board is told."""

    def __init__(self, irq: Callable[..., None]) -> None:
        self.content = b""
        self.attribute: Any = None
        self._irq = irq
        self.served = att.AttributeValue(self._read, self._write)

    def _read(self, _connection: Connection) -> bytes:
        return self.content

    def _write(self, connection: Connection, value: bytes) -> None:
        self.content = value
        self._irq(_GATTS_WRITE, connection.handle, self.attribute.handle, value)


async def _quiet(work: Awaitable[Any]) -> None:
    """What fails here shows by the interrupt that does not come."""
    try:
        await work
    except (core.BaseBumbleError, TimeoutError, asyncio.CancelledError) as e:
        log.debug("%s", e)


def _permissions(flags: int) -> att.Attribute.Permissions:
    may = att.Attribute.Permissions(0)
    if flags & 0x02:
        may |= att.Attribute.READABLE
    if flags & 0x0C:
        may |= att.Attribute.WRITEABLE
    return may


def _uuid(text: str) -> core.UUID:
    return core.UUID.from_bytes(bytes.fromhex(text))


def _packed(value: Any) -> Any:
    if isinstance(value, core.UUID):
        return {"uuid": value.to_bytes().hex()}
    return {"hex": bytes(value).hex()} if isinstance(value, bytes | bytearray) else value
