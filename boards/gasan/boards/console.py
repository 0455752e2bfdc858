"""The console of a virtual board: a pseudo-terminal that outlives the VM, as a USB-to-UART adapter does.

Towards the board stands the port's input ring, with its size and what happens when it is full, and the
interrupt byte, which clears the ring. Towards the host stands what a board's output does when nobody reads.
"""

import errno
import fcntl
import os
import select
import struct
import termios
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gasan.boards.facts import Console as ConsoleFacts

__all__ = ["Console", "Input", "Ring"]

_CHUNK = 4096


class Ring:
    """The input ring of one start of the board: a pipe whose reading end is the VM's stdin.

    The kernel tells how much of it the VM has not read yet, so its fill is that of a board's ring.
    """

    def __init__(self, size: int) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        # A description of its own, so that emptying the ring does not block and the VM's reads do.
        self._drain = os.open(f"/proc/self/fd/{self.reader}", os.O_RDONLY | os.O_NONBLOCK)
        self._capacity = size - 1  # a ring buffer leaves one byte free

    @property
    def room(self) -> int:
        held: int = struct.unpack("i", fcntl.ioctl(self._writer, termios.FIONREAD, b"\0" * 4))[0]
        return max(0, self._capacity - held)

    def put(self, data: bytes) -> int:
        """Put in what fits; how much that was."""
        part = data[: self.room]
        if part:
            os.write(self._writer, part)
        return len(part)

    def clear(self) -> None:
        try:
            while os.read(self._drain, _CHUNK):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        for fd in (self.reader, self._writer, self._drain):
            os.close(fd)


class Input(Protocol):
    """Where the host's bytes go: ``put`` takes what fits and says how much that was, ``clear`` forgets the
    rest.
    """

    def put(self, data: bytes) -> int: ...

    def clear(self) -> None: ...


class Console:
    """The pseudo-terminal and what passes through it.

    ``link`` is a symbolic link that names the terminal while the cable is plugged in. The owner calls
    ``read`` when ``fileno`` is readable, ``write`` with what the board says, ``flush`` when there is
    ``pending``, and ``look`` from time to time while ``present`` is false.
    """

    def __init__(self, facts: ConsoleFacts, link: Path) -> None:
        self._facts = facts
        self._link = link
        self._master: int | None = None
        self._pending = bytearray()
        self._held = b""
        self._stalled_since: float | None = None
        self.path: str | None = None
        self.present = False
        self.interrupt = 3
        self.counters = {"in": 0, "out": 0, "in_lost": 0, "out_lost": 0, "interrupts": 0}
        self.plug()

    def fileno(self) -> int | None:
        return self._master

    @property
    def pending(self) -> int:
        """Bytes that wait for the host."""
        return len(self._pending)

    @property
    def held_back(self) -> bool:
        """True while input waits for room in the ring."""
        return bool(self._held)

    def plug(self) -> None:
        """Plug the cable in: a new terminal under the old name."""
        if self._master is not None:
            return
        self._master, slave = os.openpty()
        tty.setraw(slave)  # or the terminal would echo the board's output as input
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        new = self._link.with_name(f".{self._link.name}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(self.path)
        new.replace(self._link)

    def unplug(self) -> None:
        """Pull the cable: the host's terminal hangs up, what was on its way is lost."""
        if self._master is None:
            return
        self._link.unlink(missing_ok=True)
        os.close(self._master)
        self._master = self.path = None
        self.present = False
        self._lose()
        self._held = b""

    def look(self) -> bool:
        """Whether a host has the terminal open."""
        if self._master is None:
            return False
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        self.present = not any(event & select.POLLHUP for _, event in poll.poll(0))
        return self.present

    def read(self, ring: Input | None, on_interrupt: Callable[[], None]) -> None:
        """Take input from the host into the ring (None: the board is off)."""
        if self._master is None or self._held:
            return
        try:
            data = os.read(self._master, _CHUNK)
        except OSError as e:
            if e.errno == errno.EIO:  # the host has closed the terminal
                self.present = False
            elif e.errno != errno.EAGAIN:
                raise
            return
        self.present = True
        self.counters["in"] += len(data)
        if ring is None:
            self.counters["in_lost"] += len(data)
        else:
            self._take(data, ring, on_interrupt)

    def retry(self, ring: Input | None, on_interrupt: Callable[[], None]) -> None:
        """Put in what was held back."""
        data, self._held = self._held, b""
        if ring is not None:
            self._take(data, ring, on_interrupt)

    def _take(self, data: bytes, ring: Input, on_interrupt: Callable[[], None]) -> None:
        while data:
            at = data.find(self.interrupt) if self.interrupt >= 0 else -1
            part = data if at < 0 else data[:at]
            done = ring.put(part)
            if done < len(part):
                if self._facts.when_full == "wait":
                    self._held = data[done:]  # also an interrupt byte waits behind a full ring
                    return
                self.counters["in_lost"] += len(part) - done
            if at < 0:
                return
            ring.clear()
            self.counters["interrupts"] += 1
            on_interrupt()
            data = data[at + 1 :]

    def write(self, data: bytes, now: float) -> None:
        """Take output from the board; without a host it is lost."""
        if self.present:
            self._pending += data
            self.flush(now)
        else:
            self.counters["out_lost"] += len(data)

    def flush(self, now: float) -> None:
        """Give the host what waits for it; give up what has waited too long."""
        if not self._pending:
            return
        if self._master is None or not self.present:
            self._lose()
            return
        try:
            done = os.write(self._master, self._pending)
        except OSError as e:
            if e.errno not in (errno.EAGAIN, errno.EIO):
                raise
            done = 0
        self.counters["out"] += done
        del self._pending[:done]
        if done or not self._pending:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now
        if self._stalled_since is not None and (now - self._stalled_since) * 1000 >= self._facts.stall_ms:
            self._lose()

    def _lose(self) -> None:
        self.counters["out_lost"] += len(self._pending)
        self._pending.clear()
        self._stalled_since = None

    def close(self) -> None:
        self.unplug()
