"""`gasan up` on a site of its own, with equipment that somebody else runs; then what was stored is read."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gasan.host.compile import compile_site
from gasan.host.control_client import ask, ask_once
from gasan.host.errors import TryAgainError
from gasan.host.site import load

GASAN = [sys.executable, "-c", "from gasan.host.cli import main; main()"]

SITE = """\
[site]
name = "hall-2"
[[node]]
name = "node-a"
board = "virtual"
[node.batch]
max_age = "1s"
[[node.bus]]
name = "line"
type = "modbus-rtu"
port = "{rtu_port}"
baudrate = 9600
[[node.bus.device]]
name = "meter"
unit = 1
profile = "eastron/sdm120"
channels = ["voltage", "current"]
period = "500ms"
[[node.bus.device]]
name = "nobody"
unit = 99
profile = "eastron/sdm120"
channels = ["voltage"]
timeout = "100ms"
[[node.bus]]
name = "lan"
type = "modbus-tcp"
host = "127.0.0.1"
port = {tcp_port}
[[node.bus.device]]
name = "drive"
unit = 1
profile = "ls-electric/s100"
channels = ["running_state"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    arguments = [sys.executable, "-m", "gasan.hil.demo_equipment", "--dir", str(tmp_path / "equipment")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as equipment:
        try:
            assert equipment.stdout is not None
            places = json.loads(equipment.stdout.readline())
            file = tmp_path / "hall-2.toml"
            file.write_text(SITE.format(**places), encoding="utf-8")
            yield file
        finally:
            equipment.terminate()


def _gasan(*arguments: str) -> Any:
    """What a command prints as JSON."""
    environment = os.environ | {"LANG": "C.UTF-8", "LC_ALL": ""}
    result = subprocess.run(
        [*GASAN, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_a_site_of_ones_own(site: Path, tmp_path: Path) -> None:
    state = ["--state", str(tmp_path / "state")]
    first = _gasan("up", "--site", str(site), *state, "--seconds", "6", "--json")
    assert first["readings_stored"] > 10
    assert first["readings_lost"] == first["readings_pending"] == first["readings_duplicated"] == 0
    assert first["readings_sampled"] == first["readings_stored"]
    assert first["db"] == str(tmp_path / "state" / "gasan.sqlite")

    # The same state folder again: the node keeps its identity, and the account goes on.
    second = _gasan("up", "--site", str(site), *state, "--seconds", "4", "--json")
    assert second["nodes"] == 1
    assert second["readings_stored"] > first["readings_stored"]
    assert second["readings_sampled"] == second["readings_stored"]

    account = _gasan("account", "--json", "--node", "node-a", *state)
    assert account.pop("agrees") and [node["node"] for node in account.pop("by_node")] == ["node-a"]
    assert {**account, "seconds": 0} == {**second, "seconds": 0}

    meter = _gasan("readings", "--format", "json", "--device", "meter", "--channel", "voltage", *state)
    assert {row["quality"] for row in meter} == {"good"}
    assert all(200 < row["value"] < 240 and row["unit"] == "V" for row in meter)
    assert all(row["time_ms"] is not None and row["time_err_ms"] < 1000 for row in meter)
    assert len({row["boot"] for row in meter}) == 2

    silent = _gasan("readings", "--format", "json", "--device", "nobody", *state)
    assert silent
    assert {(row["quality"], row["value"]) for row in silent} == {("bad/timeout", None)}

    drive = _gasan("readings", "--format", "json", "--device", "drive", "--since", "5m", *state)
    assert {row["text"] for row in drive} <= {"stopped", "forward", "reverse", "accelerating"} | {None}
    assert drive[0]["raw"] is not None


def test_verbs_while_it_runs(site: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    arguments = [*GASAN, "up", "--site", str(site), "--state", str(state), "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            _wait_until_up(state)
            _apply_and_ask(site, state)
        finally:
            running.send_signal(signal.SIGINT)
            output, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    account = json.loads(output)
    assert account["readings_sampled"] == account["readings_stored"] > 0
    assert account["readings_lost"] == account["conflicts"] == 0


def _wait_until_up(state: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if ask_once(state, {"do": "nodes"})["nodes"][0]["state"] == "up":
                return
        except TryAgainError:
            pass
        assert time.monotonic() < deadline, "the node does not come up"
        time.sleep(0.1)


def _apply_and_ask(site: Path, state: Path) -> None:
    site.write_text(
        site.read_text("utf-8").replace('channels = ["voltage", "current"]\n', ""), encoding="utf-8"
    )
    command = [*GASAN, "apply", str(site), "--state", str(state)]
    applied = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert applied.returncode == 0, applied.stderr
    (wanted,) = compile_site(load(site))
    assert f"node-a: runs revision {wanted.revision.hex()}" in applied.stdout
    assert "+ channel meter/frequency: input 70, every 500ms, f32, Hz" in applied.stdout
    (node,) = ask_once(state, {"do": "nodes"})["nodes"]
    assert (node["state"], node["revision"]) == ("up", wanted.revision.hex())
    for answer in ask(state, {"do": "tail"}):
        if answer["reading"]["channel"] == "frequency":
            assert 59 < answer["reading"]["value"] < 61
            break
    logs = subprocess.run(
        [*GASAN, "logs", "node-a", "--state", str(state)], capture_output=True, text=True, timeout=60
    )
    assert "boot 2" in logs.stdout
