"""The shipped Modbus TCP and RTU-over-TCP masters on a simulated connection, in virtual time."""

import errno
import importlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from gasan.hil.rs485.bus import MASTER
from gasan.hil.rs485.faults import Fault
from gasan.hil.rs485.responder import Responder
from gasan.hil.tcp.faults import TcpFaultPlan
from gasan.hil.tcp.stream import Stream
from gasan.hil.virtual.judge import Judge, places_of
from gasan.hil.virtual.shims import Clock, drive, shipped

__all__ = ["TcpRun"]

_POLLIN, _POLLOUT, _POLLERR, _POLLHUP = 1, 4, 8, 16
_CONNECT_NS = 300_000
_WAKE_NS = 20_000


class _Socket:
    """A client's socket, as MicroPython has it."""

    def __init__(self, run: "TcpRun") -> None:
        self._run = run
        self._rx = bytearray()
        self._stream: Stream | None = None
        self._up = 0
        self._ended = False

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def connect(self, address: object) -> None:
        run = self._run
        run.sockets.append(self)
        run.connections += 1
        self._up = run.clock.ns + _CONNECT_NS
        self._stream = Stream(run.plan, run.responder, rtu=run.rtu)
        raise OSError(errno.EINPROGRESS, "in progress")

    def close(self) -> None:
        self._run.sockets.remove(self)

    def readinto(self, buf: bytearray, size: int | None = None) -> int | None:
        size = min(len(buf) if size is None else size, len(self._rx))
        if not size:
            return 0 if self._ended else None
        buf[:size] = self._rx[:size]
        del self._rx[:size]
        return size

    def write(self, data: bytes) -> int:
        assert self._stream is not None
        run = self._run
        if self._ended:
            raise OSError(errno.ECONNRESET, "reset")
        run.judge.asked(run.clock.ns, bytes(data if run.rtu else data[6:]))
        self._stream.send(MASTER, bytes(data), run.clock.ns)
        return len(data)

    def pass_time(self, now: int) -> None:
        """Take in what has come."""
        if self._stream is not None:
            for piece in self._stream.run(now):
                if piece.station == MASTER:
                    self._rx += piece.data
                    self._ended |= not piece.data

    def events(self, wanted: int, now: int) -> int:
        """What poll says."""
        up = _POLLOUT if now >= self._up else 0
        return (up | (_POLLIN if self._rx or self._ended else 0)) & wanted


class _Poll:
    def __init__(self, run: "TcpRun") -> None:
        self._run = run
        self._wanted: dict[_Socket, int] = {}

    def register(self, end: _Socket, flags: int) -> None:
        self._wanted[end] = flags

    modify = register

    def unregister(self, end: _Socket) -> None:
        del self._wanted[end]

    def ipoll(self, wait: int) -> Iterator[tuple[_Socket, int]]:
        now = self._run.clock.look()
        until = now + 1_000_000 * wait
        while True:
            found = False
            for end, flags in list(self._wanted.items()):
                end.pass_time(now)
                events = end.events(flags, now)
                if events:
                    found = True
                    yield end, events
            if found or now >= until:
                return
            self._run.clock.move(_WAKE_NS)
            now = self._run.clock.ns


class TcpRun:
    """A run of the master on connections with faults; as `RtuRun`.

    first_id: of the transactions. stall: the share of the node's naps that last for half a second, as a
    commit to flash makes them.
    """

    def __init__(
        self,
        devices: Sequence[Sequence[Any]],
        responder: Responder,
        faults: Iterable[Fault] = (),
        *,
        seed: int = 0,
        rtu: bool = False,
        first_id: int = 1,
        stall: float = 0.0,
        start_ns: int = 0,
        tamper: Callable[[Any], None] | None = None,
    ) -> None:
        self.clock = Clock(seed, start_ns)
        self.plan = TcpFaultPlan(seed, tuple(faults), rtu=rtu)
        self.responder = responder
        self.rtu = rtu
        self.connections = 0
        self.sockets: list[_Socket] = []
        self.quiet_ns = 0  # when the faults ended
        self.judge = Judge(places_of(devices), responder.served, lambda: self.clock.ns, None)
        self.source: Any = None
        self._devices = devices
        self._first_id = first_id
        self._tamper = tamper
        if stall:
            self._stall(stall, seed)

    def _stall(self, rate: float, seed: int) -> None:
        rng, sleep = random.Random(f"stall/{seed}"), self.clock.sleep

        def longer(ms: int) -> None:
            sleep(500 if rng.random() < rate else ms)

        self.clock.sleep = longer  # type: ignore[method-assign]

    def run(self, requests: int, faulty: int | None = None) -> "TcpRun":
        """Poll until so many requests were sent, and inject faults into the first ``faulty`` of them only."""
        fake_socket, fake_select = ModuleType("socket"), ModuleType("select")
        fake_socket.__dict__.update(
            SOCK_STREAM=1,
            getaddrinfo=lambda host, port, *rest: [(2, 1, 0, "", (host, port))],
            socket=lambda *rest: _Socket(self),
        )
        fake_select.__dict__.update(
            POLLIN=_POLLIN, POLLOUT=_POLLOUT, POLLERR=_POLLERR, POLLHUP=_POLLHUP, poll=lambda: _Poll(self)
        )
        last = requests if faulty is None else faulty
        with shipped(self.clock, {"socket": fake_socket, "select": fake_select}):
            bus = [3 if self.rtu else 1, "lan", {1: "10.0.0.1", 2: 502}, [list(one) for one in self._devices]]
            if self._tamper is not None:
                self._tamper(importlib.import_module("gasan.node.poll"))
            name = "gasan.node.modbus_rtu_tcp" if self.rtu else "gasan.node.modbus_tcp"
            self.source = importlib.import_module(name).Source(bus, self.judge, None)
            if not self.rtu:
                self.source._read.request[:2] = (self._first_id - 1 & 0xFFFF).to_bytes(2, "big")

            def wanted() -> bool:
                done = len(self.judge.requests)
                if done >= last and self.plan.faults and last < requests:
                    self.plan.faults = ()
                    self.quiet_ns = self.clock.ns
                return done < requests

            drive(self.source.run(), self.clock, wanted)
        return self
