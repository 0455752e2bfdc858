"""A connection's faults between real sockets, in a thread of its own."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gasan.hil.rs485.bus import MASTER, OUTSIDE
from gasan.hil.rs485.faults import Fault, Injection
from gasan.hil.rs485.responder import Responder, Served
from gasan.hil.tcp.faults import TcpFaultPlan
from gasan.hil.tcp.stream import Stream

__all__ = ["TcpProxy"]

_WAIT_S = 0.2
_SPIN_NS = 100_000


@dataclass(eq=False)
class _Connection:
    stream: Stream
    ends: dict[int, socket.socket] = field(default_factory=dict)


class TcpProxy:
    """Listens on a port of this machine and passes frames to ``target``, or to a responder inside.

    target: (host, port) of the server. rtu: the frames are those of RTU over TCP. A context manager; ``port``
    is where a client connects. Raises OSError when no port can be had; a server that cannot be reached shows
    to the client as a connection that is closed.
    """

    def __init__(
        self,
        target: tuple[str, int] | None = None,
        *,
        responder: Responder | None = None,
        faults: Iterable[Fault] = (),
        seed: int = 0,
        rtu: bool = False,
    ) -> None:
        if (target is None) == (responder is None):
            raise ValueError("give either a target or a responder")
        self.port = 0
        self.connections = 0
        self._target = target
        self._responder = responder
        self._plan = TcpFaultPlan(seed, tuple(faults), rtu=rtu)
        self._rtu = rtu
        self._lock = threading.Lock()
        self._live: list[_Connection] = []
        self._selector = selectors.DefaultSelector()
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Listen; returns when the port is there."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._wake = socket.socketpair()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake[0], selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="tcp-proxy", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close everything."""
        if self._thread is None or self._wake is None or self._listener is None:
            return
        self._wake[1].close()
        self._thread.join()
        self._thread = None
        for connection in list(self._live):
            self._close(connection)
        self._listener.close()
        self._wake[0].close()
        self._selector.close()

    def injected(self) -> list[Injection]:
        """The faults that were injected."""
        with self._lock:
            return list(self._plan.injected)

    def served(self) -> list[Served]:
        """What the responder has answered; times are ``time.monotonic_ns()``."""
        with self._lock:
            return [] if self._responder is None else list(self._responder.served)

    def _run(self) -> None:
        while True:
            now = time.monotonic_ns()
            with self._lock:
                for connection in list(self._live):
                    self._deliver(connection, now)
            dues = [due for one in self._live if (due := one.stream.next_time()) is not None]
            wait = max(0, min(dues) - time.monotonic_ns() - _SPIN_NS) / 1e9 if dues else _WAIT_S
            for key, _ in self._selector.select(min(wait, _WAIT_S)):
                assert self._wake is not None
                if key.fileobj is self._wake[0]:
                    return
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    else:
                        self._read(*key.data)

    def _accept(self) -> None:
        assert self._listener is not None
        client, _ = self._listener.accept()
        self.connections += 1
        connection = _Connection(Stream(self._plan, self._responder, 0, self._rtu), {MASTER: client})
        self._live.append(connection)
        if self._target is not None:
            try:
                connection.ends[OUTSIDE] = socket.create_connection(self._target, timeout=2)
            except OSError:
                self._close(connection)
                return
        for station, end in connection.ends.items():
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end, selectors.EVENT_READ, (connection, station))

    def _read(self, connection: _Connection, station: int) -> None:
        if connection not in self._live:
            return
        try:
            data = connection.ends[station].recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            connection.stream.send(station, data, time.monotonic_ns())
        else:
            self._close(connection)

    def _deliver(self, connection: _Connection, now: int) -> None:
        for piece in connection.stream.run(now):
            if not piece.data:
                self._close(connection)
                return
            with contextlib.suppress(OSError):  # nobody is there any more, or nobody reads
                connection.ends[piece.station].send(piece.data)

    def _close(self, connection: _Connection) -> None:
        self._live.remove(connection)
        for end in connection.ends.values():
            with contextlib.suppress(KeyError):
                self._selector.unregister(end)
            end.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
