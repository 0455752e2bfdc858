"""Bytes that change by themselves: on every page of a database, and in its write-ahead log.

Either nothing of what it says has changed, or that is noticed; then what comes over into the new database is
what was written, and what does not is named.
"""

import shutil
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from gasan.hil.disk.scenarios import frames, keys
from gasan.host.account import account
from gasan.host.errors import InputError
from gasan.host.store import open_reader, open_store
from gasan.host.store.check import examine
from gasan.host.store.dating import NodeMapping
from gasan.host.store.ingest import Ingest, Outcome
from gasan.host.store.open import StoreDamagedError
from gasan.host.store.pages import wal_is_broken

PAGE = 4096
FLIPS = 3
FLIPS_SOAK = 60
"""On each page, one in its head and the others anywhere."""

Content = dict[tuple[bytes, int], Any]


def fill(path: Path) -> None:
    sent = frames()
    with open_store(path) as store:
        ingest = Ingest(store, keys())
        for first in range(0, len(sent), 5):
            ingest.store(sent[first : first + 5])
        with ingest.transaction():
            clock = ingest.set_gateway_clock("machine", 0, 1_700_000_000_000, True)
        for node_id, boot in store.connection.execute(
            "SELECT node.node_id, boot.boot FROM boot JOIN node ON node.id = boot.node"
        ).fetchall():
            for minute in range(3):
                with ingest.transaction():
                    mapping = NodeMapping(minute * 60_000, clock, minute * 60_000 + 500, 5)
                    ingest.set_node_clock(node_id, boot, mapping)


def content(path: Path) -> Content:
    """Every frame with all that it says, by its identity."""
    with closing(open_reader(path)) as db:
        found: Content = {
            (boot, seq): (kind, count, n, node, [], event)
            for boot, seq, kind, count, n, node, event in db.execute(
                "SELECT boot.boot, seq, kind, count, n, node.name, event.body FROM frame"
                " JOIN boot ON boot.id = frame.boot JOIN node ON node.id = boot.node"
                " LEFT JOIN event ON event.frame = frame.id"
            )
        }
        for boot, seq, *reading in db.execute(
            "SELECT boot, seq, device, channel, value, raw, text, unit, quality, time_ms, time_err_ms"
            " FROM readings"
        ):
            found[bytes.fromhex(boot), seq][4].append(reading)
        return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "a.sqlite"
    fill(path)
    with open_store(path) as store:
        report = examine(store.connection)
        assert report.sound and report.complete and report.frames == len(frames()), report.problems
    return path


def assert_same(frame: Any, before: Any) -> None:
    """All is as it was, and the times are at least within what they say of themselves."""
    assert (*frame[:4], frame[5]) == (*before[:4], before[5])
    for reading, was in zip(frame[4], before[4], strict=True):
        assert reading[:-2] == was[:-2]
        time, bound, true_time = *reading[-2:], was[-2]
        assert time == true_time or abs(time - true_time) <= bound


def check_recovered(path: Path, before: Content, readings: int) -> int:
    """That the database holds nothing but what was written, and names what it does not; how many frames."""
    after = content(path)
    for identity, frame in after.items():
        assert_same(frame, before[identity])
    with closing(open_reader(path)) as db:
        named = {
            (boot, seq)
            for boot, first, last in db.execute(
                "SELECT boot.boot, first_seq, gateway_loss.last_seq FROM gateway_loss"
                " JOIN boot ON boot.id = gateway_loss.boot"
            )
            for seq in range(first, last + 1)
        }
    assert before.keys() - after.keys() == named
    drawn = account(path)
    assert drawn.unexplained == 0
    assert drawn.total("sampled") == readings
    assert drawn.total("stored") == sum(frame[2] for frame in after.values())
    with open_store(path) as store:
        report = examine(store.connection)
        assert report.sound, report.problems
        outcomes = {receipt.outcome for receipt in Ingest(store, keys()).store(frames())}
        assert outcomes <= {Outcome.STORED, Outcome.AGAIN}, outcomes
    return len(named)


def test_a_changed_byte_on_any_page_changes_nothing_unnoticed(
    tmp_path: Path, whole: Path, seed: int, soak: bool
) -> None:
    random = Random(seed)
    before, data = content(whole), whole.read_bytes()
    readings = account(whole).total("sampled")
    fates: Counter[str] = Counter()
    lost = 0
    for page in range(len(data) // PAGE):
        for flip in range(FLIPS_SOAK if soak else FLIPS):
            at = page * PAGE + (random.randrange(16) if flip == 0 else random.randrange(PAGE))
            changed = bytearray(data)
            changed[at] ^= random.randrange(1, 256)
            folder = tmp_path / f"{page}-{flip}"
            folder.mkdir()
            path = folder / "a.sqlite"
            path.write_bytes(changed)
            where = f"byte {at} of page {page + 1}"
            try:
                fates[fate := fate_of(path)] += 1
                if fate == "harmless":
                    assert content(path) == before
                elif fate == "recovered":
                    aside = [file.stat().st_size for file in folder.glob("a.sqlite.damaged-*")]
                    assert max(aside) >= len(data)  # beside it, its log
                    lost += check_recovered(path, before, readings)
            except Exception as error:
                raise AssertionError(f"{where}: {error!r}") from error
            shutil.rmtree(folder)
    print(
        f"{len(data) // PAGE} pages, {sum(fates.values())} changed bytes: {dict(fates)}, {lost} frames lost"
    )
    assert fates["recovered"] > fates.total() / 10 and fates["refused"] < fates.total() / 20


def test_a_changed_byte_in_the_name_of_a_column(tmp_path: Path, whole: Path) -> None:
    before, data = content(whole), whole.read_bytes()
    name = b"type INTEGER"
    assert data.count(name) == 1
    path = tmp_path / "a.sqlite"
    path.write_bytes(data.replace(name, b"tyqe INTEGER"))
    assert fate_of(path) == "recovered"
    assert check_recovered(path, before, account(whole).total("sampled")) == 0


def fate_of(path: Path) -> str:
    """Opens the database as the gateway does, then looks at all of it, and mends what that shows."""
    try:
        with open_store(path) as store:
            sound = examine(store.connection).sound
    except InputError:  # the head tells another program, or another version
        return "refused"
    if not sound:
        open_store(path, suspect=True).close()
    return "recovered" if list(path.parent.glob("*.damaged-*")) else "harmless"


def test_whole_pages_that_are_gone(tmp_path: Path, whole: Path) -> None:
    """A page of zeros, of the flash's erased state, or of another place of the file; each page once."""
    before, data = content(whole), whole.read_bytes()
    readings = account(whole).total("sampled")
    for page in range(1, len(data) // PAGE):
        other = data[PAGE : 2 * PAGE] if page != 1 else data[2 * PAGE : 3 * PAGE]
        for number, filling in enumerate((bytes(PAGE), b"\xff" * PAGE, other)):
            folder = tmp_path / f"{page}-{number}"
            folder.mkdir()
            path = folder / "a.sqlite"
            path.write_bytes(data[: page * PAGE] + filling + data[(page + 1) * PAGE :])
            if fate_of(path) == "recovered":
                check_recovered(path, before, readings)
            else:
                assert content(path) == before
            shutil.rmtree(folder)


def test_a_changed_byte_in_the_log_is_noticed(tmp_path: Path, seed: int) -> None:
    """SQLite takes it for the end of the log; what was acknowledged behind it would be gone in silence."""
    random = Random(seed)
    source = tmp_path / "source" / "a.sqlite"
    sent = frames()
    with open_store(source) as store:
        store.connection.execute("PRAGMA wal_autocheckpoint = 0")
        ingest = Ingest(store, keys())
        for frame in sent:
            ingest.store([frame])
        files = {name: source.with_name(name).read_bytes() for name in ("a.sqlite", "a.sqlite-wal")}
    before, readings = content(source), account(source).total("sampled")
    log = files["a.sqlite-wal"]
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "a.sqlite"
        at = random.randrange(32) if number % 2 else random.randrange(len(log) // 2)
        changed = bytearray(log)
        changed[at] ^= random.randrange(1, 256)
        path.write_bytes(files["a.sqlite"])
        path.with_name("a.sqlite-wal").write_bytes(changed)
        assert wal_is_broken(path), f"byte {at} of the log"
        open_store(path).close()
        check_recovered(path, before, readings)
        assert list(folder.glob("a.sqlite.damaged-*-wal"))
        shutil.rmtree(folder)


def test_what_is_none_of_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(Random(1).randbytes(5 * PAGE))
    with pytest.raises(StoreDamagedError):
        open_store(path)
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".lock"] == ["a.sqlite"]


def test_the_outcome_of_a_write_stays_though_damage_took_its_request(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with open_store(path) as store:
        ingest = Ingest(store, keys())
        with ingest.transaction():
            ingest.write_ended((1, 0, "done", None, None, ""))
    with open_store(path, suspect=True) as store:
        outcomes = store.connection.execute("SELECT request, outcome FROM write_outcome").fetchall()
    assert outcomes == [(1, "done")]
