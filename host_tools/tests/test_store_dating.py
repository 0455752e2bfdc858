"""Readings are dated by two mappings, and move when either is corrected."""

import sqlite3
from collections.abc import Iterator
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
