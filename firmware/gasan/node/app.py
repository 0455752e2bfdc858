"""The node: takes key and config out of flash, starts sources and link, and watches over them.

One supervisor owns the tasks, the watchdog and the reset. A task that raises is started again after a growing
pause; when one hangs, or the supervisor fails, the reason goes to flash and the board resets: a crash frame of the
next boot tells of it. After three such boots in a row the node starts without sources for a while, so that a config
that kills it can be replaced.

Memory: buffers are made at the start. Garbage is collected with every write to flash (batcher.py) and, as a net
beneath that, whenever a quarter of what was free at the start has been allocated.
"""

import asyncio
import gc
import os
import sys
from time import sleep, ticks_diff, ticks_ms

import machine
from gasan.node import boots, config, log
from gasan.node.batcher import Batcher
from gasan.node.clock import Clock
from gasan.node.health import Health
from gasan.node.link import Link
from gasan.node.sampler import Sampler
from gasan.node.spool import Spool
from gasan.ota import slots
from gasan.wire import frame
from gasan.wire.cose import Hmac
from micropython import const

VERSION = "0.1.0"

_STEP_MS = const(250)
_WATCHDOG_MS = const(8000)  # rp2 takes at most 8388
_HANG_MS = const(30000)
_HEALTH_MS = const(60000)
_TRIAL_MS = const(120000)
_PAUSE_MS = const(1000)  # before a task is started again; doubles up to the most
_PAUSE_MOST_MS = const(60000)
_STEADY_MS = const(600000)  # a task, or a boot, that ran so long is no longer counted as failing
_SAFE_AFTER = const(3)
_SAFE_MS = const(900000)
_REMIND_S = const(60)
_CONFIG = const(1)  # kind of a PUT


def run(word: str) -> None:
    """Run the node until it resets; returns only to leave the board to the REPL.

    word: what the boot before left for this one, if it ended by a reset of its own.
    """
    started = ticks_ms()
    crashes, text = boots.crashed()
    node = None
    try:
        node_id, generation, key = _identity()
        node = Node(node_id, generation, key, word, crashes)
        asyncio.run(node.run(text))
    except KeyboardInterrupt:
        if node and node.watchdog:
            boots.reset("maintenance")  # a watchdog cannot be stopped
        print("gasan stopped; machine.reset() starts it again")
    except Exception as e:
        steady = ticks_diff(ticks_ms(), started) > _STEADY_MS
        boots.crash(e, 1 if steady else crashes + 1)


def _identity() -> tuple[bytes, int, bytes]:
    """The node's key; waits for ever when there is none."""
    try:
        with open("/secret/key", "rb") as f:
            return config.key(f.read())
    except (OSError, config.ConfigError) as e:
        while True:
            log.error(
                "no key (/secret/key: %s): provision this node, then reset it; Ctrl-C ends the wait" % e
            )
            sleep(_REMIND_S)


class Node:
    """All that runs, and what the link may ask of it.

    id, generation, k_link: of the key. boot: 8 random bytes. rev: of the config, zeros without one. counted: the
    parts that have `counters`: the link, then the sources. lateness: of the supervisor's steps, in ms, the worst
    since the last health frame. restarts: of tasks that raised. watchdog: None until it is started.
    """

    def __init__(self, node_id: bytes, generation: int, key: bytes, word: str, crashes: int) -> None:
        self.id = node_id
        self.generation = generation
        self.k_link = Hmac(key).digest(b"gasan link 1")
        self.boot = os.urandom(8)
        self.clock = Clock()
        self.restarts = self.lateness = 0
        self.watchdog = None
        self._crashes = crashes
        self._tasks: list = []  # [name, part, task]
        self._due = ""  # the word of a reset that is to be done
        log.now = self.clock.now

        self._slots = slots.Slots("/cfg")
        data = self._slots.start() or config.EMPTY
        try:
            self._config = config.Config(data)
        except config.ConfigError as e:
            log.error("config: %s" % e)
            data = config.EMPTY
            self._config = config.Config(data)
        self.rev = bytes(8) if data is config.EMPTY else slots.digest(data)
        data = None

        slots.mkdir("/spool")
        self.spool = Spool("/spool", self._config.spool_bytes)
        self.ordinal, before, seq, count = boots.count(self.boot, self.spool.last, self.spool.ordinal)
        self._boot_content = {
            1: self.ordinal,
            2: before,
            3: seq,
            4: count,
            5: boots.cause(word),
            6: VERSION,
            7: sys.implementation._machine[:64],
            8: self._slots.state,
        }
        gc.collect()
        limits = self._config
        self.sampler = Sampler(limits.max_age_ms, limits.max_bytes, limits.channels, gc.mem_free() // 8)
        writer = frame.FrameWriter(node_id, generation, frame.frame_key(key))
        self.batcher = Batcher(writer, self.spool, self.sampler, self.clock, self.boot, self.rev)
        self.status = Health(self).figures
        self._link = Link(self)
        self.counted: list = [self._link]

    # What the link asks for

    async def command(self, name: str, args: list) -> tuple[int, str]:
        """Do an authenticated command: (0 done, 1 refused or 2 unknown; text)."""
        if name == "status":
            return 0, str(self.status())
        if name == "maintenance" or name == "reboot":
            self._due = name
            return 0, "restarting"
        if name != "activate" or len(args) != 1:
            return 2, "no such command"
        if self._slots.in_use(args[0]):
            return 0, "in use already"
        if not await self.batcher.quietly(self._slots.activate, args[0]):
            return 1, "no such config here, or another one is on trial"
        self._due = "config"
        return 0, "restarting"

    async def put(self, kind: int, name: bytes, total: int, offset: int, data: bytes) -> tuple[int, int]:
        """Take a piece of a new config: (offset wanted next; 0 more, 1 complete or 2 refused)."""
        if kind != _CONFIG:
            return 0, slots.REFUSED
        return await self.batcher.quietly(self._put, name, total, offset, data)

    def _put(self, name: bytes, total: int, offset: int, data: bytes) -> tuple[int, int]:
        try:
            answer = self._slots.receive(name, total, offset, data)
            if answer[1] == slots.COMPLETE and not self._slots.in_use(name):
                config.Config(self._slots.received(name) or b"")
            return answer
        except config.ConfigError as e:
            log.error("config: %s" % e)
            self._slots.discard()
        except OSError as e:
            log.error("config: %s" % e)
            self._slots.abandon()
        return 0, slots.REFUSED

    # The supervisor

    async def run(self, crash: str) -> None:
        """Run until a reset is due. ``crash``: what was left of the crash before, or "". Raises what ends it all."""
        state = ("stable", "on trial", "rolled back")[self._slots.state]
        config_name = "config %s (%s)" % (self.rev.hex(), state) if any(self.rev) else "no config yet"
        log.info("gasan %s, node %s, boot %d, %s" % (VERSION, self._config.name, self.ordinal, config_name))
        log.info("spool: %d frames wait" % self.spool.frames)
        if self._config.watchdog and any(self.rev):
            self.watchdog = machine.WDT(timeout=_WATCHDOG_MS)
        if self._crashes < _SAFE_AFTER:
            self._add_sources()
        else:
            log.error("%d crashes in a row: started without sources" % self._crashes)
        self._config = None
        gc.collect()
        gc.threshold(gc.mem_free() // 4)
        await self._announce(crash)
        self._watch("batcher", self.batcher)
        self._watch("link", self._link)
        for source in self.counted[1:]:
            self._watch(source.name, source)
        await self._supervise()
        await self._end()

    def _add_sources(self) -> None:
        for bus in self._config.buses:
            try:
                if bus[0] == config.RTU:
                    from gasan.node.modbus_rtu import Source
                elif bus[0] == config.TCP:
                    from gasan.node.modbus_tcp import Source
                elif bus[0] == config.BLE:
                    from gasan.node.ble import Source
                else:
                    raise ValueError("unknown type of bus %s" % bus[0])
                source = Source(bus, self.sampler, self.clock)
            except Exception as e:  # whatever it is, the other buses must run
                log.error("%s is left out: %s" % (bus[1], log.trace(e)))
                continue
            source.name = bus[1]
            self.counted.append(source)
            if bus[0] == config.RTU:
                self.batcher.locks.append(source.lock)

    async def _announce(self, crash: str) -> None:
        """The boot frame, the meaning of the channels, and how the boot before ended if it ended badly."""
        await self.batcher.put(frame.BOOT, self._boot_content)
        self._boot_content = None
        data = self._slots.read() if any(self.rev) else None
        contents = config.births(data) if data else []
        data = None
        while contents:
            await self.batcher.put(frame.BIRTH, contents.pop(0))
        if crash:
            await self.batcher.put(frame.CRASH, crash)
            boots.forget_crash()

    def _watch(self, name: str, part) -> None:
        self._tasks.append((name, part, asyncio.create_task(self._keep_running(name, part))))

    async def _keep_running(self, name: str, part) -> None:
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
            wait = ticks_ms()
            while ticks_diff(ticks_ms(), wait) < pause:
                part.beat = ticks_ms()
                await asyncio.sleep_ms(_STEP_MS)
            pause = min(pause * 2, _PAUSE_MOST_MS)

    async def _supervise(self) -> None:
        """Feed the watchdog while all parts move, until a reset is due."""
        told = 0
        while not self._due:
            step = ticks_ms()
            await asyncio.sleep_ms(_STEP_MS)
            self.lateness = max(self.lateness, ticks_diff(ticks_ms(), step) - _STEP_MS)
            for name, part, _ in self._tasks:
                if ticks_diff(ticks_ms(), part.beat) > _HANG_MS:
                    raise RuntimeError("%s hangs" % name)
            self._feed()
            now = self.clock.now()
            if self._slots.state == slots.TRIAL:
                if self.spool.delivered:
                    await self.batcher.quietly(self._slots.confirm)
                    log.info("config %s is confirmed" % self.rev.hex())
                elif now > _TRIAL_MS:
                    log.error("config %s was not acknowledged: going back" % self.rev.hex())
                    self._due = "config"
            if now - told >= _HEALTH_MS:
                told = now
                await self.batcher.put(frame.HEALTH, self.status())
                self.lateness = 0
                if not any(self.rev):
                    log.info("no config yet: waiting for the gateway")
            if self._crashes >= _SAFE_AFTER and now > _SAFE_MS:
                self._due = "reboot"

    async def _end(self) -> None:
        """An orderly end: nothing that was sampled is lost."""
        await asyncio.sleep_ms(_STEP_MS)  # for the answer to the command
        for _, part, task in self._tasks:
            if part is not self._link:
                task.cancel()
        self._feed()
        await self.batcher.flush()
        await self.batcher.put(frame.HEALTH, self.status())
        self._feed()
        await self._link.farewell()
        boots.reset(self._due)

    def _feed(self) -> None:
        if self.watchdog:
            self.watchdog.feed()
