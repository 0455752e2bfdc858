"""A Modbus TCP server of a few lines, whose registers a test works out; it keeps what it served."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["RegisterServer", "serve_registers"]


@dataclass
class RegisterServer:
    """port: where it listens. served: (first address, registers as bytes) of each answer, in their order."""

    port: int
    served: list[tuple[int, bytes]] = field(default_factory=list)


@contextmanager
def serve_registers(read: Callable[[int, int], bytes]) -> Iterator[RegisterServer]:
    """Serve function 3; ``read(address, count)`` gives 2 * count bytes, or b"" for an illegal address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = RegisterServer(listener.getsockname()[1])

    def answer(peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as stream:
            while len(request := stream.read(12)) == 12:
                address, count = int.from_bytes(request[8:10]), int.from_bytes(request[10:12])
                data = read(address, count)
                if data:
                    server.served.append((address, data))
                    body = request[6:8] + bytes([len(data)]) + data
                else:
                    body = bytes([request[6], request[7] | 0x80, 2])
                peer.sendall(request[:4] + len(body).to_bytes(2) + body)

    def serve() -> None:
        with listener:
            while True:
                try:
                    answer(listener.accept()[0])
                except ConnectionError:
                    continue
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
