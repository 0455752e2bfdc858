"""Sensors without an address in the site file: what may be written, and what a node is told."""

import json
from pathlib import Path

import cbor2
import pytest
from gasan.host.compile import compile_site
from gasan.host.config_diff import describe, difference
from gasan.host.problems import FileError
from gasan.host.site import load

HEAD = """\
[site]
name = "t"
[[node]]
name = "n"
board = "virtual"
[[node.bus]]
name = "air"
type = "ble"
"""
BTHOME = 'profile = "bthome/thermo_hygrometer"'


def site(folder: Path, *devices: str) -> Path:
    made = [f'[[node.bus.device]]\nname = "d{n}"\n{text}\n' for n, text in enumerate(devices)]
    file = folder / "site.toml"
    file.write_text(HEAD + "".join(made))
    return file


def problems(folder: Path, *devices: str) -> list[str]:
    with pytest.raises(FileError) as caught:
        load(site(folder, *devices))
    return [str(problem).partition("site.toml:")[2] for problem in caught.value.problems]


def test_what_a_node_is_told(tmp_path: Path) -> None:
    beacon = '\nprofile = "ibeacon/ibeacon"\nmatch = {company = 0x004C, prefix = "0215aabb"}'
    file = site(tmp_path, f'{BTHOME}\nmatch = {{service = 0xFCD2, name = "Tank-"}}', beacon)
    kind, _name, _params, (tank, pallet) = cbor2.loads(compile_site(load(file))[0].config)[3][0]
    assert kind == 4
    assert tank[1:3] == [bytes(6), 0x20] and pallet[1:3] == [bytes(6), 0x22]
    kinds, needs, name = tank[-1]
    assert [kind[0].hex() for kind in kinds] == ["16d2fc40", "16d2fc42", "16d2fc44", "16d2fc46"]
    assert (needs, name) == (b"\x16\xd2\xfc", b"Tank-")
    assert pallet[-1] == [[[bytes.fromhex("ff4c000215"), 26]], bytes.fromhex("ff4c000215aabb"), b""]


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ([BTHOME], "9: a sensor needs either an address or a match"),
        ([f'{BTHOME}\naddress = "A4:C1:38:01:02:03"\nmatch = {{name = "x"}}'], "9: a sensor needs either"),
        ([f"{BTHOME}\nmatch = {{}}"], "12: 'match' needs a name, a service or a company"),
        ([f"{BTHOME}\nmatch = {{service = 1, company = 2}}"], "12: 'match' needs a name, a service or"),
        ([f'{BTHOME}\nmatch = {{name = "x", prefix = "00"}}'], "12: 'prefix' is what data of a service"),
        ([f'{BTHOME}\nmatch = {{service = 1, prefix = "0"}}'], '12: "0" is not hexadecimal'),
        ([f'{BTHOME}\nmatch = {{name = "x"}}\nencrypted = true'], "12: a sensor of this profile, or one"),
        (['profile = "xiaomi/mibeacon"\nmatch = {name = "x"}'], "12: a sensor of this profile, or one that"),
        (
            ['profile = "bluetooth/health_thermometer"\nmatch = {name = "x"}'],
            "12: a sensor of this profile, or one that",
        ),
        ([f'{BTHOME}\nmatch = {{nam = "x"}}'], "12: unknown key 'nam'"),
        (
            [f'{BTHOME}\nmatch = {{name = "Tank"}}', f'{BTHOME}\nmatch = {{name = "Tank-2"}}'],
            "16: one advertisement could be of d1 and of d0",
        ),
        (
            [f"{BTHOME}\nmatch = {{service = 0xFCD2}}", f'{BTHOME}\nmatch = {{name = "Tank-2"}}'],
            "16: one advertisement could be of d1 and of d0",
        ),
        (
            [f"{BTHOME}\nmatch = {{name = {json.dumps(letter)}}}" for letter in "abcdefghi"],
            "44: 9 sensors of a bus are without an address; write at most 8",
        ),
    ],
)
def test_mistakes(tmp_path: Path, devices: list[str], words: str) -> None:
    told = problems(tmp_path, *devices)
    assert len(told) == 1 and told[0].startswith(words), told


def test_what_can_be_told_apart_goes_together(tmp_path: Path) -> None:
    load(
        site(
            tmp_path,
            f'{BTHOME}\nmatch = {{name = "Tank"}}',
            f'{BTHOME}\nmatch = {{name = "Room"}}',
            f'{BTHOME}\naddress = "A4:C1:38:01:02:03"',
            'profile = "ruuvi/rawv2"\nmatch = {company = 0x0499}',
            'profile = "ibeacon/ibeacon"\nmatch = {company = 0x004C, prefix = "0215aa"}',
            'profile = "ibeacon/ibeacon"\nmatch = {company = 0x004C, prefix = "0215bb"}',
        )
    )


def test_a_config_of_sensors_is_told_setting_by_setting(tmp_path: Path) -> None:
    """`gasan apply` shows what changes, whatever kind the sensors are of."""
    devices = [
        f'{BTHOME}\nmatch = {{name = "Tank"}}\nchannels = ["temperature", "rssi"]',
        'profile = "ruuvi/rawv2"\naddress = "A4:C1:38:01:02:03"',
        'profile = "xiaomi/mibeacon"\naddress = "A4:C1:38:01:02:04"\nencrypted = true',
        'profile = "bluetooth/environmental_sensing"\naddress = "A4:C1:38:01:02:05"',
    ]
    before = compile_site(load(site(tmp_path, *devices)))[0].config
    devices[0] = devices[0].replace("Tank", "Room")
    after = compile_site(load(site(tmp_path, *devices)))[0].config
    assert "strength" in describe(before)["channel d0/rssi"]
    (change,) = difference(before, after)
    assert change.setting == "device d0" and b"Room".hex() in (change.after or "")
