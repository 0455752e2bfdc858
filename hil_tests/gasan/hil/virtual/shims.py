"""Stand-ins for the modules that node code imports, on a clock of our own, while shipped code is loaded."""

import asyncio
import gc
import random
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

__all__ = ["Clock", "drive", "shipped"]

_PERIOD = 1 << 30  # of ticks on a board
_CALL_NS = 4_000  # what a look at the clock or the line costs the node, so that a busy wait ends


class Clock:
    """Virtual time in ns. ``passed`` is called whenever it has moved."""

    def __init__(self, seed: int = 0, start_ns: int = 0) -> None:
        self.ns = start_ns
        self.passed: Callable[[], None] = lambda: None
        self._random = random.Random(f"clock/{seed}")

    def move(self, ns: int) -> None:
        """Let time pass."""
        self.ns += ns
        self.passed()

    def look(self) -> int:
        """The time now; looking takes a moment."""
        self.ns += _CALL_NS
        return self.ns

    def sleep(self, ms: int) -> None:
        """What a task's sleep takes: the rest of a millisecond more, as on a board."""
        self.move(1_000_000 * max(0, ms) + self._random.randrange(20_000, 1_000_000 if ms > 0 else 40_000))


class _Lock:
    """asyncio.Lock of MicroPython, as far as the node uses it."""

    def __init__(self) -> None:
        self.state = 0

    async def acquire(self) -> bool:
        while self.state:
            await _Sleep(1)
        self.state = 1
        return True

    def release(self) -> None:
        self.state = 0


class _Sleep:
    def __init__(self, ms: int) -> None:
        self.ms = ms

    def __await__(self) -> Generator[int, None, None]:
        yield self.ms


def drive(task: Any, clock: Clock, wanted: Callable[[], bool]) -> None:
    """Run a coroutine of node code until ``wanted`` says no more, then cancel it."""
    while wanted():
        clock.sleep(task.send(None))
    try:
        task.throw(asyncio.CancelledError())
    except (asyncio.CancelledError, StopIteration):
        return
    raise AssertionError("the node's task does not end")


def _modules(clock: Clock) -> dict[str, ModuleType]:
    """time, asyncio and micropython as MicroPython has them, on the virtual clock."""

    def ticks_diff(end: int, start: int) -> int:
        return (end - start + _PERIOD // 2) % _PERIOD - _PERIOD // 2

    fake_time = ModuleType("time")
    fake_time.__dict__.update(vars(time))
    fake_time.__dict__.update(
        ticks_us=lambda: clock.look() // 1_000 % _PERIOD,
        ticks_ms=lambda: clock.look() // 1_000_000 % _PERIOD,
        ticks_add=lambda ticks, delta: (ticks + delta) % _PERIOD,
        ticks_diff=ticks_diff,
        sleep_us=lambda us: clock.move(1_000 * max(0, us)),
        sleep_ms=lambda ms: clock.move(1_000_000 * max(0, ms)),
    )
    fake_asyncio = ModuleType("asyncio")
    fake_asyncio.__dict__.update(vars(asyncio))
    fake_asyncio.__dict__.update(sleep_ms=_Sleep, Lock=_Lock)
    fake_micropython = ModuleType("micropython")
    fake_micropython.__dict__.update(const=lambda value: value)
    fake_gc = ModuleType("gc")
    fake_gc.__dict__.update(vars(gc))
    fake_gc.__dict__.update(mem_free=lambda: 1 << 20)
    return {"time": fake_time, "asyncio": fake_asyncio, "micropython": fake_micropython, "gc": fake_gc}


@contextmanager
def shipped(clock: Clock, hardware: Mapping[str, ModuleType]) -> Iterator[None]:
    """Within, node code that is loaded finds the stand-ins; afterwards all is as before.

    Code that loads a module by need must run inside too.
    """
    fakes = {**_modules(clock), **hardware}
    saved = {name: sys.modules.get(name) for name in fakes}
    node = {name: module for name, module in sys.modules.items() if name.startswith("gasan.node")}
    for name in node:
        del sys.modules[name]
    sys.modules.update(fakes)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.startswith("gasan.node")]:
            del sys.modules[name]
        sys.modules.update(node)
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
