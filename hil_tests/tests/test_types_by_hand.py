"""Every type and order of a Modbus channel, from a profile's TOML to the stored value, judged by hand.

types_by_hand.txt says what registers mean. A server answers with them, a node on the virtual board reads them
by its compiled config, and its frames go into a store: nothing of either is written again here.
"""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from gasan.hil.profile_device import ProfileDevice
from gasan.hil.register_server import serve_registers
from gasan.hil.site_node import site_node
from gasan.host.profiles import ModbusPlace, read_profile

TABLE = Path(__file__).with_name("types_by_hand.txt")
ROWS = [
    (number, *(part.strip() for part in line.split("|")))
    for number, line in enumerate(TABLE.read_text(encoding="ascii").splitlines(), 1)
    if line and not line.startswith("#")
]

HEAD = """\
[profile]
maker = "Hand"
model = "Types"
kind = "modbus"
verified = "simulated"
default = [{names}]
[profile.source]
title = "types_by_hand.txt"
revision = "1"
pages = "1"
[channel]
"""
CHANNEL = """\
row_{number} = {{function = 3, address = {address}, {keys}, label_en = "{number}", label_ko = "{number}"}}
"""
SITE = """\
[site]
name = "hand"
[[node]]
name = "node"
board = "virtual"
batch = {{max_age = "500ms"}}
[[node.bus]]
name = "lan"
type = "modbus-tcp"
host = "127.0.0.1"
port = {port}
[[node.bus.device]]
name = "device"
unit = 1
profile = "./types.toml"
period = "2s"
"""


TWICE = {
    ('type = "i16", sign = "magnitude"', "8000"),
    ('type = "i16", missing = [0x7FFF, 0x8000]', "7fff"),
}
_GOOD = "uncertain/time"  # good values, but this gateway asks no node for its time


def test_registers_become_the_values_written_by_hand(tmp_path: Path, bits: int) -> None:
    registers = b""
    channels = []
    for number, keys, raw, _value in ROWS:
        channels.append(CHANNEL.format(number=number, address=len(registers) // 2, keys=keys))
        registers += bytes.fromhex(raw)
    names = ", ".join(f'"row_{number}"' for number, *_ in ROWS)
    (tmp_path / "types.toml").write_text(HEAD.format(names=names) + "".join(channels), encoding="utf-8")

    def read(address: int, count: int) -> bytes:
        return registers[2 * address : 2 * (address + count)]

    with (
        serve_registers(read) as server,
        site_node(tmp_path, SITE.format(port=server.port), bits=bits) as node,
    ):
        node.gateway.wait(lambda: node.gateway.readings() >= len(ROWS), 20)
        node.store()
        found = {reading.channel: reading for reading in node.readings()}
    assert len(found) == len(ROWS)
    for number, keys, raw, value in ROWS:
        reading = found[f"row_{number}"]
        where = f"{TABLE.name}:{number}: {keys} | {raw}: {reading}"
        if value.startswith("bad/"):
            assert (reading.value, reading.text, reading.quality) == (None, None, value), where
        elif value.startswith(('"', "null")):
            text = None if value == "null" else value.strip('"')
            assert (reading.value, reading.text, reading.quality) == (None, text, _GOOD), where
            assert isinstance(reading.raw, bytes), where
        else:
            assert (reading.value, reading.quality) == (float(Fraction(value)), _GOOD), where


def device_of(folder: Path, channels: str) -> ProfileDevice:
    first = channels.split(" =")[0]
    (folder / "types.toml").write_text(HEAD.format(names=f'"{first}"') + channels, encoding="utf-8")
    return ProfileDevice(read_profile(folder / "types.toml", "types"))


def registers_of(device: ProfileDevice, name: str) -> str:
    """The registers of a channel, as they are sent."""
    channel = device.profile.channels[name]
    assert isinstance(channel.place, ModbusPlace)
    there = device.registers[channel.place.function]
    at = channel.place.address
    return "".join(f"{there[at + word]:04x}" for word in range(channel.words))


@pytest.mark.parametrize(
    ("number", "keys", "raw", "value"), ROWS, ids=lambda part: part if isinstance(part, int) else ""
)
def test_a_simulated_device_serves_what_the_table_says(
    number: int, keys: str, raw: str, value: str, tmp_path: Path
) -> None:
    name = f"row_{number}"
    device = device_of(tmp_path, CHANNEL.format(number=number, address=5, keys=keys))
    # No text, no number, a NaN like no other, a second zero, the greater of two numbers for "no value".
    if value in ("null", "bad/range") or raw == "ffc00001" or (keys, raw) in TWICE:
        return
    wanted: Decimal | str | None = None
    if value.startswith('"'):
        wanted = value.strip('"')
        raw = raw.replace("2020", "0000")  # blanks at the end are none
    elif value != "bad/no-value":
        wanted = Decimal(value)
    if "bit" in keys or "8" in keys.split(",")[0]:  # the bits around it stay as they are
        for at in range(len(raw) // 4):
            device.registers[3][5 + at] = int(raw[4 * at : 4 * at + 4], 16)
        device.set(name, Decimal(0))
        assert registers_of(device, name) != raw or value == "0"
    device.set(name, wanted)
    assert registers_of(device, name) == raw


def test_a_simulated_device_has_decimals_in_another_register_and_bits(tmp_path: Path) -> None:
    device = device_of(
        tmp_path,
        """\
temperature = {function = 4, address = 8, type = "i16", decimals = "places", missing = 31000, \
label_en = "t", label_ko = "t"}
places = {function = 4, address = 3, type = "u16", label_en = "p", label_ko = "p"}
lamp = {table = "coil", address = 19, type = "bool", label_en = "l", label_ko = "l"}
""",
    )
    for places, value, raw in ((0, "245", "00f5"), (1, "24.5", "00f5"), (2, "-24.5", "f66e")):
        device.set("places", places)
        device.set("temperature", Decimal(value))
        assert registers_of(device, "temperature") == raw
    device.set("temperature", None)
    assert registers_of(device, "temperature") == "7918"
    device.set("lamp", 1)
    assert device.registers[1] == {19: 1}
    with pytest.raises(ValueError, match="between two registers' values"):
        device.set("temperature", Decimal("0.001"))
