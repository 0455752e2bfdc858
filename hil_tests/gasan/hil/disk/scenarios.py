"""What a gateway does to its database while the power may go; each is a process of its own:

python -m gasan.hil.disk.scenarios NAME FOLDER

Whatever it acknowledges it says in the file `acks`, a line each, after it was told that it is on disk.
"""

import asyncio
import ctypes
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from gasan.hil.scripted_node import Column, ScriptedKeys, ScriptedNode, channel
from gasan.host.errors import TryAgainError
from gasan.host.store.backup import restore
from gasan.host.store.dating import NodeMapping
from gasan.host.store.ingest import Ingest, Outcome, Receipt
from gasan.host.store.open import open_store
from gasan.host.store.retention import Keep, Retention
from gasan.host.store.writer import StoreWriter
from gasan.wire import columns

__all__ = ["DATABASE", "SCENARIOS", "frames", "keys"]

Acknowledge = Callable[[int], object]
Scenario = Callable[[Path, Acknowledge], Awaitable[None]]

DATABASE: Final = "gasan.sqlite"
_SEED: Final = 5
_CHECKPOINT_PAGES: Final = 24
"""A checkpoint so often, instead of after 4 MB, so that a short run has many."""


def _nodes() -> tuple[ScriptedNode, ScriptedNode]:
    random = Random(_SEED)
    return ScriptedNode(random), ScriptedNode(random, "press-2")


def keys() -> ScriptedKeys:
    return ScriptedKeys(*_nodes())


def frames() -> list[bytes]:
    """Two starts of one node and one of another: late births, floats, marks, health, a crash, a tombstone."""
    node, other = _nodes()
    integers = [channel("d", f"c{i}", columns.U16) for i in range(4)]
    floats = [channel("d", "f", columns.F32), channel("d", "g", columns.U64)]
    out = [node.start(), other.start()]
    for i in range(24):
        counts = [(columns.U16, [1000 * c + i * 10 + k for k in range(10)]) for c in range(4)]
        out.append(node.data(counts, mono=i))
        if i == 8:
            out.append(node.birth([*integers, *floats]))
        if i % 3 == 0:
            values: list[Column] = [(columns.F32, [i / 7, None, 3.5]), (columns.U64, [1 << 63, i, None])]
            out.append(other.data(values, mono=1000 * i, first_channel=4))
        if i == 12:
            out.append(other.birth([*integers, *floats]))
            out.append(other.tombstone(2, 2, 0))
        if i == 16:
            out += [node.health({1: node.count, 2: node.count}), node.start(), node.crash("Traceback: x")]
    return out


async def _ingest(folder: Path, acknowledge: Acknowledge) -> None:
    """Frames in bursts, some of them twice, with sessions, clocks and figures between them."""
    node, _other = _nodes()
    random = Random(_SEED)
    writer = StoreWriter(folder / DATABASE, keys(), group_size=6, group_ms=2, retry_s=0.01)
    while True:
        try:
            await writer.start()
            break
        except TryAgainError:  # somebody starts the gateway again
            await asyncio.sleep(0.01)
    await writer.call(_checkpoint_often)
    clock = await writer.call(lambda it: it.set_gateway_clock("machine", 0, 1_700_000_000_000, True))
    boot = node.start()[-30:][:8]  # a start that no frame tells of
    for number, frame in enumerate(frames()):
        done = partial(_acknowledge, acknowledge, number)
        for _ in range(random.choice((1, 1, 2))):
            writer.frame(frame, done)
        if random.random() < 0.4:
            mapping = NodeMapping(number * 40_000, clock, number * 40_000, 5)
            await writer.call(partial(_map, node.node_id, boot, mapping))
    while await writer.call(lambda it: it.decodable):
        pass
    await writer.close()


def _map(node_id: bytes, boot: bytes, mapping: NodeMapping, ingest: Ingest) -> None:
    ingest.set_node_clock(node_id, boot, mapping)


def _acknowledge(acknowledge: Acknowledge, number: int, receipt: Receipt) -> None:
    if receipt.outcome not in (Outcome.STORED, Outcome.AGAIN):
        raise AssertionError(f"frame {number}: {receipt.outcome}")
    acknowledge(number)


def _checkpoint_often(ingest: Ingest) -> None:
    ingest.database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")


async def _unsynced(folder: Path, acknowledge: Acknowledge, level: str) -> None:
    """A store that does not sync as it has to: the check of the check."""
    with open_store(folder / DATABASE) as store:
        store.connection.execute(f"PRAGMA synchronous = {level}")
        ingest = Ingest(store, keys())
        _checkpoint_often(ingest)
        for number, frame in enumerate(frames()):
            for receipt in ingest.store([frame]):
                _acknowledge(acknowledge, number, receipt)


async def _open(folder: Path, acknowledge: Acknowledge) -> None:
    """Opens a database, which may be of an earlier version."""
    open_store(folder / DATABASE).close()


async def _mend(folder: Path, acknowledge: Acknowledge) -> None:
    """Opens a database and has it mended."""
    open_store(folder / DATABASE, suspect=True).close()


async def _restore(folder: Path, acknowledge: Acknowledge) -> None:
    """Puts the backup `copy` in the place of the database."""
    restore(folder / "copy", folder / DATABASE, lambda _done, _all: None)


async def _retire(folder: Path, acknowledge: Acknowledge) -> None:
    """Takes all frames away, a few at a time."""
    with open_store(folder / DATABASE) as store:
        ingest = Ingest(store, keys())
        _checkpoint_often(ingest)
        retention = Retention(Keep(max_bytes=1), retired_at_once=5)
        more = True
        while more:
            with ingest.transaction():
                more = retention.step(store.connection, 0)


SCENARIOS: Final[dict[str, Scenario]] = {
    "ingest": _ingest,
    "open": _open,
    "mend": _mend,
    "restore": _restore,
    "retire": _retire,
    "mutant: no sync": partial(_unsynced, level="OFF"),
    "mutant: sync at checkpoints only": partial(_unsynced, level="NORMAL"),
}


def main(name: str, folder: Path) -> None:
    acks = os.open(folder / "acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def run() -> None:
        await SCENARIOS[name](folder, partial(_write_whole, acks))

    asyncio.run(run())


def _write_whole(acks: int, number: int) -> None:
    while True:  # it is no part of the store: that it could not be written says nothing
        try:
            os.write(acks, b"%d\n" % number)
            return
        except OSError:
            continue


def each(name: str, folder: Path) -> None:
    """Runs a scenario for each line "first:count:errno:kinds" on stdin, with those calls failing, in a
    process and a folder of its own; prints how each ended.
    """
    for number, line in enumerate(sys.stdin):
        disk = folder / str(number)
        disk.mkdir()
        child = os.fork()
        if child == 0:
            os.environ["GASAN_DISK_FOLDER"] = str(disk)
            os.environ["GASAN_DISK_LOG"] = f"{disk}.log"
            os.environ["GASAN_DISK_FAIL"] = line.strip()
            ctypes.CDLL(None).gasan_disk_start()
            try:
                main(name, disk)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    (each if sys.argv[1] == "--each" else main)(*(sys.argv[-2], Path(sys.argv[-1])))
