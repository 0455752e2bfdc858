"""Profiles of BLE sensors against published test vectors: file, compiler and both decoders of a node.

Each row names where its advertisement and its values were published.
"""

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from struct import unpack
from typing import Any

import cbor2
import pytest
from gasan.hil import vmrun
from gasan.hil.aes_peer import ecb
from gasan.host.compile import Channel, CompiledNode, compile_site
from gasan.host.profiles import load as load_profile
from gasan.host.profiles import names
from gasan.host.site import load
from gasan.wire import bthome, ccm, columns
from gasan.wire.advert_extras import extended
from gasan.wire.layout import Layout
from gasan.wire.mibeacon import MiBeacon


def company(number: int, data: str) -> bytes:
    """AD structure of manufacturer specific data."""
    raw = number.to_bytes(2, "little") + bytes.fromhex(data)
    return bytes([len(raw) + 1, 0xFF]) + raw


def service(number: int, data: str | bytes) -> bytes:
    """AD structure of service data of a 16-bit UUID."""
    raw = number.to_bytes(2, "little") + (data if isinstance(data, bytes) else bytes.fromhex(data))
    return bytes([len(raw) + 1, 0x16]) + raw


FLAGS = b"\x02\x01\x06"
ADDRESS = "A4:C1:38:01:02:03"
RUUVI = "docs.ruuvi.com, data format 5, test vectors: "
RUUVI_6 = "docs.ruuvi.com, data format 6, test vectors: "
XIAOMI = "xiaomi-ble, tests/test_parser.py: "

# where it was published, profile, address, key, advertisement, values (None: no value)
VECTORS: list[tuple[str, str, str, str, bytes, dict[str, str | None]]] = [
    (
        RUUVI + "valid data",
        "ruuvi/rawv2",
        "CB:B8:33:4C:88:4F",
        "",
        company(0x0499, "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"),
        {
            "temperature": "24.3",
            "humidity": "53.49",
            "pressure": "100044",
            "acceleration_x": "0.0392266",  # 0.004 g
            "acceleration_y": "-0.0392266",
            "acceleration_z": "10.1596894",  # 1.036 g
            "battery_voltage": "2.977",
            "tx_power": "4",
            "movements": "66",
            "sequence": "205",
        },
    ),
    (
        RUUVI + "maximum values",
        "ruuvi/rawv2",
        "CB:B8:33:4C:88:4F",
        "",
        company(0x0499, "057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F"),
        {
            "temperature": "163.835",
            "humidity": "163.835",
            "pressure": "115534",
            "acceleration_x": "321.33450055",  # 32.767 g
            "acceleration_y": "321.33450055",
            "acceleration_z": "321.33450055",
            "battery_voltage": "3.646",
            "tx_power": "20",
            "movements": "254",
            "sequence": "65534",
        },
    ),
    (
        RUUVI + "minimum values",
        "ruuvi/rawv2",
        "CB:B8:33:4C:88:4F",
        "",
        company(0x0499, "058001000000008001800180010000000000CBB8334C884F"),
        {
            "temperature": "-163.835",
            "humidity": "0",
            "pressure": "50000",
            "acceleration_x": "-321.33450055",
            "acceleration_y": "-321.33450055",
            "acceleration_z": "-321.33450055",
            "battery_voltage": "1.6",
            "tx_power": "-40",
            "movements": "0",
            "sequence": "0",
        },
    ),
    (
        RUUVI + "invalid values",
        "ruuvi/rawv2",
        "CB:B8:33:4C:88:4F",
        "",
        company(0x0499, "058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF"),
        dict.fromkeys(load_profile("ruuvi/rawv2").channels),
    ),
    (
        RUUVI_6 + "valid data",
        "ruuvi/format6",
        ADDRESS,
        "",
        company(0x0499, "06170C5668C79E007000C90501D9FFCD004C884F"),
        {
            "temperature": "29.5",
            "humidity": "55.3",
            "pressure": "101102",
            "pm2_5": "11.2",
            "co2": "201",
            "voc_index": "10",
            "nox_index": "2",
            "calibrating": "0",
        },
    ),
    (
        RUUVI_6 + "invalid values",
        "ruuvi/format6",
        ADDRESS,
        "",
        company(0x0499, "068000FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"),
        {**dict.fromkeys(load_profile("ruuvi/format6").channels), "calibrating": "1"},
    ),
    (
        "atc-ble, tests/test_parser.py: pvvx without encryption",
        "xiaomi/atc_pvvx",
        "A4:C1:38:8D:18:B2",
        "",
        service(0x181A, b"\xb2\x18\x8d8\xc1\xa4Y\n\xad\x13\xb6\t\x1f\x1e\x05"),
        {
            "temperature": "26.49",
            "humidity": "50.37",
            "battery_voltage": "2.486",
            "battery": "31",
            "input": "1",
        },
    ),
    (
        "atc-ble, tests/test_parser.py: atc1441 without encryption",
        "xiaomi/atc1441",
        "A4:C1:38:8D:18:B2",
        "",
        service(0x181A, b"\xa4\xc18\x8d\x18\xb2\x01\x12/d\x0c\xa0%"),
        {"temperature": "27.4", "humidity": "47", "battery": "100", "battery_voltage": "3.232"},
    ),
    (
        XIAOMI + "LYWSDCGQ, version 2, not encrypted",
        "xiaomi/mibeacon",
        "58:2D:34:35:93:21",
        "",
        service(0xFE95, b"P \xaa\x01\xda!\x9354-X\r\x10\x04\xfe\x00H\x02"),
        {"pair_temperature": "25.4", "pair_humidity": "58.4"},
    ),
    (
        XIAOMI + "LYWSD03MMC, version 3, not encrypted",
        "xiaomi/mibeacon",
        "A4:C1:38:B4:94:4C",
        "",
        service(0xFE95, b"P0[\x05\x03L\x94\xb48\xc1\xa4\r\x10\x04\x10\x01\xea\x01"),
        {"pair_temperature": "27.2", "pair_humidity": "49"},
    ),
    (
        XIAOMI + "LYWSD03MMC, encrypted",
        "xiaomi/mibeacon",
        "A4:C1:38:02:83:F4",
        "e9ea895fac7cca6d30532432a516f3a8",
        service(0xFE95, b"XX[\x05P\xf4\x83\x028\xc1\xa4\x95\xefXv<&\x00\x00\x97\xe2\xab\xb5"),
        {"humidity": "46.7"},
    ),
    (
        XIAOMI + "CGG1, encrypted",
        "xiaomi/mibeacon",
        "5A:58:2D:34:12:5F",
        "814aac74c4f17b6c1581e1ab87816b99",
        service(0xFE95, b"XXH\x0bh_\x124-XZ\x0b\x18A\xe2\xaa\x00\x0e\x00\xa4\x96O\xb5"),
        {"humidity": "59.6"},
    ),
    (
        XIAOMI + "CGDK2, encrypted",
        "xiaomi/mibeacon",
        "58:2D:34:12:20:89",
        "a3bfe9853dd85a620debe3620caaa351",
        service(0xFE95, b"XXo\x06\x07\x89 \x124-X_\x17m\xd5O\x02\x00\x00/\xa4S\xfa"),
        {"temperature": "22.6"},
    ),
    (
        XIAOMI + "LYWSD02MMC, encrypted",
        "xiaomi/mibeacon_2",
        "A4:C1:38:56:53:84",
        "a115210eed7a88e50ad52662e732a9fb",
        service(0xFE95, b"XX\xe4\x16,\x84SV8\xc1\xa4+n\xf2\xe9\x12\x00\x00l\x88M\x9e"),
        {"humidity": "58"},
    ),
    (
        XIAOMI + "LYWSD02MMC of 2022, temperature, encrypted, without its address",
        "xiaomi/mibeacon_2",
        "A4:C1:38:0E:FD:78",
        "19b1c678ab0a8bc3dc77765f059188d4",
        service(0xFE95, b'HXB%) -\x8czv\xb7V\xa8*\x00x\xb8"N'),
        {"temperature": "26.1"},
    ),
    (
        XIAOMI + "LYWSD02MMC of 2022, humidity, encrypted",
        "xiaomi/mibeacon_2",
        "A4:C1:38:0E:FD:78",
        "19b1c678ab0a8bc3dc77765f059188d4",
        service(0xFE95, b"XXB%\x88x\xfd\x0e8\xc1\xa4\x05\xf6S\x8a\xa7*\x00b\xb1\xa9f"),
        {"humidity": "38"},
    ),
    (
        XIAOMI + "XMWSDJ04MMC, encrypted, without its address",
        "xiaomi/mibeacon_2",
        "2C:11:65:25:70:04",
        "b2cf9a553d53571b5657defd582d676e",
        service(0xFE95, b"HY\x03\x12\xa4\x1bwn|\x96\xad\xd7\x00\x00\x00\xf2\xbfT["),
        {"humidity_exact": "45"},
    ),
    (
        "ibeacon-ble, tests/test_init.py: service data of a BlueCharm beacon",
        "eddystone/tlm",
        ADDRESS,
        "",
        service(0xFEAA, b" \x00\x0b\xfe\x1c\x00\x00\x00\x07\x08\x00\x00>|"),
        {"battery_voltage": "3.07", "temperature": "28", "adverts": "1800", "uptime": "1599.6"},
    ),
    (
        "github.com/google/eddystone, tlm-plain: values that are not supported",
        "eddystone/tlm",
        ADDRESS,
        "",
        service(0xFEAA, "2000 0000 8000 00000001 0000000a"),
        {"battery_voltage": None, "temperature": None, "adverts": "1", "uptime": "1"},
    ),
    (
        "github.com/google/eddystone, eddystone-uid: the namespace of its example",
        "eddystone/uid",
        ADDRESS,
        "",
        service(0xFEAA, "00 ee 8b0ca750095477cb3e77 000000000102 0000"),
        {"tx_power": "-18", "instance": "258"},
    ),
    (
        "ibeacon-ble, tests/test_init.py: BlueCharm",
        "ibeacon/ibeacon",
        ADDRESS,
        "",
        company(0x004C, b"\x02\x15BlueCharmBeacons\x0e\xfe\x13U\xc5".hex()),
        {"major": "3838", "minor": "4949", "measured_power": "-59"},
    ),
    (
        "GoveeWatcher, README, decoding data",
        "govee/h5075",
        ADDRESS,
        "",
        company(0xEC88, "00 03215d 64 00"),
        {"temperature": "20.5", "humidity": "14.9", "battery": "100"},
    ),
    (
        "GoveeWatcher, README and issue 2: the same below zero",
        "govee/h5075",
        ADDRESS,
        "",
        company(0xEC88, "00 83215d 64 00"),
        {"temperature": "-20.5", "humidity": "14.9", "battery": "100"},
    ),
    (
        "govee-ble, parser: the topmost bit of the battery's byte is no part of it, but tells of a failure",
        "govee/h5075",
        ADDRESS,
        "",
        company(0xEC88, "00 03215d e4 00"),
        {"temperature": "20.5", "humidity": "14.9", "battery": "100"},
    ),
    (
        "govee-ble, parser: the same of H5101",
        "govee/h5101",
        ADDRESS,
        "",
        company(0x0001, "0101 03325e d0"),
        {"temperature": "20.9", "humidity": "50.2", "battery": "80"},
    ),
    (
        "govee-ble, tests/test_parser.py: H5105, its 6 bytes",
        "govee/h5101",
        ADDRESS,
        "",
        company(0x0001, b"\x01\x01\x032^d".hex()),
        {"temperature": "20.9", "humidity": "50.2", "battery": "100"},  # 0x03325e is 209502
    ),
    (
        "Govee 5074 decoding notes, gist of mkjanke: example",
        "govee/h5074",
        ADDRESS,
        "",
        company(0xEC88, "00580ae6116402"),
        {"temperature": "26.48", "humidity": "45.82", "battery": "100"},
    ),
    (
        "inkbird-ble, tests/test_parser.py: sps",
        "inkbird/ibs_th",
        ADDRESS,
        "",
        company(2044, b"\xc7\x12\x00\xc8=V\x06".hex()),
        {"temperature": "20.44", "humidity": "48.07", "probe": "0", "battery": "86"},
    ),
    (
        "GATT specification supplement: temperature, humidity, pressure, battery level",
        "bluetooth/service_data",
        ADDRESS,
        "",
        service(0x2A6E, "0cfe")
        + service(0x2A6F, "a60f")
        + service(0x2A6D, "02760f00")
        + service(0x180F, "5a"),
        {"temperature": "-5", "humidity": "40.06", "pressure": "101325", "battery_of_service": "90"},
    ),
]


def compiled(
    folder: Path, profile: str, address: str, encrypted: bool, channels: Iterable[str]
) -> CompiledNode:
    file = folder / "site.toml"
    wanted = ", ".join(f'"{name}"' for name in channels)
    file.write_text(
        f"""
[site]
name = "hall"
[[node]]
name = "hall-1"
board = "virtual"
[[node.bus]]
name = "air"
type = "ble"
[[node.bus.device]]
name = "sensor"
address = "{address}"
profile = "{profile}"
encrypted = {str(encrypted).lower()}
channels = [{wanted}]
"""
    )
    return compile_site(load(file))[0]


def decoder(spec: list[Any], key: str) -> Layout | MiBeacon:
    """As gasan.node.ble_formats makes it."""
    if spec[2] == 2:
        return Layout(*spec[5])
    made = MiBeacon(spec[1], spec[5], spec[2] == 4)
    if key:
        made.seal = ccm.Seal(ccm.Ccm(ecb), bytes.fromhex(key))
    return made


def value(channel: Channel, raw: bytes) -> Fraction:
    if channel.type == columns.F32:
        return Fraction(round(Decimal(unpack(">f", raw)[0]), 2))
    number = int.from_bytes(
        raw, "big", signed=channel.type in (columns.I8, columns.I16, columns.I32, columns.I64)
    )
    if channel.mask is not None:
        number = number >> (channel.shift or 0) & channel.mask
    return Fraction(number * channel.num + channel.off, channel.den)


def read(view: Layout | MiBeacon, spec: list[Any], channels: Iterable[Channel]) -> dict[str, Fraction | None]:
    found: dict[str, Fraction | None] = {}
    for item, channel in zip(spec[4], channels, strict=True):
        at = view.find(item[1], item[2])
        if at >= 0:
            out = bytearray(8)
            width = columns.width(item[3])
            good = view.widen(item[1], at, out, width)
            found[channel.name] = value(channel, bytes(out[:width])) if good else None
    return found


def thirds(profile: str) -> list[list[str]]:
    """The channels in groups that a node takes of one sensor."""
    every = list(load_profile(profile).channels)
    return [every[:5], every[5:]] if len(every) > 8 else [every]


@pytest.mark.parametrize(("where", "profile", "address", "key", "advert", "expected"), VECTORS)
def test_a_published_vector(
    tmp_path: Path,
    where: str,
    profile: str,
    address: str,
    key: str,
    advert: bytes,
    expected: dict[str, str | None],
) -> None:
    found: dict[str, Fraction | None] = {}
    data = FLAGS + advert if len(advert) <= 28 else advert
    for channels in thirds(profile):
        node = compiled(tmp_path, profile, address, bool(key), channels)
        spec = cbor2.loads(node.config)[3][0][3][0]
        view = decoder(spec, key)
        assert view.open(data, 0, len(data)) == bthome.READABLE, where
        found |= read(view, spec, node.channels)
    assert found == {name: None if text is None else Fraction(text) for name, text in expected.items()}, where


def test_the_same_on_the_vm_without_allocation(tmp_path: Path, bits: int) -> None:
    """The values of all vectors as CPython reads them, read once more by the VM."""
    cases = []
    expected = []
    for _, profile, address, key, advert, _ in VECTORS:
        node = compiled(tmp_path, profile, address, bool(key), thirds(profile)[0])
        spec = cbor2.loads(node.config)[3][0][3][0]
        view = decoder(spec, key)
        state = view.open(advert, 0, len(advert))
        values = []
        for item in spec[4]:
            at = view.find(item[1], item[2])
            out = bytearray(8)
            values.append(
                (view.widen(item[1], at, out, columns.width(item[3])), out.hex()) if at >= 0 else None
            )
        cases.append((spec, bytes.fromhex(key), advert))
        expected.append((state, values))
    program = f"""
import cryptolib, micropython
from binascii import hexlify
from gasan.wire import ccm, columns
from gasan.wire.advert_extras import extended
from gasan.wire.layout import Layout
from gasan.wire.mibeacon import MiBeacon
def decode(view, advert, items, outs, goods):
    state = view.open(advert, 0, len(advert))
    for k in range(len(items)):
        at = view.find(items[k][1], items[k][2])
        if at >= 0:
            goods[k] = view.widen(items[k][1], at, outs[k], columns.width(items[k][3]))
    return state
for spec, key, advert in {cases!r}:
    view = Layout(*spec[5]) if spec[2] == 2 else MiBeacon(spec[1], spec[5], spec[2] == 4)
    if key:
        view.seal = ccm.Seal(ccm.Ccm(lambda key: cryptolib.aes(key, 1).encrypt), key)
    goods = [None] * len(spec[4])
    outs = [bytearray(8) for _ in goods]
    state = 0
    if not key:
        micropython.heap_lock()
    state = decode(view, advert, spec[4], outs, goods)
    if not key:
        micropython.heap_unlock()
    values = [good if good is None else (good, hexlify(out).decode()) for good, out in zip(goods, outs)]
    print((state, values))
"""
    assert vmrun.run(program, bits=bits).splitlines() == [repr(case) for case in expected]


@pytest.mark.parametrize("alone", [True, False])
def test_every_sensor_has_its_strength_as_a_channel(tmp_path: Path, alone: bool) -> None:
    for where, profile, address, key, advert, _ in VECTORS:
        channels = ["rssi"] if alone else [*thirds(profile)[0][:2], "rssi"]
        node = compiled(tmp_path, profile, address, bool(key), channels)
        spec = cbor2.loads(node.config)[3][0][3][0]
        assert spec[2] & 0x10 and (node.channels[-1].name, node.channels[-1].unit) == ("rssi", "dBm")
        made: Any = extended(Layout)(*spec[5]) if spec[2] == 0x12 else None
        if made is None:
            made = extended(MiBeacon)(spec[1], spec[5], spec[2] == 0x14)
            made.seal = ccm.Seal(ccm.Ccm(ecb), bytes.fromhex(key)) if key else None
        data = advert + (-61 & 0xFF).to_bytes()
        if made.open(data, 0, len(advert)) == bthome.READABLE:  # not all hold the first channels
            assert read(made, spec, node.channels)["rssi"] == -61, where
        else:
            assert profile.startswith("xiaomi/mibeacon"), where


def test_every_profile_of_a_sensor_has_a_vector() -> None:
    sensors = {name for name in names() if load_profile(name).kind in ("advert", "mibeacon")}
    assert sensors == {vector[1] for vector in VECTORS}
