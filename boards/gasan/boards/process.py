"""One start of a virtual board: the VM as a process, its wires to the supervisor, its end."""

import contextlib
import ctypes
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from gasan.boards.console import Ring
from gasan.boards.vm import Vm

__all__ = ["Output", "Process"]

_PR_SET_PDEATHSIG = 1

# System calls in which the VM only waits, so that an exception can be raised there as at a safe point: poll,
# select and sleep in their variants, and restart_syscall, which continues one of them. Then read and write.
_WAITS = {
    ("x86_64", 64): ({7, 23, 35, 219, 230, 270, 271}, 0, 1),
    ("x86_64", 32): ({0, 82, 142, 162, 168, 267, 308, 309, 407, 413, 414}, 3, 4),
    ("aarch64", 64): ({72, 73, 101, 115, 128}, 63, 64),
    ("aarch64", 32): ({0, 142, 162, 168, 265, 335, 336, 407, 413, 414}, 3, 4),
}
_WAITS["i686", 32] = _WAITS["x86_64", 32]
_WAITS["armv7l", 32] = _WAITS["aarch64", 32]

_libc = ctypes.CDLL(None, use_errno=True)


class Output:
    """What the board says, in order, with the way it was said: text (to be cooked) or raw bytes.

    Two sockets of the VM send to one of the supervisor; datagrams keep order and size, and when nobody takes
    them the VM waits, as at a full transmit buffer.
    """

    def __init__(self) -> None:
        self.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.text = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.raw = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        folder = tempfile.mkdtemp(prefix="gasan-")  # short: the name of a socket has at most 107 bytes
        try:
            self.receiver.bind(f"{folder}/in")
            self.text.bind(f"{folder}/text")
            self.raw.bind(f"{folder}/raw")
            self._raw_name = self.raw.getsockname()
            self.text.connect(self.receiver.getsockname())
            self.raw.connect(self.receiver.getsockname())
        finally:
            shutil.rmtree(folder)  # nobody else can reach them now
        self.receiver.setblocking(False)

    def take(self) -> tuple[bytes, bool] | None:
        """(bytes, whether they are raw), or None when there is nothing."""
        try:
            data, source = self.receiver.recvfrom(1 << 18)
        except BlockingIOError:
            return None
        return data, source == self._raw_name

    def close(self) -> None:
        for end in (self.receiver, self.text, self.raw):
            end.close()


class Process:
    """The running VM. It dies with the supervisor, whatever ends that."""

    def __init__(
        self,
        vm: Vm,
        standins: Path,
        arguments: Mapping[str, object],
        heap: int,
        ring_size: int,
        folder: Path,
        env: Mapping[str, str],
    ) -> None:
        self._vm = vm
        self.ring = Ring(ring_size)
        self.output = Output()
        self.messages, told = os.pipe()
        os.set_blocking(self.messages, False)
        nothing, self._nothing = os.pipe()
        self._line = b""
        raw = self.output.raw.fileno()
        words = {**arguments, "raw_fd": raw, "out_fd": told, "wait_fd": nothing}
        self._raw_fd = raw
        parent = os.getpid()

        def die_with_parent() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                vm.command(
                    "-m", "run", *(f"{name}={value}" for name, value in words.items()), heap=str(heap)
                ),
                cwd=folder,
                env={"MICROPYPATH": f"{standins}:.frozen", "TZ": "UTC", "PATH": os.defpath, **env},
                stdin=self.ring.reader,
                stdout=self.output.text.fileno(),
                stderr=self.output.text.fileno(),
                pass_fds=(raw, told, nothing),
                preexec_fn=die_with_parent,
                process_group=0,  # not a session: a terminal it opens must not become its controlling one
            )
        finally:
            os.close(told)
            os.close(nothing)
            self.output.text.close()
            self.output.raw.close()
        self.pid = self._process.pid
        self.ended = os.pidfd_open(self.pid)

    def told(self) -> Iterator[list[str]]:
        """The messages that have arrived (standins/control.py), as lists of words."""
        try:
            self._line += os.read(self.messages, 65536)
        except BlockingIOError:
            return
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            yield line.decode("ascii", "replace").split()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[bool]:
        """Hold the VM still; False if it has ended."""
        os.kill(self.pid, signal.SIGSTOP)
        state = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        try:
            yield state is not None and state.si_code == os.CLD_STOPPED
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def waits(self) -> bool:
        """Whether the (stopped) VM only waits, for time or the console. True if the system does not tell."""
        calls = _WAITS.get((platform.machine(), self._vm.bits))
        try:
            words = Path(f"/proc/{self.pid}/syscall").read_text().split()
        except OSError:
            return True
        if calls is None or not words[0].isdigit():
            return calls is None
        waiting, read, write = calls
        call, descriptor = int(words[0]), int(words[1], 16)
        return (
            call in waiting
            or (call == read and descriptor == 0)
            or (call == write and descriptor in (1, 2, self._raw_fd))
        )

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the VM, right where it is."""
        os.kill(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """The end: as a power cut, nothing is tidied up."""
        self._process.kill()

    def reap(self) -> int:
        """Wait for the end; the exit status (negative: the signal)."""
        status: int = self._process.wait()
        return status

    def close(self) -> None:
        self.ring.close()
        self.output.close()
        for fd in (self.messages, self._nothing, self.ended):
            os.close(fd)
