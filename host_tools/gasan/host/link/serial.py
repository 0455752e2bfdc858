"""A serial port under asyncio, kept open: unplugged and plugged in again, it goes on by itself.

pyserial opens and configures the port (exclusively: a second program is refused, as ours would be); reading
and writing go through the event loop, on the port's file descriptor.
"""

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import serial
from gasan.host.link.ports import PortState

__all__ = ["SerialPort"]

_RETRY_S = 0.5
_READ_SIZE = 65_536
_WRITE_MAX = 4_096  # bytes that may wait: a node takes 256 at a time

_log = logging.getLogger(__name__)


_SENTENCES = {
    PortState.OPEN: "{path} is open",
    PortState.MISSING: "no such port: {path}; is the cable plugged in?",
    PortState.BUSY: "{path} is in use by another program; close it there",
    PortState.FORBIDDEN: (
        "permission denied for {path}: add yourself to group dialout (sudo usermod -aG dialout $USER)"
    ),
    PortState.LOST: "{path} is gone; waiting for it to come back",
    PortState.FAILED: "{path} cannot be opened as a serial port",
    PortState.CLOSED: "{path} is closed",
}


class SerialPort:
    """One port. `run()` keeps it open until it is cancelled.

    path: as in /dev; a link such as /dev/serial/by-id/… is followed anew at each opening.
    on_data: called with the bytes that came. on_state: called with each new state and its sentence.
    Both are called in the event loop and must not block.
    """

    def __init__(
        self,
        path: str,
        on_data: Callable[[bytes], None],
        on_state: Callable[[PortState, str], None],
        baudrate: int = 115_200,
    ) -> None:
        self.path = path
        self.state = PortState.CLOSED
        self.dropped = 0  # bytes that were not written because the port was closed or did not take them
        self._on_data = on_data
        self._on_state = on_state
        self._baudrate = baudrate
        self._port: serial.Serial | None = None
        self._fd = -1
        self._waiting = bytearray()
        self._gone = asyncio.Event()

    async def run(self) -> None:
        """Open the port, and open it again whenever it has gone; ends only by cancellation."""
        try:
            while True:
                state = self._open()
                self._tell(state)
                if state is PortState.OPEN:
                    await self._gone.wait()
                    self._close()
                    self._tell(PortState.LOST)
                await asyncio.sleep(_RETRY_S)
        finally:
            self._close()
            self._tell(PortState.CLOSED)

    def write(self, data: bytes) -> bool:
        """Write all of it, at once or soon; False if the port is closed or has not taken what was before.

        It is dropped then: the link asks again.
        """
        if self._port is None or len(self._waiting) + len(data) > _WRITE_MAX:
            self.dropped += len(data)
            return False
        if data:
            idle = not self._waiting
            self._waiting += data
            if idle:
                self._write()
        return True

    def _tell(self, state: PortState) -> None:
        if state is not self.state and not (self.state is PortState.LOST and state is PortState.MISSING):
            self.state = state
            self._on_state(state, _SENTENCES[state].format(path=self.path))

    def _open(self) -> PortState:
        try:
            port = serial.Serial(self.path, self._baudrate, timeout=0, write_timeout=0, exclusive=True)
        except serial.SerialException as error:
            _log.debug("%s", error)
            return _state_of(error, self.path)
        except (OSError, ValueError) as error:
            _log.debug("%s", error)
            return PortState.FAILED
        self._port = port
        self._fd = port.fileno()
        self._gone.clear()
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return PortState.OPEN

    def _close(self) -> None:
        port, self._port = self._port, None
        if port is None:
            return
        self._ignore()
        self._waiting.clear()
        with contextlib.suppress(OSError):  # of a device that is not there any more
            port.close()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            _log.debug("%s: %s", self.path, error)
            data = b""
        if data:
            self._on_data(data)
        else:
            self._lose()

    def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            del self._waiting[: os.write(self._fd, self._waiting)]
        except BlockingIOError:
            pass
        except OSError as error:
            _log.debug("%s: %s", self.path, error)
            self._lose()
            return
        if self._waiting:
            loop.add_writer(self._fd, self._write)
        else:
            loop.remove_writer(self._fd)

    def _lose(self) -> None:
        self._ignore()
        self._gone.set()

    def _ignore(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        loop.remove_writer(self._fd)


def _state_of(error: serial.SerialException, path: str) -> PortState:
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or not Path(path).exists():
        return PortState.MISSING
    if error.errno in (errno.EACCES, errno.EPERM):
        return PortState.FORBIDDEN
    if error.errno in (errno.EBUSY, errno.EAGAIN):
        return PortState.BUSY
    return PortState.FAILED
