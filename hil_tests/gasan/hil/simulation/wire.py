"""The cable between a node and a gateway's machine, with delays and faults."""

import asyncio
import random
from collections.abc import Callable
from contextvars import ContextVar, copy_context

from gasan.hil.link_bench import Faults
from gasan.host.link.ports import PortState

__all__ = ["Cable", "Port", "Socket", "current_port", "current_sockets"]

_BYTES_PER_S = 11_520  # 115200 baud
_DELAY_S = 0.004
_STRETCH = 2.5  # of the pause between two ticks of a session, which is 100 ms
_WAITING_S = 0.5  # of bytes that a node may write ahead

current_port: "ContextVar[Port]" = ContextVar("current_port")
"""The port of the link whose task runs."""

current_sockets: "ContextVar[dict[str, Socket]]" = ContextVar("current_sockets")
"""Those of the machine whose process runs, by path."""


class _Way:
    """One direction: bytes arrive in order, each piece at its baud rate and with a jitter of its own."""

    def __init__(self, rng: random.Random, faults: Faults, deliver: Callable[[bytes], None]) -> None:
        self._rng = rng
        self._faults = faults
        self._deliver = deliver
        self._free = 0.0  # when the line has nothing more to send
        self._last = 0.0  # when the last piece arrives
        self.open = True

    def busy(self) -> bool:
        return self._free - asyncio.get_running_loop().time() > _WAITING_S

    def send(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._free = max(self._free, loop.time()) + len(data) / _BYTES_PER_S
        self._last = max(self._last, self._free + self._rng.expovariate(1 / _DELAY_S))
        data = self._faults(data)
        if data:
            loop.call_at(self._last, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self.open:
            self._deliver(data)


class Socket:
    """Where a machine takes a node's cable. Processes of the machine come and go, and open it with a
    `Port`.
    """

    def __init__(self) -> None:
        self.cable: Cable | None = None
        self.port: Port | None = None
        self.plugged = asyncio.Event()


class Cable:
    """One connection of a node to a machine, until `cut`.

    to_node: called with what arrives there. noise: the chance that a piece of bytes is hurt on its way.
    """

    def __init__(
        self, rng: random.Random, socket: Socket, to_node: Callable[[bytes], None], noise: float
    ) -> None:
        faults = Faults(rng, noise)
        self.socket = socket
        self.gone = asyncio.Event()
        self.up = _Way(rng, faults, self._to_gateway)
        self.down = _Way(rng, faults, to_node)
        socket.cable = self
        socket.plugged.set()

    def cut(self) -> None:
        """Pull it: what is on its way is lost."""
        self.up.open = self.down.open = False
        self.socket.cable = None
        self.socket.plugged.clear()
        self.gone.set()

    def _to_gateway(self, data: bytes) -> None:
        if self.socket.port is not None:
            self.socket.port.arrived(self, data)


class Port:
    """What a `NodeLink` sees of a serial port: it stands in for `gasan.host.link.serial.SerialPort`."""

    def __init__(
        self,
        path: str,
        on_data: Callable[[bytes], None],
        on_state: Callable[[PortState, str], None],
        baudrate: int = 115_200,
    ) -> None:
        self._socket = current_sockets.get()[path]
        self._on_data = on_data
        self._on_state = on_state
        self._cable: Cable | None = None
        current_port.set(self)
        self._context = copy_context()

    async def run(self) -> None:
        """Keeps the port open while a cable is plugged in."""
        self._socket.port = self
        while True:
            await self._socket.plugged.wait()
            cable = self._cable = self._socket.cable
            assert cable is not None
            self._on_state(PortState.OPEN, "the port is open")
            await cable.gone.wait()
            self._cable = None
            self._on_state(PortState.LOST, "the cable is pulled")

    def write(self, data: bytes) -> bool:
        """Sends the bytes; False while there is no cable."""
        if self._cable is None:
            return False
        if data:
            self._cable.down.send(data)
        return True

    def arrived(self, cable: Cable, data: bytes) -> None:
        if cable is self._cable:
            self._context.run(self._on_data, data)

    async def turn(self, seconds: float) -> None:
        """Sleeps, longer than it is asked to; without a cable, until there is one."""
        await self._socket.plugged.wait()
        await asyncio.sleep(seconds * _STRETCH)
