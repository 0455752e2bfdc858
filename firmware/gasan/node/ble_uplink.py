"""The link over BLE: a GATT service that a gateway connects to, as a byte stream that never blocks.

Towards the gateway bytes go as notifications, filled up to what the connection's MTU allows; towards the node
they come by writes without response. A notification that nobody takes would pile up in the port's memory, so
at most `_WINDOW` bytes are under way that the gateway has not reported: it writes how many bytes it has had,
modulo 65,536, as two little-endian bytes, to a characteristic of its own (protocols/link.md). Its first
report says that it listens; what was sent before would be lost, and count as under way for ever.

One gateway at a time: a connection ends the advertising. Who connects and opens no session is sent away.
"""

from time import ticks_add, ticks_diff, ticks_ms

import bluetooth
from gasan.node import log, radio
from micropython import const

_SERVICE = "b1d5a3f0-7c1e-4f0e-9c55-6761736e0001"
_UP = "b1d5a3f0-7c1e-4f0e-9c55-6761736e0002"
_DOWN = "b1d5a3f0-7c1e-4f0e-9c55-6761736e0003"
_HAD = "b1d5a3f0-7c1e-4f0e-9c55-6761736e0004"

_WRITE = const(0x04)  # without response
_NOTIFY = const(0x10)

_CONNECTED = const(1)  # interrupts
_DISCONNECTED = const(2)
_WRITTEN = const(3)
_MTU = const(21)

_NONE = const(-1)  # no connection
_MTU_LEAST = const(23)
_MTU_MOST = const(247)  # one packet with the longest data length
_ATT = const(3)  # bytes before the value of a notification
_WINDOW = const(4096)
_INBOX = const(512)  # the gateway sends at most 256 ahead
_INTERVAL_US = const(152500)  # of advertising
_STALL_MS = const(3000)  # without a report; then what was under way counts as lost
_STRANGER_MS = const(15000)  # for a session to come
_RETRY_MS = const(2000)  # until a radio that failed is tried again
_NAME_MAX = const(29)


class Stream:
    """`read`, `write` and `claim`: all that a link asks of a stream. name: of the node, to be advertised."""

    is_console = False

    def __init__(self, name: str) -> None:
        self._name = name.encode()[:_NAME_MAX]
        self._connection = _NONE
        self._mtu = _MTU_LEAST
        self._out = bytearray(_MTU_MOST - _ATT)
        self._view = memoryview(self._out)
        self._filled = 0  # bytes of _out
        self._fresh = False  # some of them were written since the last look
        self._sent = 0  # modulo 65,536, as what the gateway reports
        self._had = 0
        self._moved = ticks_ms()  # when that was reported, or nothing was under way
        self._in = b""
        self._at = 0  # of what was read of _in
        self._written = self._reported = self._advertised = self._claimed = False
        self._listens = False  # the gateway of this connection has reported
        self._since = ticks_ms()  # the connection's start
        self._next_try = ticks_ms()
        self._handles: tuple = ()
        radio.irq(self._irq)

    def read(self, buf: bytearray) -> int:
        """Fill ``buf`` with what has come; returns the number of bytes."""
        if self._connection == _NONE or not self._handles:
            self._offer()
            return 0
        self._keep()
        data, at = self._in, self._at  # an interrupt may change them meanwhile
        if at >= len(data):
            if not self._written:
                return 0
            self._written = False
            data, at = radio.ble.gatts_read(self._handles[1]), 0
            self._in = data
        n = min(len(buf), len(data) - at)
        buf[:n] = data[at : at + n]
        self._at = at + n
        return n

    def write(self, view: memoryview) -> int:
        """Take what there is room for; returns how many bytes. They are thrown away while nobody listens."""
        if not self._listens:
            return len(view)
        size = self._mtu - _ATT
        if self._filled >= size and not self._send():
            return 0
        n = min(len(view), size - self._filled)
        self._view[self._filled : self._filled + n] = view[:n]
        self._filled += n
        self._fresh = True
        return n

    def claim(self, on: bool) -> None:
        self._claimed = on

    def _send(self) -> bool:
        """Notify of what is filled in; False if there is no room for it now."""
        way = (self._sent - self._had) & 0xFFFF
        now = ticks_ms()
        if not way:
            self._moved = now
        elif way + self._filled > _WINDOW:
            if ticks_diff(now, self._moved) < _STALL_MS:
                return False
            self._had = self._sent
            self._moved = now
        try:
            view = self._view[: self._filled]
            radio.ble.gatts_notify(self._connection, self._handles[0], view)  # type: ignore[call-arg,arg-type]
        except OSError:  # the port has no buffers left, or the connection has just ended
            return False
        self._sent = (self._sent + self._filled) & 0xFFFF
        self._filled = 0
        return True

    def _keep(self) -> None:
        """Of a connection: take the report, send what nothing was added to, send a stranger away."""
        now = ticks_ms()
        if self._reported:
            self._reported = False
            had = radio.ble.gatts_read(self._handles[2])
            if len(had) == 2:
                self._had = had[0] | had[1] << 8
                self._moved = now
                self._listens = True
        if self._filled and not self._fresh:
            self._send()
        self._fresh = False
        if self._claimed:
            self._since = now
        elif ticks_diff(now, self._since) > _STRANGER_MS:
            self._since = now
            log.info("ble: who connected has opened no session")
            try:
                radio.ble.gap_disconnect(self._connection)  # type: ignore[arg-type]
            except OSError:
                pass  # it has gone

    def _offer(self) -> None:
        """Advertise, and before that, once, make the service."""
        if self._advertised or ticks_diff(ticks_ms(), self._next_try) < 0:
            return
        ble = radio.ble
        try:
            if not ble.active():
                self._handles = ()  # a radio that was off has forgotten the service
                ble.active(True)
            if not self._handles:
                ble.config(mtu=_MTU_MOST)
                uuid = bluetooth.UUID
                values = ((uuid(_UP), _NOTIFY), (uuid(_DOWN), _WRITE), (uuid(_HAD), _WRITE))
                handles = ble.gatts_register_services(((uuid(_SERVICE), values),))[0]
                ble.gatts_set_buffer(handles[1], _INBOX, True)
                self._handles = handles
            service = bytes(bluetooth.UUID(_SERVICE))  # type: ignore[call-overload]
            advert = b"\x02\x01\x06\x11\x07" + service
            response = bytes((len(self._name) + 1, 9)) + self._name
            self._advertised = True  # before it begins: whoever connects and goes at once changes it
            ble.gap_advertise(_INTERVAL_US, advert, resp_data=response)
        except OSError as e:
            self._next_try = ticks_add(ticks_ms(), _RETRY_MS)
            self._advertised = False  # the service stays: NimBLE makes none while it scans or is connected
            log.warn("ble: no link can be offered: %r" % e)

    def _irq(self, event: int, data: tuple) -> None:
        if event == _WRITTEN:
            if self._handles and data[1] == self._handles[1]:
                self._written = True
            elif self._handles and data[1] == self._handles[2]:
                self._reported = True
        elif event == _CONNECTED:
            self._mtu = _MTU_LEAST
            self._filled = self._sent = self._had = 0
            self._since = self._moved = ticks_ms()
            self._in = b""
            self._at = 0
            self._claimed = self._written = self._reported = self._advertised = self._listens = False
            self._connection = data[0]
        elif event == _DISCONNECTED:
            if data[0] == self._connection:
                self._connection = _NONE
                self._advertised = self._listens = False
        elif event == _MTU:
            if data[0] == self._connection:
                self._mtu = max(_MTU_LEAST, min(data[1], _MTU_MOST))
