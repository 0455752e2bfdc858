"""The socket in a board's folder over which other programs command it: one JSON object per line each way."""

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["CommandError", "Commands", "ask"]

_NAME = "control"
_MAX_LINE = 65536

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class CommandError(Exception):
    """A board refused a command or does not run; the message says why."""


class Commands:
    """The listening side, for an event loop: ``watch(fd, call)`` and ``unwatch(fd)`` are the loop's."""

    def __init__(
        self,
        folder: Path,
        handler: Handler,
        watch: Callable[[int, Callable[[], None]], None],
        unwatch: Callable[[int], None],
    ) -> None:
        self._path = folder / _NAME
        self._handler = handler
        self._watch = watch
        self._unwatch = unwatch
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path.unlink(missing_ok=True)
        with _address(folder) as address:
            self._listener.bind(address)
        self._listener.listen(4)
        self._listener.setblocking(False)
        watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            client, _ = self._listener.accept()
            fd = client.fileno()
            self._clients[fd] = (client, bytearray())
            self._watch(fd, lambda: self._serve(fd))

    def _serve(self, fd: int) -> None:
        client, line = self._clients[fd]
        try:
            data = client.recv(_MAX_LINE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        line += data
        while b"\n" in line:
            request, _, rest = line.partition(b"\n")
            line[:] = rest
            with contextlib.suppress(OSError):
                client.sendall(json.dumps(self._answer(bytes(request))).encode() + b"\n")
        if not data or len(line) > _MAX_LINE:
            self._unwatch(fd)
            client.close()
            del self._clients[fd]

    def _answer(self, request: bytes) -> dict[str, Any]:
        try:
            return {"ok": True, **self._handler(json.loads(request))}
        except CommandError as e:
            return {"ok": False, "error": str(e)}
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as e:
            return {"ok": False, "error": f"{type(e).__name__}: {e}"}

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        self._listener.close()
        for client, _ in self._clients.values():
            client.close()


def ask(folder: Path, do: str, timeout_s: float = 10, **request: Any) -> dict[str, Any]:
    """Give the board in ``folder`` a command; its answer. Raises CommandError."""
    try:
        with _address(folder) as address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(timeout_s)
            line.connect(address)
            line.sendall(json.dumps({"do": do, **request}).encode() + b"\n")
            with line.makefile("rb") as lines:
                answer: dict[str, Any] = json.loads(
                    lines.readline() or b'{"ok": false, "error": "no answer"}'
                )
    except OSError as e:
        raise CommandError(f"{folder}: the virtual board is not running ({e}).") from None
    if not answer.pop("ok"):
        raise CommandError(f"{folder}: {do}: {answer['error']}.")
    return answer


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The socket's address, short enough for the system (107 bytes) whatever the folder's is."""
    fd = os.open(folder, os.O_PATH)
    try:
        yield f"/proc/self/fd/{fd}/{_NAME}"
    finally:
        os.close(fd)
