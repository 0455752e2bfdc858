"""The account in every situation that has a figure of its own, and against a model of random lives."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host.account import CUT, GONE, Account, Loss, account
from gasan.host.errors import InputError
from gasan.host.store import open_store
from gasan.host.store.counters import COMMITTED, DROPPED, MISSED, NEXT_SEQ, SAMPLED, SPOOL_FRAMES, UPTIME_MS
from gasan.host.store.dating import NodeMapping
from gasan.host.store.ingest import Ingest
from gasan.wire import columns

KEYS = [
    "nodes", "readings_sampled", "readings_stored", "readings_dropped_by_rule", "readings_lost",
    "readings_pending", "readings_missed", "readings_duplicated", "conflicts", "lost_reasons",
    "bytes_per_reading", "frames", "seconds", "db",
]  # fmt: skip
BIRTH = [channel("d", "a", columns.U16), channel("d", "b", columns.U16)]


class Bench:
    def __init__(self, path: Path, *nodes: ScriptedNode) -> None:
        self.path = path
        self.node = nodes[0] if nodes else ScriptedNode(Random(3))
        self.store = open_store(path)
        self.ingest = Ingest(self.store, ScriptedKeys(*(nodes or (self.node,))))

    def take(self, *frames: bytes) -> None:
        self.ingest.store(frames)

    def data(self, rows: int, mono: int = 0) -> bytes:
        """2 * rows readings."""
        return self.node.data([(columns.U16, [1] * rows), (columns.U16, [2] * rows)], mono=mono)

    def status(self, values: dict[int, int], boot: bytes | None = None) -> None:
        with self.ingest.transaction():
            self.ingest.figures(self.node.node_id, boot or self.node.boot, values)

    def session(self) -> None:
        with self.ingest.transaction():
            self.ingest.session(self.node.node_id, self.node.boot)

    def figures(self) -> tuple[int, int, int, int, dict[str, int]]:
        """(sampled, stored, lost, pending, reasons); the equation is checked on the way."""
        drawn = account(self.path)
        a = drawn.as_dict()
        assert drawn.unexplained == 0
        assert a["readings_sampled"] == (
            a["readings_stored"] + a["readings_dropped_by_rule"] + a["readings_lost"] + a["readings_pending"]
        )
        assert sum(a["lost_reasons"].values()) == a["readings_lost"]
        assert (a["readings_duplicated"], a["conflicts"]) == (0, 0)
        figures = a["readings_sampled"], a["readings_stored"], a["readings_lost"], a["readings_pending"]
        return *figures, a["lost_reasons"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    it = Bench(tmp_path / "a.sqlite")
    it.take(it.node.start(), it.node.birth(BIRTH))
    yield it
    it.store.close()


def test_keys_and_their_order(bench: Bench) -> None:
    drawn = account(bench.path, seconds=12.34).as_dict()
    assert list(drawn) == KEYS
    assert (drawn["nodes"], drawn["frames"], drawn["seconds"], drawn["bytes_per_reading"]) == (
        1,
        2,
        12.3,
        0.0,
    )
    assert drawn["db"] == str(bench.path)


def test_no_database_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no database"):
        account(tmp_path / "none.sqlite")


def test_nothing_lost(bench: Bench) -> None:
    bench.take(bench.data(10), bench.data(5))
    assert bench.figures() == (30, 30, 0, 0, {})
    drawn = account(bench.path)
    assert [(c.device, c.channel, c.stored, c.bad, c.lost) for c in drawn.nodes[0].channels] == [
        ("d", "a", 15, 0, 0),
        ("d", "b", 15, 0, 0),
    ]
    assert drawn.bytes_per_reading > 1


def test_the_open_batch_and_what_is_on_the_way_are_pending(bench: Bench) -> None:
    bench.take(bench.data(10))
    bench.data(5)
    bench.status({SAMPLED: 44, COMMITTED: 30})
    assert bench.figures() == (44, 20, 0, 24, {})


def test_dropped_by_rule_and_missed(bench: Bench) -> None:
    bench.take(bench.data(10))
    bench.status({SAMPLED: 27, COMMITTED: 20, DROPPED: 7, MISSED: 3})
    drawn = account(bench.path).as_dict()
    assert (drawn["readings_sampled"], drawn["readings_dropped_by_rule"], drawn["readings_missed"]) == (
        27,
        7,
        3,
    )
    assert bench.figures() == (27, 20, 0, 0, {})


def test_figures_of_health_frames_count_as_well_and_never_go_back(bench: Bench) -> None:
    bench.take(bench.data(10), bench.node.health({SAMPLED: 26, COMMITTED: 20, MISSED: 4}))
    bench.status({SAMPLED: 22, COMMITTED: 20, MISSED: 1})
    assert bench.figures() == (26, 20, 0, 6, {})
    assert account(bench.path).total("missed") == 4


def test_a_power_cut_costs_the_open_batch(bench: Bench) -> None:
    bench.take(bench.data(10))
    bench.status({SAMPLED: 26, COMMITTED: 20})
    bench.take(bench.node.start())
    assert bench.figures() == (26, 20, 6, 0, {CUT: 6})


def test_frames_committed_before_the_cut_and_still_on_the_node_are_pending_not_lost(bench: Bench) -> None:
    bench.take(bench.data(10))
    late = bench.data(4)
    bench.status({SAMPLED: 31, COMMITTED: 28})
    bench.take(bench.node.start())
    assert bench.figures() == (31, 20, 3, 8, {CUT: 3})
    bench.take(late)
    assert bench.figures() == (31, 28, 3, 0, {CUT: 3})


def test_while_the_next_boot_frame_is_missing_nothing_is_called_lost(bench: Bench) -> None:
    bench.take(bench.data(10))
    bench.status({SAMPLED: 26, COMMITTED: 20})
    start = bench.node.start()
    bench.session()
    assert bench.figures() == (26, 20, 0, 6, {})
    bench.take(start)
    assert bench.figures() == (26, 20, 6, 0, {CUT: 6})


def test_a_lost_boot_frame_is_made_up_for_by_a_node_that_holds_nothing_more(bench: Bench) -> None:
    bench.take(bench.data(10))
    bench.status({SAMPLED: 26, COMMITTED: 20})
    bench.node.start()  # never arrives
    bench.session()
    bench.take(bench.data(2))
    assert bench.figures() == (30, 24, 0, 6, {})
    bench.status({SAMPLED: 4, COMMITTED: 4, SPOOL_FRAMES: 0, NEXT_SEQ: 2})
    assert bench.figures() == (30, 24, 6, 0, {CUT: 6})


def test_a_boot_of_which_the_node_holds_nothing_is_closed(bench: Bench) -> None:
    bench.take(bench.data(10))
    bench.status({SAMPLED: 26, COMMITTED: 20})
    bench.take(bench.node.start(tell_end=False))
    assert bench.figures() == (26, 20, 6, 0, {CUT: 6})


def test_a_boot_that_died_before_it_committed_anything(bench: Bench) -> None:
    bench.take(bench.data(10))
    bench.node.start()
    bench.session()
    bench.status({SAMPLED: 3, COMMITTED: 0})
    bench.take(bench.node.start(tell_end=False))
    assert bench.figures() == (23, 20, 3, 0, {CUT: 3})


def test_tombstones_say_why(bench: Bench) -> None:
    frames = [bench.data(5, mono=1000 * i) for i in range(4)]
    bench.take(frames[0], frames[3])
    assert bench.figures() == (40, 20, 0, 20, {})
    bench.take(bench.node.tombstone(3, 3, 10, mono_from=1000, mono_to=1999, channels=[0, 5, 1, 5]))
    assert bench.figures() == (40, 20, 10, 10, {"spool_overflow": 10})
    bench.take(bench.node.tombstone(4, 4, 10, reason=3, channels=[0, 5, 1, 5]))
    assert bench.figures() == (40, 20, 20, 0, {"spool_overflow": 10, "unsendable": 10})
    assert [(c.channel, c.stored, c.lost) for c in account(bench.path).nodes[0].channels] == [
        ("a", 10, 10),
        ("b", 10, 10),
    ]


def test_what_is_stored_counts_whatever_a_tombstone_says(bench: Bench) -> None:
    frames = [bench.data(5) for _ in range(3)]
    bench.take(frames[0], frames[1])
    bench.take(bench.node.tombstone(2, 4, 30, channels=[0, 15, 1, 15]))
    assert bench.figures() == (30, 20, 10, 0, {"spool_overflow": 10})
    assert [(c.channel, c.lost) for c in account(bench.path).nodes[0].channels] == [("a", 5), ("b", 5)]
    bench.take(frames[2])
    assert bench.figures() == (30, 30, 0, 0, {})


def test_a_torn_frame_is_sized_by_the_counts_around_it(bench: Bench) -> None:
    frames = [bench.data(5) for _ in range(3)]
    bench.take(frames[0], frames[2], bench.node.tombstone(3, 3, 0, reason=2))
    assert bench.figures() == (30, 20, 10, 0, {"torn": 10})


def test_one_tombstone_over_a_frame_that_arrived(bench: Bench) -> None:
    frames = [bench.data(5) for _ in range(5)]
    bench.take(frames[0], frames[2], frames[4], bench.node.tombstone(3, 5, 30))
    assert bench.figures() == (50, 30, 20, 0, {"spool_overflow": 20})


def test_a_tombstone_of_a_former_boot(bench: Bench) -> None:
    former = bench.node.boot
    bench.take(bench.data(5))
    bench.data(5)
    bench.data(5)
    start = bench.node.start()
    bench.take(start, bench.node.tombstone(3, 4, 20, boot=former))
    assert bench.figures() == (30, 10, 20, 0, {"spool_overflow": 20})


def test_what_another_store_has_is_gone_and_told(bench: Bench) -> None:
    frames = [bench.data(5) for _ in range(4)]
    bench.take(frames[3])
    bench.status({SAMPLED: 40, COMMITTED: 40, SPOOL_FRAMES: 1, NEXT_SEQ: 6})
    assert bench.figures() == (40, 10, 0, 30, {})
    bench.status({SAMPLED: 41, COMMITTED: 40, SPOOL_FRAMES: 0, NEXT_SEQ: 6})
    assert bench.figures() == (41, 10, 30, 1, {GONE: 30})
    bench.take(bench.data(5))
    assert bench.figures() == (50, 20, 30, 0, {GONE: 30})


def test_backlog_of_three_boots_arrives_oldest_last(bench: Bench) -> None:
    held = []
    for _ in range(3):
        held += [bench.data(5), bench.data(3)]
        held.append(bench.node.start())
    bench.session()
    for frame in reversed(held):
        bench.take(frame)
        bench.figures()
    assert bench.figures() == (48, 48, 0, 0, {})


def test_losses_have_their_span(bench: Bench) -> None:
    with bench.ingest.transaction():
        gateway = bench.ingest.set_gateway_clock("m", 0, 1_000_000, True)
        bench.ingest.set_node_clock(bench.node.node_id, bench.node.boot, NodeMapping(0, gateway, 0, 1))
    frames = [bench.data(2, mono=10_000 * i) for i in range(3)]
    bench.take(frames[0], frames[2], bench.node.tombstone(3, 3, 4, mono_from=10_000, mono_to=11_000))
    bench.status({SAMPLED: 15, COMMITTED: 12, UPTIME_MS: 25_000})
    bench.take(bench.node.start())
    assert account(bench.path).nodes[0].losses == (
        Loss("spool_overflow", 4, 1_010_000, 1_011_000),
        Loss(CUT, 3, 1_021_000, 1_025_000),
    )


def test_each_node_has_its_own(tmp_path: Path) -> None:
    one, two = ScriptedNode(Random(1), "press-1"), ScriptedNode(Random(2), "press-2")
    bench = Bench(tmp_path / "a.sqlite", one, two)
    for node, rows in ((one, 3), (two, 4)):
        bench.node = node
        bench.take(node.start(), node.birth(BIRTH), bench.data(rows))
    bench.store.close()
    both = account(bench.path)
    assert [(node.node, node.stored) for node in both.nodes] == [("press-1", 6), ("press-2", 8)]
    assert both.total("stored") == 14
    assert account(bench.path, "press-2").as_dict()["readings_stored"] == 8


@dataclass
class Life:
    """What the model knows of one boot; `told` is what it had sampled by the last status that arrived."""

    committed: int = 0
    open_batch: int = 0
    told: int = 0


@dataclass
class Held:
    """A frame that is on the node."""

    frame: bytes
    readings: int
    seq: int
    boot: bytes
    is_tombstone: bool = False


def commit(bench: Bench, lives: list[Life], held: list[Held], frame: bytes, readings: int) -> None:
    lives[-1].committed += readings
    held.append(Held(frame, readings, bench.node.seq - 1, bench.node.boot))


def begin(bench: Bench, lives: list[Life], held: list[Held]) -> None:
    start = bench.node.start()
    lives.append(Life())
    commit(bench, lives, held, start, 0)
    bench.session()


def test_random_lives(tmp_path: Path, seed: int) -> None:
    """Kills of the node, losses on the way, overflow, repeats and late frames, against a plain count."""
    random = Random(seed)
    for run in range(25):
        bench = Bench(tmp_path / f"{run}.sqlite", ScriptedNode(random))
        lives: list[Life] = []
        held: list[Held] = []
        cut = 0
        begin(bench, lives, held)
        commit(bench, lives, held, bench.node.birth(BIRTH), 0)
        for _ in range(random.randrange(10, 80)):
            action = random.choice(
                ("sample", "commit", "commit", "deliver", "deliver", "status", "kill", "drop")
            )
            life = lives[-1]
            if action == "sample":
                life.open_batch += 2 * random.randrange(1, 5)
            elif action == "commit" and life.open_batch:
                commit(bench, lives, held, bench.data(life.open_batch // 2), life.open_batch)
                life.open_batch = 0
            elif action == "deliver" and held:
                for _ in range(random.randrange(1, 4)):
                    if held:
                        at = 0 if random.random() < 0.7 else random.randrange(len(held))
                        bench.take(*[held[at].frame] * (2 if random.random() < 0.2 else 1))
                        if random.random() < 0.9:  # or the acknowledgement is lost, and it comes again
                            del held[at]
            elif action == "status":
                life.told = life.committed + life.open_batch
                bench.status({SAMPLED: life.told, COMMITTED: life.committed, NEXT_SEQ: bench.node.seq})
            elif action == "kill" and random.random() < 0.4:
                cut += max(0, life.told - life.committed)
                begin(bench, lives, held)
            elif action == "drop" and len(held) > 4:
                at = random.randrange(len(held))
                if held[at].is_tombstone:
                    continue  # a node tells what it gave up until it is acknowledged
                dropped = held.pop(at)
                grave = bench.node.tombstone(dropped.seq, dropped.seq, dropped.readings, boot=dropped.boot)
                commit(bench, lives, held, grave, 0)
                held[-1].is_tombstone = True
            bench.figures()
        bench.take(*(each.frame for each in held))
        # With a boot frame dropped, only this tells that nothing more of the boot before it will come.
        bench.status({SPOOL_FRAMES: 0, COMMITTED: lives[-1].committed, NEXT_SEQ: bench.node.seq})
        committed = sum(life.committed for life in lives)
        sampled, stored, lost_now, pending, reasons = bench.figures()
        live = max(0, lives[-1].told - lives[-1].committed)
        assert pending == live
        assert sampled == committed + cut + live
        assert reasons.get(CUT, 0) == cut
        assert GONE not in reasons
        assert lost_now - cut == committed - stored
        drawn: Account = account(bench.path)
        assert drawn.total("stored") == sum(c.stored for node in drawn.nodes for c in node.channels)
        bench.store.close()
