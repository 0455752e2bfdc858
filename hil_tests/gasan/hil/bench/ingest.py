"""Gateway ingest beside the least that SQLite itself takes for the same rows.

Ours: frames of 120 integer readings as a node sends them; the tag verified, decoded, new told from known,
stored. Bare: the very rows that come of it, ready as tuples, by `executemany` into the same tables. Both in
transactions of the same size, with WAL and synchronous=FULL, into fresh databases on the same disk, in turn
within one run.
"""

import gc
import json
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any, Final

from gasan.boards.places import ROOT
from gasan.hil.bench.row import Row
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host.store.dating import NodeMapping
from gasan.host.store.ingest import Ingest
from gasan.host.store.open import open_store
from gasan.host.store.retention import Keep, Retention
from gasan.host.store.writer import GROUP_SIZE
from gasan.wire import columns

__all__ = ["IngestFigures", "growth", "measure", "rows", "ten_million"]

BAR: Final = 0.6
_WORKLOAD: Final = ROOT / "protocols" / "workloads" / "w1_meter_10x12.json"
_INSERT_SAMPLE: Final = "INSERT INTO sample (id, channel, dt, raw) VALUES (?, ?, ?, ?)"
_INSERT_FRAME: Final = "INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class IngestFigures:
    """Medians over the pairs; times in µs per reading."""

    ours_us: float
    bare_us: float
    ratio: float
    frames_per_s: float
    readings_per_s: float
    bytes_on_disk: float
    grown_kib: int
    """By how much the process's peak memory has grown over the last half of an ingest."""


def rows() -> list[Row]:
    figures = measure()
    return [
        Row(
            "ingest speed, share of a bare executemany",
            round(figures.ratio, 2),
            "",
            f">= {BAR}",
            f"executemany: {figures.bare_us:.2f} µs per reading, ours {figures.ours_us:.2f}",
            figures.ratio >= BAR,
            f"median of pairs in turn; {GROUP_SIZE} frames of 120 readings per transaction, WAL, FULL",
        ),
        Row("frames ingested", round(figures.frames_per_s), "1/s"),
        Row("readings ingested", round(figures.readings_per_s), "1/s"),
        Row("database size", round(figures.bytes_on_disk, 1), "bytes per reading"),
        *_written_rows(),
        Row(
            "growth of memory while ingesting",
            figures.grown_kib,
            "KiB",
            note="peak resident size, over the last half of 460,800 readings",
        ),
    ]


def _written_rows() -> list[Row]:
    rows = []
    for name, group, readings, notes in (
        ("a backlog, 64 frames at once", 64, 120, 0),
        ("a node with 120 readings a minute", 1, 120, 5),
        ("a node with 120 readings a second, a frame each minute", 15, 480, 0),
    ):
        written = _written(group, readings, notes)
        figure: float | str = "not to be had here" if written is None else round(written / 1e6)
        note = f"{group} frames of {readings} readings in a transaction"
        if notes:
            note += f"; between two of them {notes} notes of status and clock, as when little comes"
        rows.append(Row(f"written for a million readings: {name}", figure, "MB", note=note))
    return rows


def _written(group: int, readings: int, notes: int) -> float | None:
    """Bytes given to the system to write, log and checkpoints included, for each million readings."""
    counters = Path("/proc/self/io")
    if not counters.exists():
        return None
    node = ScriptedNode(Random(3))
    values = [(code, list(islice(cycle(column), readings // 10))) for code, column in _values()]
    stored = 0
    with tempfile.TemporaryDirectory(prefix="gasan-bench-") as folder:
        before = _wchar(counters)
        with open_store(Path(folder) / "a.sqlite") as store:
            ingest = Ingest(store, ScriptedKeys(node))
            ingest.store([node.start(), _birth(node)])
            with ingest.transaction():
                clock = ingest.set_gateway_clock("bench", 0, 1_770_000_000_000, True)
            while stored < 120_000:
                ingest.store([node.data(values, mono=stored * 500) for _ in range(group)])
                stored += group * readings
                for note in range(notes):
                    with ingest.transaction():
                        now = stored * 500 + note * 10_000
                        ingest.figures(node.node_id, node.boot, {1: stored + note, 11: now})
                        mapping = NodeMapping(now, clock, now + 1000, 5)
                        ingest.set_node_clock(node.node_id, node.boot, mapping)
        return (_wchar(counters) - before) * 1e6 / stored


def _wchar(counters: Path) -> int:
    lines = dict(line.split(": ") for line in counters.read_text().splitlines())
    return int(lines["wchar"])


def measure(pairs: int = 7, transactions: int = 20) -> IngestFigures:
    """Stores `transactions` transactions of frames each way, `pairs` times in turn, and compares."""
    node = ScriptedNode(Random(1))
    head, frames = _frames(node, transactions * GROUP_SIZE)
    ours, bare, on_disk = [], [], 0.0
    readings = 120 * len(frames)
    with tempfile.TemporaryDirectory(prefix="gasan-bench-") as folder:
        grown_kib = growth(Path(folder) / "growth.sqlite")
        for pair in range(pairs):
            path = Path(folder) / f"{pair}-ours.sqlite"
            ours.append(_ours(path, node, head, frames))
            frame_rows, sample_rows = _stored_rows(path)
            bare.append(_bare(Path(folder) / f"{pair}-bare.sqlite", node, head, frame_rows, sample_rows))
            on_disk = path.stat().st_size / readings
            path.unlink()
    ours_s = statistics.median(ours)
    return IngestFigures(
        ours_us=ours_s / readings * 1e6,
        bare_us=statistics.median(bare) / readings * 1e6,
        ratio=statistics.median(theirs / own for own, theirs in zip(ours, bare, strict=True)),
        frames_per_s=len(frames) / ours_s,
        readings_per_s=readings / ours_s,
        bytes_on_disk=on_disk,
        grown_kib=grown_kib,
    )


def _workload() -> list[dict[str, Any]]:
    columns_of: list[dict[str, Any]] = json.loads(_WORKLOAD.read_text())["columns"]
    return columns_of


def _values() -> list[tuple[int, list[int]]]:
    return [(columns.I32, column["values"]) for column in _workload()]


def _frames(node: ScriptedNode, count: int) -> tuple[list[bytes], list[bytes]]:
    """The frames that come first, and `count` data frames of the workload."""
    start = node.start()
    birth = _birth(node)
    values = _values()
    return [start, birth], [node.data(values, mono=60_000 * i, period_ms=5000) for i in range(count)]


def _birth(node: ScriptedNode) -> bytes:
    return node.birth([channel("meter", c["channel"], columns.I32, num=1, den=10) for c in _workload()])


def growth(path: Path, transactions: int = 60, bound: int | None = None) -> int:
    """KiB by which peak memory grows while the last half of the transactions are stored.

    bound: bytes that the database may have; the oldest readings go.
    """
    node = ScriptedNode(Random(2))
    head, _ = _frames(node, 0)
    values = _values()
    peaks = []
    with open_store(path) as store:
        ingest = Ingest(store, ScriptedKeys(node))
        ingest.store(head)
        retention = Retention(Keep(max_bytes=bound))
        for _ in range(transactions):
            ingest.store([node.data(values, period_ms=5000) for _ in range(GROUP_SIZE)])
            more = bound is not None
            while more:
                with ingest.transaction():
                    more = retention.step(store.connection, 0)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return (peaks[-1] - peaks[len(peaks) // 2]) // (1024 if sys.platform == "darwin" else 1)


def _ours(path: Path, node: ScriptedNode, head: Sequence[bytes], frames: Sequence[bytes]) -> float:
    with open_store(path) as store:
        ingest = Ingest(store, ScriptedKeys(node))
        ingest.store(head)
        gc.collect()
        started = time.perf_counter()
        for first in range(0, len(frames), GROUP_SIZE):
            ingest.store(frames[first : first + GROUP_SIZE])
        return time.perf_counter() - started


def _stored_rows(path: Path) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The rows of the data frames, as `_ours` has written them."""
    connection = sqlite3.connect(path)
    try:
        frame_rows = connection.execute("SELECT * FROM frame WHERE kind = 0 ORDER BY id").fetchall()
        sample_rows = connection.execute("SELECT id, channel, dt, raw FROM sample ORDER BY id").fetchall()
    finally:
        connection.close()
    return frame_rows, sample_rows


def _bare(
    path: Path,
    node: ScriptedNode,
    head: Sequence[bytes],
    frame_rows: Sequence[tuple[Any, ...]],
    sample_rows: Sequence[tuple[Any, ...]],
) -> float:
    with open_store(path) as store:
        Ingest(store, ScriptedKeys(node)).store(head)
        db = store.connection
        groups = [
            (frame_rows[at : at + GROUP_SIZE], sample_rows[at * 120 : (at + GROUP_SIZE) * 120])
            for at in range(0, len(frame_rows), GROUP_SIZE)
        ]
        gc.collect()
        started = time.perf_counter()
        for group_frames, group_samples in groups:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_INSERT_FRAME, group_frames)
            db.executemany(_INSERT_SAMPLE, group_samples)
            db.execute("COMMIT")
        return time.perf_counter() - started


def ten_million() -> Row:
    """The long form: ten million readings into a database of at most 40 MB."""
    transactions = 10_000_000 // (120 * GROUP_SIZE) + 1
    with tempfile.TemporaryDirectory(prefix="gasan-bench-") as folder:
        path = Path(folder) / "growth.sqlite"
        grown = growth(path, transactions, 40_000_000)
        size = path.stat().st_size / 1e6
    note = f"the last five million; the database, bounded to 40 MB, has {size:.1f} MB"
    return Row(
        "growth of memory over ten million readings", grown, "KiB", "<= 1024", met=grown <= 1024, note=note
    )


if __name__ == "__main__":
    for row in rows():
        print(f"{row.name}: {row.figure} {row.unit} {row.bar} {row.peer}")
