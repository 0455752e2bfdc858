"""The two ends of a relay: a pty, or a serial port with a real line behind it."""

import io
import os
import tty
from contextlib import suppress
from typing import Protocol

import serial
from gasan.hil.rs485.line import Line

__all__ = ["End", "PortEnd", "PtyEnd"]

# An adapter hands over what has come in lumps; one with a USB plug holds bytes back for a millisecond or, as
# FTDI's does by default, for 16. A frame is over when nothing has come for so long.
_LUMP_NS = 20_000_000
_PARITIES = {"none": "N", "even": "E", "odd": "O"}


class End(Protocol):
    """fd: to wait on. user: a descriptor that has the settings. due: when `frame` is to be asked again."""

    fd: int
    user: int
    path: str
    due: int | None

    def frame(self, now: int, ready: bool) -> bytes:
        """What has been sent on this side and is to go onto the bus; ready: there is something to be read."""

    def send(self, data: bytes, last: bool) -> None:
        """Bytes that have passed the bus; last: no further ones follow them at once."""


class PtyEnd:
    """A pty: what is written into it at once is a frame, and the bus gives it its time."""

    due: int | None = None

    def __init__(self) -> None:
        self.fd, self.user = os.openpty()
        tty.setraw(self.user)  # `user` stays open, so that the pty outlives whoever opens and closes it
        os.set_blocking(self.fd, False)
        self.path = os.ttyname(self.user)

    def frame(self, now: int, ready: bool) -> bytes:
        return os.read(self.fd, 4096) if ready else b""

    def send(self, data: bytes, last: bool) -> None:
        with suppress(BlockingIOError):  # nobody reads: a line does not wait either
            os.write(self.fd, data)


class PortEnd:
    """A serial port: frames have taken their time on its own line already, and take it once more on the bus.

    What comes in is gathered until the line is silent, what goes out until its last byte has passed the bus,
    so that neither is torn by the lumps of an adapter. Raises OSError or ValueError when it cannot be opened.
    """

    def __init__(self, port: str, line: Line) -> None:
        self._port = serial.serial_for_url(
            port, line.baudrate, parity=_PARITIES[line.parity], stopbits=line.stop, timeout=0, write_timeout=0
        )
        try:
            self.fd = self.user = self._port.fileno()
        except (io.UnsupportedOperation, AttributeError):
            self._port.close()
            raise ValueError(f"{port} has no file descriptor; take a port of this machine") from None
        self.path = port
        self.due: int | None = None
        self._silence = max(line.gap_ns, _LUMP_NS)
        self._in = bytearray()
        self._out = bytearray()

    def frame(self, now: int, ready: bool) -> bytes:
        if ready:
            self._in += self._port.read(4096)
            self.due = now + self._silence if self._in else None
            return b""
        if self.due is None or now < self.due:
            return b""
        frame = bytes(self._in)
        self._in.clear()
        self.due = None
        return frame

    def send(self, data: bytes, last: bool) -> None:
        self._out += data
        if last:
            with suppress(serial.SerialTimeoutException):
                self._port.write(self._out)
            self._out = bytearray()
