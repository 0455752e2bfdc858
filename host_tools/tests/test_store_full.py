"""A real file system that runs full, and readers beside the writer: what is acknowledged is there, what is
not is kept by the nodes, and it goes on by itself.

The file system is a small one in memory, in a mount namespace of its own, which goes with the process.
"""

import asyncio
import contextlib
import io
import logging
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host import i18n
from gasan.host.account import account
from gasan.host.gateway.live import Counters, Snapshot
from gasan.host.run_log import RunLog
from gasan.host.store import open_reader, open_store
from gasan.host.store.check import examine
from gasan.host.store.ingest import Ingest, Outcome, Receipt
from gasan.host.store.writer import StoreWriter
from gasan.host.view import plain_line
from gasan.wire import columns

SIZE = "12m"
FRAMES = 500
IN_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private")


def test_a_disk_that_runs_full(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size={SIZE} tmpfs {tmp_path}"
    with contextlib.suppress(OSError):
        tried = subprocess.run([*IN_NAMESPACE, "sh", "-c", mount], capture_output=True, check=False)
        if tried.returncode == 0:
            script = f'{mount} && exec "{sys.executable}" "{__file__}" "{tmp_path}"'
            command = [*IN_NAMESPACE, "sh", "-c", script]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr and "Logging error" not in done.stderr
            assert done.stdout.split()[0] == "full" and "recovered" in done.stdout, done.stdout
            return
    pytest.skip("this system allows no file system of one's own (unshare --mount)")


async def fill(folder: Path) -> None:
    """In the namespace: stores frames until the disk is full, makes room, and goes on."""
    node = ScriptedNode(Random(1))
    sent = [node.start(), node.birth([channel("d", "c", columns.U32)])]
    sent += [node.data([(columns.U32, [1000 * i + k for k in range(300)])]) for i in range(FRAMES)]
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(9_000_000))
    messages = io.StringIO()
    run_log = RunLog(folder / "gateway.log", also_stderr=False)
    logging.getLogger("gasan").addHandler(logging.StreamHandler(messages))
    acknowledged: set[int] = set()
    changed = asyncio.Event()

    def done(seq: int, receipt: Receipt) -> None:
        assert receipt.outcome is Outcome.STORED
        acknowledged.add(seq)
        changed.set()

    writer = StoreWriter(folder / "a.sqlite", ScriptedKeys(node), group_size=8, retry_s=0.02)
    await writer.start()
    for seq, frame in enumerate(sent):
        writer.frame(frame, lambda receipt, seq=seq: done(seq, receipt))  # type: ignore[misc]
    while writer.trouble is None:
        logging.getLogger("gasan").info("the log is written on the same disk %s", "x" * 1000)
        changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), 0.05)
    assert 0 < len(acknowledged) < len(sent)
    said = shown(writer.trouble)
    assert "the disk is full" in said and str(folder) in said
    i18n.set_language("ko")
    before = len(acknowledged)
    await asyncio.sleep(0.3)
    assert len(acknowledged) == before, "nothing is acknowledged while nothing can be written"
    with closing(open_reader(folder / "a.sqlite")) as reader:
        stored = {seq for (seq,) in reader.execute("SELECT seq FROM frame")}
    assert acknowledged == stored
    print("full", len(acknowledged), said)
    assert messages.getvalue().count("nothing is stored or acknowledged") == 1
    ballast.unlink()
    while len(acknowledged) < len(sent):
        changed.clear()
        await asyncio.wait_for(changed.wait(), 20)
    assert writer.trouble is None
    await writer.close()
    run_log.close()
    with open_store(folder / "a.sqlite") as store:
        assert examine(store.connection).sound
    drawn = account(folder / "a.sqlite")
    assert drawn.total("stored") == drawn.total("sampled") == 300 * FRAMES
    print("recovered")


def shown(trouble: str | None) -> str:
    """What `gasan up` shows."""
    return plain_line(Snapshot((), Counters(0, 0, 0, 0, 0, 0, 0, 0, 0), (), trouble))


def test_readings_can_be_asked_for_while_they_come_in(tmp_path: Path) -> None:
    """Readers see whole transactions only, never wait, and one that never ends holds nothing up."""
    node = ScriptedNode(Random(1))
    path = tmp_path / "a.sqlite"
    with open_store(path) as store:
        ingest = Ingest(store, ScriptedKeys(node))
        ingest.store([node.start(), node.birth([channel("d", "c", columns.U32)])])
        store.connection.execute("PRAGMA wal_autocheckpoint = 20")
        with closing(open_reader(path)) as sleeper, closing(open_reader(path)) as reader:
            sleeper.execute("BEGIN")
            assert sleeper.execute("SELECT count(*) FROM readings").fetchone() == (0,)
            for turn in range(1, 60):
                ingest.store([node.data([(columns.U32, list(range(100)))]) for _ in range(4)])
                count, seqs = reader.execute("SELECT count(*), count(DISTINCT seq) FROM readings").fetchone()
                assert (count, seqs) == (400 * turn, 4 * turn)
            assert sleeper.execute("SELECT count(*) FROM readings").fetchone() == (0,)
        with pytest.raises(sqlite3.ProgrammingError):
            reader.execute("SELECT 1")
        ingest.store([node.data([(columns.U32, [1])])])
        assert examine(store.connection).sound


if __name__ == "__main__":
    asyncio.run(fill(Path(sys.argv[1])))
