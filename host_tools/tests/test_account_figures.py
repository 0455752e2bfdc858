"""The account in every situation that has a figure of its own, and against a model of random lives."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host import cli
from gasan.host.account import (
    CUT,
    DAMAGED,
    ELSEWHERE,
    GONE,
    REPLACED,
    RESTORED,
    WIPED,
    Account,
    Loss,
    NodeAccount,
    account,
)
from gasan.host.account_text import sentence
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.errors import InputError
from gasan.host.i18n import set_language
from gasan.host.store import open_store
from gasan.host.store.counters import (
    COMMITTED,
    DROPPED,
    DROPPED_OF,
    MISSED,
    NEXT_SEQ,
    SAMPLED,
    SPOOL_FRAMES,
    UPTIME_MS,
)
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


def test_rot_at_the_end_of_a_start_is_told_though_nobody_can_count_it(bench: Bench) -> None:
    """The tombstone of a start that finds the tail of the one before rotten: one frame, 0 readings."""
    node, old = bench.node, bench.node.boot
    bench.take(bench.data(2))
    last = node.seq - 1
    bench.take(node.start(), node.tombstone(last + 1, last + 1, 0, boot=old, reason=2))
    drawn = account(bench.path).nodes[0]
    assert (drawn.sampled, drawn.stored, drawn.lost, drawn.torn_ends) == (4, 4, 0, 1)
    assert drawn.agrees and drawn.as_dict()["torn_ends"] == 1
    told = sentence(drawn)
    assert "may have lost readings" in told and "4 of 4 that are known of are stored." in told
    assert "The end of what 1 start of it had saved is damaged in its memory" in told
    set_language("ko")
    told = sentence(drawn)
    set_language("en")
    assert "잃었을 수 있습니다" in told and "알려진 4개 가운데 4개가 저장되어 있습니다." in told
    assert "시작 1번이 저장한 것의 끝부분이 노드 메모리에서 손상되었습니다." in told

    # Had the node told of more than was found, that much is known to be lost.
    bench.status({SAMPLED: 10, COMMITTED: 10, NEXT_SEQ: last + 4}, boot=old)
    drawn = account(bench.path).nodes[0]
    assert (drawn.sampled, drawn.stored, drawn.lost, drawn.torn_ends) == (10, 4, 6, 1)
    assert [(loss.reason, loss.readings) for loss in drawn.losses] == [("torn", 6)]
    assert sentence(drawn).split(".")[0].startswith("press-1 lost 6 of 10 readings")


def test_rot_between_whole_frames_is_no_torn_end(bench: Bench) -> None:
    node, old = bench.node, bench.node.boot
    bench.take(bench.data(2))
    rotten = node.seq
    bench.data(3)
    later = bench.data(1)
    bench.take(node.start(), node.tombstone(rotten, rotten, 0, boot=old, reason=2))
    assert account(bench.path).nodes[0].torn_ends == 0, "a later one was found, and is still to come"
    bench.take(later)
    drawn = account(bench.path).nodes[0]
    assert (drawn.stored, drawn.lost, drawn.torn_ends) == (6, 6, 0)


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
    # Committed or not: nobody can tell any more.
    assert bench.figures() == (30, 24, 6, 0, {GONE: 6})


def test_a_boot_of_which_the_node_holds_nothing_is_closed(bench: Bench) -> None:
    bench.take(bench.data(10))
    bench.status({SAMPLED: 26, COMMITTED: 20})
    bench.take(bench.node.start(tell_end=False))
    assert bench.figures() == (26, 20, 6, 0, {WIPED: 6})


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


def test_a_tombstone_that_was_written_twice_counts_once(bench: Bench) -> None:
    """The power went after it and before the frames were removed; the next start gives them up again."""
    frames = [bench.data(5) for _ in range(4)]
    bench.take(frames[0])
    for last in (4, 4, 3):
        bench.take(
            bench.node.tombstone(3, last, 10 * (last - 2), channels=[0, 5 * (last - 2), 1, 5 * (last - 2)])
        )
    bench.status({SAMPLED: 40, COMMITTED: 40})
    assert bench.figures() == (40, 10, 20, 10, {"spool_overflow": 20})
    assert [(c.channel, c.lost) for c in account(bench.path).nodes[0].channels] == [("a", 10), ("b", 10)]


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
    assert bench.figures() == (41, 10, 30, 1, {ELSEWHERE: 30})
    bench.take(bench.data(5))
    assert bench.figures() == (50, 20, 30, 0, {ELSEWHERE: 30})


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


# From a moment on, and gaps

START = 1_790_000_000_000


def dated(bench: Bench, node_ms: int = 0, gateway_ms: int = 0) -> None:
    with bench.ingest.transaction():
        gateway = bench.ingest.set_gateway_clock("m", 0, START, True)
        mapping = NodeMapping(node_ms, gateway, gateway_ms, 1, 0, 0)
        bench.ingest.set_node_clock(bench.node.node_id, bench.node.boot, mapping)


def since(bench: Bench, ms: int) -> NodeAccount:
    (node,) = account(bench.path, since_ms=START + ms, gaps=True).nodes
    assert node.unexplained == 0
    return node


def equation(node: NodeAccount) -> tuple[int, int, int, int, int]:
    return node.sampled, node.stored, node.dropped_by_rule, node.lost, node.pending


def test_from_a_moment_on(bench: Bench) -> None:
    """Frames of 10 s; the third is given up; a health frame at 25 s; the open batch is of the end."""
    dated(bench)
    frames = [bench.data(10, mono=10_000 * i) for i in range(5)]
    health = bench.node.health(
        {SAMPLED: 70, COMMITTED: 60, DROPPED: 5, MISSED: 4, DROPPED_OF: 5}, mono=25_000
    )
    bench.take(*frames[:2], health, *frames[3:])
    grave = bench.node.tombstone(4, 4, 20, mono_from=20_000, mono_to=29_000, channels=[0, 10, 1, 10])
    late = bench.node.health({DROPPED: 8, MISSED: 6, DROPPED_OF: 8}, mono=50_000)
    bench.take(grave, late)
    bench.status({SAMPLED: 114, COMMITTED: 100, UPTIME_MS: 52_000})
    assert equation(since(bench, -1000)) == (114, 80, 8, 20, 6)
    assert equation(since(bench, 5_000)) == (114, 80, 8, 20, 6)  # the frame reaches past it
    assert equation(since(bench, 15_000)) == (94, 60, 8, 20, 6)
    node = since(bench, 29_500)
    assert equation(node) == (49, 40, 3, 0, 6)
    assert node.missed == 2
    assert [(c.channel, c.sampled, c.stored, c.dropped_by_rule, c.lost) for c in node.channels] == [
        ("a", 23, 20, 3, 0),
        ("b", 20, 20, 0, 0),
    ]
    assert since(bench, 51_000).stored == 0 and since(bench, 51_000).pending == 6
    assert equation(since(bench, 60_000)) == (6, 0, 0, 0, 6)  # it may still be there


def test_from_a_moment_on_starts_that_were_over_do_not_count(bench: Bench) -> None:
    dated(bench)
    bench.take(bench.data(10))
    bench.data(3, mono=1000)  # never arrives
    start = bench.node.start()
    bench.take(start, bench.node.birth(BIRTH))  # of which no clock is known
    bench.take(bench.data(2))
    bench.take(bench.node.start())
    bench.session()
    dated(bench, 0, 100_000)
    bench.take(bench.data(1))
    assert equation(since(bench, 0)) == (32, 26, 0, 0, 6)
    assert equation(since(bench, 100_000)) == (2, 2, 0, 0, 0)
    assert since(bench, 100_000).boots == 1


def test_what_a_node_held_that_has_not_been_heard_since(bench: Bench) -> None:
    """It may be sampling into its spool, out of reach."""
    dated(bench)
    bench.take(bench.data(10))
    bench.status({SAMPLED: 30, COMMITTED: 20, UPTIME_MS: 1_000})
    node = since(bench, 3_600_000)
    assert equation(node) == (10, 0, 0, 0, 10)
    assert "no readings yet" not in sentence(node)


def test_gaps_and_their_reasons(bench: Bench) -> None:
    dated(bench)
    bench.take(bench.data(10), bench.data(5, mono=20_000))
    lost = bench.data(5, mono=25_000)
    assert lost
    bench.take(bench.data(5, mono=30_000))
    bench.take(bench.node.tombstone(4, 4, 10, mono_from=25_000, mono_to=29_000, channels=[0, 5, 1, 5]))
    bench.data(5, mono=35_000)
    bench.take(bench.data(5, mono=40_000))
    bench.take(bench.node.start(), bench.node.birth(BIRTH))
    bench.session()
    dated(bench, 0, 100_000)
    bench.take(bench.data(3))
    (node,) = account(bench.path, gaps=True).nodes
    found = [(g.channel, g.from_ms - START, g.to_ms - START, g.reason) for g in node.gaps]
    intervals = [
        (9_000, 20_000, "missed"),
        (24_000, 30_000, "spool_overflow"),
        (34_000, 40_000, "pending"),
        (44_000, 100_000, "restarted"),
    ]
    assert found == [(c, *interval) for interval in intervals for c in ("a", "b")]


def test_a_gap_inside_a_frame(bench: Bench) -> None:
    """Polled each second; the third to fifth seconds had no poll."""
    dated(bench)
    bench.take(bench.node.data([(columns.U16, [1, 2])] * 2, mono=0, period_ms=4000))
    (node,) = account(bench.path, gaps=True).nodes
    assert [(g.channel, g.from_ms - START, g.to_ms - START) for g in node.gaps] == [
        ("a", 0, 4000),
        ("b", 0, 4000),
    ]


def test_rows_that_are_missing_are_a_contradiction(bench: Bench) -> None:
    bench.take(bench.data(10))
    assert account(bench.path).agrees
    bench.store.connection.execute("DELETE FROM sample WHERE id & 65535 = 7")
    drawn = account(bench.path)
    assert [(each.kind, each.readings) for each in drawn.nodes[0].disagreements] == [("rows", 1)]
    assert not drawn.agrees


def test_channels_that_drop_more_than_the_node_are_a_contradiction(bench: Bench) -> None:
    bench.take(
        bench.data(1),
        bench.node.health({SAMPLED: 5, COMMITTED: 2, DROPPED: 3, DROPPED_OF: 2, DROPPED_OF + 1: 2}),
    )
    assert [(e.kind, e.readings) for e in account(bench.path).nodes[0].disagreements] == [("dropped", 1)]


def test_the_command_says_by_its_exit_code_that_it_does_not_add_up(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.take(bench.data(10))
    assert cli.run(["account", "--db", str(bench.path)]) == ExitCode.OK
    bench.store.connection.execute("DELETE FROM sample WHERE id & 65535 = 7")
    capsys.readouterr()
    assert cli.run(["account", "--db", str(bench.path), "--json"]) == ExitCode.CONTRADICTION
    told = json.loads(capsys.readouterr().out)
    assert told["agrees"] is False
    assert told["by_node"][0]["disagreements"] == [{"kind": "rows", "boot": "", "readings": 1}]
    assert cli.run(["account", "--db", str(bench.path), "--node", "press-9"]) == ExitCode.WRONG_INPUT
    assert "press-1" in capsys.readouterr().err


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
        assert not {GONE, ELSEWHERE} & set(reasons)
        assert lost_now - cut == committed - stored
        drawn: Account = account(bench.path)
        described = [channel for node in drawn.nodes for channel in node.channels]
        if described:  # else the only birth was among the frames that the node gave up
            assert drawn.total("stored") == sum(channel.stored for channel in described)
        bench.store.close()


def test_what_rules_left_out_is_told_by_channel(bench: Bench) -> None:
    """A health frame carries, beside the sum, the count of each channel under `DROPPED_OF` + its number."""
    bench.take(bench.data(10))
    bench.take(bench.node.health({SAMPLED: 27, COMMITTED: 20, DROPPED: 7, DROPPED_OF: 5, DROPPED_OF + 1: 2}))
    bench.take(bench.node.health({SAMPLED: 26, COMMITTED: 20, DROPPED: 6, DROPPED_OF: 4, DROPPED_OF + 9: 0}))
    assert bench.figures() == (27, 20, 0, 0, {})
    drawn = account(bench.path).nodes[0]
    assert drawn.dropped_by_rule == 7
    assert [(c.channel, c.sampled, c.stored, c.dropped_by_rule, c.lost) for c in drawn.channels] == [
        ("channel 9", 0, 0, 0, 0),
        ("a", 15, 10, 5, 0),
        ("b", 12, 10, 2, 0),
    ]


def test_what_retention_took_away_counts_as_stored(bench: Bench) -> None:
    bench.take(bench.data(10), bench.data(5), bench.data(1))
    before = bench.figures()
    db = bench.store.connection
    db.execute(
        "INSERT INTO retired SELECT boot, min(seq), max(seq), min(count), sum(n), min(mono), max(mono + span)"
        " - min(mono), count(*), sum(iif(kind = 0, size, 0)), NULL FROM frame WHERE seq < 3"
    )
    db.execute(
        "INSERT INTO retired_channel SELECT channel, count(*), 0, NULL FROM sample WHERE id >> 16 IN"
        " (SELECT id FROM frame WHERE seq < 3) GROUP BY channel"
    )
    db.execute("DELETE FROM sample WHERE id >> 16 IN (SELECT id FROM frame WHERE seq < 3)")
    db.execute("DELETE FROM frame WHERE seq < 3")
    assert bench.figures() == before == (32, 32, 0, 0, {})
    assert [c.stored for c in account(bench.path).nodes[0].channels] == [16, 16]


def test_what_a_damaged_database_lost_is_named(bench: Bench) -> None:
    bench.take(bench.data(10), bench.data(5), bench.data(1))
    boot, seq = bench.store.connection.execute("SELECT boot, 3 FROM frame LIMIT 1").fetchone()
    bench.store.connection.execute("DELETE FROM sample WHERE id >> 16 = 4")
    bench.store.connection.execute("DELETE FROM frame WHERE id = 4")
    bench.store.connection.execute("INSERT INTO gateway_loss VALUES (?, ?, ?, 1, 0, NULL)", (boot, seq, seq))
    assert bench.figures() == (32, 22, 10, 0, {DAMAGED: 10})


def test_what_was_stored_after_a_restored_backup_is_lost_once_the_node_has_it_no_more(bench: Bench) -> None:
    bench.take(bench.data(10))
    (boot,) = bench.store.connection.execute("SELECT id FROM boot").fetchone()
    bench.store.connection.execute("INSERT INTO gateway_loss VALUES (?, 3, NULL, 2, 0, NULL)", (boot,))
    bench.data(4)
    later = bench.data(1)
    bench.status({SAMPLED: 30, COMMITTED: 30})
    assert bench.figures() == (30, 20, 0, 10, {})
    bench.take(later)
    assert bench.figures() == (30, 22, 0, 8, {})
    bench.status({SAMPLED: 30, COMMITTED: 30, SPOOL_FRAMES: 0, NEXT_SEQ: 5})
    assert bench.figures() == (30, 22, 8, 0, {RESTORED: 8})
    # A start of which the backup knows nothing, and the store only the end.
    bench.node.start()
    bench.data(3)
    end = bench.data(2)
    bench.session()
    bench.take(end)
    bench.status({SAMPLED: 10, COMMITTED: 10, SPOOL_FRAMES: 0, NEXT_SEQ: 3})
    assert bench.figures() == (40, 26, 14, 0, {RESTORED: 14})


def test_a_node_that_was_flashed_anew_counts_its_starts_from_one(bench: Bench) -> None:
    """What its flash held is gone, and the new start is not taken for an old one."""
    bench.take(bench.data(10))
    for _ in range(3):
        bench.take(bench.node.start())
    bench.take(bench.data(2))
    bench.data(5)
    bench.status({SAMPLED: 17, COMMITTED: 14})
    assert bench.figures() == (37, 24, 0, 13, {})
    bench.node.flash_anew()
    bench.take(bench.node.start())
    bench.session()
    bench.take(bench.data(1))
    bench.status({SAMPLED: 3, COMMITTED: 2})
    assert bench.figures() == (40, 26, 13, 1, {WIPED: 13})


def test_a_first_start_that_is_heard_of_later_is_no_new_life(tmp_path: Path) -> None:
    """The node starts twice before the gateway comes: the session is of the second start, and its status is
    there before the first frame of the first one.
    """
    bench = Bench(tmp_path / "a.sqlite")
    frames = [bench.node.start(), bench.node.birth(BIRTH), bench.data(10), bench.node.start()]
    bench.session()
    bench.status({SAMPLED: 6, COMMITTED: 0})
    bench.take(*frames)
    assert bench.figures() == (26, 20, 0, 6, {})
    bench.take(bench.data(3))
    assert bench.figures() == (26, 26, 0, 0, {})
    bench.store.close()


def test_a_spool_that_was_erased(bench: Bench) -> None:
    bench.take(bench.data(10))
    bench.data(5)
    bench.status({SAMPLED: 31, COMMITTED: 30})
    bench.take(bench.node.start(tell_end=False))
    assert bench.figures() == (31, 20, 11, 0, {WIPED: 11})


def test_a_board_in_the_place_of_another(tmp_path: Path) -> None:
    old, new = ScriptedNode(Random(1)), ScriptedNode(Random(2))
    bench = Bench(tmp_path / "a.sqlite", old, new)
    bench.node = old
    bench.take(old.start(), old.birth(BIRTH), bench.data(3))
    bench.data(4)
    bench.session()
    bench.status({SAMPLED: 15, COMMITTED: 14})
    assert bench.figures() == (15, 6, 0, 9, {})
    bench.node = new
    bench.take(new.start(), new.birth(BIRTH), bench.data(1))
    bench.session()
    assert bench.figures() == (17, 8, 9, 0, {REPLACED: 9})
    (node,) = account(bench.path).nodes
    assert (node.node, node.boards, node.boots) == ("press-1", 2, 2)
    bench.store.close()


@pytest.mark.parametrize("kind", ["overlap", "hole", "end"])
def test_where_counters_and_store_contradict_each_other(bench: Bench, kind: str) -> None:
    bench.take(bench.data(10))
    if kind == "end":
        bench.status({SAMPLED: 24, COMMITTED: 24, SPOOL_FRAMES: 0, NEXT_SEQ: 3})
    else:
        bench.node.count += -6 if kind == "overlap" else 4
        bench.take(bench.data(10))
    (node,) = account(bench.path).nodes
    assert [(each.kind, each.readings) for each in node.disagreements] == [
        (kind, 6 if kind == "overlap" else 4)
    ]
    assert not node.agrees


def test_a_node_that_told_of_more_than_its_next_start_found(bench: Bench) -> None:
    bench.take(bench.data(10))
    bench.status({SAMPLED: 24, COMMITTED: 24})
    bench.take(bench.node.start())
    assert bench.figures() == (24, 20, 4, 0, {"torn": 4})
