"""Where requests go: a serial adapter (RTU) or a connection (Modbus TCP). Blocking, one request at a time.

Nothing here knows a function that writes: whoever calls gives the request, and `check_read` refuses what is
no read, so that a mistake further up cannot reach a machine.
"""

import contextlib
import errno
import os
import re
import select
import socket
import termios
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import serial
from gasan.host.errors import GasanError, InputError, TryAgainError
from gasan.host.i18n import _
from gasan.host.modbus.frames import Kind, Reply, judge_pdu, judge_rtu, rtu
from gasan.host.modbus.settings import Setting

__all__ = ["Asker", "SerialLine", "TcpLine", "check_read", "is_serial", "parse_host"]

_READS = frozenset({1, 2, 3, 4, 17, 43})
_PORT = 502
_READ_SIZE = 4096
_LONGEST = 260  # bytes of the longest frame, and then some
_BABBLE_S = 1.0  # a line that is never quiet is asked all the same
_CONNECT_S = 5.0
_HEAD = 6  # bytes before the unit: transaction, protocol, length


_SETTING_ERRORS = (serial.SerialException, ValueError, OSError, termios.error)


class Asker(Protocol):
    """Something that carries a request to a unit and brings what came of it."""

    def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply: ...


def check_read(unit: int, pdu: bytes) -> None:
    """Raises ValueError for a broadcast and for a function that is no read."""
    if unit == 0 or pdu[0] not in _READS:
        raise ValueError(f"unit {unit}, function {pdu[0]}: only reads, and never to everybody")


def is_serial(where: str) -> bool:
    """Whether the argument PORT|HOST names a serial port."""
    return where.startswith(("/", ".", "tty")) or "://" in where or _exists(where)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # longer than a path can be
        return False


def _device(port: str) -> str:
    """What to open: an address with a scheme or a path as it is, "ttyUSB0" in /dev."""
    return port if "://" in port or "/" in port or _exists(port) else f"/dev/{port}"


def parse_host(where: str) -> tuple[str, int]:
    """ "192.168.0.20", "plc:1502" or "[fe80::1]:502" as host and port. Raises InputError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\s\[\]/]+))(?::(\d{1,5}))?", where)
    if match is None or not 1 <= int(match[3] or _PORT) <= 65535:
        raise _no_address(where)
    return match[1] or match[2], int(match[3] or _PORT)


class SerialLine:
    """A line behind a serial adapter of this machine; a context manager.

    Raises InputError for a port that is none and TryAgainError for one that cannot be had just now.
    """

    def __init__(self, port: str, setting: Setting) -> None:
        self.name = port
        self.setting = setting
        self._fd = -1
        self._last = 0.0  # when the line was last in use, by monotonic time
        try:  # at the usual rate: that the adapter does not offer `setting` is no mistake of the port
            self._port = serial.serial_for_url(_device(port), timeout=0, exclusive=True)
        except _SETTING_ERRORS as error:
            raise _open_error(port, error) from error
        try:
            self._fd = self._port.fileno()
        except (OSError, AttributeError) as error:  # an address of pyserial's that is no port of this machine
            self.close()
            raise _open_error(port, ValueError()) from error
        self.configure(setting)

    def configure(self, setting: Setting) -> bool:
        """Set the adapter; False when it does not offer the setting (it then keeps the old one)."""
        try:
            self._apply(setting)
        except _SETTING_ERRORS:
            with contextlib.suppress(*_SETTING_ERRORS):
                self._apply(self.setting)
            return False
        self.setting = setting
        with contextlib.suppress(*_SETTING_ERRORS):
            self._port.reset_input_buffer()  # what was heard at the old setting
        return True

    def _apply(self, setting: Setting) -> None:
        """pyserial hands all three to the driver with each, so the last one tells whether it takes them."""
        with contextlib.suppress(*_SETTING_ERRORS):
            self._port.parity = setting.parity
        with contextlib.suppress(*_SETTING_ERRORS):
            self._port.stopbits = setting.stop
        self._port.baudrate = setting.baudrate

    def listen(self, seconds: float) -> bytes:
        """Everything that is heard in so long, without sending."""
        end = time.monotonic() + seconds
        return self._read(lambda _data, now: end - now)

    def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
        """Send a request after a due silence; an answer has to begin within `timeout_s` of its end."""
        check_read(unit, pdu)
        request = rtu(unit, pdu)
        setting = self.setting
        latest = time.monotonic() + _BABBLE_S
        stray = self._read(lambda _data, now: min(self._last + setting.gap_s, latest) - now)
        if stray:  # somebody is sending: wait until it is over
            stray += self._read(lambda _data, now: min(self._last + setting.pause_s, latest) - now)
        try:
            self._port.write(request)
        except (serial.SerialException, OSError) as error:
            raise self._gone() from error
        sent = self._last = time.monotonic() + len(request) * setting.char_s
        deadline = sent + timeout_s
        limit = deadline + _LONGEST * setting.char_s + setting.pause_s

        def left(data: bytes, now: float) -> float:
            if judge_rtu(request, data).there:
                return 0
            begun = len(data) > (len(request) if data.startswith(request) else 0)
            over = self._last + setting.pause_s if begun else deadline
            return min(max(over, deadline), limit) - now

        heard = self._read(left)
        reply = judge_rtu(request, heard)
        took = max(0.0, time.monotonic() - sent)
        return Reply(reply.kind, reply.pdu, reply.code, took, stray, heard, reply.echo)

    def close(self) -> None:
        """Leave the port to others."""
        with contextlib.suppress(OSError, serial.SerialException):
            self._port.close()

    def _read(self, left: "_Left") -> bytes:
        """Bytes as they come, until `left` (of all bytes and the time) says that no time is left."""
        data = b""
        while True:
            rest = left(data, time.monotonic())
            try:
                ready, _writable, _errors = select.select([self._fd], [], [], max(0.0, rest))
                chunk = os.read(self._fd, _READ_SIZE) if ready else b""
            except OSError as error:
                raise self._gone() from error
            if ready and not chunk:
                raise self._gone()
            if chunk:
                data += chunk
                self._last = time.monotonic()
            elif rest <= 0:
                return data

    def _gone(self) -> TryAgainError:
        return TryAgainError(_("{port} is gone; is the cable plugged in?").format(port=self.name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Left(Protocol):
    def __call__(self, data: bytes, now: float, /) -> float: ...


class TcpLine:
    """A Modbus TCP device or gateway; a context manager. A lost connection is made anew for the next request.

    Raises TryAgainError when there is no connection to be had.
    """

    def __init__(self, host: str, port: int = _PORT) -> None:
        self.name = f"{host}:{port}"
        self._address = (host, port)
        self._number = 0
        self._given_up: dict[bytes, tuple[int, bytes, float]] = {}  # unit, request and when, by transaction
        self._late: list[tuple[int, Reply]] = []
        self._socket: socket.socket | None = None
        self._connect()

    def ask(self, unit: int, pdu: bytes, timeout_s: float) -> Reply:
        """Send a request; its answer has to come within `timeout_s`. Others are `late`, or no one's."""
        check_read(unit, pdu)
        body = bytes([unit]) + pdu
        start = time.monotonic()
        came = None
        self._late = []
        for _try in range(2):  # a connection that was closed while it was silent shows only now
            if self._socket is None:
                self._connect()
            self._number = self._number % 0xFFFF + 1
            head = self._number.to_bytes(2, "big") + bytes(2) + len(body).to_bytes(2, "big")
            start = time.monotonic()
            try:
                came = self._exchange(head + body, start + timeout_s)
                break
            except OSError:
                self.close()
        seconds = time.monotonic() - start
        late = tuple(self._late)
        if came is None:
            if self._socket is not None:
                self._given_up[head[:2]] = unit, pdu, start
            return Reply(Kind.SILENCE, seconds=seconds, late=late)
        return replace(_judged(unit, pdu, came, seconds), late=late)

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._given_up = {}

    def _connect(self) -> None:
        try:
            self._socket = socket.create_connection(self._address, timeout=_CONNECT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except UnicodeError as error:  # no name that can be looked up
            raise _no_address(self._address[0]) from error
        except OSError as error:
            raise TryAgainError(
                _(
                    "nothing answers at {address} ({reason}); check the address, the network cable and "
                    "whether the device has Modbus TCP switched on"
                ).format(address=self.name, reason=error.strerror or str(error))
            ) from error

    def _exchange(self, request: bytes, deadline: float) -> bytes | None:
        """Unit, function and data of the answer; None: it did not come in time."""
        assert self._socket is not None
        self._socket.sendall(request)
        while True:
            head = self._take(_HEAD, deadline)
            if head is None:
                return None
            size = int.from_bytes(head[4:6], "big")
            if head[2:4] != b"\0\0" or not 3 <= size <= 254:
                raise ConnectionError("not Modbus TCP")
            body = self._take(size, deadline)
            if body is None:
                self.close()  # the rest would be taken for the next answer's beginning
                return None
            if head[:2] == request[:2]:
                return body
            if head[:2] in self._given_up:
                unit, pdu, start = self._given_up.pop(head[:2])
                self._late.append((unit, _judged(unit, pdu, body, time.monotonic() - start)))

    def _take(self, size: int, deadline: float) -> bytes | None:
        assert self._socket is not None
        data = b""
        while len(data) < size:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                chunk = self._socket.recv(size - len(data))
            except TimeoutError:
                if data:
                    self.close()
                return None
            if not chunk:
                raise ConnectionError("closed")
            data += chunk
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _judged(unit: int, asked: bytes, came: bytes, seconds: float) -> Reply:
    """What ``came`` (unit, function and data) says as the answer to ``asked``."""
    kind, code = judge_pdu(asked, came[1:]) if came[0] == unit else (Kind.FOREIGN, 0)
    return Reply(kind, came[1:], code, seconds, heard=came)


def _no_address(where: str) -> InputError:
    said = _('"{where}" is neither a serial port nor an address; write /dev/ttyUSB0 or 192.168.0.20:502')
    return InputError(said.format(where=where))


def _open_error(port: str, error: Exception) -> GasanError:
    """Why a port does not open, in a sentence."""
    if "://" not in port and not _exists(_device(port)):
        said = _("no such port: {port}; is the cable plugged in? See the list with: ls /dev/serial/by-id")
        return TryAgainError(said.format(port=port))
    code = getattr(error, "errno", None)
    if code in (errno.EACCES, errno.EPERM):
        said = _(
            "permission denied for {port}; add yourself to group dialout: sudo usermod -aG dialout $USER"
        )
        return TryAgainError(said.format(port=port))
    if code in (errno.EBUSY, errno.EAGAIN):
        said = _("{port} is in use by another program; stop it first (a gateway, for example)")
        return TryAgainError(said.format(port=port))
    if code == errno.EISDIR or isinstance(error, ValueError) or isinstance(error.__context__, termios.error):
        said = _("{port} is not a serial port; see the list with: ls /dev/serial/by-id")
        return InputError(said.format(port=port))
    return TryAgainError(_("{port} cannot be opened ({reason})").format(port=port, reason=str(error)))
