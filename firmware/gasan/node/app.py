"""The node at work: starts its parts and watches over them.

One supervisor owns the tasks, the watchdog and the reset. A task that raises is started again after a growing
pause; when one hangs, or the supervisor fails, the reason goes to flash and the board resets: a crash frame
of the next boot tells of it. After three such boots in a row the node starts without sources for a while, so
that a config that kills it can be replaced.

Memory: buffers are made at the start, and the code that only a start needs is dropped after it. Garbage is
collected with a write to flash every five seconds or so (batcher.py) and, as a net beneath that, whenever a
quarter of what was free after the start has been allocated.
"""

import asyncio
import gc
import os
import sys
from time import sleep_ms, ticks_diff, ticks_ms

import machine
from gasan.node import log
from gasan.node.clock import Clock
from gasan.node.health import figures
from gasan.node.link import Link
from gasan.wire.cose import Hmac
from gasan.wire.frame import HEALTH
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.batcher import Batcher
    from gasan.node.orders import Orders
    from gasan.node.sampler import Sampler
    from gasan.node.spool import Spool

_STEP_MS = const(250)
_HANG_MS = const(30000)
_HEALTH_MS = const(60000)
_TRIAL_MS = const(120000)
_PAUSE_MS = const(1000)  # before a task is started again; doubles up to the most
_PAUSE_MOST_MS = const(60000)
_STEADY_MS = const(600000)  # a task, or a boot, that ran so long is no longer counted as failing
_FAILS_MS = const(4000)  # a part without which there is no node, and which would pause longer, ends the boot
_SPARE = const(1152)  # bytes, in one piece: a file of littlefs with pages of 256 bytes; or the end of a boot
_SAFE_AFTER = const(3)  # crashes, hangs of the loop among them
_SAFE_MS = const(900000)
_TRIAL = const(1)  # state of the slots

spare = [bytearray(_SPARE)]  # memory for what has to find some at once: clear it then


def run(word: str) -> None:
    """Run the node until it resets; returns only to leave the board to the REPL.

    word: what the boot before left for this one, if it ended by a reset of its own.
    """
    node = None
    crashes = 0
    started = ticks_ms()
    try:
        crashes, crash = _begin().crashed(word)
        node_id, generation, key = _begin().identity()
        node = Node(node_id, generation, key, crashes)
        asyncio.run(node.run(word, crash))
    except KeyboardInterrupt:
        if node and node.watchdog:
            _ending().reset("maintenance")  # a watchdog cannot be stopped
        print("gasan stopped; machine.reset() starts it again")
    except Exception as e:
        steady = ticks_diff(ticks_ms(), started) > _STEADY_MS
        node = None
        spare.clear()
        try:
            asyncio.new_event_loop()  # the tasks, and all that they hold, go with the old one
            _crash(e, 1 if steady else crashes + 1)
        except MemoryError:
            sleep_ms(5 * _PAUSE_MS)  # not to spin
            machine.reset()


def _begin() -> "Any":
    from gasan.node import begin  # no variable that lives on may hold it, else it stays in memory

    return begin


def _ending() -> "Any":
    from gasan.node import end

    return end


def _crash(e: Exception, number: int) -> None:
    gc.collect()
    _ending().crash(e, number)


def _forget(package: str, *names: str) -> None:
    """Drop modules that are needed no more; they can be imported again."""
    for name in names:
        if sys.modules.pop(package + "." + name, None):
            delattr(sys.modules[package], name)


class Node:
    """All that runs, and what the link may ask of it.

    id, generation, k_link: of the key. boot: 8 random bytes; ordinal: its number. rev: of the config, zeros
    without one; slots_state: of the slots of the config. sources: (name, source) each. lateness: of the
    supervisor's steps, in ms, the worst since the last health frame. restarts: of tasks that raised. due: the
    word of a reset to be done.
    """

    # Made by begin.
    spool: "Spool"
    sampler: "Sampler"
    batcher: "Batcher"
    rev = b""
    ordinal = slots_state = 0

    def __init__(self, node_id: bytes, generation: int, key: bytes, crashes: int) -> None:
        self.id = node_id
        self.generation = generation
        self.k_link = Hmac(key).digest(b"gasan link 1")
        self._key = key
        self.boot = os.urandom(8)
        self.clock = Clock()
        log.now = self.clock.now
        self.restarts = self.lateness = 0
        self.due = ""
        self._told = 0  # when the last health frame was made
        self.watchdog: machine.WDT | None = None
        self.sources: list[tuple[str, Any]] = []
        self.link = Link(self)
        self._crashes = crashes
        self._orders: "Orders | None" = None
        self._tasks: list[tuple[str, Any, asyncio.Task]] = []  # (name, part, task)

    def status(self, whole: bool = False) -> dict:
        """The figures of this moment; whole: as in a health frame."""
        return figures(self, whole)

    def orders(self) -> "Orders":
        """Who does authenticated commands and takes what is put."""
        if not self._orders:
            from gasan.node.orders import Orders

            self._orders = Orders(self)
        return self._orders

    def stop_sources(self) -> None:
        """Sample no more in this boot."""
        while len(self._tasks) > 2:
            self._tasks.pop()[2].cancel()

    async def run(self, word: str, crash: str) -> None:
        """Begin, then run until a reset is due. Raises what ends it all.

        word, crash: what the boot before left for this one.
        """
        buses = await _begin().begin(self, self._key, word, self._crashes, crash)
        self._key = b""
        _forget("gasan.node", "begin", "config", "edge_make", "end", "losses", "recover")
        _forget("gasan.ota", "slots")
        if self._crashes < _SAFE_AFTER:
            from gasan.node.sources import add

            add(self, buses)
            del add  # or its module stays
            _forget("gasan.node", "keeper", "sources", "plan", "secrets")
            _forget("gasan.wire", "lockbox", "modbus_plan", "modbus_read")
        buses = None
        self.batcher.collect()
        gc.threshold(gc.mem_free() // 4)
        self._watch("batcher", self.batcher, _FAILS_MS)
        self._watch("link", self.link, _FAILS_MS)  # sources come behind these two
        for name, source in self.sources:
            self._watch(name, source, _PAUSE_MOST_MS)
        await self._supervise()
        await self._end()

    def _watch(self, name: str, part: "Any", most: int) -> None:
        self._tasks.append((name, part, asyncio.create_task(self._keep_running(name, part, most))))

    async def _keep_running(self, name: str, part: "Any", most: int) -> None:
        """most: ms; the boot ends when its pause would be longer, as of a source it never is."""
        pause = _PAUSE_MS
        while True:
            started = self.clock.now()
            try:
                await part.run()
            except Exception as e:  # whatever it is, the other parts go on
                log.error("%s: %s" % (name, log.trace(e)))
            self.restarts += 1
            if self.clock.now() - started > _STEADY_MS:
                pause = _PAUSE_MS
            elif pause > most:
                return
            wait = ticks_ms()
            while ticks_diff(ticks_ms(), wait) < pause:
                part.beat = ticks_ms()
                await asyncio.sleep_ms(_STEP_MS)
            pause = min(pause * 2, _PAUSE_MOST_MS)

    async def _supervise(self) -> None:
        """Feed the watchdog while all parts move, until a reset is due."""
        while not self.due:
            step = ticks_ms()
            await asyncio.sleep_ms(_STEP_MS)
            self.lateness = max(self.lateness, ticks_diff(ticks_ms(), step) - _STEP_MS)
            for name, part, task in self._tasks:
                if task.done():
                    raise RuntimeError("%s fails" % name)
                if ticks_diff(ticks_ms(), part.beat) > _HANG_MS:
                    raise RuntimeError("%s hangs" % name)
            self._feed()
            try:
                await self._duties(self.clock.now())
            except (OSError, MemoryError) as e:  # it will be tried again
                log.error("supervisor: %r" % e)

    async def _duties(self, now: int) -> None:
        """What is to be done now and then."""
        if self.slots_state == _TRIAL:
            if now > _TRIAL_MS:
                log.error("the config was not acknowledged: going back")
                self.due = "config"
            elif self.spool.delivered:
                await self.batcher.quietly(self.orders().confirm)
                log.info("the config is confirmed")
        if self._crashes >= _SAFE_AFTER:
            if now > _SAFE_MS:
                self.due = "reboot"
        elif self._crashes and now > _STEADY_MS:
            self._crashes = 0
            await self.batcher.quietly(os.remove, "/crash")
        if now - self._told >= (_HEALTH_MS if self.link.up else 10 * _HEALTH_MS):
            self._told = now
            await self.batcher.put(HEALTH, self.status(True))
            self.lateness = 0
            if not any(self.rev):
                log.info("no config yet: waiting for the gateway")

    async def _end(self) -> None:
        """An orderly end: nothing that was sampled is lost."""
        await asyncio.sleep_ms(_STEP_MS)  # for the answer to the command
        self.stop_sources()
        self._feed()
        await self.batcher.flush()
        await self.batcher.put(HEALTH, self.status(True))
        self._feed()
        await self.link.farewell()
        _ending().reset(self.due)

    def _feed(self) -> None:
        if self.watchdog:
            self.watchdog.feed()
