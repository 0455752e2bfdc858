"""What becomes of frames: stored once, known again, in conflict, not authentic, not decodable yet."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host.account import account
from gasan.host.store import crashes, open_reader, open_store, readings
from gasan.host.store.ingest import Ingest, Outcome, Receipt
from gasan.wire import cbor, columns
from gasan.wire.cose import Hmac
from gasan.wire.frame import frame_key
from gasan.wire.frame_reader import split

BIRTH = [channel("meter", "voltage", columns.U16, den=10), channel("meter", "current", columns.U16, unit="A")]


class Bench:
    """A store, one node whose frames it may take, and a look at what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.node = ScriptedNode(Random(3))
        self.store = open_store(path)
        self.ingest = Ingest(self.store, ScriptedKeys(self.node))

    def take(self, *frames: bytes) -> list[Receipt]:
        return self.ingest.store(frames)

    def outcomes(self, *frames: bytes) -> list[Outcome]:
        return [receipt.outcome for receipt in self.take(*frames)]

    def data(self, *values: int, mono: int = 1000) -> bytes:
        return self.node.data([(columns.U16, list(values)), (columns.U16, list(values))], mono=mono)

    def rows(self) -> list[tuple[int, str, float | None]]:
        connection = open_reader(self.path)
        try:
            return [(row.seq, row.channel, row.value) for row in readings(connection)]
        finally:
            connection.close()

    def sql(self, query: str) -> list[Any]:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()


@contextmanager
def opened(path: Path) -> Iterator[Bench]:
    bench = Bench(path)
    try:
        yield bench
    finally:
        bench.store.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with opened(tmp_path / "a.sqlite") as it:
        yield it


def test_a_frame_is_stored_once_however_often_it_comes(bench: Bench) -> None:
    start, birth, data = bench.node.start(), bench.node.birth(BIRTH), bench.data(2301, 2302)
    assert bench.outcomes(start, birth, data, data) == [Outcome.STORED] * 3 + [Outcome.AGAIN]
    before = bench.rows()
    assert bench.outcomes(data, start, birth) == [Outcome.AGAIN] * 3
    assert bench.rows() == before
    assert before == [
        (2, "voltage", 230.1),
        (2, "voltage", 230.2),
        (2, "current", 2301.0),
        (2, "current", 2302.0),
    ]
    drawn = account(bench.path)
    assert drawn.nodes[0].received_again == 4
    assert (drawn.total("stored"), drawn.total("duplicated")) == (4, 0)


def test_the_same_identity_with_another_tag_is_a_conflict(bench: Bench) -> None:
    bench.take(bench.node.start(), bench.node.birth(BIRTH), bench.data(1))
    bench.node.seq, bench.node.count = 2, 0
    other = bench.data(9)
    assert bench.outcomes(other, other) == [Outcome.CONFLICT] * 2
    assert [value for _, _, value in bench.rows()] == [0.1, 1.0]
    assert bench.sql("SELECT seq, frame FROM conflict") == [(2, other)]
    assert account(bench.path).as_dict()["conflicts"] == 1


def test_frames_that_are_not_authentic_or_not_well_formed_are_counted_and_not_stored(bench: Bench) -> None:
    start = bench.node.start()
    bench.take(start)
    data = bench.data(1)
    forged = bytearray(data)
    forged[40] ^= 1
    stranger = ScriptedNode(Random(5))
    old_key = ScriptedNode(Random(3), generation=1)
    garbage = bench.node._content(0, 1, [[0, 1, 0, 0, ["no column"]]])
    assert bench.outcomes(bytes(forged)) == [Outcome.BAD_MAC]
    assert bench.outcomes(data[:-1], b"", b"\x00" * 50, data + b"\x00") == [Outcome.BAD_SHAPE] * 4
    assert bench.outcomes(stranger.start(), old_key.start()) == [Outcome.UNKNOWN_KEY] * 2
    assert bench.outcomes(garbage) == [Outcome.BAD_SHAPE]
    assert bench.sql("SELECT count(*) FROM frame") == [(1,)]
    assert dict(bench.sql("SELECT what, n FROM tally WHERE node = 0")) == {
        "bad_shape": 4,
        "bad_mac": 1,
        "unknown_key": 2,
    }
    assert dict(bench.sql("SELECT what, n FROM tally WHERE node <> 0")) == {"bad_shape": 1}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (1, {1: 1 << 63, 2: None, 3: None, 4: None, 5: 0, 6: "", 7: "", 8: 0}),
        (3, [1, bytes(8), 5, 4, 1, 0, 0, []]),
        (3, [1, bytes(8), 0, 1 << 63, 1, 0, 0, []]),
        (4, {1: 1 << 63}),
        (2, [0, 1, 0, [["d", "c", "V", 1, 1, 1, 0, 0, {1: 64}]]]),
    ],
)
def test_authentic_content_that_no_database_could_hold_is_refused(
    bench: Bench, kind: int, content: Any
) -> None:
    bench.take(bench.node.start())
    assert bench.outcomes(bench.node._content(kind, 0, content)) == [Outcome.BAD_SHAPE]
    assert bench.outcomes(bench.node.health({1: 5})) == [Outcome.STORED]


def test_data_before_its_meaning_is_kept_and_decoded_when_the_birth_comes(bench: Bench) -> None:
    start, birth = bench.node.start(), bench.node.birth(BIRTH)
    data = [bench.data(2300 + i, 2301 + i, mono=1000 * i) for i in range(600)]
    assert set(bench.outcomes(start, *data)) == {Outcome.STORED}
    assert bench.rows() == []
    assert account(bench.path).total("stored") == 2400, "stored, though not readable yet"
    assert bench.outcomes(birth) == [Outcome.STORED]
    rows = bench.rows()
    assert len(rows) == 2400
    assert {row[2] for row in rows if row[0] == 2} == {230.0, 230.1, 2300.0, 2301.0}
    assert bench.sql("SELECT count(*) FROM undecoded") == [(0,)]
    assert account(bench.path).total("stored") == 2400


def test_data_of_a_birth_in_parts_waits_for_its_own_channels(bench: Bench) -> None:
    start = bench.node.start()
    first, second = (
        bench.node.birth(BIRTH[:1], parts=2),
        bench.node.birth(BIRTH[1:], first=1, part=1, parts=2),
    )
    one = bench.node.data([(columns.U16, [5])])
    both = bench.data(7)
    bench.take(start, one, both)
    bench.take(first)
    assert bench.rows() == [(3, "voltage", 0.5)]
    bench.take(second)
    assert sorted(bench.rows()) == [(3, "voltage", 0.5), (4, "current", 7.0), (4, "voltage", 0.7)]


def test_undecoded_data_survives_a_restart_of_the_gateway(tmp_path: Path) -> None:
    with opened(tmp_path / "a.sqlite") as bench:
        node, birth = bench.node, b""
        start, birth, data = node.start(), node.birth(BIRTH), bench.data(1, 2)
        bench.take(start, data)
    with opened(tmp_path / "a.sqlite") as bench:
        assert bench.outcomes(birth) == [Outcome.STORED]
        assert len(bench.rows()) == 4


def test_a_compiled_config_is_as_good_as_a_birth(bench: Bench) -> None:
    config = cbor.dumps([2, "press-1", {}, [], [cbor.dumps([0, BIRTH])]])
    bench.take(bench.node.start(), bench.data(1))
    with bench.ingest.transaction():
        bench.ingest.learn_config(bench.node.node_id, bench.node.revision, config)
    bench.take()
    assert len(bench.rows()) == 2
    assert bench.outcomes(bench.node.birth(BIRTH)) == [Outcome.STORED]


def test_a_birth_that_contradicts_is_told_and_changes_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.take(bench.node.start(), bench.node.birth(BIRTH), bench.data(10))
    bench.take(bench.node.birth([channel("meter", "voltage", columns.U16, den=100)]))
    assert "already means" in caplog.text
    assert bench.rows()[0][2] == 1.0


def test_what_is_acknowledged_is_what_is_stored_or_given_up(bench: Bench) -> None:
    node = bench.node
    start, birth = node.start(), node.birth(BIRTH)
    frames = [bench.data(i) for i in range(6)]
    receipts = bench.take(start, frames[1], frames[3], frames[4])
    assert receipts[-1].stored == (1, ((3, 3), (5, 6)))
    assert bench.take(birth)[0].stored == (2, ((3, 3), (5, 6)))
    bench.take(node.tombstone(2, 2, 2))
    assert bench.take(frames[5])[0].stored == (4, ((5, 8),))
    with bench.ingest.transaction():
        assert bench.ingest.welcome(node.node_id, 8) == [(node.boot, 4, ((5, 8),))]


def test_the_welcome_begins_with_the_boot_in_session(bench: Bench) -> None:
    node, boots = bench.node, []
    for _ in range(4):
        bench.take(node.start())
        boots.append(node.boot)
    with bench.ingest.transaction():
        bench.ingest.session(node.node_id, boots[1])
        assert [boot for boot, _, _ in bench.ingest.welcome(node.node_id, 3)] == [
            boots[1],
            boots[3],
            boots[2],
        ]


def test_the_memory_of_what_was_stored_outlives_the_rows(tmp_path: Path) -> None:
    with opened(tmp_path / "a.sqlite") as bench:
        start, data = bench.node.start(), bench.data(1)
        bench.take(start, data)
        bench.store.connection.execute("DELETE FROM frame")
        bench.store.connection.execute("DELETE FROM sample")
    with opened(tmp_path / "a.sqlite") as bench:
        assert bench.outcomes(start, data) == [Outcome.AGAIN] * 2
        assert bench.sql("SELECT count(*) FROM frame") == [(0,)]


def test_readings_that_stand_in_two_frames_are_told_and_counted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.take(bench.node.start(), bench.node.birth(BIRTH), bench.data(1, 2, 3))
    bench.node.count -= 4
    receipt = bench.take(bench.data(2, 3))[0]
    assert (receipt.outcome, receipt.overlap) == (Outcome.STORED, 4)
    assert "were in earlier frames" in caplog.text
    assert account(bench.path).total("duplicated") == 4


def test_health_and_crash_frames_leave_their_content(bench: Bench) -> None:
    bench.take(
        bench.node.start(), bench.node.health({1: 7, 3: 2, 7: 40_000}), bench.node.crash("Traceback: x")
    )
    assert [json.loads(body) for (body,) in bench.sql("SELECT body FROM event WHERE frame = 2")] == [
        {"1": 7, "3": 2, "7": 40000}
    ]
    connection = open_reader(bench.path)
    try:
        assert [(crash.boot, crash.seq, crash.text) for crash in crashes(connection, "press-1")] == [
            (bench.node.boot.hex(), 2, "Traceback: x")
        ]
    finally:
        connection.close()
    assert account(bench.path).total("missed") == 2


def test_nothing_of_a_transaction_that_fails_has_happened(bench: Bench) -> None:
    start, birth, data = bench.node.start(), bench.node.birth(BIRTH), bench.data(1)
    with pytest.raises(RuntimeError), bench.ingest.transaction():
        assert bench.ingest.frame(start).outcome is Outcome.STORED
        assert bench.ingest.frame(data).outcome is Outcome.STORED
        raise RuntimeError
    assert bench.sql("SELECT (SELECT count(*) FROM frame), (SELECT count(*) FROM node)") == [(0, 0)]
    assert bench.outcomes(start, birth, data) == [Outcome.STORED] * 3
    assert len(bench.rows()) == 2


def test_the_independent_reading_of_a_frame(bench: Bench) -> None:
    """The tag that the store keeps is the one that a MAC over the payload gives."""
    bench.take(bench.node.start())
    data = bench.data(1)
    bench.take(data)
    _, payload, tag = split(data)
    structure = cbor.dumps(["MAC0", b"\xa1\x01\x04", b"", payload])
    assert Hmac(frame_key(bench.node.key)).tag(structure) == tag
    assert bench.sql("SELECT tag FROM frame WHERE seq = 1") == [(tag,)]
