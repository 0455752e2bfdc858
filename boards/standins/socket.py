"""socket for a board whose only network is Wi-Fi: the host's sockets, cut off while it is not joined.

Loaded only on such boards. What arrives while the radio is out of range waits, what is sent then is not
taken; a connection that is not used meanwhile survives, as TCP does.
"""

import io
import time

import network
import usocket
from usocket import *  # noqa: F403

_EAGAIN = 11
_EHOSTUNREACH = 113
_ETIMEDOUT = 110


def getaddrinfo(host, port, *args):
    if not network.up():
        raise OSError(-2)  # as lwIP says it when the name cannot be resolved
    return usocket.getaddrinfo(host, port, *args)


class socket(io.IOBase):
    def __init__(self, *args, real=None):
        self._real = real or usocket.socket(*args)
        self._timeout = None
        for name in ("bind", "listen", "setsockopt", "fileno", "close"):
            setattr(self, name, getattr(self._real, name))

    def settimeout(self, seconds):
        self._timeout = seconds
        self._real.settimeout(seconds)

    def setblocking(self, on):
        self.settimeout(None if on else 0)

    def connect(self, address):
        if not network.up():
            raise OSError(_EHOSTUNREACH)
        return self._real.connect(address)

    def accept(self):
        self._reach()
        real, address = self._real.accept()
        return socket(real=real), address

    def makefile(self, *args):
        return self

    def ioctl(self, op, arg):
        if op == 10:
            return self._real.fileno()
        if op == 4:
            self._real.close()
        return 0

    def _reach(self):
        """Wait until packets get through, as long as the socket's timeout allows."""
        if network.up():
            return
        if self._timeout == 0:
            time.sleep_ms(2)  # poll says that there is something, which cannot be had
            raise OSError(_EAGAIN)
        start = time.ticks_ms()
        while not network.up():
            if self._timeout and time.ticks_diff(time.ticks_ms(), start) > self._timeout * 1000:
                raise OSError(_ETIMEDOUT)
            time.sleep_ms(10)

    def _stream(self, method, args):
        """Stream methods answer None instead of EAGAIN."""
        try:
            self._reach()
        except OSError as e:
            if e.errno == _EAGAIN:
                return None
            raise
        return method(*args)

    def read(self, *args):
        return self._stream(self._real.read, args)

    def readinto(self, *args):
        return self._stream(self._real.readinto, args)

    def readline(self, *args):
        return self._stream(self._real.readline, args)

    def write(self, *args):
        return self._stream(self._real.write, args)

    def recv(self, *args):
        self._reach()
        return self._real.recv(*args)

    def recvfrom(self, *args):
        self._reach()
        return self._real.recvfrom(*args)

    def send(self, *args):
        self._reach()
        return self._real.send(*args)

    def sendto(self, *args):
        self._reach()
        return self._real.sendto(*args)

    sendall = write
