"""Old readings go by age and by size; the account, and what is known of what came, stay as they were."""

from pathlib import Path
from random import Random

import pytest
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host.account import account
from gasan.host.store import Store, open_store
from gasan.host.store.check import examine
from gasan.host.store.dating import NodeMapping
from gasan.host.store.ingest import Ingest, Outcome
from gasan.host.store.retention import Keep, Retention
from gasan.wire import columns

UTC = 1_760_000_000_000
DAY = 86_400_000
HOUR = 3_600_000


class Bench:
    """Two nodes, ten days of readings every hour, each day a start of its own; a tenth never comes."""

    def __init__(self, store: Store, seed: int) -> None:
        random = Random(seed)
        self.store = store
        self.nodes = [ScriptedNode(random, "press-1"), ScriptedNode(random, "press-2")]
        self.ingest = Ingest(store, ScriptedKeys(*self.nodes))
        self.sent: list[bytes] = []
        with self.ingest.transaction():
            self.clock = self.ingest.set_gateway_clock("machine", 0, UTC, True)
        for day in range(10):
            for node in self.nodes:
                self.take(node.start(), node.birth([channel("d", c, columns.U16) for c in "ab"]))
                with self.ingest.transaction():
                    mapping = NodeMapping(0, self.clock, day * DAY, 5)
                    self.ingest.session(node.node_id, node.boot)
                    self.ingest.set_node_clock(node.node_id, node.boot, mapping)
                for hour in range(24):
                    rows = [[random.randrange(1000) for _ in range(5)], [hour, None, 3, 4, 5]]
                    frame = node.data([(columns.U16, row) for row in rows], mono=hour * HOUR)
                    if random.random() > 0.1:
                        self.take(frame)
                    elif random.random() > 0.5:
                        self.take(node.tombstone(node.seq - 1, node.seq - 1, 10, channels=[0, 5, 1, 5]))
                self.take(node.health({1: node.count, 2: node.count, 10: node.seq}, mono=24 * HOUR - 1))

    def take(self, *frames: bytes) -> None:
        self.sent += frames
        assert {receipt.outcome for receipt in self.ingest.store(frames)} == {Outcome.STORED}

    def retire(self, retention: Retention, now_ms: int) -> None:
        more = True
        while more:
            with self.ingest.transaction():
                more = retention.step(self.store.connection, now_ms)

    def times(self) -> list[int]:
        return [row[0] for row in self.store.connection.execute("SELECT time_ms FROM readings ORDER BY 1")]

    def account(self) -> dict[str, object]:
        drawn = account(self.store.path)
        channels = [(c.device, c.channel, c.stored, c.bad, c.lost) for n in drawn.nodes for c in n.channels]
        return {**drawn.as_dict(), "seconds": 0, "channels": channels, "unexplained": drawn.unexplained}


@pytest.fixture
def bench(tmp_path: Path, seed: int) -> Bench:
    return Bench(open_store(tmp_path / "a.sqlite"), seed)


def test_what_is_too_old_goes_and_the_account_stays(bench: Bench) -> None:
    before, times = bench.account(), bench.times()
    now = UTC + 10 * DAY
    retention = Retention(Keep(days=4))
    bench.retire(retention, now)
    kept = bench.times()
    # A frame goes as a whole, when its last reading is too old.
    assert min(kept) >= now - 4 * DAY - 5000 and kept == times[-len(kept) :]
    assert retention.readings == len(times) - len(kept) > 0
    assert bench.account() == before
    assert examine(bench.store.connection).sound
    again = bench.ingest.store(bench.sent)
    assert {receipt.outcome for receipt in again} == {Outcome.AGAIN}
    assert bench.times() == kept
    after = bench.account()
    assert after["readings_stored"] == before["readings_stored"] and after["readings_duplicated"] == 0
    runs = bench.store.connection.execute("SELECT count(*), sum(frames) FROM retired").fetchone()
    assert runs[0] < runs[1] / 4, "what stood together is one run"


def test_it_goes_on_after_a_restart_and_with_frames_that_come_late(bench: Bench, tmp_path: Path) -> None:
    node = bench.nodes[0]
    late = node.data([(columns.U16, [1, 2]), (columns.U16, [3, 4])], mono=24 * HOUR)
    bench.take(node.data([(columns.U16, [5]), (columns.U16, [6])], mono=25 * HOUR))
    bench.retire(Retention(Keep(days=4)), UTC + 10 * DAY)
    bench.retire(Retention(Keep(days=1)), UTC + 30 * DAY)
    assert bench.times() == []
    before = bench.account()
    bench.store.close()
    with open_store(tmp_path / "a.sqlite") as store:
        ingest = Ingest(store, ScriptedKeys(*bench.nodes))
        assert {receipt.outcome for receipt in ingest.store(bench.sent)} == {Outcome.AGAIN}
        (receipt,) = ingest.store([late])
        assert receipt.outcome is Outcome.STORED and receipt.overlap == 0
        retention = Retention(Keep(days=1))
        with ingest.transaction():
            retention.step(store.connection, UTC + 30 * DAY)
        assert retention.readings == 4
        assert examine(store.connection).sound
        (joined,) = store.connection.execute("SELECT max(n) FROM retired WHERE last_seq = ?", (node.seq - 1,))
        assert joined[0] >= 6, "the run before, the late one and the run behind are one"
        drawn = account(store.path)
        assert drawn.total("stored") == before["readings_stored"] + 4  # type: ignore[operator]
        assert drawn.unexplained == 0


def test_the_file_does_not_grow_beyond_its_bound(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    node = ScriptedNode(random)
    bound = 1_200_000
    with open_store(tmp_path / "a.sqlite") as store:
        ingest = Ingest(store, ScriptedKeys(node))
        ingest.store([node.start(), node.birth([channel("d", "c", columns.U32)])])
        retention = Retention(Keep(max_bytes=bound))
        stored = sizes = 0
        for _ in range(60):
            frames = [
                node.data([(columns.U32, [random.randrange(1 << 32) for _ in range(200)])]) for _ in range(10)
            ]
            ingest.store(frames)
            stored += 2000
            more = True
            while more:
                with ingest.transaction():
                    more = retention.step(store.connection, 0)
            (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
            sizes = max(sizes, pages * 4096)
        assert sizes <= bound
        kept = store.connection.execute("SELECT count(*) FROM sample").fetchone()[0]
        assert kept > 20_000 and retention.readings == stored - kept
        drawn = account(store.path)
        assert drawn.total("stored") == stored and drawn.unexplained == 0
        assert examine(store.connection).sound


def test_by_a_clock_that_is_not_set_nothing_goes_and_undated_readings_stay(bench: Bench) -> None:
    node = bench.nodes[0]
    bench.take(node.start(), node.data([(columns.U16, [1]), (columns.U16, [2])]))
    count = len(bench.times())
    bench.retire(Retention(Keep(days=1)), 0)
    assert len(bench.times()) == count
    bench.retire(Retention(Keep(days=1)), UTC + 1000 * DAY)
    assert bench.times() == [None, None]


def test_readings_that_nobody_could_decode_are_still_counted(tmp_path: Path) -> None:
    """Their birth never came."""
    node = ScriptedNode(Random(1))
    with open_store(tmp_path / "a.sqlite") as store:
        ingest = Ingest(store, ScriptedKeys(node))
        start = node.start()
        node.birth([channel("d", "a", columns.U16)])
        ingest.store([start, node.data([(columns.U16, [1, 2, 3])])])
        with ingest.transaction():
            clock = ingest.set_gateway_clock("machine", 0, UTC, True)
            ingest.set_node_clock(node.node_id, node.boot, NodeMapping(0, clock, 0, 5))
        retention = Retention(Keep(days=1))
        with ingest.transaction():
            retention.step(store.connection, UTC + 3 * DAY)
        assert retention.readings == 3
        (drawn,) = account(store.path).nodes
        assert drawn.stored == 3 and drawn.disagreements == ()
        assert examine(store.connection).sound
