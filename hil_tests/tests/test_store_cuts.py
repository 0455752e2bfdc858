"""The gateway's power is cut at every file operation of a run, with what was not synced lost or torn, and its
database is opened by the store that ships: nothing acknowledged is missing, and nothing is there twice.
"""

import errno
import hashlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from gasan.boards.places import ROOT
from gasan.hil.disk import cuts, recorder
from gasan.hil.disk.scenarios import DATABASE, frames, keys
from gasan.host.account import account
from gasan.host.store.check import examine
from gasan.host.store.ingest import Ingest, Outcome
from gasan.host.store.open import open_store
from gasan.wire.frame_reader import parse, split

ACKS = "acks"
SAMPLES = ROOT / "host_tools" / "tests" / "samples"
FAILURES = ((errno.ENOSPC, 1), (errno.EIO, 3), (errno.EIO, 2), (errno.EROFS, 1))
"""What calls fail with, and which: 1 writes, 2 syncs."""

CASES = 120
"""Of the shorter scenarios, drawn at random; all of them with --soak."""

TORN_EACH = 1
TORN_SOAK = 20

Files = dict[str, bytes]
Case = tuple[int, str, Files, set[int]]
"""Operation, way, files, what was acknowledged by then."""

Check = Callable[[Path, set[int]], None]


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that is to be had: each state of the disk is opened, and that syncs."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="gasan-cuts-", dir=memory if memory.is_dir() else None))
    yield path
    shutil.rmtree(path)


def record(folder: Path, scenario: str, before: Files) -> list[recorder.Operation]:
    """What a scenario does to the disk; `before` is on it at the start."""
    if missing := recorder.missing():
        pytest.skip(missing)
    disk, log = folder / "disk", folder / "log"
    cuts.write_files(disk, before)
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "gasan.hil.disk.scenarios", scenario, str(disk)]
    subprocess.run(command, check=True, timeout=120, env=recorder.preload(disk, log))
    return list(recorder.operations(log))


def states(operations: list[recorder.Operation], before: Files, seed: int, torn: int) -> Iterator[Case]:
    """(operation, way, files, what was acknowledged by then) of every cut that leaves a disk of its own."""
    disk = cuts.Disk(before)
    seen: dict[bytes, int] = {}
    found: dict[bytes, tuple[int, str, Files, set[int]]] = {}
    acknowledged = b""
    for number, operation in enumerate([*operations, None]):
        for way in (cuts.NONE, cuts.ALL, *([cuts.TORN] * torn)):
            files = disk.after_cut(way, Random(f"{seed} {number} {way} {len(found)}"))
            files.pop(ACKS, None)
            digest = hashlib.sha256(repr(sorted(files.items())).encode()).digest()
            # The same disk once more, with more acknowledged: the last one is the hardest to please.
            found[digest] = number, way, files, {int(line) for line in acknowledged.split()}
            seen[digest] = number
        if operation is not None:
            disk.do(operation)
            if operation.kind == "W" and operation.data[-1:] == b"\n" and operation.data[:-1].isdigit():
                acknowledged += operation.data
    yield from found.values()


def sweep(folder: Path, cases: Iterator[Case], check: Check) -> dict[str, int]:
    """Checks every state; returns how many of each way. Raises AssertionError that names the cut."""
    counts: dict[str, int] = {}
    for number, way, files, acknowledged in cases:
        cuts.write_files(folder / "after", files)
        try:
            check(folder / "after", acknowledged)
        except Exception as error:
            raise AssertionError(f"cut before operation {number}, {way}: {error!r}") from error
        counts[way] = counts.get(way, 0) + 1
    return counts


SENT = frames()
READINGS = sum(parse(split(frame)[1]).n_readings for frame in SENT)


def identity(frame: bytes) -> tuple[bytes, int]:
    parsed = parse(split(frame)[1])
    return parsed.boot, parsed.seq


def check_ingest(folder: Path, acknowledged: set[int]) -> None:
    """What was acknowledged is there; then all is sent again, and is there once."""
    damaged = len(list(folder.glob("*.damaged*")))  # one that is not in its place yet among them
    with open_store(folder / DATABASE) as store:
        db = store.connection
        assert len(list(folder.glob("*.damaged*"))) <= damaged, "a cut was taken for damage"
        joined = "SELECT boot.boot, seq FROM frame JOIN boot ON boot.id = frame.boot"
        stored = set(db.execute(joined).fetchall())
        lost = {number for number in acknowledged if identity(SENT[number]) not in stored}
        assert not lost, f"acknowledged and lost: {sorted(lost)}"
        assert (report := examine(store.connection)).sound, report.problems
        receipts = Ingest(store, keys()).store(SENT)
        assert {receipt.outcome for receipt in receipts} <= {Outcome.STORED, Outcome.AGAIN}
    drawn = account(folder / DATABASE, channels=False).as_dict()
    assert drawn["readings_sampled"] == drawn["readings_stored"] == READINGS
    assert drawn["readings_pending"] == drawn["readings_lost"] == drawn["conflicts"] == 0


def test_nothing_acknowledged_is_lost_whenever_the_power_goes(folder: Path, seed: int, soak: bool) -> None:
    operations = record(folder, "ingest", {})
    cases = states(operations, {}, seed, TORN_SOAK if soak else TORN_EACH)
    counts = sweep(folder, cases, check_ingest)
    print(f"{len(operations)} operations, {sum(counts.values())} cuts with a disk of their own: {counts}")
    assert len(operations) > 300 and min(counts.values()) > 20


@pytest.mark.parametrize("mutant", ["no sync", "sync at checkpoints only"])
def test_a_store_that_does_not_sync_is_caught(folder: Path, seed: int, mutant: str) -> None:
    operations = record(folder, f"mutant: {mutant}", {})
    with pytest.raises(AssertionError, match="cut before operation"):
        sweep(folder, states(operations, {}, seed, 0), check_ingest)


def some(cases: Iterator[Case], seed: int, soak: bool) -> Iterator[Case]:
    drawn = list(cases)
    if not soak and len(drawn) > CASES:
        drawn = Random(seed).sample(drawn, CASES)
    return iter(drawn)


def started(folder: Path, count: int) -> Files:
    """A database with the first frames, closed."""
    path = folder / "start" / DATABASE
    with open_store(path) as store:
        Ingest(store, keys()).store(SENT[:count])
    return {DATABASE: path.read_bytes()}


def test_a_cut_while_an_old_version_is_brought_to_the_new_one(folder: Path, seed: int, soak: bool) -> None:
    path = folder / "old" / DATABASE
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((SAMPLES / "database_1.sql").read_text())
        frames_before = connection.execute("SELECT count(*), sum(n) FROM frame").fetchone()

    def check(folder: Path, _acknowledged: set[int]) -> None:
        with open_store(folder / DATABASE) as store:
            told = store.connection.execute("SELECT count(*), sum(n) FROM frame").fetchone()
            assert told == frames_before
            assert (report := examine(store.connection)).sound, report.problems

    before = {DATABASE: path.read_bytes()}
    operations = record(folder, "open", before)
    print(sweep(folder, some(states(operations, before, seed, 2), seed, soak), check))


@pytest.mark.parametrize("scenario", ["mend", "restore", "retire"])
def test_a_cut_while_the_database_is(folder: Path, seed: int, soak: bool, scenario: str) -> None:
    """Mended, restored, made smaller: the old one or the new one is there, whole, and never neither."""
    before = started(folder, len(SENT))
    if scenario == "restore":
        before["copy"] = before[DATABASE]

    def check(folder: Path, _acknowledged: set[int]) -> None:
        check_ingest(folder, set())

    operations = record(folder, scenario, before)
    print(sweep(folder, some(states(operations, before, seed, 2), seed, soak), check))


def test_whatever_fails_nothing_acknowledged_is_lost_and_it_goes_on_by_itself(
    folder: Path, seed: int, soak: bool
) -> None:
    """Writes and syncs fail, for a while, from any one on: no room, input/output error, read-only.

    After a sync that failed the system may forget what it had not written, and not say so again: what is on
    the disk in the end, without anything that was not synced, has all that was acknowledged.
    """
    calls = sum(operation.kind in "WTS" for operation in record(folder, "ingest", {}))
    random = Random(seed)
    opening = range(24)  # one of these that fails may pass unnoticed, with all that follows less safe
    firsts = range(calls) if soak else sorted({*opening, *random.sample(range(calls), 20)})
    plans = [
        f"{first}:{random.choice((1, 2, 5, 40))}:{code}:{kinds}"
        for first in firsts
        for code, kinds in [
            random.choice(((errno.ENOSPC, 1), (errno.EIO, 3), (errno.EIO, 2), (errno.EROFS, 1)))
        ]
    ]
    (folder / "runs").mkdir()
    process = subprocess.run(
        [sys.executable, "-m", "gasan.hil.disk.scenarios", "--each", "ingest", str(folder / "runs")],
        input="\n".join(plans), capture_output=True, text=True, timeout=600, check=True,
        env=recorder.preload(folder / "nowhere", folder / "nowhere.log"),
    )  # fmt: skip
    results = process.stdout.split()
    for number, (plan, result) in enumerate(zip(plans, results, strict=True)):
        assert result == "0", f"{plan}: {process.stderr}"
        disk = cuts.Disk({})
        for operation in recorder.operations(folder / "runs" / f"{number}.log"):
            disk.do(operation)
        for way in (cuts.NONE, cuts.ALL):
            files = disk.after_cut(way, random)
            files.pop(ACKS, None)
            cuts.write_files(folder / "after", files)
            try:
                check_ingest(folder / "after", set(range(len(SENT))))
            except Exception as error:
                raise AssertionError(f"{plan}, {way}: {error!r}") from error
    print(f"{len(plans)} of {calls} calls, each failing for a while")
