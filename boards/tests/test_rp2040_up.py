"""The key `emulated` of a site file: what it makes of a node, and what such a node cannot have."""

from pathlib import Path

import pytest
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
