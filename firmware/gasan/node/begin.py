"""What only the start of a node needs; the app drops this module, and what it loads, once the node runs.

/secret/key: the node's id and key. /cfg: the config, in two slots. /boot.n: the number and the id of the boot
before. /crash: how many boots crashed in a row, and what is left of the last one.
"""

import gc
import os
import sys
from time import sleep

import machine
from gasan.node import config, log, recover
from gasan.node.batcher import Batcher
from gasan.node.end import CRASH, CRASH_MAX, reset
from gasan.node.sampler import Sampler
from gasan.node.spool import Spool
from gasan.ota import slots
from gasan.wire import cbor, frame
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.app import Node

_VERSION = "0.1.0"
_ORDINAL = "/boot.n"
_REMIND_S = const(60)
_WATCHDOG_MS = const(8000)  # rp2 takes at most 8388
_WATCHDOG = const(3)  # of the causes
_SAFE_AFTER = const(3)  # crashes, as the app has it

# (name in machine, cause as in a boot frame); ports have some of them.
_CAUSES = (
    ("PWRON_RESET", 1),
    ("HARD_RESET", 2),
    ("WDT_RESET", 3),
    ("DEEPSLEEP_RESET", 4),
    ("SOFT_RESET", 5),
    ("BROWN_OUT_RESET", 6),
)
_STATES = ("stable", "on trial", "rolled back")


def identity() -> tuple[bytes, int, bytes]:
    """(node id, key generation, key); waits for ever when there is none."""
    try:
        with open("/secret/key", "rb") as f:
            return config.key(f.read())
    except (OSError, config.ConfigError) as e:
        while True:
            log.error(
                "no key (/secret/key: %s): provision this node, then reset it; Ctrl-C ends the wait" % e
            )
            sleep(_REMIND_S)


def crashed(word: str) -> tuple[int, str]:
    """(crashes in a row up to this start, what is left of the last one that is still to be told).

    A reset by the watchdog is one more. word: what the boot before left.
    """
    number, text = 0, ""
    try:
        with open(CRASH, "rb") as f:
            count, text = f.read(CRASH_MAX + 100).decode().split("\n", 1)
        number = int(count)
    except (OSError, ValueError):
        pass
    if _cause(word) == _WATCHDOG:
        return number + 1, text
    return number if text else 0, text


async def begin(node: "Node", key: bytes, word: str, crashes: int, crash: str) -> list:
    """Make the parts of ``node`` that write, and write its first frames; returns the buses of the config.

    word, crash: what the boot before left. crashes: in a row up to this start.
    """
    writer = frame.FrameWriter(node.id, node.generation, frame.frame_key(key))
    store = slots.Slots("/cfg")
    data = store.start() or config.EMPTY
    try:
        limits = config.Config(data)
        if crashes >= _SAFE_AFTER:
            limits.rules = None  # what takes no samples needs none, and they may be too many
        if limits.rules is not None:
            from gasan.node import edge_make

            edge_make.check(limits.rules, node.clock)
            gc.collect()
    except ValueError as e:
        log.error("config: %s" % e)
        if store.state == slots.TRIAL:
            reset("config")  # the next start goes back
        data = config.EMPTY
        limits = config.Config(data)
    if limits.link:
        from gasan.node.ble_uplink import Stream

        node.link.use(Stream(limits.name))
    node.slots_state, node.rev = store.state, bytes(8)
    if data is not config.EMPTY:
        node.rev = slots.digest(data)

    node.spool = spool = _spool(limits)
    node.ordinal, before, seq, count = _count(node.boot, recover.recover(spool))
    told = "config %s (%s)" % (node.rev.hex(), _STATES[store.state]) if any(node.rev) else "no config yet"
    log.info("gasan %s, node %s, boot %d, %s" % (_VERSION, limits.name, node.ordinal, told))
    log.info("spool: %d frames wait" % spool.frames)
    gc.collect()
    memory = gc.mem_free() // 8
    if limits.rules is None:
        node.sampler = Sampler(limits.max_age_ms, limits.max_bytes, limits.channels, memory)
        node.batcher = Batcher(writer, spool, node.sampler, node.clock, node.boot, node.rev)
    else:
        node.sampler = edge_make.install(node, limits, memory)
        limits.rules = None
        node.batcher = edge_make.EdgeBatcher(writer, spool, node.sampler, node.clock, node.boot, node.rev)
    if limits.watchdog and any(node.rev):
        node.watchdog = machine.WDT(timeout=_WATCHDOG_MS)  # only a reset stops it

    content = {
        1: node.ordinal,
        2: before,
        3: seq,
        4: count,
        5: _cause(word),
        6: _VERSION,
        7: sys.implementation._machine[:64],
        8: store.state,
    }
    await node.batcher.put(frame.BOOT, content)
    contents = config.births(data)
    del store, data
    while contents:
        await node.batcher.put(frame.BIRTH, contents.pop(0))
    if crash:
        await node.batcher.put(frame.CRASH, crash)
    try:
        if crashes:
            slots.replace(CRASH, b"%d\n" % crashes)
        else:
            os.remove(CRASH)
    except OSError:
        pass  # there is none, as a rule
    return limits.buses


def _spool(limits: config.Config) -> Spool:
    """The spool that the config asks for."""
    folder = "/spool"
    if limits.in_ram:
        from gasan.node import ramdisk

        folder = ramdisk.mount(limits.spool_bytes)
    else:
        slots.mkdir(folder)
    if limits.newest:
        from gasan.node import newest

        spool: Spool = newest.Newest(folder, limits.spool_bytes)
    else:
        spool = Spool(folder, limits.spool_bytes)
    spool.share = limits.share
    return spool


def _count(boot: bytes, found: recover.Found) -> tuple:
    """Count this boot in flash; (ordinal, boot before, its last seq, its readings), None where unknown."""
    last = found.last
    try:
        with open(_ORDINAL, "rb") as f:
            ordinal, before = cbor.loads(f.read())
        ordinal = max(ordinal, found.ordinal) + 1
    except (OSError, ValueError, TypeError):
        ordinal, before = found.ordinal + 1, last[0] if last else None
        if last:
            log.warn("%s is unreadable: counting on from the spool" % _ORDINAL)
    try:
        slots.replace(_ORDINAL, cbor.dumps([ordinal, boot]))
    except OSError as e:
        log.error("%s: %s" % (_ORDINAL, e))
    if last and last[0] == before:
        return ordinal, before, last[1], last[2]
    return ordinal, before, None, None


def _cause(word: str) -> int:
    """Why this boot began, as in a boot frame."""
    value = machine.reset_cause()
    for name, number in _CAUSES:
        if getattr(machine, name, None) == value:
            # rp2 resets itself by its watchdog.
            return 2 if word and number == 3 else number
    return 0
