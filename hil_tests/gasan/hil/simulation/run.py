"""One run: a site of nodes and two gateways for some days, the faults that its seed brings, and the
judgement.
"""

import asyncio
import hashlib
import logging
import random
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gasan.hil.simulation.device import PowerCut
from gasan.hil.simulation.gateway import Machine, shipped_gateway
from gasan.hil.simulation.judge import Judgement, judge
from gasan.hil.simulation.loop import EventClock, VirtualLoop
from gasan.hil.simulation.mutants import Mutant
from gasan.hil.simulation.node import SimNode, compiled
from gasan.hil.simulation.wire import Cable
from gasan.host.keys import NodeKey

__all__ = ["DENSE", "Rates", "Run", "simulate"]

_HOUR_S: Final = 3600.0
_DAY_S: Final = 24 * _HOUR_S
_YEAR_MS: Final = 366 * 86_400_000
_EPOCHS_MS: Final = (1_767_225_600_000, 1_708_300_800_000, 1_798_000_000_000)
"""When runs begin: January 2026, the end of a leap year's February, the end of a year."""

_WALL_ERRORS_MS: Final = (3_600_000, -3_600_000, 10 * _YEAR_MS, -10 * _YEAR_MS, 40, -700)
_DRAIN_S: Final = 900.0
_LOOK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Rates:
    """How often what happens. Hours are means of exponential distributions, chances are per contact.

    nodes: how many a site may have. A contact is a time in which a node's cable is in a gateway's machine:
    contact_s long, away_hours apart.
    """

    nodes: tuple[int, ...] = (1, 2)
    period_s: float = 1200.0
    contact_s: float = 6.0
    away_hours: float = 14.0
    long_away_hours: float = 100.0
    reset_hours: float = 40.0
    reconfigure: float = 0.1  # of a power cut
    storm: float = 0.03  # of a power cut: many more follow at once
    other_gateway: float = 0.3
    gateway_kill: float = 0.25
    killed_in_commit: float = 0.1
    disk_full: float = 0.08
    reboot: float = 0.08
    clock_jump: float = 0.1
    node_cut: float = 0.1
    node_cut_in_flash: float = 0.15
    noisy: float = 0.15
    drained: float = 0.7  # of a run: at its end the nodes are given time to deliver all


DENSE: Final = Rates(
    nodes=(2,),
    away_hours=8,
    reset_hours=20,
    storm=0.15,
    other_gateway=0.4,
    gateway_kill=0.4,
    killed_in_commit=0.2,
    disk_full=0.4,
    reboot=0.15,
    clock_jump=0.2,
    noisy=0.4,
)
"""As much as happens in a month happens within a week."""


@dataclass(slots=True)
class Run:
    """What a run was. seed, days: by which it is repeated. faults: how many of each happened."""

    seed: int
    days: float
    judgement: Judgement = field(default_factory=Judgement)
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """What repeats it."""
        return f"python -m gasan.hil.simulation --seed {self.seed} --days {self.days:g}"

    def count(self, fault: str) -> None:
        self.faults[fault] = self.faults.get(fault, 0) + 1


def simulate(seed: int, days: float, rates: Rates | None = None, mutant: Mutant | None = None) -> Run:
    """Run a site for so many days, and judge it. Repeatable: all that happens follows from the arguments."""
    rates = rates or Rates()
    run = Run(seed, days)
    clock = EventClock()
    loop = VirtualLoop(clock)
    unwatched = logging.getLogger("gasan")
    level = unwatched.level
    unwatched.setLevel(logging.CRITICAL)
    shared = Path("/dev/shm")
    try:
        with (
            tempfile.TemporaryDirectory(
                dir=shared if shared.is_dir() else None, prefix="gasan-sim-"
            ) as folder,
            mutant.applied() if mutant is not None else nullcontext(),
            shipped_gateway(_stream(seed, "gateway")),
        ):
            asyncio.set_event_loop(loop)
            site = _Site(run, rates, clock, Path(folder), mutant)
            loop.set_exception_handler(site.unhandled)
            loop.run_until_complete(site.run())
            run.judgement = judge(site.nodes, site.machines, site.epoch_ms, drained=site.drained)
            run.judgement.faults[:0] = site.failures
    finally:
        loop.close()
        asyncio.set_event_loop(None)
        unwatched.setLevel(level)
    return run


def _stream(seed: int, name: str) -> random.Random:
    """A stream of random numbers of its own for each part, so that one part's use does not move the
    others.
    """
    return random.Random(hashlib.sha256(f"{seed} {name}".encode()).digest())


class _Site:
    def __init__(
        self, run: Run, rates: Rates, clock: EventClock, folder: Path, mutant: Mutant | None
    ) -> None:
        self.failures: list[str] = []
        self.drained = False
        self._run = run
        self._rates = rates
        self._clock = clock
        self._end_s = run.days * _DAY_S
        rng = self._rng = _stream(run.seed, "site")
        self.epoch_ms = rng.choice(_EPOCHS_MS) + rng.randrange(86_400_000)
        self._tasks: list[asyncio.Task[None]] = []
        keys = [
            NodeKey(f"node-{i}", rng.randbytes(8), 0, rng.randbytes(32))
            for i in range(rng.choice(rates.nodes))
        ]
        self.machines = [
            Machine(
                name,
                keys,
                folder / f"{name}.sqlite",
                clock,
                self.epoch_ms,
                _stream(run.seed, name),
                self._fail,
            )
            for name in ("pi-1", "pi-2")
        ]
        self.nodes: list[SimNode] = []
        for key in keys:
            blocks = rng.choice((12, 16, 48))
            self.nodes.append(
                SimNode(
                    key,
                    clock,
                    _stream(run.seed, key.name),
                    self._config(key.name),
                    flash_blocks=blocks,
                    ppm=rng.randrange(-60, 61),
                    failed=self._fail,
                    mutant=mutant,
                )
            )

    def _config(self, name: str) -> bytes:
        rng = self._rng
        return compiled(
            name,
            max_age_ms=rng.choice((7_200_000, 14_400_000)),
            spool_bytes=rng.choice((16_384, 24_576, 131_072)),
            period_ms=int(self._rates.period_s * 1000),
        )

    def _fail(self, sentence: str) -> None:
        self.failures.append(f"day {self._clock.seconds / _DAY_S:.3f}: {sentence}")

    def unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What no task has caught; a power cut ends tasks, and that is in order."""
        if not isinstance(context.get("exception"), PowerCut):
            self._fail(f"{context['message']}: {context.get('exception')!r}")

    # -- the month

    async def run(self) -> None:
        for machine in self.machines:
            machine.start()
        for node in self.nodes:
            node.power_on()
            rng = _stream(self._run.seed, f"faults of {node.name}")
            self._tasks += [
                asyncio.create_task(self._contacts(node, rng)),
                asyncio.create_task(self._resets(node, _stream(self._run.seed, f"resets of {node.name}"))),
            ]
        await asyncio.sleep(self._end_s)
        for task in self._tasks:
            task.cancel()
        await self._settle()

    async def _contacts(self, node: SimNode, rng: random.Random) -> None:
        rates = self._rates
        while True:
            hours = rates.long_away_hours if rng.random() < 0.08 else rates.away_hours
            await asyncio.sleep(rng.expovariate(1 / (hours * _HOUR_S)))
            machine = self.machines[rng.random() < rates.other_gateway]
            seconds = 1 + rng.expovariate(1 / rates.contact_s)
            noise = rng.choice((0.01, 0.1)) if self._happens(rng, "noisy cable", rates.noisy) else 0.0
            node.plug(Cable(rng, machine.sockets[node.name], node.arrived, noise))
            faults = [
                asyncio.create_task(fault)
                for fault in (
                    self._gateway_faults(machine, rng, seconds),
                    self._node_faults(node, rng, seconds),
                )
            ]
            try:
                await asyncio.sleep(seconds)
                await asyncio.gather(*faults)  # each of which lengthens the contact
            finally:
                node.unplug()

    def _happens(self, rng: random.Random, fault: str, chance: float) -> bool:
        happens = rng.random() < chance
        if happens:
            self._run.count(fault)
        return happens

    async def _gateway_faults(self, machine: Machine, rng: random.Random, seconds: float) -> None:
        rates = self._rates
        if self._happens(rng, "clock jump", rates.clock_jump):
            self._later(rng.uniform(0, 2 * seconds), machine.set_clock, rng.choice(_WALL_ERRORS_MS), False)
            self._later(rng.expovariate(1 / _HOUR_S), machine.set_clock, 0, True)
        if self._happens(rng, "disk full", rates.disk_full):
            await asyncio.sleep(rng.uniform(0, seconds))
            machine.disk_full = True
            if rng.random() < 0.5:
                await asyncio.sleep(rng.uniform(0, 20))
                machine.disk_full = False
            else:
                self._later(rng.expovariate(1 / (5 * _HOUR_S)), self._free_disk, machine)
        if self._happens(rng, "gateway killed", rates.gateway_kill):
            await asyncio.sleep(rng.uniform(0, seconds))
            machine.kill()
            await self._restart(machine, rng)
        if self._happens(rng, "gateway killed in a transaction", rates.killed_in_commit):
            await asyncio.sleep(rng.uniform(0, seconds))
            if machine.process is not None:
                machine.process.writer.dies_in_commit = True
            await asyncio.sleep(rng.uniform(0, 3))
            await self._restart(machine, rng)
        if self._happens(rng, "gateway's machine restarted", rates.reboot):
            await asyncio.sleep(rng.uniform(0, seconds))
            machine.boot_up(rng.choice((0, *_WALL_ERRORS_MS)))
            self._later(rng.expovariate(1 / _HOUR_S), machine.set_clock, 0, True)
            await self._restart(machine, rng)

    async def _restart(self, machine: Machine, rng: random.Random) -> None:
        if rng.random() < 0.7:
            await asyncio.sleep(rng.uniform(0.2, 3))
            machine.start()
            await asyncio.sleep(rng.uniform(0, 5))
        else:
            self._later(rng.expovariate(1 / (3 * _HOUR_S)), machine.start)

    async def _node_faults(self, node: SimNode, rng: random.Random, seconds: float) -> None:
        rates = self._rates
        if self._happens(rng, "node cut while it sends", rates.node_cut):
            await asyncio.sleep(rng.uniform(0, seconds))
            await self._cut(node, rng, rng.uniform(0.2, 3))
        if self._happens(rng, "node cut in a flash operation while it sends", rates.node_cut_in_flash):
            await asyncio.sleep(rng.uniform(0, seconds))
            node.flash.cut_in(rng.randrange(1, 4), behind=rng.random() < 0.5)

    async def _resets(self, node: SimNode, rng: random.Random) -> None:
        while True:
            await asyncio.sleep(rng.expovariate(1 / (self._rates.reset_hours * _HOUR_S)))
            kind = rng.randrange(4)
            if kind == 0:
                self._run.count("node cut in a flash operation")
                node.flash.cut_in(rng.randrange(1, 12), behind=rng.random() < 0.5)
            elif kind == 1 and node.app is not None:
                self._run.count("node reset in order")
                node.app.due = "reboot"
            else:
                self._run.count("node cut")
                await self._cut(node, rng, rng.choice((0.2, 2.0, 2.0, 2.0, 3 * _HOUR_S)))
                if rng.random() < self._rates.storm:
                    for _ in range(rng.randrange(5, 25)):
                        await asyncio.sleep(rng.uniform(0.1, 600))
                        self._run.count("node cut")
                        await self._cut(node, rng, rng.uniform(0.2, 3))

    async def _cut(self, node: SimNode, rng: random.Random, seconds: float) -> None:
        node.power_off()
        if self._happens(rng, "config changed", self._rates.reconfigure):
            node.reconfigure(self._config(node.name))
        await asyncio.sleep(seconds)
        node.power_on(rng.choice((1, 3)))
        if rng.random() < 0.25:  # once more, while it starts
            self._run.count("node cut while it starts")
            node.flash.cut_in(rng.randrange(1, 8), behind=rng.random() < 0.5)

    def _later(self, seconds: float, call: object, *args: object) -> None:
        """Call it, unless the run is over by then."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            call(*args)  # type: ignore[operator]

        self._tasks.append(asyncio.create_task(wait()))

    @staticmethod
    def _free_disk(machine: Machine) -> None:
        machine.disk_full = False

    # -- the end

    async def _settle(self) -> None:
        """Everything works again. In most runs the nodes get the time to deliver what they have."""
        for machine in self.machines:
            machine.disk_full = False
            machine.set_clock(0, True)
            machine.start()
            assert machine.process is not None
            machine.process.writer.dies_in_commit = False
        for node in self.nodes:
            node.flash.spare()
            node.unplug()
            node.power_on()
        await asyncio.sleep(2 * _HOUR_S + 60)  # past two looks at the clock
        if self._rng.random() < self._rates.drained:
            self.drained = True
            for node in self.nodes:
                node.plug(Cable(self._rng, self.machines[0].sockets[node.name], node.arrived, 0.0))
            deadline = self._clock.seconds + _DRAIN_S
            empty = 0  # looks in a row: between two of them a node says that it holds nothing more
            while empty < 2:
                if self._clock.seconds > deadline:
                    self._fail("the nodes did not deliver what they have")
                    break
                await asyncio.sleep(_LOOK_S)
                waits = any(node.app is None or node.app.spool.frames for node in self.nodes)
                empty = 0 if waits else empty + 1
            for node in self.nodes:
                node.freeze()  # or it commits another frame, which nobody takes any more
        for node in self.nodes:
            node.unplug()
        await asyncio.sleep(30)  # for what the gateways still write
        for node in self.nodes:
            node.freeze()
        for machine in self.machines:
            machine.kill()
        await asyncio.sleep(1)
