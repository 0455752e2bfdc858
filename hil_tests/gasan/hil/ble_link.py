"""A gateway's session against a node's link on a real VM, over the virtual air: bleak, bumble, MicroPython.

async with BleLinkBench(air, "node-one") as bench:
    await bench.wait(lambda: bench.session.up)
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from gasan.boards.air import Air
from gasan.hil.link_bench import LinkBench
from gasan.host.ble.adapter import Adapter
from gasan.host.link import CommandResult
from gasan.host.link.ble import SERVICE, BlePort
from gasan.host.link.ports import PortState

__all__ = ["BleLinkBench"]

_TICK_S = 0.05


class BleLinkBench(LinkBench):
    """As `LinkBench`, by the gateway's own `BlePort`. states: that the port went through."""

    def __init__(self, air: Air, target: str, adapter: Adapter | None = None) -> None:
        super().__init__(None)
        self.air = air
        self.states: list[PortState] = []
        self.sentences: list[str] = []
        self.port = BlePort(
            target, self._came, self._state, adapter or Adapter(SERVICE, f"127.0.0.1:{air.port}")
        )
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self.port.run()), asyncio.create_task(self._ticks())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait(self, done: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Let it run until something holds."""
        try:
            async with asyncio.timeout(timeout_s):
                while not done():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError((timeout_s, self.sentences[-3:], self.session.counters)) from None

    async def do(self, name: str, *args: object) -> CommandResult:
        """Have a command done."""
        number = self.session.command(name, *args)
        self.send()
        await self.wait(lambda: any(result.id == number for result in self.of(CommandResult)))
        return next(result for result in self.of(CommandResult) if result.id == number)

    def _came(self, data: bytes) -> None:
        self.heard += data
        self.take(self.session.feed(data, self.now_ms()))
        self.send()

    def _state(self, state: PortState, sentence: str) -> None:
        self.states.append(state)
        self.sentences.append(sentence)
        if state is not PortState.OPEN:
            self.take(self.session.lost(self.now_ms()))
        self._news.set()

    def send(self) -> None:
        out = self.session.take_output()
        self.sent += out
        if out:
            self.port.write(out)
        self._news.set()

    async def _ticks(self) -> None:
        while True:
            self.take(self.session.tick(self.now_ms()))
            self.send()
            await asyncio.sleep(_TICK_S)
