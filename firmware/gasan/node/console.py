"""The console as a byte stream that never blocks: standard input and output, which text shares with packets.

What a board's console does (read in MicroPython's `sys_stdio_mphal.c` and `mp_usbd_cdc.c`): `readinto` waits
until the buffer is full, so bytes are taken one at a time while `poll` says that there is one; `write`
waits for room, on USB at most 500 ms for each 64 bytes, so it is called only when `poll` says that there is
room, and its callers write little at once.
"""

import select
import sys

import micropython


class Console:
    """`read`, `write` and `claim`: all that a link asks of a stream."""

    is_console = True  # text is written to it as it is

    def __init__(self) -> None:
        self._in = sys.stdin.buffer
        self._out = sys.stdout.buffer
        self._one = bytearray(1)
        self._readable = select.poll()
        self._readable.register(self._in, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(self._out, select.POLLOUT)

    def read(self, buf: bytearray) -> int:
        """Fill `buf` with what is there; returns the number of bytes, 0 if there is none."""
        n = 0
        try:
            while n < len(buf) and self._ready(self._readable) and self._in.readinto(self._one):
                buf[n] = self._one[0]
                n += 1
        except OSError:  # the other end is gone; a later one is found by the next call
            pass
        return n

    def write(self, view: memoryview) -> int:
        """Write a piece of at most 64 bytes; returns how many were taken, 0 if the host does not read."""
        if not self._ready(self._writable):
            return 0
        try:
            return self._out.write(view) or 0
        except OSError:
            return 0

    def claim(self, on: bool) -> None:
        """In a session 0x03 is a byte like any other; outside of it, it raises KeyboardInterrupt."""
        micropython.kbd_intr(-1 if on else 3)

    def _ready(self, poll: "select.poll") -> bool:
        for _ in poll.ipoll(0):
            return True
        return False
