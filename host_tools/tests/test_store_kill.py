"""kill -9 of a process that ingests, at random moments: what it acknowledged is there, and nothing is there
twice.

(kill -9 cannot show a missing sync, since the system keeps what was written; that the store syncs at every
commit is what synchronous=FULL is for, and is tested where the database is opened.)
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host.account import account
from gasan.host.store.writer import StoreWriter
from gasan.wire import columns

KILLS = 10
FRAMES = 6000
NODE_SEED = 11


def frames_of(node: ScriptedNode) -> list[bytes]:
    """Every frame of the run; each reading has a value of its own."""
    frames = [node.start()]
    for i in range(FRAMES):
        if i == FRAMES // 8:  # the meaning comes late: the first eighth is decoded in the midst of the kills
            frames.append(node.birth([channel("d", "c", columns.U32)]))
        frames.append(node.data([(columns.U32, [i * 10 + k for k in range(10)])], mono=i * 10))
    return frames


def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    db = tmp_path / "a.sqlite"
    acknowledged: set[int] = set()
    for kill in range(KILLS + 1):
        with subprocess.Popen(
            [sys.executable, __file__, str(db), str(random.randrange(1 << 30))], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            if kill < KILLS:
                time.sleep(random.uniform(0, 0.1))
                os.kill(process.pid, signal.SIGKILL)
            told = first + process.stdout.read()
        acknowledged.update(int(line) for line in told.split(b"\n")[:-1])
        if kill < KILLS:
            assert process.returncode == -signal.SIGKILL, "the process was to be killed, it ended by itself"
            check(db, acknowledged)
    assert acknowledged == set(range(FRAMES + 2))
    check(db, acknowledged)
    drawn = account(db).as_dict()
    assert drawn["readings_sampled"] == drawn["readings_stored"] == FRAMES * 10
    assert (drawn["readings_pending"], drawn["readings_lost"], drawn["conflicts"]) == (0, 0, 0)


def check(db: Path, acknowledged: set[int]) -> None:
    connection = sqlite3.connect(db)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = [seq for (seq,) in connection.execute("SELECT seq FROM frame")]
        assert len(stored) == len(set(stored))
        assert acknowledged <= set(stored)
        values = [value for (value,) in connection.execute("SELECT raw FROM sample")]
        assert len(values) == len(set(values)), "a reading is there twice"
        waiting = connection.execute("SELECT count(*) FROM undecoded").fetchone()[0]
        data = connection.execute("SELECT count(*) FROM frame WHERE kind = 0").fetchone()[0]
        assert len(values) == (data - waiting) * 10
    finally:
        connection.close()


async def ingest(db: Path, seed: int) -> None:
    """The process that is killed: sends everything, in windows, some of it twice; prints what is
    acknowledged.
    """
    random = Random(seed)
    node = ScriptedNode(Random(NODE_SEED))
    frames = frames_of(node)
    writer = StoreWriter(db, ScriptedKeys(node), group_ms=1)
    await writer.start()
    have = await writer.call(lambda it: it.welcome(node.node_id, 1))
    following = have[0][1] if have else 0
    for seq in range(following):
        print(seq)
    print(flush=True, end="")
    window = asyncio.Semaphore(8)

    def done(receipt: object, seq: int) -> None:
        sys.stdout.write(f"{seq}\n")
        sys.stdout.flush()
        window.release()

    for seq in range(following, len(frames)):
        for _ in range(random.choice((1, 1, 1, 2))):
            await window.acquire()
            writer.frame(frames[seq], functools.partial(done, seq=seq))
    for _ in range(8):
        await window.acquire()
    while await writer.call(lambda it: it.decodable):
        pass
    await writer.close()


if __name__ == "__main__":
    import asyncio
    import functools

    asyncio.run(ingest(Path(sys.argv[1]), int(sys.argv[2])))
