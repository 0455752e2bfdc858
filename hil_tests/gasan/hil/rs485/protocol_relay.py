"""``relay:///dev/pts/4`` for pyserial: a relay's pty whose settings the relay can read, parity included.

    serial.protocol_handler_packages.append("gasan.hil.rs485")

Linux keeps baud rate and stop bits of a pty but drops its parity, so this port leaves the parity in a control
character that a raw terminal does not use. All else is pyserial's own port.
"""

import termios
from typing import Any

import serial
from gasan.hil.rs485.line import Line

__all__ = ["Serial", "settings"]

_PARITIES = ("none", "even", "odd")
_LETTERS = {"N": 0, "E": 1, "O": 2}
_CFLAG, _SPEED, _CHARACTERS = 2, 4, 6
_BAUDRATES = {
    getattr(termios, f"B{rate}"): rate
    for rate in (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400)
}


class Serial(serial.Serial):
    """A pty as a serial port."""

    _port: str | None
    _parity: str
    fd: Any

    @property
    def port(self) -> str | None:
        return self._port

    @port.setter
    def port(self, value: str | None) -> None:
        path = None if value is None else value.removeprefix("relay://")
        serial.Serial.port.__set__(self, path)  # type: ignore[attr-defined]

    def _reconfigure_port(self, force_update: bool = False) -> None:
        wanted, self._parity = self._parity, "N"
        try:
            super()._reconfigure_port(force_update)  # type: ignore[misc]
        finally:
            self._parity = wanted
        attributes = termios.tcgetattr(self.fd)
        attributes[_CHARACTERS][termios.VEOL2] = bytes([_LETTERS[wanted]])
        termios.tcsetattr(self.fd, termios.TCSANOW, attributes)


def settings(fd: int) -> Line | None:
    """The settings of the pty behind ``fd``; None when no serial line has this speed."""
    attributes = termios.tcgetattr(fd)
    baudrate = _BAUDRATES.get(attributes[_SPEED])
    code = attributes[_CHARACTERS][termios.VEOL2]
    parity = (code[0] if isinstance(code, bytes) and code else 0) % len(_PARITIES)
    stop = 2 if attributes[_CFLAG] & termios.CSTOPB else 1
    return None if baudrate is None else Line(baudrate, _PARITIES[parity], stop)
