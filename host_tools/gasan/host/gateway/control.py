"""The gateway's control socket: one JSON object per line; the command line asks, the gateway answers.

A connection carries one request, ``{"do": verb, ...}``, and then answers ("who" is set here, not by the
asker). The last one has the key "done", or
"rolled_back" (why), or "error" (a sentence). Only the owner of the state folder can open the socket.
"""

import asyncio
import contextlib
import json
import logging
import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from gasan.host.errors import GasanError, InputError

__all__ = ["Answers", "ControlServer", "control_path", "socket_address"]

_REQUEST_MAX: Final = 1 << 17
_NO_LOGIN: Final = 0xFFFFFFFF
_SUN_PATH_MAX: Final = 100

Answers = AsyncIterator[dict[str, Any]]

log = logging.getLogger(__name__)


def control_path(state_dir: Path) -> Path:
    """Where the gateway of a state folder listens."""
    return state_dir / "control.sock"


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """A name for the socket at `path` that fits into a socket address, however long the path is."""
    if len(os.fsencode(path)) <= _SUN_PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class ControlServer:
    """Answers requests at `path`; `verbs` gives for each verb what makes the answers of a request.

    A verb raises GasanError for what it cannot do; the asker gets the sentence.
    """

    def __init__(self, path: Path, verbs: Mapping[str, Callable[[dict[str, Any]], Answers]]) -> None:
        self._path = path
        self._verbs = verbs
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begins to listen. The caller holds the state folder's lock, so a socket that is there is a dead
        one's.
        """
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with socket_address(self._path) as address:
                before = os.umask(0o177)
                try:
                    listener.bind(address)
                finally:
                    os.umask(before)
            self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=_REQUEST_MAX)
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """Ends all connections and removes the socket."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(ConnectionError):
            try:
                await self._serve(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            request["who"] = _account(writer)
            answers = self._verbs[request["do"]](request)
        except (ValueError, KeyError, TypeError, asyncio.LimitOverrunError):
            await _say(
                writer, {"error": f'a request is a line {{"do": verb}}; verbs: {", ".join(self._verbs)}'}
            )
            return
        answering = asyncio.create_task(_answer(answers, writer))
        hanging_up = asyncio.create_task(reader.read())
        try:
            await asyncio.wait((answering, hanging_up), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answering, hanging_up):
                task.cancel()
            results = await asyncio.gather(answering, hanging_up, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result


def _account(writer: asyncio.StreamWriter) -> str:
    """Who asks, as the kernel says: the account that logged in, else the one whose process it is."""
    uid = os.getuid()  # where the kernel does not say: only the owner can open the socket
    if hasattr(socket, "SO_PEERCRED"):
        taken = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, _gid = struct.unpack("3i", taken)
        with contextlib.suppress(OSError, ValueError):
            login = int(Path(f"/proc/{pid}/loginuid").read_text())
            uid = uid if login == _NO_LOGIN else login
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


async def _answer(answers: Answers, writer: asyncio.StreamWriter) -> None:
    try:
        async for answer in answers:
            await _say(writer, answer)
    except GasanError as error:
        await _say(writer, {"error": str(error), "input": isinstance(error, InputError)})


async def _say(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
    await writer.drain()
