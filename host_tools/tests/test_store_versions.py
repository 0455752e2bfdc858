"""Databases of every version so far, kept as SQL in samples/: this gasan reads and continues them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode
from gasan.host.account import account
from gasan.host.store import open_reader, open_store, readings
from gasan.host.store.ingest import Ingest
from gasan.host.store.schema import MIGRATIONS, VERSION

SAMPLES = Path(__file__).parent / "samples"
VERSIONS = range(1, VERSION + 1)


def sample(version: int, path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((SAMPLES / f"database_{version}.sql").read_text())
    return path


def layout(path: Path) -> set[tuple[str, str, str]]:
    """(kind, name, columns or text) of everything in a database."""
    with closing(sqlite3.connect(path)) as connection:
        found = set()
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall():
            columns = [row[1:] for row in connection.execute(f"PRAGMA table_info({name})")]
            found.add((kind, name, sql if kind == "view" else str(sorted(columns, key=str))))
        return found


def test_every_version_has_a_sample_and_a_way_on() -> None:
    assert sorted(MIGRATIONS) == list(range(1, VERSION))
    for version in VERSIONS:
        assert f"PRAGMA user_version = {version};" in (SAMPLES / f"database_{version}.sql").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_it_holds_is_read(tmp_path: Path, version: int) -> None:
    path = sample(version, tmp_path / "a.sqlite")
    expected = json.loads((SAMPLES / f"database_{version}.json").read_text())
    with closing(open_reader(path)) as connection:
        rows = [[v.hex() if isinstance(v, bytes) else v for v in row] for row in readings(connection)]
    assert rows == expected["readings"]
    drawn = account(path).as_dict()
    assert {key: drawn[key] for key in expected["account"]} == expected["account"]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_brought_to_the_layout_of_a_new_one(tmp_path: Path, version: int) -> None:
    path = sample(version, tmp_path / "a.sqlite")
    store_id = sqlite3.connect(path).execute("SELECT store_id FROM store").fetchone()[0]
    with open_store(path) as store:
        assert store.id == store_id
        assert store.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    open_store(tmp_path / "new.sqlite").close()
    assert layout(path) == layout(tmp_path / "new.sqlite")


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_continued(tmp_path: Path, version: int) -> None:
    path = sample(version, tmp_path / "a.sqlite")
    random = Random(1)
    node, other = ScriptedNode(random), ScriptedNode(random, "press-2")
    # The samples hold the very two starts, and other frames in place of the first health frames.
    frames = [node.start(), node.health({1: 5}), other.start(), other.health({1: 5}), other.health({1: 6})]
    with open_store(path) as store:
        receipts = Ingest(store, ScriptedKeys(node, other)).store(frames)
    outcomes = [receipt.outcome.name for receipt in receipts]
    assert outcomes == ["AGAIN", "CONFLICT", "AGAIN", "CONFLICT", "STORED"]


@pytest.mark.parametrize("version", VERSIONS)
def test_all_of_it_is_salvaged(tmp_path: Path, version: int) -> None:
    """A row that was written before its table had a checksum is shorter than those of now."""
    path = sample(version, tmp_path / "a.sqlite")
    open_store(path).close()
    with closing(open_reader(path)) as connection:
        before = list(readings(connection))
    drawn = account(path).as_dict()
    open_store(path, suspect=True).close()
    assert list(tmp_path.glob("a.sqlite.damaged-*"))
    with closing(open_reader(path)) as connection:
        assert list(readings(connection)) == before
    assert account(path).as_dict() == drawn


def test_a_step_that_fails_leaves_the_old_version_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sample(1, tmp_path / "a.sqlite")
    before = layout(path)
    monkeypatch.setitem(MIGRATIONS, 1, MIGRATIONS[1] + ";\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(Exception, match="nowhere"):
        open_store(path)
    assert layout(path) == before
    monkeypatch.undo()
    open_store(path).close()
