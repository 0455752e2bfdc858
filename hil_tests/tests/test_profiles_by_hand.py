"""Profiles and simulated equipment against one table written by hand: they cannot be wrong together.

A row says: when the machine is in this state, these registers stand at the profile's address, and mean this.
"""

import asyncio
import struct
import tomllib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import gasan.wire.bthome
import pytest
from gasan.hil import equipment
from gasan.hil.demo_equipment import climate
from gasan.hil.press import Press, PressState
from gasan.hil.served import ServedLog

PROFILES = Path(gasan.wire.bthome.__file__).parents[2] / "profiles"

# profile, channel, address on the wire, state, registers, value, unit
METER: list[tuple[str, str, int, dict[str, Any], str, str, str]] = [
    ("eastron/sdm120", "voltage", 0, {"voltage_v": 230.2}, "43663333", "230.2", "V"),
    ("eastron/sdm120", "current", 6, {"current_a": 8.62}, "4109eb85", "8.62", "A"),
    ("eastron/sdm120", "active_power", 12, {"active_w": 1500.0}, "44bb8000", "1500", "W"),
    ("eastron/sdm120", "apparent_power", 18, {"apparent_va": 2000.0}, "44fa0000", "2000", "VA"),
    ("eastron/sdm120", "reactive_power", 24, {"reactive_var": 1322.875}, "44a55c00", "1322.875", "var"),
    (
        "eastron/sdm120",
        "power_factor",
        30,
        {"active_w": 1500.0, "apparent_va": 2000.0},
        "3f400000",
        "0.75",
        "/",
    ),
    ("eastron/sdm120", "frequency", 70, {"mains_hz": 59.95}, "426fcccd", "59.95", "Hz"),
    ("eastron/sdm120", "import_energy", 72, {"import_kwh": 1551.374}, "44c1ebf8", "1551.374", "kWh"),
    ("eastron/sdm120", "export_energy", 74, {}, "00000000", "0", "kWh"),
    ("eastron/sdm120", "import_reactive_energy", 76, {"import_kvarh": 488.1}, "43f40ccd", "488.1", "kvarh"),
    ("eastron/sdm120", "export_reactive_energy", 78, {}, "00000000", "0", "kvarh"),
    ("eastron/sdm120", "total_energy", 342, {"import_kwh": 1551.374}, "44c1ebf8", "1551.374", "kWh"),
    ("eastron/sdm120", "total_reactive_energy", 344, {"import_kvarh": 488.1}, "43f40ccd", "488.1", "kvarh"),
]
CONTROLLER: list[tuple[str, str, int, dict[str, Any], str, str, str]] = [
    ("autonics/tk4", "process_value", 1000, {"die_c": 24.5}, "00f5", "24.5", "Cel"),
    ("autonics/tk4", "process_value", 1000, {"die_c": -10.3}, "ff99", "-10.3", "Cel"),
    ("autonics/tk4", "process_value_shown", 1000, {"die_c": -10.3}, "ff99", "-10.3", "Cel"),
    ("autonics/tk4", "decimal_point", 1001, {}, "0001", "1", ""),
    ("autonics/tk4", "display_unit", 1002, {}, "0000", "celsius", ""),
    ("autonics/tk4", "set_value", 1003, {"die_set_c": 180.0}, "0708", "180", "Cel"),
    ("autonics/tk4", "set_value_shown", 1003, {"die_set_c": 180.0}, "0708", "180", "Cel"),
    ("autonics/tk4", "heating_output", 1004, {"heating": 0.456}, "01c8", "45.6", "%"),
    ("autonics/tk4", "cooling_output", 1005, {}, "0000", "0", "%"),
    ("autonics/tk4", "indicators", 1006, {"heating": 0.456}, "0009", "9", ""),
    ("autonics/tk4", "heater_current", 1007, {"heater_current_a": 3.8}, "0026", "3.8", "A"),
]
INVERTER: list[tuple[str, str, int, dict[str, Any], str, str, str]] = [
    ("ls-electric/s100", "frequency_command", 4, {}, "1770", "60", "Hz"),
    ("ls-electric/s100", "output_current", 8, {"motor_current_a": 6.3}, "003f", "6.3", "A"),
    ("ls-electric/s100", "output_frequency", 9, {"frequency_hz": 42.5}, "109a", "42.5", "Hz"),
    ("ls-electric/s100", "output_voltage", 10, {"motor_voltage_v": 269.0}, "010d", "269", "V"),
    ("ls-electric/s100", "dc_link_voltage", 11, {"dc_link_v": 541.0}, "021d", "541", "V"),
    ("ls-electric/s100", "output_power", 12, {"motor_power_w": 1800.0}, "0012", "1.8", "kW"),
    ("ls-electric/s100", "running_state", 13, {"running": "running"}, "6842", "forward", ""),
    ("ls-electric/s100", "running_state", 13, {"running": "stopped"}, "6001", "stopped", ""),
    ("ls-electric/s100", "status_word", 13, {"running": "accelerating"}, "6812", "26642", ""),
    ("ls-electric/s100", "fault_word", 14, {}, "0000", "0", ""),
    ("ls-electric/s100", "motor_speed", 20, {"motor_speed_rpm": 1234.0}, "04d2", "1234", "1/min"),
]
MODBUS = METER + CONTROLLER + INVERTER
MAKERS: dict[str, tuple[Callable[[Press], equipment.Equipment], int]] = {
    "eastron/sdm120": (equipment.meter, 4),
    "autonics/tk4": (equipment.controller, 4),
    "ls-electric/s100": (equipment.inverter, 3),
}
TYPES = {"u16": ">H", "i16": ">h", "u32": ">I", "f32": ">f", "u8": ">B", "i8": ">b"}


def profile(name: str) -> dict[str, Any]:
    return tomllib.loads((PROFILES / f"{name}.toml").read_text(encoding="utf-8"), parse_float=Decimal)


def meaning(channel: dict[str, Any], raw: bytes) -> str:
    """What a profile makes of registers: a decimal without trailing zeros, or the word of an enumeration."""
    (value,) = struct.unpack(TYPES[channel["type"]], raw)
    if channel["type"] == "f32":
        return shortest(value)
    if "bits" in channel:
        value = value >> channel["bits"]["shift"] & channel["bits"]["mask"]
    if "enum" in channel:
        return str(channel["enum"][str(value)])
    if "decimals" in channel:
        value = Decimal(value).scaleb(-1)  # one place, as its row says
    scaled = value * Decimal(channel.get("scale", 1)) + Decimal(channel.get("offset", 0))
    return f"{scaled.normalize():f}"


def shortest(value: float) -> str:
    """The shortest decimal that is this single."""
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        if struct.pack(">f", float(text)) == struct.pack(">f", value):
            return f"{Decimal(text).normalize():f}"
    raise AssertionError(value)


@pytest.mark.parametrize(("name", "channel", "address", "state", "raw", "value", "unit"), MODBUS)
def test_profile_and_equipment_agree_with_the_table(
    name: str,
    channel: str,
    address: int,
    state: dict[str, Any],
    raw: str,
    value: str,
    unit: str,
    tmp_path: Path,
) -> None:
    stated = profile(name)["channel"][channel]
    make, function = MAKERS[name]
    assert stated["address"] == address
    assert stated.get("function") == function or {"input": 4, "holding": 3}[stated["table"]] == function
    assert stated["unit"] == unit
    assert meaning(stated, bytes.fromhex(raw)) == value

    press = Press(clock=lambda: 0.0)  # time stands still: the state stays as it is set
    for key, figure in state.items():
        assert hasattr(press.now(), key)
        setattr(press.now(), key, figure)
    log = ServedLog(tmp_path / "served.jsonl")
    device = make(press).at("rtu", 1, log)
    log.close()
    served = [register for data in registers(device.simdata, address) for register in data][: len(raw) // 4]
    assert b"".join(register.to_bytes(2, "big") for register in served).hex() == raw


def registers(simdata: Any, address: int) -> Iterator[list[int]]:
    for data in simdata:
        if data.address == address:
            yield data.values


def test_the_table_names_every_channel() -> None:
    for name in MAKERS:
        listed = {row[1] for row in MODBUS if row[0] == name}
        assert listed == set(profile(name)["channel"])


@pytest.mark.parametrize(
    ("channel", "state", "sent", "value", "unit"),
    [
        ("temperature", {"room_c": -10.25}, "02fffb", "-10.25", "Cel"),
        ("temperature", {"room_c": 25.06}, "02ca09", "25.06", "Cel"),
        ("humidity", {"room_rh": 50.55}, "03bf13", "50.55", "%RH"),
        ("battery", {"battery": 97}, "0161", "97", "%EL"),
    ],
)
def test_the_bthome_profile_and_the_sensor_agree_with_the_table(
    channel: str, state: dict[str, Any], sent: str, value: str, unit: str
) -> None:
    stated = profile("bthome/thermo_hygrometer")["channel"][channel]
    raw = bytes.fromhex(sent)
    assert (stated["object"], stated.get("index", 0), stated["unit"]) == (raw[0], 0, unit)
    assert meaning(stated, raw[:0:-1]) == value
    assert (raw[0], raw[1:]) in climate(PressState(**state))


def test_the_counter_profile_reads_what_the_counter_serves(tmp_path: Path) -> None:
    channels = profile("sim/counter")["channel"]
    log = ServedLog(tmp_path / "served.jsonl")
    device = equipment.counter().at("rtu", 1, log)
    assert device.action is not None
    words = [0, 0, 0, 0]
    asyncio.run(device.action(3, 0, 0, 4, words, None))  # type: ignore[arg-type]
    log.close()
    raw = b"".join(word.to_bytes(2, "big") for word in words)
    for channel in channels.values():
        at = 2 * channel["address"]
        assert channel["table"] == "holding" and meaning(channel, raw[at : at + 4]) == "1"
