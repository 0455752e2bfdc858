"""The store's thread: groups, order, results only from disk, trouble that passes, one bad change among good
ones.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host.errors import InputError
from gasan.host.store import writer as writer_module
from gasan.host.store.ingest import Ingest, Outcome, Receipt
from gasan.host.store.writer import StoreWriter
from gasan.wire import columns


def frames_of(node: ScriptedNode, count: int) -> list[bytes]:
    birth = node.birth([channel("d", "c", columns.U16)])
    return [birth, *(node.data([(columns.U16, [i % 1000] * 20)], mono=i) for i in range(count))]


@asynccontextmanager
async def running(path: Path, node: ScriptedNode, group_size: int = 64) -> AsyncIterator[StoreWriter]:
    writer = StoreWriter(path, ScriptedKeys(node), group_size=group_size)
    await writer.start()
    try:
        yield writer
    finally:
        await writer.close()


async def take(writer: StoreWriter, frames: list[bytes]) -> list[Receipt]:
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Receipt]] = []
    for frame in frames:
        future: asyncio.Future[Receipt] = loop.create_future()
        writer.frame(frame, future.set_result)
        futures.append(future)
    return await asyncio.gather(*futures)


def count(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM frame").fetchone()[0])
    finally:
        connection.close()


def test_receipts_come_in_order_and_from_disk(tmp_path: Path) -> None:
    async def main() -> None:
        node = ScriptedNode(Random(1))
        frames = [node.start(), *frames_of(node, 300)]
        async with running(tmp_path / "a.sqlite", node) as writer:
            seen: list[int] = []

            def note(receipt: Receipt) -> None:
                assert receipt.frame is not None
                seen.append(receipt.frame.seq)
                if len(seen) % 50 == 0:
                    assert count(tmp_path / "a.sqlite") >= len(seen)

            for frame in frames:
                writer.frame(frame, note)
            await writer.call(lambda ingest: None)
            assert seen == list(range(302))

    asyncio.run(main())
    assert count(tmp_path / "a.sqlite") == 302


def test_the_loop_lives_while_the_disk_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        node = ScriptedNode(Random(1))
        release = writer_module.threading.Event()
        plain = Ingest.frame
        monkeypatch.setattr(Ingest, "frame", lambda self, data: release.wait(5) and plain(self, data))
        async with running(tmp_path / "a.sqlite", node) as writer:
            done: list[Receipt] = []
            writer.frame(node.start(), done.append)
            for _ in range(20):
                await asyncio.sleep(0)
            assert not done
            release.set()
            await writer.call(lambda ingest: None)
            assert [receipt.outcome for receipt in done] == [Outcome.STORED]

    asyncio.run(main())


def test_trouble_is_told_once_acknowledges_nothing_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer_module, "_RETRY_S", 0.01)
    limits: list[str] = []

    def limit(ingest: Ingest) -> None:
        ingest._db.execute(limits.pop())

    async def main() -> None:
        node = ScriptedNode(Random(1))
        frames = [node.start(), *frames_of(node, 200)]
        async with running(tmp_path / "a.sqlite", node) as writer:
            await take(writer, frames[:2])
            limits.append("PRAGMA max_page_count = 1")  # what it takes already
            await writer.call(limit)
            rest = asyncio.create_task(take(writer, frames[2:]))
            deadline = time.monotonic() + 10
            while writer.trouble is None and time.monotonic() < deadline:  # noqa: ASYNC110 - set by a thread
                await asyncio.sleep(0.005)
            assert writer.trouble is not None
            assert "the disk is full" in writer.trouble
            await asyncio.sleep(0.05)
            assert not rest.done() and count(tmp_path / "a.sqlite") == 2
            monkeypatch.setattr(Ingest, "transaction", _unlimited(Ingest.transaction))
            assert {receipt.outcome for receipt in await rest} == {Outcome.STORED}
            assert writer.trouble is None

    asyncio.run(main())
    assert count(tmp_path / "a.sqlite") == 202
    assert caplog.text.count("nothing is stored or acknowledged") == 1
    assert "can be written again" in caplog.text


def _unlimited(plain: object) -> object:
    """A transaction that first lifts the limit: somebody has made room on the disk."""

    def transaction(self: Ingest) -> object:
        self._db.execute("PRAGMA max_page_count = 1000000")
        assert callable(plain)
        return plain(self)

    return transaction


def test_closing_in_trouble_gives_up_and_loses_nothing_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_RETRY_S", 0.01)

    async def main() -> None:
        node = ScriptedNode(Random(1))
        writer = StoreWriter(tmp_path / "a.sqlite", ScriptedKeys(node))
        await writer.start()
        await writer.call(lambda ingest: ingest._db.execute("PRAGMA max_page_count = 1"))
        acknowledged: list[Receipt] = []
        for frame in [node.start(), *frames_of(node, 200)]:
            writer.frame(frame, acknowledged.append)
        await writer.close(timeout_s=0.1)
        assert not acknowledged

    asyncio.run(main())
    assert count(tmp_path / "a.sqlite") == 0


def test_one_change_that_fails_does_not_take_the_others_along(tmp_path: Path) -> None:
    async def main() -> None:
        node = ScriptedNode(Random(1))
        async with running(tmp_path / "a.sqlite", node) as writer:
            receipts = asyncio.create_task(take(writer, [node.start(), *frames_of(node, 10)]))

            def fail(ingest: Ingest) -> None:
                raise ZeroDivisionError

            failing = asyncio.create_task(writer.call(fail))
            more = asyncio.create_task(take(writer, [node.data([(columns.U16, [1])])]))
            with pytest.raises(ZeroDivisionError):
                await failing
            assert {receipt.outcome for receipt in [*(await receipts), *(await more)]} == {Outcome.STORED}

    asyncio.run(main())
    assert count(tmp_path / "a.sqlite") == 13


def test_a_change_that_the_database_refuses_for_good_is_given_up(tmp_path: Path) -> None:
    """Twice the outcome of one request: it would fail as often as it were tried."""

    async def main() -> None:
        node = ScriptedNode(Random(1))
        async with running(tmp_path / "a.sqlite", node) as writer:
            row = (1, 0, "done", None, None, "")
            await writer.call(lambda ingest: ingest.write_ended(row))
            asked = (0, "press-1", "d", "a", "me", "1", None, None)
            assert await writer.call(lambda ingest: ingest.write_asked(asked)) == 2, "past an outcome's"
            again = asyncio.create_task(writer.call(lambda ingest: ingest.write_ended(row)))
            receipts = asyncio.create_task(take(writer, [node.start(), *frames_of(node, 10)]))
            with pytest.raises(sqlite3.IntegrityError):
                await again
            assert {receipt.outcome for receipt in await receipts} == {Outcome.STORED}

    asyncio.run(main())


def test_what_waits_for_its_meaning_is_decoded_beside_new_frames(tmp_path: Path) -> None:
    async def main() -> None:
        node = ScriptedNode(Random(1))
        start, birth, *data = [node.start(), *frames_of(node, 700)]
        async with running(tmp_path / "a.sqlite", node) as writer:
            await take(writer, [start, *data])
            await take(writer, [birth])
            await take(writer, [node.data([(columns.U16, [1])])])
            while await writer.call(lambda ingest: ingest.decodable):
                pass

    asyncio.run(main())
    connection = sqlite3.connect(tmp_path / "a.sqlite")
    assert connection.execute("SELECT count(*) FROM sample").fetchone() == (14_001,)
    connection.close()


def test_a_database_that_cannot_be_opened_is_the_starters_error(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"no database" * 1000)

    async def main() -> None:
        writer = StoreWriter(tmp_path / "a.sqlite", ScriptedKeys())
        with pytest.raises(InputError):
            await writer.start()
        await writer.close()

    asyncio.run(main())


def test_damage_that_shows_while_it_runs_is_mended_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patrol comes upon it; what is given meanwhile is stored in the new database."""
    monkeypatch.setattr(writer_module, "_PATROL_S", 0.01)
    path = tmp_path / "a.sqlite"

    async def main() -> None:
        node = ScriptedNode(Random(1))
        frames = [node.start(), *frames_of(node, 400)]
        async with running(path, node) as writer:
            await take(writer, frames[:300])
        async with running(path, node) as writer:
            store_id = writer.store_id
            await writer.call(_leave_nothing_in_memory)
            _damage(path)
            async with asyncio.timeout(30):
                while not _put_aside(path):
                    await writer.call(lambda ingest: None)
            receipts = await take(writer, frames)
            assert {receipt.outcome for receipt in receipts} <= {Outcome.STORED, Outcome.AGAIN}
            assert [receipt.outcome for receipt in receipts].count(Outcome.STORED) > 102
            assert writer.store_id == store_id and writer.trouble is None

    asyncio.run(main())
    assert count(path) == 402


def _damage(path: Path) -> None:
    """Writes over the last rows of the last leaf of a table: SQLite finds nothing wrong with it."""
    content = path.read_bytes()
    page = next(at for at in range(len(content) - 4096, 0, -4096) if content[at] == 13)
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"\x01" * 8, page + 4080)


def _put_aside(path: Path) -> list[Path]:
    return list(path.parent.glob(path.name + ".damaged-*"))


def _leave_nothing_in_memory(ingest: Ingest) -> None:
    ingest.database.execute("PRAGMA cache_size = 1")
    ingest.database.execute("PRAGMA shrink_memory")
