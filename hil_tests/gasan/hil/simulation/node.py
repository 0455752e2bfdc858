"""A node: the shipped app and all that it loads, with a source that logs what it samples, a flash and a
power switch.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from gasan.hil.scripted_node import channel
from gasan.hil.simulation.device import Firmware, Flash, PowerCut, Reset
from gasan.hil.simulation.loop import EventClock
from gasan.hil.simulation.mutants import Mutant
from gasan.hil.simulation.truth import BootLog, FrameLog, Sample, frames_in
from gasan.hil.simulation.wire import Cable
from gasan.host.keys import NodeKey
from gasan.ota.slots import pack
from gasan.wire import cbor
from gasan.wire.columns import U32
from gasan.wire.quality import TIMEOUT

__all__ = ["CHANNELS", "SimNode", "compiled"]

GROUPS: Final = ((0, 1), (2,))
"""Channels that are read together."""

CHANNELS: Final = (("meter", "energy"), ("meter", "energy_again"), ("press", "strokes"))
"""(device, channel) by number."""

#: What is polled in real life is looked at seldom here while nothing can have happened, so that quiet hours
#: cost
#: little. Nothing but delays follows from it.
_STRETCHED: Final = {
    "gasan.node.app": {
        "_STEP_MS": 3_600_000,
        "_HANG_MS": 4 * 86_400_000,
        "_HEALTH_MS": 43_200_000,
    },
    "gasan.node.batcher": {"_TICK_MS": 1_200_000},
    "gasan.node.link": {"_PIECE": 4096},
}
_IDLE_S: Final = 0.5  # between two turns of the link while bytes may come
_ALONE_S: Final = 86_400.0  # while no cable is plugged in


def compiled(name: str, *, max_age_ms: int, spool_bytes: int, period_ms: int) -> bytes:
    """A config as `gasan.host.compile` makes them, with a bus of a kind that only the simulation knows."""
    meanings = [channel(device, name, U32, unit="count", period_ms=period_ms) for device, name in CHANNELS]
    bus = [255, "simulated", {1: period_ms}, [["", [[0]] * len(CHANNELS)]]]
    limits = {1: max_age_ms, 3: spool_bytes, 4: 0}
    return cbor.dumps([2, name, limits, [bus], [b"\x82" + cbor.dumps(0) + cbor.dumps(meanings)]])


class SimNode:
    """One node. `power_on` and `power_off` are its switch; `plug` and `unplug` its console's cable.

    ppm: by how much its crystal runs fast. failed: called with what no node may do.
    """

    def __init__(
        self,
        key: NodeKey,
        clock: EventClock,
        rng: random.Random,
        config: bytes,
        *,
        flash_blocks: int,
        ppm: int,
        failed: Callable[[str], None],
        mutant: Mutant | None = None,
    ) -> None:
        self.key = key
        self.name = key.name
        self.channels = CHANNELS
        self.flash = Flash(flash_blocks, lambda: asyncio.get_running_loop().call_soon(self._lost_power))
        self.boots: list[BootLog] = []
        self.app: Any = None
        """The running app; None while the power is off."""
        self._clock = clock
        self._rng = rng
        self._ppm = ppm
        self._failed = failed
        self._began = 0.0
        self._ticks_at_start = 0
        self._cause = 1
        self._values = [0] * len(CHANNELS)
        self._cable: Cable | None = None
        self._input = bytearray()
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._log: BootLog | None = None
        self._life = 0  # of the flash, in which this start began
        self._said: deque[str] = deque(maxlen=4)
        self.flash.files["/secret/key"] = key.encode()
        self.reconfigure(config)
        self.firmware = Firmware(
            ticks=self._ticks,
            sleep_ms=self._sleep_ms,
            flash=self.flash,
            rng=rng,
            cause=lambda: self._cause,
            loaded=self._loaded,
            mutant=mutant,
        )
        self.firmware.put("gasan.node.console", Console=lambda: self)
        self.firmware.put("gasan.node.sources", add=self._add_source)

    # -- the power switch

    def power_on(self, cause: int = 1) -> None:
        """Start, unless it runs. cause: as `machine.reset_cause` gives it."""
        if self._task is not None:
            return
        self._cause = cause
        self._began = self._clock.seconds
        far = self._rng.random() < 0.3
        self._ticks_at_start = self._rng.randrange(1 << 30) if far else 0
        self._input.clear()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def power_off(self) -> None:
        """Pull the plug: all that was not committed is gone."""
        if self._task is None:
            return
        self.flash.cut()
        app, self.app = self.app, None
        for task in [self._task, *(task for _, _, task in (app._tasks if app else ()))]:
            task.cancel()
        self._task = None
        self._wake_link()
        if self._log is not None:
            self._log.ended_ms = self._clock.ms
            self._look_at_the_last_frame(self._log)
            self._log = None

    def _look_at_the_last_frame(self, log: BootLog) -> None:
        """The power cut may have met it before it was kept or behind."""
        if log.frames:
            seq, entry = max(log.frames.items())
            if not entry.committed:
                entry.committed = (log.boot, seq) in frames_in(self.flash.files)

    def freeze(self) -> None:
        """The run is over: the node stands still, and its log stays that of a node that runs."""
        log, self._log = self._log, None
        self.power_off()
        self._log = log

    @property
    def on(self) -> bool:
        return self._task is not None

    def reconfigure(self, config: bytes) -> None:
        """Write another config, as one does with the node on the bench; it takes effect at the next start."""
        self.flash.files.pop("/cfg/state", None)
        self.flash.files.pop("/cfg/b", None)
        self.flash.files["/cfg/a"] = pack(config)

    async def _run(self) -> None:
        """What main.py and `app.run` do."""
        mine = asyncio.current_task()
        life = self._life = self.flash.life
        begin, app = self.firmware.module("gasan.node.begin"), self.firmware.module("gasan.node.app")
        word = self.flash.files.pop("/reset", b"").decode()
        try:
            crashes, crash = begin.crashed(word)
            node_id, generation, key = begin.identity()
            node = app.Node(node_id, generation, key, crashes)
            self._log = BootLog(self.name, node.boot, self._clock.ms)
            self.boots.append(self._log)
            self.app = node
            await node.run(word, crash)
        except Reset:
            if self._task is mine:
                self.power_off()
                asyncio.get_running_loop().call_later(0.5, self.power_on, 5)
        except PowerCut:
            pass  # `_lost_power` is under way
        except Exception as error:
            if self.flash.life != life:
                return  # a part has died of the power cut, and the supervisor saw it
            said = "; ".join(self._said)
            self._failed(f"{self.name} crashed: {error!r}; its last words: {said}")
            raise

    def _lost_power(self) -> None:
        """A cut inside a flash operation: the power comes back by itself."""
        self.power_off()
        asyncio.get_running_loop().call_later(self._rng.choice((0.5, 3.0, 600.0)), self.power_on)

    # -- the cable: this object is the node's console

    is_console = False

    def plug(self, cable: Cable) -> None:
        self._cable = cable
        self._wake_link()

    def unplug(self) -> None:
        if self._cable is not None:
            self._cable.cut()
            self._cable = None
        self._input.clear()
        self._wake_link()

    def arrived(self, data: bytes) -> None:
        """Bytes for the node."""
        if self.on:
            self._input += data
            self._wake_link()

    def read(self, buf: bytearray) -> int:
        n = min(len(buf), len(self._input))
        buf[:n] = self._input[:n]
        del self._input[:n]
        return n

    def write(self, view: memoryview) -> int:
        if self.app is None or (self._cable is not None and self._cable.up.busy()):
            return 0
        if self._cable is not None:
            self._cable.up.send(bytes(view))
        return len(view)

    def claim(self, on: bool) -> None:
        pass

    # -- what the firmware stands on

    def _ticks(self) -> int:
        passed = (self._clock.seconds - self._began) * (1000 + self._ppm / 1000)
        return self._ticks_at_start + int(passed + 1e-4)

    async def _sleep_ms(self, module: str, ms: int) -> None:
        if module != "gasan.node.link" or ms <= 0 or self._input:
            await asyncio.sleep(ms / 1000)
            return
        loop = asyncio.get_running_loop()
        self._wake = wake = loop.create_future()
        timer = loop.call_later(_ALONE_S if self._cable is None else _IDLE_S, self._wake_link)
        try:
            await wake
        finally:
            timer.cancel()

    def _wake_link(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _loaded(self, module: ModuleType) -> None:
        for name, value in _STRETCHED.get(module.__name__, {}).items():
            assert hasattr(module, name), f"{module.__name__} has no {name} any more"
            setattr(module, name, value)
        if module.__name__ == "gasan.node.log":
            module._line = lambda level, text: self._said.append(f"{level} {text}")  # type: ignore[attr-defined]
        elif module.__name__ == "gasan.node.spool":
            module.Spool = self._watched(module.Spool)  # type: ignore[attr-defined]

    def _watched(self, spool: Any) -> Any:
        """The spool's class, with each frame noted that is given to it."""
        node = self

        class Watched(spool):  # type: ignore[misc]
            def append(self, data: memoryview, boot: bytes, seq: int) -> None:
                log = node._log
                if log is None or node._life != node.flash.life:
                    raise PowerCut
                assert boot == log.boot
                entry = log.frames[seq] = FrameLog(bytes(data))
                super().append(data, boot, seq)
                entry.committed = True

        return Watched

    def _add_source(self, app: Any, buses: list[Any]) -> None:
        app.sources.append(("simulated", _Source(self, app, buses[0][2][1])))

    def _sample(self, sampler: Any, number: int, group: Any) -> None:
        """Take one row of a group, and log it."""
        log = self._log
        if log is None or self._life != self.flash.life:
            return
        ms = self._clock.ms
        before = sampler.sampled
        is_bad = self._rng.random() < 0.03
        if is_bad:
            sampler.fail(group, TIMEOUT)
        else:
            sampler.start(group)
            for column, channel_number in enumerate(GROUPS[number]):
                self._values[channel_number] += 1
                group.put(column, self._values[channel_number].to_bytes(4, "big"), 0)
            sampler.finish(group)
        if sampler.sampled == before:
            log.missed += group.columns
            return
        for channel_number in GROUPS[number]:
            raw = None if is_bad else self._values[channel_number]
            log.samples.setdefault(channel_number, []).append(Sample(raw, ms))


class _Source:
    """What polls the equipment, as far as a node sees of it: rows of two groups at uneven times."""

    lock = None

    def __init__(self, node: SimNode, app: Any, period_ms: int) -> None:
        self.counters: dict[int, int] = {}
        self.beat = node.firmware.module("gasan.node.clock").ticks_ms()
        self._node = node
        self._sampler = app.sampler
        self._period_ms = period_ms
        self._groups = [
            app.sampler.group(channels, bytes([U32]) * len(channels), period_ms if i == 0 else 0)
            for i, channels in enumerate(GROUPS)
        ]

    async def run(self) -> None:
        rng = self._node._rng
        ticks = self._node.firmware.module("gasan.node.clock").ticks_ms
        while True:
            self.beat = ticks()
            jitter = rng.expovariate(20) if rng.random() < 0.5 else 0.0
            await asyncio.sleep(self._period_ms / 1000 + jitter)
            self._node._sample(self._sampler, 0, self._groups[0])
            if rng.random() < 0.3:  # rows that come unasked
                self._node._sample(self._sampler, 1, self._groups[1])
