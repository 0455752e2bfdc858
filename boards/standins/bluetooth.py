"""MicroPython's `bluetooth` on the virtual board: BLE whose radio is another process, over TCP.

GASAN_AIR=HOST:PORT names that process (gasan.boards.air), GASAN_BLE_ADDRESS=aa:bb:.. optionally
this board's own address. Here is the observer's part of the API: active, config, irq, gap_scan.

Calls block until the air has answered, as they do on a board until the radio has. Interrupts are
delivered from an asyncio task that awaits the socket, and, while a call waits, from within it. What
a handler is given lies in a buffer that is wiped when it returns, as on a board: keep copies.

Frames both ways: length of the body u16 BE | kind u8 | body. JSON to the air: one command, answered
by one reply. From the air: a reply, a scan result in bytes, or any other interrupt as JSON.
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
_SETTABLE = ("gap_name", "rxbuf", "mtu", "addr_mode")


class BLE:
    """The board's only radio: every BLE() is the same object."""

    _only = None

    def __new__(cls):
        if BLE._only is None:
            self = BLE._only = object.__new__(cls)
            self._socket = None
            self._handler = None
            self._mac = None
            self._rx = bytearray(2048)
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
            if name not in _SETTABLE:
                raise ValueError("unknown config param")
        if not names:
            return None
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
        asyncio.create_task(self._pump(s))

    def _close(self):
        s = self._socket
        self._socket = None
        self._mac = None
        if s is not None:
            s.close()

    def _lost(self):
        """The air has gone: the radio is off, and whoever scanned is told that the scan is over."""
        self._close()
        if self._handler is not None:
            self._handler(_IRQ_SCAN_DONE, ())

    async def _pump(self, s):
        reader = asyncio.StreamReader(s)
        s.setblocking(False)
        while self._socket is s:
            try:
                n = await reader.readinto(self._view[self._n :])
            except OSError:
                n = 0
            if self._socket is not s:
                return
            if n == 0:
                self._lost()
                return
            if n:
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
        if size > len(rx):
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
            handler(event, tuple(data))
        return True


BLE()  # made when the module is loaded, before the firmware's heap is measured
