"""A site with an emulated node, as a user runs it: one key in the site file, `gasan up`, and the account."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from gasan.hil import on_rp2040
from gasan.hil.rs485 import Line, Relay, Responder
from gasan.host.problems import FileError
from gasan.host.site import load

_SITE = """
[site]
name = "bench"

[[node]]
name = "pico"
board = "{board}"
emulated = true
{extra}

[node.batch]
max_age = "2s"

[[node.bus]]
name = "line"
type = "modbus-rtu"
{port}
baudrate = 19200

[[node.bus.device]]
name = "meter"
unit = 1
profile = "eastron/sdm120"
period = "1s"
"""


def site(folder: Path, board: str = "rpi_pico", port: str = 'port = "/dev/null"', extra: str = "") -> Path:
    path = folder / "site.toml"
    path.write_text(_SITE.format(board=board, port=port, extra=extra))
    return path


def test_one_key_makes_a_node_emulated(tmp_path: Path) -> None:
    node = load(site(tmp_path)).nodes[0]
    assert node.emulated and node.link is None and node.board.name == "rpi_pico"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"board": "esp32_generic"}, "cannot be emulated"),
        ({"extra": 'link = "serial:/dev/ttyACM0"'}, "has no 'link'"),
        ({"port": ""}, "'port' is missing"),
    ],
)
def test_what_an_emulated_node_cannot_have_is_told(
    change: dict[str, str], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(FileError) as caught:
        load(site(tmp_path, **change))
    assert problem in str(caught.value)


@pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing())
def test_up_runs_it_and_nothing_is_lost(tmp_path: Path, soak: bool) -> None:
    """A quarter of a minute at the pace of the wall clock, ten minutes with --soak."""
    seconds = 600 if soak else 15
    with Relay(Line(19200), responder=Responder(units=(1,))) as relay:
        file = site(tmp_path, port=f'port = "{relay.master}"')
        places = ["--state", str(tmp_path / "state"), "--db", str(tmp_path / "db")]
        command = [str(Path(sys.executable).with_name("gasan")), "up", "--site", str(file), *places]
        command += ["--seconds", str(seconds), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
        served = relay.stats().totals
    print(done.stderr[-2000:], done.stdout, served)
    assert done.returncode == 0
    account = json.loads(done.stdout)
    assert account["readings_stored"] > (seconds - 10) * 3
    assert account["readings_lost"] == account["readings_duplicated"] == account["conflicts"] == 0
