"""UART over a terminal of the host: a pseudo-terminal with simulated equipment, or a real adapter."""

import io
import select
import termios
import time

# <asm-generic/termbits.h>
_SPEEDS = {
    1200: 9,
    2400: 11,
    4800: 12,
    9600: 13,
    19200: 14,
    38400: 15,
    57600: 0x1001,
    115200: 0x1002,
    230400: 0x1003,
    460800: 0x1004,
    921600: 0x1007,
}
_CS7 = 0x20
_CS8 = 0x30
_CSTOPB = 0x40
_CREAD = 0x80
_PARENB = 0x100
_PARODD = 0x200
_CLOCAL = 0x800
_VTIME = 5
_VMIN = 6

_POLL_RD = 1
_POLL_WR = 4
_GET_FILENO = 10

_RETRY_MS = 1000

_host = None
_ports = {}


def set_ports(host, ports):
    """``host``: the VfsPosix that opens terminals; ``ports``: {UART id: path on the host}."""
    global _host, _ports
    _host = host
    _ports = ports


class UART(io.IOBase):
    """machine.UART. An id without a terminal behaves like a line with nothing on it.

    Received bytes are pulled into a ring of ``rxbuf`` bytes by any() and the reads; what finds it full is
    lost, as on a board. Once poll has asked for the descriptor, any() leaves the bytes in the terminal and
    says 1. The bytes that are written leave at once; txdone() and flush() go by the time that the baud
    rate takes.
    """

    INV_TX = 1
    INV_RX = 2
    RTS = 2
    CTS = 1

    def __init__(self, id, baudrate=115200, bits=8, parity=None, stop=1, **options):
        if not 0 <= id <= 2:
            raise ValueError("UART(%d) doesn't exist" % id)
        self._path = _ports.get(id)
        self._file = None
        self._poll = None
        self._polled = False
        self._down_at = None
        self.overruns = 0
        self._rx = bytearray(0)
        self._head = self._held = 0
        self._got = bytearray(64)
        self._timeout = 0
        self._tx_end = time.ticks_us()
        self._tx_ms = time.ticks_ms()
        self.init(baudrate, bits, parity, stop, **options)

    def init(self, baudrate=115200, bits=8, parity=None, stop=1, **options):
        if baudrate <= 0 or bits not in (7, 8) or stop not in (1, 2):
            raise ValueError("UART cannot do %d baud, %d bits, %d stop bits" % (baudrate, bits, stop))
        self._char_us = (1 + bits + (parity is not None) + stop) * 1000000 // baudrate
        self._timeout = options.get("timeout", self._timeout)
        size = max(32, options.get("rxbuf", len(self._rx) or 256))
        if size != len(self._rx):
            self._rx = bytearray(size)
            self._head = self._held = 0
        flags = _CREAD | _CLOCAL | (_CS8 if bits == 8 else _CS7)
        if stop == 2:
            flags |= _CSTOPB
        if parity is not None:
            flags |= _PARENB | (_PARODD if parity & 1 else 0)
        self._flags = flags
        self._speed = _SPEEDS.get(baudrate, 0)
        self._open()

    def deinit(self):
        if self._file:
            self._file.close()
        self._file = self._poll = None
        self._path = None

    def any(self):
        if self._polled:
            return self._held or (1 if self._ready(select.POLLIN) else 0)
        self._pull()
        return self._held

    def read(self, nbytes=None):
        if not self._wait():
            return None
        n = self._held if nbytes is None else min(nbytes, self._held)
        buf = bytearray(n)
        self._take(buf, n)
        return bytes(buf)

    def readinto(self, buf, nbytes=None):
        if not self._wait():
            return None
        n = len(buf) if nbytes is None else min(nbytes, len(buf))
        if n > self._held:
            n = self._held
        self._take(buf, n)
        return n

    def readline(self):
        line = bytearray()
        while self._wait():
            byte = self.read(1)
            line += byte
            if byte == b"\n":
                break
        return bytes(line) or None

    def write(self, buf):
        n = len(buf)
        start = self._tx_end if self._sending_us() > 0 else time.ticks_us()
        self._tx_end = time.ticks_add(start, n * self._char_us)
        self._tx_ms = time.ticks_ms()
        if self._alive() and self._ready(select.POLLOUT):
            self._send(buf)
        return n  # a line takes every byte, whether somebody listens or not

    def txdone(self):
        return self._sending_us() <= 0

    def flush(self):
        left = self._sending_us()
        if left > 0:
            time.sleep_us(left)

    def sendbreak(self):
        time.sleep_us(13 * self._char_us // 10 + 1)

    def ioctl(self, op, arg):
        if op == _GET_FILENO and self._file:
            self._polled = True
            return self._file.fileno()
        if op == 3:
            return (_POLL_RD if arg & _POLL_RD and self.any() else 0) | arg & _POLL_WR
        return 0 if op == 4 else -1

    def _sending_us(self):
        """How long the bytes written so far still take. Old stamps do not count: ticks_us wraps."""
        if time.ticks_diff(time.ticks_ms(), self._tx_ms) > _RETRY_MS * 60:
            return 0
        return time.ticks_diff(self._tx_end, time.ticks_us())

    def _open(self):
        self._poll = None
        if self._file:
            self._file.close()
            self._file = None
        if not self._path:
            return
        try:
            file = _host.open(self._path, "r+b")
            mode = termios.tcgetattr(file.fileno())
            mode[0] = mode[1] = mode[3] = 0
            mode[2] = self._flags
            if self._speed:
                mode[4] = mode[5] = self._speed
            mode[6][_VMIN] = mode[6][_VTIME] = 0
            termios.tcsetattr(file.fileno(), termios.TCSANOW, mode)
        except OSError:
            self._lost()
            return
        self._down_at = None
        self._file = file
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN | select.POLLOUT)

    def _lost(self):
        """The terminal is not there or has gone; look again from time to time, as a cable may come back."""
        if self._file:
            self._file.close()
        self._file = self._poll = None
        self._down_at = time.ticks_ms()

    def _alive(self):
        if self._file is None and self._path:
            if self._down_at is None or time.ticks_diff(time.ticks_ms(), self._down_at) >= _RETRY_MS:
                self._open()
        return self._file is not None

    def _ready(self, flag):
        """Poll the terminal without waiting; does not allocate."""
        if not self._alive():
            return False
        for _, event in self._poll.ipoll(0):
            if event & select.POLLHUP:
                self._lost()
                return False
            if event & flag:
                return True
        return False

    def _send(self, buf):
        try:
            self._file.write(buf)
        except OSError:
            self._lost()

    def _fetch(self):
        """Read from the terminal into the scratch buffer; how many bytes."""
        try:
            return self._file.readinto(self._got) or 0
        except OSError:
            self._lost()
            return 0

    def _pull(self):
        """Move what has arrived into the ring."""
        n = len(self._got)
        while n == len(self._got) and self._alive():
            n = self._fetch()
            if n:
                self._store(n)

    # Frames of more than 11 words would come from the heap: the next two are kept small.

    def _store(self, n):
        room = len(self._rx) - self._held
        if n > room:
            self.overruns += n - room
            n = room
        i = 0
        while i < n:
            self._rx[(self._head + self._held) % len(self._rx)] = self._got[i]
            self._held += 1
            i += 1

    def _take(self, buf, n):
        i = 0
        while i < n:
            buf[i] = self._rx[self._head]
            self._head = (self._head + 1) % len(self._rx)
            i += 1
        self._held -= n

    def _wait(self):
        """Wait for the first byte, at most ``timeout`` ms; False if none came."""
        self._pull()
        if self._held or not self._timeout:
            return self._held > 0
        end = time.ticks_add(time.ticks_ms(), self._timeout)
        while not self._held and time.ticks_diff(end, time.ticks_ms()) > 0:
            time.sleep_ms(1)
            self._pull()
        return self._held > 0
