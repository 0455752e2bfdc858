"""`gasan up` on a site of its own, with equipment that somebody else runs; then what was stored is read."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
