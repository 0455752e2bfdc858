"""The console as a board has it: ``sys`` and ``micropython`` with a board's stdin, stdout and interrupt key.

stdin is the reading end of the board's input ring, which the supervisor keeps; like a board's, a read waits
until all bytes asked for are there. stdout is cooked (LF becomes CR LF), stdout.buffer is raw. The supervisor
tells the two apart by the descriptor, so that text printed by the VM in C is cooked too, and in order.
"""

import io
import sys

import control
import micropython


class _Stdin(io.IOBase):
    def __init__(self, file):
        self.buffer = file

    def read(self, n=-1):
        return str(self.buffer.read(n), "utf-8")

    def readinto(self, buf, *n):
        return self.buffer.readinto(buf, *n)

    def readline(self):
        return str(self.buffer.readline(), "utf-8")

    def ioctl(self, op, arg):
        return _ioctl(self.buffer, op)


class _Stdout(io.IOBase):
    def __init__(self, text, raw):
        self._text = text
        self.buffer = raw

    def write(self, text):
        return self._text.write(text)

    def ioctl(self, op, arg):
        return _ioctl(self.buffer, op)


def _ioctl(file, op):
    """Answer what poll asks first (10: the descriptor), so that it polls without calling Python again."""
    return file.fileno() if op == 10 else 0


class _Module:
    """Takes the place of a built-in module that cannot be found by path."""

    def __init__(self, module):
        for name in dir(module):
            if name not in ("__class__", "__dict__"):
                setattr(self, name, getattr(module, name))


def _kbd_intr(char):
    """Like micropython.kbd_intr: the byte that interrupts the program, or -1."""
    control.say(b"K %d\n" % char)


def install(raw, platform, machine):
    """Replace sys and micropython in sys.modules. ``raw``: the descriptor of the raw output."""
    board_sys = _Module(sys)
    board_sys.stdin = _Stdin(open(0, "rb"))
    board_sys.stdout = board_sys.stderr = _Stdout(sys.stdout, open(raw, "wb"))
    board_sys.platform = platform
    board_sys.implementation = _Implementation(sys.implementation, machine)
    for name in ("executable", "argv", "atexit"):
        if hasattr(board_sys, name):
            delattr(board_sys, name)
    board_sys.argv = []
    micropython.kbd_intr(3)  # from here on SIGINT is KeyboardInterrupt; when it may come is the supervisor's
    board_micropython = _Module(micropython)
    board_micropython.kbd_intr = _kbd_intr
    sys.modules["sys"] = board_sys
    sys.modules["micropython"] = board_micropython
    return board_sys


class _Implementation:
    def __init__(self, real, machine):
        self.name = real.name
        self.version = real.version
        self._mpy = real._mpy
        self._machine = machine
        self._build = machine

    def __getitem__(self, i):
        return (self.name, self.version, self._machine, self._mpy, self._build)[i]
