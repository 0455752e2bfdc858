"""gasan db: copies beside a writer, a copy put back and what it lacks, damage found and mended."""

import json
import os
import re
import shutil
import threading
from pathlib import Path
from random import Random

import pytest
from gasan.boards.places import ROOT
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host import cli
from gasan.host.account import account
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.gateway.lock import state_lock
from gasan.host.site import load
from gasan.host.starter import starter_site
from gasan.host.store import open_store
from gasan.host.store.ingest import Ingest, Outcome
from gasan.wire import columns


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def run(state: Path, *arguments: str) -> int:
    return cli.run(["db", *arguments, "--state", str(state), "--lang", "en"])


def data(node: ScriptedNode, count: int) -> list[bytes]:
    return [node.data([(columns.U16, list(range(50)))], mono=1000 * i) for i in range(count)]


def test_a_backup_beside_a_writer_is_of_one_moment(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = ScriptedNode(Random(1))
    with open_store(state / "gasan.sqlite") as store:
        ingest = Ingest(store, ScriptedKeys(node))
        ingest.store([node.start(), node.birth([channel("d", "c", columns.U16)]), *data(node, 500)])
        results: list[int] = []
        backing_up = threading.Thread(
            target=lambda: results.append(run(state, "backup", str(state / "copy.sqlite"), "--json"))
        )
        backing_up.start()
        while backing_up.is_alive():
            ingest.store(data(node, 3))
        backing_up.join()
    assert results == [ExitCode.OK]
    printed = json.loads(capsys.readouterr().out)
    assert (
        printed["sound"] and printed["frames"] >= 502 and printed["readings"] == (printed["frames"] - 2) * 50
    )
    drawn = account(state / "copy.sqlite")
    assert drawn.total("stored") == printed["readings"] and drawn.unexplained == 0
    assert run(state, "backup", str(state / "copy.sqlite")) == ExitCode.WRONG_INPUT
    assert "is there already" in capsys.readouterr().err
    (state / "folder").mkdir()
    assert run(state, "backup", str(state / "folder")) == ExitCode.OK
    assert len(list((state / "folder").glob("gasan-*.sqlite"))) == 1
    assert run(state, "backup", str(state / "no" / "copy.sqlite")) == ExitCode.FAILED


def test_what_a_restored_backup_lacks_is_told(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node, later = ScriptedNode(Random(1)), ScriptedNode(Random(2), "later")
    keys = ScriptedKeys(node, later)
    copy = state / "copy.sqlite"
    with open_store(state / "gasan.sqlite") as store:
        ingest = Ingest(store, keys)
        ingest.store([node.start(), node.birth([channel("d", "c", columns.U16)]), *data(node, 5)])
        assert run(state, "backup", str(copy)) == ExitCode.OK
        ingest.store([*data(node, 4), later.start()])
        assert run(state, "restore", str(copy)) == ExitCode.FAILED
        assert "another gateway writes" in capsys.readouterr().err
    with state_lock(state):
        assert run(state, "restore", str(copy)) == ExitCode.FAILED
    assert run(state, "restore", str(copy)) == ExitCode.OK
    assert "holds 7 frames with 250 readings again" in capsys.readouterr().out
    assert len(list(state.glob("gasan.sqlite.replaced-*"))) == 1
    with open_store(state / "gasan.sqlite") as store:
        (live,) = data(node, 1)
        nothing_left = node.health({1: node.count, 2: node.count, 5: 0, 6: 0, 10: node.seq})
        receipts = Ingest(store, keys).store([live, nothing_left])
        assert receipts[0].outcome is Outcome.STORED
    drawn = account(state / "gasan.sqlite")
    assert (drawn.total("stored"), drawn.total("lost"), drawn.unexplained) == (300, 200, 0)
    assert drawn.lost_reasons == {"gateway_restored": 200}
    assert run(state, "check") == ExitCode.OK


def test_what_was_missing_between_frames_when_a_backup_was_made_is_not_taken_for_delivered_elsewhere(
    state: Path,
) -> None:
    """A backlog drained beside live frames; it arrived after the backup."""
    node, copy = ScriptedNode(Random(1)), state / "copy.sqlite"
    backlog = [node.start(), node.birth([channel("d", "c", columns.U16)]), *data(node, 5)]
    (live,) = data(node, 1)
    with open_store(state / "gasan.sqlite") as store:
        ingest = Ingest(store, ScriptedKeys(node))
        ingest.store([*backlog[:3], live])
        assert run(state, "backup", str(copy)) == ExitCode.OK
        ingest.store(backlog[3:])
    assert run(state, "restore", str(copy)) == ExitCode.OK
    assert account(state / "gasan.sqlite").total("pending") == 200, "the node may still have it"
    with open_store(state / "gasan.sqlite") as store:
        nothing_left = node.health({1: node.count, 2: node.count, 5: 0, 6: 0, 10: node.seq})
        Ingest(store, ScriptedKeys(node)).store([nothing_left])
    drawn = account(state / "gasan.sqlite")
    assert drawn.lost_reasons == {"gateway_restored": 200} and drawn.unexplained == 0
    assert run(state, "check") == ExitCode.OK


def test_damage_is_found_told_and_mended(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = ScriptedNode(Random(1))
    db = state / "gasan.sqlite"
    with open_store(db) as store:
        Ingest(store, ScriptedKeys(node)).store(
            [node.start(), node.birth([channel("d", "c", columns.U16)]), *data(node, 40)]
        )
    assert run(state, "check", "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == {
        "sound": True, "frames": 42, "readings": 2000, "problems": [], "path": str(db),
    }  # fmt: skip
    with db.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(50), db.stat().st_size - 100)
    assert run(state, "check") == ExitCode.FAILED
    assert "--mend keeps what can be read" in capsys.readouterr().err
    shutil.copy(db, state / "damaged.sqlite")
    assert run(state, "backup", str(state / "copy.sqlite")) == ExitCode.WRONG_INPUT
    assert "is damaged" in capsys.readouterr().err and not list(state.glob("copy.sqlite*"))
    assert run(state, "check", "--mend") == ExitCode.OK
    assert run(state, "check") == ExitCode.OK
    assert cli.run(["db", "restore", str(state / "damaged.sqlite"), "--state", str(state)]) == 2
    assert run(state, "check") == ExitCode.OK
    db.unlink()
    assert run(state, "check") == ExitCode.WRONG_INPUT


@pytest.mark.parametrize("page", ["gateway.md", "gateway.ko.md"])
def test_the_task_page_is_true(page: str, state: Path, tmp_path: Path) -> None:
    """Its commands work in their order, and its table is one for a site file."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    node = ScriptedNode(Random(1))
    with open_store(state / "gasan.sqlite") as store:
        Ingest(store, ScriptedKeys(node)).store([node.start(), node.crash("Traceback")])
    usb = tmp_path / "usb"
    usb.mkdir()
    commands = re.findall(r"```sh\ngasan (.*)\n```", text)
    assert [command.split()[:2] for command in commands] == [
        ["db", "backup"], ["db", "restore"], ["db", "check"], ["logs", "press-1"],
    ]  # fmt: skip
    for command in commands:
        here = command.replace("/media/usb/", f"{usb}/").replace("--state state", f"--state {state}")
        here = re.sub(r"gasan-\d{8}-\d{6}\.sqlite", lambda _: next(usb.glob("gasan-*")).name, here)
        assert cli.run(here.split()) == ExitCode.OK, here
    (table,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    site = tmp_path / "site.toml"
    site.write_text(starter_site("site.toml") + "\n" + table, encoding="utf-8")
    loaded = load(site)
    assert (loaded.keep_days, loaded.max_bytes) == (400, 8_000_000_000)
    site.write_text(starter_site("site.toml") + "\n[store]\nkeep_day = 0\n", encoding="utf-8")
    assert cli.run(["check", str(site)]) == ExitCode.WRONG_INPUT
