"""Opening the store, and one sentence for whatever is in the way."""

import os
import re
import sqlite3
from pathlib import Path
from random import Random

import pytest
from gasan.boards.places import ROOT
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host.errors import GasanError, InputError, TryAgainError
from gasan.host.store import StoreUnavailableError, open_reader, open_store
from gasan.host.store.ingest import Ingest, Outcome
from gasan.wire import columns

VIEW = "node device channel time_ms time_err_ms value raw text unit quality boot seq".split()  # noqa: SIM905


def sentence(error: GasanError) -> str:
    text = str(error)
    assert "\n" not in text and "Traceback" not in text and len(text) < 300
    return text


def test_a_store_keeps_its_own_id(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.sqlite"
    with open_store(path) as store:
        first = store.id
        assert store.connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with open_store(path) as store:
        assert store.id == first and len(first) == 8
    with open_store(tmp_path / "b.sqlite") as other:
        assert other.id != first


def test_the_view_has_the_documented_columns(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.sqlite") as store:
        names = [row[0] for row in store.connection.execute("SELECT * FROM readings").description]
    assert names == VIEW


@pytest.mark.parametrize(
    "condition", ["1", "node = 'a'", "channel = 'c'", "node = 'a' AND channel = 'c' AND time_ms > 5"]
)
def test_the_view_is_read_in_the_order_of_the_rows(tmp_path: Path, condition: str) -> None:
    """SQLite's planner, left to itself, would make an index over all readings for each frame."""
    with open_store(tmp_path / "a.sqlite") as store:
        plan = [
            row[3]
            for row in store.connection.execute(
                f"EXPLAIN QUERY PLAN SELECT * FROM readings WHERE {condition}"
            )
        ]
    assert not any("AUTOMATIC" in step for step in plan)
    assert any(
        step.startswith("SEARCH sample USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)") for step in plan
    )


def test_the_documentation_names_the_views_columns() -> None:
    text = (ROOT / "docs" / "database.md").read_text()
    table = text.split("## The view `readings`")[1].split("## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert re.findall(r"`(\w+)`", " ".join(cells)) == VIEW


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.sqlite"), pytest.raises(TryAgainError) as caught:
        open_store(tmp_path / "a.sqlite")
    assert "another gateway writes" in sentence(caught.value)
    open_store(tmp_path / "a.sqlite").close()


def test_a_reader_beside_the_writer_cannot_write(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.sqlite"):
        reader = open_reader(tmp_path / "a.sqlite")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM store")
        reader.close()


def test_no_database(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_reader(tmp_path / "none.sqlite")
    assert "no database at" in sentence(caught.value)
    assert not (tmp_path / "none.sqlite").exists()


@pytest.mark.parametrize("opening", [open_store, open_reader])
def test_what_is_no_database_of_ours(tmp_path: Path, opening: object) -> None:
    assert callable(opening)
    garbage = tmp_path / "garbage.sqlite"
    garbage.write_bytes(os.urandom(8192))
    with pytest.raises(InputError) as caught:
        opening(garbage)
    assert "damaged or is no database" in sentence(caught.value)

    foreign = tmp_path / "foreign.sqlite"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    with pytest.raises(InputError) as caught:
        opening(foreign)
    assert "another program" in sentence(caught.value)

    newer = tmp_path / "newer.sqlite"
    with open_store(newer) as store:
        store.connection.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError) as caught:
        opening(newer)
    assert "version 99" in sentence(caught.value)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError) as caught:
        open_store(tmp_path / "file" / "a.sqlite")
    assert "cannot be opened" in sentence(caught.value)


def test_full_locked_and_read_only_store_nothing_and_work_again_later(tmp_path: Path) -> None:
    node = ScriptedNode(Random(1))
    with open_store(tmp_path / "a.sqlite") as store:
        ingest = Ingest(store, ScriptedKeys(node))
        ingest.store([node.start(), node.birth([channel("d", "c", columns.U16)])])
        frames = [node.data([(columns.U16, list(range(100)))], mono=i) for i in range(50)]
        db = store.connection

        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreUnavailableError) as caught:
            ingest.store(frames)
        assert "the disk is full" in sentence(caught.value)
        db.execute("PRAGMA max_page_count = 1000000")

        db.execute("PRAGMA query_only = 1")
        with pytest.raises(StoreUnavailableError) as caught:
            ingest.store(frames)
        assert "read-only" in sentence(caught.value)
        db.execute("PRAGMA query_only = 0")

        db.execute("PRAGMA busy_timeout = 20")
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError) as caught:
            ingest.store(frames)
        assert "locked" in sentence(caught.value)
        other.execute("ROLLBACK")
        other.close()

        assert db.execute("SELECT count(*) FROM frame").fetchone() == (2,)
        assert {receipt.outcome for receipt in ingest.store(frames)} == {Outcome.STORED}
        assert db.execute("SELECT count(*) FROM sample").fetchone() == (5000,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
