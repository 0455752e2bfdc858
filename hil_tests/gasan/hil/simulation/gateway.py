"""A gateway's machine: its clocks, its disk, and the process on it, which is the shipped one but for its
threads,
sockets and control verbs.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from gasan.hil.simulation.loop import EventClock
from gasan.hil.simulation.wire import Port, Socket, current_port, current_sockets
from gasan.host.errors import GasanError
from gasan.host.gateway import node_link, service
from gasan.host.gateway.clock import ClockReading
from gasan.host.gateway.live import LiveView
from gasan.host.gateway.logs import NodeLog
from gasan.host.gateway.node_link import NodeLink
from gasan.host.gateway.service import Gateway
from gasan.host.keys import NodeKey
from gasan.host.link import GatewaySession
from gasan.host.store import open as store_open
from gasan.host.store.ingest import Ingest
from gasan.host.store.open import open_store
from gasan.host.store.writer import StoreWriter

__all__ = ["Machine", "shipped_gateway"]

_CLOCK_S: Final = 3600.0  # between two looks at the system's clock, instead of 10 s
_PAGES_MOST: Final = 4_294_967_294
_current: "ContextVar[Machine]" = ContextVar("_current")


class Machine:
    """One Raspberry Pi with its database at `db`. `start` and `kill` are for its gateway process.

    epoch_ms: Unix time at the beginning of the run. failed: called with what no gateway may do.
    """

    def __init__(
        self,
        name: str,
        keys: list[NodeKey],
        db: Path,
        clock: EventClock,
        epoch_ms: int,
        rng: random.Random,
        failed: Callable[[str], None],
    ) -> None:
        self.name = name
        self.db = db
        self.sockets = {key.name: Socket() for key in keys}
        self.keys = keys
        self.disk_full = False
        self.zeros: dict[str, int] = {}
        """By start of the machine: when its monotonic clock was 0, in ms of the run."""
        self.wall_error_ms = 0
        self.synchronised = True
        self.process: Process | None = None
        self.rng = rng
        self.failed = failed
        self._clock = clock
        self._epoch_ms = epoch_ms
        self.boot = ""
        self.boot_up(0)

    def boot_up(self, wall_error_ms: int) -> None:
        """Start the machine; its clock is so wrong until a time server is reached (0: it is right)."""
        self.kill()
        self.boot = f"{self.name} {len(self.zeros)}"
        self.zeros[self.boot] = self._clock.ms - self.rng.randrange(5_000, 60_000)
        self.set_clock(wall_error_ms, not wall_error_ms)

    def set_clock(self, wall_error_ms: int, synchronised: bool) -> None:
        self.wall_error_ms = wall_error_ms
        self.synchronised = synchronised

    def mono_ms(self) -> int:
        return self._clock.ms - self.zeros[self.boot]

    def read_clock(self) -> ClockReading:
        utc = self._epoch_ms + self._clock.ms + self.wall_error_ms
        return ClockReading(self.mono_ms(), utc, self.synchronised)

    def start(self) -> None:
        """Start the gateway, unless it runs."""
        if self.process is None:
            context = copy_context()
            context.run(_current.set, self)
            context.run(current_sockets.set, self.sockets)
            self.process = context.run(Process, self)

    def kill(self) -> None:
        """kill -9."""
        process, self.process = self.process, None
        if process is not None:
            process.end()


class Process:
    """A gateway that runs; made in the context of its machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.writer = _Writer(machine)
        self.writer.process = self
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        machine = self.machine
        try:
            await _Gateway(machine, self.writer).serve()
        except Exception as error:
            machine.failed(f"gateway {machine.name} failed: {error!r}")
            raise

    def end(self) -> None:
        self.writer.kill()
        self._task.cancel()
        for socket in self.machine.sockets.values():
            socket.port = None


class _Gateway(Gateway):
    """`Gateway` without what it does for people: control socket, boards, configs."""

    def __init__(self, machine: Machine, writer: "_Writer") -> None:
        self._machine = machine
        self._writer = writer
        self._live = LiveView()
        self._clock_row = 0
        self._clock = machine.read_clock()

    async def serve(self) -> None:
        writer = self._writer
        assert isinstance(writer, _Writer)
        await writer.start()
        await self._set_clock(self._machine.read_clock())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_clock())
            for key in self._machine.keys:
                # A context of its own for each: its port is found by it.
                context = copy_context()
                link = context.run(
                    NodeLink,
                    key.name,
                    key,
                    partial(Port, key.name),
                    writer,
                    self._live,
                    _Log(),
                    lambda: self._clock_row,
                )
                tasks.create_task(link.run(), context=context)


class _Writer(StoreWriter):
    """`StoreWriter` without its thread: a group is written a moment after its first change came, and
    reported a
    moment after that. A kill may come between.
    """

    process: Process

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.db, _Keys(machine.keys))
        self._machine = machine
        self._alive = False
        no_thread: Any = SimpleNamespace(wait=lambda _seconds: True, set=lambda: None, put=self._put)
        self._stopping = self._changes = no_thread
        self._waiting: list[Any] = []
        self._turn_due = False
        self._tries = 0
        self.dies_in_commit = False
        """The next transaction is not committed: the process is killed within it."""

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = open_store(self._machine.db)
        self._ingest = Ingest(self._store, self._keys)
        self.store_id = self._store.id
        self._alive = True

    def kill(self) -> None:
        if self._alive:
            if self._store.connection.in_transaction:
                self._store.connection.execute("ROLLBACK")
            self._store.close()
        self._alive = False

    def _put(self, change: Any) -> None:
        if self._alive:
            self._waiting.append(change)
            self._turn_in(0.01 + self._machine.rng.expovariate(50))

    def _turn_in(self, seconds: float) -> None:
        if not self._turn_due and self._loop is not None:
            self._turn_due = True
            self._loop.call_later(seconds, self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        if not self._alive:
            return
        ingest, store = self._ingest, self._store
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        most = pages if self._machine.disk_full else _PAGES_MOST
        store.connection.execute(f"PRAGMA max_page_count = {most}")
        group = self._waiting[: self._group_size]
        del self._waiting[: self._group_size]
        if self.dies_in_commit and group:
            with contextlib.suppress(_Killed, GasanError), ingest.transaction():
                for change in group:
                    change.make(ingest)
                raise _Killed
            self._machine.kill()
            return
        if group and not self._commit(group):
            self._waiting[:0] = group
            self._tries += 1
            self._turn_in(1.0 if self._tries < 10 else 300.0)
            return
        self._tries = 0
        while ingest.decodable:
            if not self._persist(Ingest.decode):
                break
        if self._waiting:
            self._turn_in(0.01)

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        self._loop.call_later(self._machine.rng.expovariate(200), self._tell_now, function, args)

    def _tell_now(self, function: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self._alive:
            function(*args)


class _Killed(Exception):
    pass


class _Keys:
    def __init__(self, keys: list[NodeKey]) -> None:
        self._by_id = {key.node_id: key for key in keys}

    def key(self, node_id: bytes, generation: int) -> bytes | None:
        key = self._by_id.get(node_id)
        return key.key if key is not None and key.generation == generation else None

    def name(self, node_id: bytes) -> str:
        return self._by_id[node_id].name


class _Log(NodeLog):
    """Keeps nothing."""

    def __init__(self) -> None:
        pass

    def add(self, text: str) -> None:
        pass


@contextlib.contextmanager
def shipped_gateway(rng: random.Random) -> Any:
    """Meanwhile the shipped modules take clocks, ports and randomness from the simulation."""
    stretched = SimpleNamespace(**vars(asyncio))
    stretched.sleep = lambda seconds: current_port.get().turn(seconds)
    changes: list[tuple[Any, str, Any]] = [
        (node_link, "mono_ms", lambda: _current.get().mono_ms()),
        (node_link, "asyncio", stretched),
        (node_link, "GatewaySession", partial(GatewaySession, rng=rng.randbytes)),
        (service, "read_clock", lambda: _current.get().read_clock()),
        (service, "machine_boot", lambda: _current.get().boot),
        (service, "_CLOCK_S", _CLOCK_S),
        (store_open, "secrets", SimpleNamespace(token_bytes=rng.randbytes)),
    ]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)
