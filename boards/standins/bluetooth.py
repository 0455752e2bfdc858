"""MicroPython's `bluetooth` on the virtual board: BLE whose radio is another process, over TCP.

GASAN_AIR=HOST:PORT names that process (gasan.boards.air), GASAN_BLE_ADDRESS=aa:bb:.. optionally
this board's own address; GASAN_BLE_PAIRING=0 makes it a port that was built without pairing. Not here: L2CAP
channels, and passkeys.

Calls block until the air has answered, as they do on a board until the radio has. Interrupts are
delivered from an asyncio task that awaits the socket, and, while a call waits, from within it. What
a handler is given lies in a buffer that is wiped when it returns, as on a board: keep copies.

Frames both ways: length of the body u16 BE | kind u8 | body. JSON to the air: one command, answered
by one reply. From the air: a reply, a scan result in bytes, or any other interrupt as JSON, in which
bytes are {"hex": ..} and UUIDs {"uuid": ..}.
"""

import asyncio
import errno
import json
import os

import usocket as socket  # the host's own: the air is no network of the board's

_COMMAND = 0
_REPLY = 0
_SCAN_RESULT = 1
_INTERRUPT = 2

_IRQ_SCAN_RESULT = 5
_IRQ_SCAN_DONE = 6

_TIMEOUT_S = 5
_CHUNK = 512
_SETTABLE = ("gap_name", "rxbuf", "mtu", "addr_mode")
_OF_PAIRING = {"bond": False, "mitm": False, "io": 3, "le_secure": False}
_CENTRAL_CONNECT, _GATTS_WRITE, _PERIPHERAL_CONNECT = 1, 3, 7
_GET_SECRET = 29
_SECRET_OF_PEER = 2  # a kind of secret, as NimBLE counts them
_BUFFER = 20  # bytes that a value takes unless gatts_set_buffer says more

FLAG_READ = 0x02
FLAG_WRITE_NO_RESPONSE = 0x04
FLAG_WRITE = 0x08
FLAG_NOTIFY = 0x10
FLAG_INDICATE = 0x20


class UUID:
    """Of 16 bits, or of 128 given as bytes (little-endian) or text. bytes(it) is little-endian."""

    def __init__(self, value):
        if isinstance(value, int):
            self._bytes = bytes((value & 0xFF, value >> 8))
        elif isinstance(value, str):
            self._bytes = bytes(reversed(bytes.fromhex(value.replace("-", ""))))
        else:
            self._bytes = bytes(value)
        if len(self._bytes) not in (2, 16):
            raise ValueError("invalid UUID")

    def __iter__(self):
        return iter(self._bytes)

    def __len__(self):
        return len(self._bytes)

    def __eq__(self, other):
        return isinstance(other, UUID) and self._bytes == other._bytes

    def __hash__(self):
        return hash(self._bytes)

    def __repr__(self):
        return "UUID(%r)" % self._bytes.hex()


class BLE:
    """The board's only radio: every BLE() is the same object."""

    _only = None

    def __new__(cls):
        if BLE._only is None:
            self = BLE._only = object.__new__(cls)
            self._socket = None
            self._handler = None
            self._mac = None
            self._values = {}  # by handle: [content, bytes that it takes, whether writes are appended]
            self._settings = {"mtu": 256}
            self._peers = {}  # by connection: the interrupt that told of it, address type, address
            self._rx = bytearray(2048 + _CHUNK)
            self._chunk = bytearray(_CHUNK)
            self._view = memoryview(self._rx)
            self._n = 0
        return BLE._only

    def active(self, on=None):
        """Switch the radio on or off, or say whether it is on. OSError(ENODEV) where there is no air."""
        if on is None:
            return self._socket is not None
        if on and self._socket is None:
            self._open()
        elif not on and self._socket is not None:
            self._close()
        return self._socket is not None

    def config(self, *names, **values):
        for name in values:
            if name not in _SETTABLE and not (name in _OF_PAIRING and _pairs()):
                raise ValueError("unknown config param")
        self._settings.update(values)
        if "mtu" in values and self._socket is not None:
            self._ask("config", mtu=values["mtu"])
        if not names:
            return None
        if names == ("mtu",):
            return self._settings["mtu"]
        if names != ("mac",):
            raise ValueError("unknown config param")
        if self._mac is None:
            raise OSError(errno.ENODEV)
        return self._mac

    def irq(self, handler):
        self._handler = handler

    def gap_scan(self, duration_ms, interval_us=1280000, window_us=11250, active=False):
        """Scan for duration_ms (0: until told otherwise; None: stop). _IRQ_SCAN_DONE at the end."""
        self._ask(
            "gap_scan", duration_ms=duration_ms, interval_us=interval_us, window_us=window_us, active=active
        )

    # Either role

    def gap_disconnect(self, conn_handle):
        return self._ask("gap_disconnect", conn_handle=conn_handle)["done"]

    def gap_pair(self, conn_handle):
        """Encrypt with the secret of the last pairing, which the handler is asked for; without one, pair."""
        if not _pairs():
            raise AttributeError("'BLE' object has no attribute 'gap_pair'")
        secret = None
        if conn_handle in self._peers and self._handler is not None:
            _, kind, address = self._peers[conn_handle]
            name = bytes((kind,)) + bytes(reversed(address))  # as NimBLE names a peer
            secret = self._handler(_GET_SECRET, (_SECRET_OF_PEER, 0, memoryview(name)))
        settings = {name: self._settings.get(name, value) for name, value in _OF_PAIRING.items()}
        self._ask("gap_pair", conn_handle=conn_handle, secret=secret and bytes(secret).hex(), **settings)

    # Peripheral

    def gap_advertise(self, interval_us, adv_data=None, *, resp_data=None, connectable=True):
        """Advertise; what is None stays as it was. A connection ends it, interval_us=None stops it."""
        for name, data in (("adv", adv_data), ("resp", resp_data)):
            if data is not None:
                if len(data) > 31:
                    raise OSError(errno.EINVAL)
                self._settings[name] = bytes(data).hex()
        self._ask(
            "gap_advertise",
            interval_us=interval_us,
            adv_data=self._settings.get("adv", ""),
            resp_data=self._settings.get("resp", ""),
            connectable=connectable,
        )

    def gatts_register_services(self, services):
        """((UUID, ((UUID, flags[, ((UUID, flags), ..)]), ..)), ..) -> handles of the values, by service."""
        told = [[bytes(uuid).hex(), [_told(it) for it in inner]] for uuid, inner in services]
        answer = self._ask("gatts_register_services", services=told)
        handles = tuple(tuple(it) for it in answer["handles"])
        for one in handles:
            for handle in one:
                self._values[handle] = [b"", _BUFFER, False]
        return handles

    def gatts_read(self, value_handle):
        value = self._value(value_handle)
        content = value[0]
        if value[2]:
            value[0] = b""
        return content

    def gatts_write(self, value_handle, data, send_update=False):
        value = self._value(value_handle)
        value[0] = bytes(data)
        value[1] = max(value[1], len(data))
        self._ask("gatts_write", value_handle=value_handle, data=value[0].hex())

    def gatts_set_buffer(self, value_handle, len, append=False):
        self._values[value_handle] = [b"", len, append]

    def gatts_notify(self, conn_handle, value_handle, data=None):
        """Send a notification: at once, or OSError when there are no buffers left."""
        self._notify("gatts_notify", conn_handle, value_handle, data)

    def gatts_indicate(self, conn_handle, value_handle, data=None):
        self._notify("gatts_indicate", conn_handle, value_handle, data)

    def _notify(self, op, conn_handle, value_handle, data):
        content = self._value(value_handle)[0] if data is None else bytes(data)
        self._ask(op, conn_handle=conn_handle, value_handle=value_handle, data=content.hex())

    def _value(self, handle):
        if handle not in self._values:
            raise OSError(errno.EINVAL)
        return self._values[handle]

    def _written(self, conn_handle, value_handle, data):
        """A peer has written: keep as much as there is room for, as both ports do."""
        value = self._value(value_handle)
        value[0] = (value[0] + data if value[2] else data)[: value[1]]
        return conn_handle, value_handle

    # Central

    def gap_connect(
        self,
        addr_type,
        addr=None,
        scan_duration_ms=2000,
        min_conn_interval_us=None,
        max_conn_interval_us=None,
    ):
        self._ask(
            "gap_connect",
            addr_type=addr_type,
            addr=bytes(addr or b"").hex(),
            scan_duration_ms=scan_duration_ms,
            min_conn_interval_us=min_conn_interval_us,
            max_conn_interval_us=max_conn_interval_us,
        )

    def gattc_exchange_mtu(self, conn_handle):
        self._ask("gattc_exchange_mtu", conn_handle=conn_handle)

    def gattc_discover_services(self, conn_handle, uuid=None):
        self._ask("gattc_discover_services", conn_handle=conn_handle, uuid=uuid and bytes(uuid).hex())

    def gattc_discover_characteristics(self, conn_handle, start_handle, end_handle, uuid=None):
        self._ask(
            "gattc_discover_characteristics",
            conn_handle=conn_handle,
            start_handle=start_handle,
            end_handle=end_handle,
            uuid=uuid and bytes(uuid).hex(),
        )

    def gattc_discover_descriptors(self, conn_handle, start_handle, end_handle):
        self._ask(
            "gattc_discover_descriptors",
            conn_handle=conn_handle,
            start_handle=start_handle,
            end_handle=end_handle,
        )

    def gattc_read(self, conn_handle, value_handle):
        self._ask("gattc_read", conn_handle=conn_handle, value_handle=value_handle)

    def gattc_write(self, conn_handle, value_handle, data, mode=0):
        """mode 0: without response; 1: with, and _IRQ_GATTC_WRITE_DONE."""
        data = bytes(data).hex()
        self._ask("gattc_write", conn_handle=conn_handle, value_handle=value_handle, data=data, mode=mode)

    def _open(self):
        air = os.getenv("GASAN_AIR")
        if not air:
            raise OSError(errno.ENODEV)
        host, port = air.rsplit(":", 1)
        s = socket.socket()
        try:
            s.connect(socket.getaddrinfo(host, int(port))[0][-1])
        except OSError:
            s.close()
            raise OSError(errno.ENODEV)
        self._socket = s
        self._n = 0
        answer = self._ask("active", address=os.getenv("GASAN_BLE_ADDRESS"))
        self._mac = (answer["address_type"], bytes.fromhex(answer["address"]))
        self._values = {}
        self._ask("config", mtu=self._settings["mtu"])
        asyncio.create_task(self._pump(s))

    def _close(self):
        s = self._socket
        self._socket = None
        self._mac = None
        if s is not None:
            s.close()

    def _lost(self):
        """The air has gone: the radio is off, connections have ended, and so has a scan."""
        self._close()
        peers = self._peers
        self._peers = {}
        if self._handler is not None:
            for handle, (event, kind, address) in peers.items():
                self._handler(event + 1, (handle, kind, address))
            self._handler(_IRQ_SCAN_DONE, ())

    async def _pump(self, s):
        reader = asyncio.StreamReader(s)
        s.setblocking(False)
        while self._socket is s:
            try:
                # Not into rx: a call that waits for its reply may read meanwhile.
                n = await reader.readinto(self._chunk)
            except OSError:
                n = 0
            if self._socket is not s:
                return
            if n == 0:
                self._lost()
                return
            if n:
                self._view[self._n : self._n + n] = self._chunk[:n]
                self._n += n
                while self._deliver():
                    pass

    def _ask(self, op, **fields):
        s = self._socket
        if s is None:
            raise OSError(errno.ENODEV)
        fields["op"] = op
        body = json.dumps(fields).encode()
        s.settimeout(_TIMEOUT_S)
        try:
            s.write(bytes((len(body) >> 8, len(body) & 0xFF, _COMMAND)) + body)
            while True:
                done = self._deliver()
                if isinstance(done, dict):
                    break
                if not done:
                    # A blocking readinto returns when the buffer is full, so ask for the one frame.
                    n = s.readinto(self._view[self._n : self._wanted()])
                    if not n:
                        raise OSError(errno.ENODEV)
                    self._n += n
        except OSError as e:
            self._lost()
            raise e
        s.setblocking(False)
        if "errno" in done:
            raise OSError(done["errno"])
        return done

    def _wanted(self):
        """Bytes of the frame that rx begins with, or of a frame's head as long as that is not there."""
        rx = self._rx
        return 3 if self._n < 3 else 3 + (rx[0] << 8 | rx[1])

    def _deliver(self):
        """Take one whole frame: False if there is none, a reply's dict, else True after its interrupt."""
        rx = self._rx
        n = self._n
        size = self._wanted()
        if size > len(rx) - _CHUNK:
            raise OSError(errno.EIO)
        if n < size or n < 3:
            return False
        kind = rx[2]
        body = rx[3:size]
        rx[: n - size] = rx[size:n]
        self._n = n - size
        if kind == _REPLY:
            return json.loads(body)
        handler = self._handler
        if handler is None:
            return True
        if kind == _SCAN_RESULT:
            view = memoryview(body)
            rssi = body[8] - 256 if body[8] > 127 else body[8]
            handler(_IRQ_SCAN_RESULT, (body[0], view[1:7], body[7], rssi, view[9:]))
            for i in range(len(body)):
                body[i] = 0xA5
        else:
            event, data = json.loads(body)
            data = [_meant(it) for it in data]
            if event == _GATTS_WRITE:
                data = self._written(*data)
            elif event in (_CENTRAL_CONNECT, _PERIPHERAL_CONNECT):
                self._peers[data[0]] = event, data[1], bytes(data[2])
            elif event in (_CENTRAL_CONNECT + 1, _PERIPHERAL_CONNECT + 1):
                self._peers.pop(data[0], None)
            views = [memoryview(it) if isinstance(it, bytearray) else it for it in data]
            handler(event, tuple(views))
            for it in data:
                if isinstance(it, bytearray):
                    for i in range(len(it)):
                        it[i] = 0xA5
        return True


def _pairs():
    return os.getenv("GASAN_BLE_PAIRING") != "0"


def _told(characteristic):
    """A characteristic, or a descriptor, for the air."""
    told = [bytes(characteristic[0]).hex(), characteristic[1]]
    if len(characteristic) > 2:
        told.append([_told(it) for it in characteristic[2]])
    return told


def _meant(value):
    """A value from the air; bytes in a buffer of their own."""
    if not isinstance(value, dict):
        return value
    if "uuid" in value:
        return UUID(bytes.fromhex(value["uuid"]))
    return bytearray(bytes.fromhex(value["hex"]))


BLE()  # made when the module is loaded, before the firmware's heap is measured
