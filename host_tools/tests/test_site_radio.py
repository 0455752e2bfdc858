"""What a site file may ask of a node's radio: connections at a time, and pairing."""

from pathlib import Path

import pytest
from gasan.boards import facts
from gasan.host.i18n import set_language
from gasan.host.problems import FileError
from gasan.host.site import load

_READ, _NOTIFIES = "bluetooth/environmental_sensing", "bluetooth/health_thermometer"


def _complaints(folder: Path, board: str, link: str, profiles: list[str], more: str = "") -> list[str]:
    set_language("en")
    parts = [f'[site]\nname = "s"\n[[node]]\nname = "n"\nboard = "{board}"\nlink = "{link}"']
    parts.append('[[node.bus]]\nname = "hall"\ntype = "ble"')
    for n, profile in enumerate(profiles):
        device = f'name = "s{n}"\naddress = "C4:7C:8D:6A:00:{n:02X}"\nprofile = "{profile}"'
        parts.append(f"[[node.bus.device]]\n{device}\n{more}")
    file = folder / "site.toml"
    file.write_text("\n".join(parts))
    try:
        load(file)
    except FileError as error:
        return [problem.what for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("board", "link", "profiles", "needed"),
    [
        ("esp32_generic", "serial:/dev/ttyUSB0", [_READ] * 30 + [_NOTIFIES] * 3, 4),
        ("esp32_generic", "serial:/dev/ttyUSB0", [_NOTIFIES] * 4, 4),
        ("esp32_generic", "ble:n", [_READ] * 2 + [_NOTIFIES] * 2, 4),
        ("rpi_pico_w", "serial:/dev/ttyACM0", [_READ] * 30, 1),
        ("rpi_pico_w", "serial:/dev/ttyACM0", [_NOTIFIES], 1),
        ("rpi_pico_w", "ble:n", [], 1),
    ],
)
def test_as_many_connections_as_the_radio_keeps(
    tmp_path: Path, board: str, link: str, profiles: list[str], needed: int
) -> None:
    assert facts.load(board).ble_connections == needed
    assert _complaints(tmp_path, board, link, profiles) == []
    one_more = _complaints(tmp_path, board, link, [*profiles, _NOTIFIES])
    assert one_more == [
        f"this node needs {needed + 1} Bluetooth connections at a time and {board} keeps {needed}"
    ]


def test_pairing_where_the_port_can_and_for_eight(tmp_path: Path) -> None:
    assert _complaints(tmp_path, "rpi_pico_w", "serial:/dev/ttyACM0", [_READ], "pair = true") == [
        "MicroPython on rpi_pico_w cannot pair"
    ]
    assert _complaints(tmp_path, "esp32_s3", "serial:/dev/ttyACM0", [_READ] * 8, "pair = true") == []
    assert _complaints(tmp_path, "esp32_s3", "serial:/dev/ttyACM0", [_READ] * 9, "pair = true") == [
        "a node keeps the keys of 8 sensors that it has paired with"
    ]
