"""Readings are dated by two mappings, and move when either is corrected."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host.store import open_reader, open_store, readings
from gasan.host.store.dating import SEGMENT_MS, NodeMapping
from gasan.host.store.ingest import Ingest
from gasan.wire import columns

UTC = 1_790_000_000_000


class Bench:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.node = ScriptedNode(Random(3))
        self.store = open_store(path)
        self.ingest = Ingest(self.store, ScriptedKeys(self.node))
        self.ingest.store([self.node.start(), self.node.birth([channel("d", "c", columns.U16)])])
        with self.ingest.transaction():
            self.gateway = self.ingest.set_gateway_clock("machine", 1_000_000, UTC, True)

    def data(self, mono: int, rows: int = 1) -> None:
        self.ingest.store([self.node.data([(columns.U16, list(range(rows)))], mono=mono)])

    def map(
        self, node_ms: int, gateway_ms: int, err_ms: int = 3, *, rate_ppb: int = 0, drift_ppm: int = 100
    ) -> None:
        mapping = NodeMapping(node_ms, self.gateway, gateway_ms, err_ms, rate_ppb, drift_ppm)
        with self.ingest.transaction():
            self.ingest.set_node_clock(self.node.node_id, self.node.boot, mapping)

    def times(self, **span: int) -> list[tuple[int | None, int | None]]:
        connection = open_reader(self.path)
        try:
            return [(row.time_ms, row.time_err_ms) for row in readings(connection, **span)]
        finally:
            connection.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    it = Bench(tmp_path / "a.sqlite")
    yield it
    it.store.close()


def test_no_time_is_invented(bench: Bench) -> None:
    bench.data(5000, rows=2)
    assert bench.times() == [(None, None)] * 2
    assert bench.times(since_ms=0) == []


def test_readings_from_before_the_first_exchange_are_dated_by_it(bench: Bench) -> None:
    bench.data(5000, rows=2)
    bench.map(10_000, 1_010_000, drift_ppm=0)
    bench.data(11_000)
    assert bench.times() == [(UTC + 5_000, 3), (UTC + 6_000, 3), (UTC + 11_000, 3)]


def test_the_bound_grows_with_the_distance(bench: Bench) -> None:
    bench.data(10_000)
    bench.map(3_610_000, 4_610_000, err_ms=2, drift_ppm=100)
    assert bench.times() == [(UTC + 1_010_000 - 1_000_000, 2 + 360)]


def test_a_known_rate_is_applied(bench: Bench) -> None:
    bench.data(0)
    bench.map(1_000_000, 2_000_000, rate_ppb=50_000, drift_ppm=0)
    assert bench.times() == [(UTC - 50, 3)]


def test_a_better_estimate_moves_what_it_dates(bench: Bench) -> None:
    bench.data(1000)
    bench.map(1000, 1_001_000, err_ms=50)
    bench.map(2000, 1_001_990, err_ms=2, drift_ppm=0)
    assert bench.times() == [(UTC + 990, 2)]


def test_a_clock_correction_is_one_row_and_moves_every_reading(bench: Bench) -> None:
    for mono in range(0, 600_000, 30_000):
        bench.map(mono, 1_000_000 + mono, drift_ppm=0)
        bench.data(mono)
    before = bench.times()
    year = 365 * 86_400_000
    with bench.ingest.transaction():
        assert (
            bench.ingest.set_gateway_clock("machine", 5_000_000, UTC + 4_000_000 + 3 * year, True)
            == bench.gateway
        )
    assert bench.times() == [(time and time + 3 * year, err) for time, err in before]
    connection = sqlite3.connect(bench.path)
    assert connection.execute("SELECT count(*) FROM gateway_clock").fetchone() == (1,)
    connection.close()


def test_another_start_of_the_machine_has_a_mapping_of_its_own(bench: Bench) -> None:
    bench.map(1000, 1_001_000, drift_ppm=0)
    bench.data(1000)
    with bench.ingest.transaction():
        bench.gateway = bench.ingest.set_gateway_clock("machine, started again", 0, UTC + 60_000, True)
    bench.map(61_000, 0, drift_ppm=0)
    bench.data(61_000)
    assert bench.times() == [(UTC + 1_000, 3), (UTC + 60_000, 3)]


def test_a_row_serves_for_a_while_and_a_late_frame_finds_its_own(bench: Bench) -> None:
    for mono in range(0, 10 * SEGMENT_MS, 10_000):
        bench.map(mono, 1_000_000 + mono + mono // 1000, drift_ppm=0)
    connection = sqlite3.connect(bench.path)
    assert connection.execute("SELECT count(*) FROM node_clock").fetchone() == (10,)
    connection.close()
    for mono in (5_000, 4 * SEGMENT_MS + 50_000, 9 * SEGMENT_MS + 55_000):
        bench.data(mono)
    assert [(time or 0) - UTC for time, _ in bench.times()] == [5_050, 290_290, 595_590]


def test_a_reopened_store_goes_on_with_the_newest_row(bench: Bench) -> None:
    bench.map(1000, 1_001_000, drift_ppm=0)
    bench.store.close()
    bench.store = open_store(bench.path)
    bench.ingest = Ingest(bench.store, ScriptedKeys(bench.node))
    bench.data(1500)
    bench.map(2000, 1_002_500, drift_ppm=0)
    assert bench.times() == [(UTC + 2_000, 3)]


def test_span_and_limit_of_a_query(bench: Bench) -> None:
    bench.map(0, 1_000_000, drift_ppm=0)
    for mono in range(0, 100_000, 10_000):
        bench.data(mono, rows=10)
    every = bench.times()
    assert len(every) == 100
    assert bench.times(since_ms=UTC + 25_000, until_ms=UTC + 42_000) == every[25:42]
    assert bench.times(limit=7) == every[-7:]
    assert bench.times(since_ms=UTC + 95_000) == every[95:]
    assert bench.times(until_ms=UTC + 5_000, limit=2) == every[3:5]


def test_what_was_sampled_before_the_contact_is_dated_anew_when_the_rate_is_known(bench: Bench) -> None:
    """Three hours of readings wait for the first contact; ten minutes later their bound has shrunk."""
    bench.data(0)
    bench.map(10_800_000, 11_800_000)
    assert bench.times() == [(UTC + 0, 3 + 1080)]
    for minute in range(1, 11):
        bench.map(10_800_000 + minute * 60_000, 11_800_000 + minute * 60_000)
    mapping = NodeMapping(10_800_000, bench.gateway, 11_800_001, 4, rate_ppb=-50_000, drift_ppm=20)
    worse = NodeMapping(10_800_000, bench.gateway, 11_800_500, 4, rate_ppb=0, drift_ppm=90)
    with bench.ingest.transaction():
        bench.ingest.refine_contact(bench.node.node_id, bench.node.boot, mapping)
        bench.ingest.refine_contact(bench.node.node_id, bench.node.boot, worse)
    assert bench.times() == [(UTC + 1 + 540, 4 + 216)]


def test_the_newest_ones_are_those_of_a_full_sort(tmp_path: Path, seed: int) -> None:
    """Frames out of order, one inside another, undated ones; with every limit and filter."""
    random = Random(seed)
    bench = Bench(tmp_path / "a.sqlite")
    for _ in range(4):
        frames = []
        for _ in range(12):
            rows = random.randrange(1, 6)
            columns_ = [(columns.U16, [1] * rows)] * random.randrange(1, 3)
            period = random.choice((1, 1000, 20_000))
            frames.append(bench.node.data(columns_, mono=random.randrange(100_000), period_ms=period))
        random.shuffle(frames)
        bench.ingest.store(frames)
        if random.random() < 0.7:
            bench.map(0, 1_000_000 + random.randrange(200_000), drift_ppm=0)
        bench.ingest.store([bench.node.start()])
        bench.ingest.store(
            [bench.node.birth([channel("d", "c", columns.U16), channel("d", "e", columns.U16)])]
        )
    with closing(open_reader(bench.path)) as connection:
        for filters in ({}, {"channel": "e"}, {"since_ms": UTC + 50_000}, {"until_ms": UTC + 60_000}):
            every = list(readings(connection, **filters))  # type: ignore[arg-type]
            for limit in (1, 2, 7, 50, len(every) or 1, len(every) + 5):
                found = list(readings(connection, **filters, limit=limit))  # type: ignore[arg-type]
                assert found == every[-limit:]
    bench.store.close()


def test_the_newest_ones_of_many_are_found_without_a_look_at_the_others(bench: Bench) -> None:
    bench.map(0, 1_000_000, drift_ppm=0)
    frames = [bench.node.data([(columns.U16, list(range(100)))], mono=100_000 * i) for i in range(200)]
    bench.ingest.store(frames)
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with closing(open_reader(bench.path)) as connection:
        connection.set_progress_handler(count, 1000)
        assert len(list(readings(connection, limit=100))) == 100
        newest, steps = steps, 0
        assert len(list(readings(connection))) == 20_000
    assert newest * 50 < steps


# Starts that no gateway ever spoke to


def qualities(bench: Bench) -> list[str]:
    with closing(open_reader(bench.path)) as connection:
        return [row.quality for row in readings(connection)]


def start(bench: Bench) -> None:
    bench.ingest.store([bench.node.start(), bench.node.birth([channel("d", "c", columns.U16)])])


def session(bench: Bench) -> None:
    with bench.ingest.transaction():
        bench.ingest.session(bench.node.node_id, bench.node.boot)


def test_a_start_without_contact_is_dated_between_its_neighbours(bench: Bench) -> None:
    """Before it: the last reading at 10 s. It lasted for 40 s. After it: a start that began at 110 s."""
    bench.map(0, 1_000_000, err_ms=5, drift_ppm=0)
    bench.data(10_000)
    start(bench)
    silent = [bench.node.data([(columns.U16, [1])], mono=mono) for mono in (0, 40_000)]
    start(bench)
    session(bench)
    bench.ingest.store(silent)
    assert bench.times() == [(None, None)] * 2 + [(UTC + 10_000, 5)]
    assert qualities(bench) == ["uncertain/time", "uncertain/time", "good"]
    bench.map(0, 1_110_000, err_ms=5, drift_ppm=0)
    bench.data(1000)
    # The start began between 10 s and 70 s, give or take what exchanges and crystals may be off.
    first, (begin, error), (end, more), last = bench.times()
    assert (first, last) == ((UTC + 10_000, 5), (UTC + 111_000, 5))
    assert begin is not None and error is not None and end is not None and more is not None
    assert abs(begin - UTC - 40_000) <= 5 and 30_000 <= error <= 30_020
    assert end - begin == 40_000 and error <= more <= error + 4
    assert qualities(bench) == ["good", "uncertain/time", "uncertain/time", "good"]


def test_a_longer_stay_narrows_the_bound_and_frames_may_come_late(bench: Bench) -> None:
    bench.map(0, 1_000_000, drift_ppm=0)
    bench.data(10_000)
    start(bench)
    frames = [bench.node.data([(columns.U16, [1])], mono=mono) for mono in (0, 90_000)]
    start(bench)
    session(bench)
    bench.map(0, 1_110_000, drift_ppm=0)
    errors = []
    for frame in frames:
        bench.ingest.store([frame])
        errors.append(bench.times()[1][1])
    assert errors[0] is not None and errors[1] is not None
    assert errors[0] > 50_000 and errors[1] < 5_100


def test_several_starts_without_contact_share_what_lies_between(bench: Bench) -> None:
    bench.map(0, 1_000_000, drift_ppm=0)
    bench.data(0)
    for _ in range(3):
        start(bench)
        bench.data(0)
        bench.data(20_000)
    start(bench)
    session(bench)
    bench.map(0, 1_090_000, drift_ppm=0)
    times = [(time or 0) - UTC for time, _ in bench.times()[1:]]
    errors = [error or 0 for _, error in bench.times()[1:]]
    for i, (time, error) in enumerate(zip(times[::2], errors[::2], strict=True)):
        least, most = 20_000 * i, 90_000 - 20_000 * (3 - i)
        assert abs(time - (least + most) // 2) <= 20 and error <= (most - least) / 2 + 20


def test_with_one_neighbour_only_there_is_no_time(bench: Bench) -> None:
    bench.data(0)  # the first start of all
    start(bench)
    session(bench)
    bench.map(0, 1_050_000, drift_ppm=0)
    assert bench.times() == [(None, None)]
    start(bench)
    bench.data(0)  # the last one
    assert bench.times() == [(None, None)] * 2


def test_a_bounded_start_moves_with_the_clock_it_hangs_on(bench: Bench) -> None:
    bench.map(0, 1_000_000, drift_ppm=0)
    start(bench)
    bench.data(0)
    start(bench)
    session(bench)
    bench.map(0, 1_050_000, drift_ppm=0)
    ((before, error),) = bench.times()
    assert before is not None
    hour = 3_600_000
    with bench.ingest.transaction():
        bench.ingest.set_gateway_clock("machine", 2_000_000, UTC + 1_000_000 + hour, True)
    assert bench.times() == [(before + hour, error)]


@pytest.mark.parametrize("synchronised", [False, True])
def test_across_a_restart_of_the_gateway_only_synchronised_clocks_are_compared(
    bench: Bench, synchronised: bool
) -> None:
    bench.map(0, 1_000_000, drift_ppm=0)
    start(bench)
    bench.data(0)
    start(bench)
    session(bench)
    with bench.ingest.transaction():
        bench.gateway = bench.ingest.set_gateway_clock("again", 0, UTC + 60_000, synchronised)
    bench.map(0, 1000, drift_ppm=0)
    ((time, _),) = bench.times()
    assert (time is not None) == synchronised
    with bench.ingest.transaction():  # the time server answers later
        bench.ingest.set_gateway_clock("again", 5000, UTC + 65_000 + 7_200_000, True)
    ((time, error),) = bench.times()
    assert time is not None and error is not None
    assert time - error <= UTC + 10 and time + error >= UTC + 61_000 + 7_200_000 - 10


def test_a_start_that_is_mapped_after_all_is_bounded_no_more(bench: Bench) -> None:
    bench.map(0, 1_000_000, drift_ppm=0)
    start(bench)
    bench.data(5_000)
    boot = bench.node.boot
    start(bench)
    session(bench)
    bench.map(0, 1_050_000, drift_ppm=0)
    assert qualities(bench) == ["uncertain/time"]
    with bench.ingest.transaction():
        mapping = NodeMapping(10_000, bench.gateway, 1_030_000, 3, 0, 0)
        bench.ingest.set_node_clock(bench.node.node_id, boot, mapping)
    assert bench.times() == [(UTC + 25_000, 3)]
    assert qualities(bench) == ["good"]
    rows = bench.store.connection.execute("SELECT count(*) FROM node_clock WHERE bounded").fetchone()
    assert rows == (0,)


def test_a_node_that_was_flashed_anew_has_no_neighbours_from_before(bench: Bench) -> None:
    bench.map(0, 1_000_000, drift_ppm=0)
    bench.node.flash_anew()
    start(bench)
    bench.data(0)
    start(bench)
    session(bench)
    bench.map(0, 1_050_000, drift_ppm=0)
    assert bench.times() == [(None, None)]


# Clocks of the gateway that jump

HOUR, YEAR = 3_600_000, 365 * 86_400_000
MOMENTS = {
    "1 h ahead": UTC + HOUR,
    "1 h back": UTC - HOUR,
    "10 years ahead": UTC + 10 * YEAR,
    "10 years back": UTC - 10 * YEAR,
    "end of a leap year": 1_735_689_599_999,
    "29 February": 1_709_164_800_000,
    "epoch 1970": 0,
    "before 1970": -5 * YEAR,
    "epoch 2000": 946_684_800_000,
    "end of 2038": 2_177_452_799_000,
}


@pytest.mark.parametrize("wrong", MOMENTS.values(), ids=MOMENTS.keys())
def test_a_gateway_without_the_time_dates_by_what_it_learns_later(bench: Bench, wrong: int) -> None:
    """It starts with a wrong clock; then a time server answers: one row changes, and every reading moves."""
    with bench.ingest.transaction():
        bench.ingest.set_gateway_clock("machine", 1_000_000, wrong, False)
    for mono in range(0, 300_000, 30_000):
        bench.map(mono, 1_000_000 + mono, drift_ppm=0)
        bench.data(mono)
    expected = [(wrong + mono, 3) for mono in range(0, 300_000, 30_000)]
    assert bench.times() == expected
    written = bench.store.connection.total_changes
    with bench.ingest.transaction():
        bench.ingest.set_gateway_clock("machine", 1_400_000, UTC + 400_000, True)
    assert bench.store.connection.total_changes - written == 4  # the row, its checksum, its second copy anew
    assert bench.times() == [(UTC + time - wrong, error) for time, error in expected]


def test_a_reader_sees_the_old_times_or_the_new_ones_and_is_never_held_up(bench: Bench) -> None:
    for mono in range(0, 300_000, 30_000):
        bench.map(mono, 1_000_000 + mono, drift_ppm=0)
        bench.data(mono)
    with closing(open_reader(bench.path)) as reader:
        reader.execute("BEGIN")
        before = [row.time_ms for row in readings(reader)]
        with bench.ingest.transaction():
            bench.ingest.set_gateway_clock("machine", 1_400_000, UTC + 400_000 + YEAR, True)
        assert [row.time_ms for row in readings(reader)] == before
        reader.execute("COMMIT")
        assert [row.time_ms for row in readings(reader)] == [(time or 0) + YEAR for time in before]
