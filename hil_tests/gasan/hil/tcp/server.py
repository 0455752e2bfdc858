"""A server that answers ten-register reads as fast as it can, in a process of its own."""

import multiprocessing
import socket
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

__all__ = ["PromptServer"]


class PromptServer:
    """A context manager; ``port`` is where it listens. One client at a time, whole requests of function 3."""

    def __init__(self) -> None:
        self.port = 0
        self._process: multiprocessing.process.BaseProcess | None = None

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        mine, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()  # so that its end is heard of
        self.port = mine.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.join()


def _serve(pipe: Connection) -> None:
    request = bytearray(12)
    answer = bytearray(b"\0\0\0\0\0\x17\0\x03\x14" + bytes(20))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname()[1])
        while True:
            client, _ = listener.accept()
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    while client.recv_into(request):
                        answer[:2] = request[:2]
                        answer[6] = request[6]
                        client.sendall(answer)
                except ConnectionError:
                    continue
