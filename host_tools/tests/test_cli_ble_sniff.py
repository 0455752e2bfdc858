"""`gasan ble sniff` on a virtual air, and what it makes of adverts."""

import asyncio
import json
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from bumble.device import AdvertisingType
from gasan.boards.air import Air
from gasan.host import cli
from gasan.host.ble.hall import Hall
from gasan.host.ble.known import recognise, structures
from gasan.host.cli.exit_codes import ExitCode

RUUVI = "0499" + "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"  # valid data of its specification
BTHOME = bytes.fromhex("40 01 58 02 ca 09 03 bf 13".replace(" ", ""))
LONG = "0000fcd2-0000-1000-8000-00805f9b34fb"


def test_profiles_are_recognised_by_what_is_sent() -> None:
    (known,) = recognise(structures({}, {LONG: BTHOME}), bytes(6))
    assert (known.profile, known.encrypted) == ("bthome/thermo_hygrometer", False)
    assert {it.channel: it.value for it in known.readings} == {
        "temperature": 25.06,
        "humidity": 50.55,
        "battery": 88,
    }
    sealed = recognise(structures({}, {LONG: b"\x41" + bytes(12)}), bytes(6))
    assert [(it.profile, it.encrypted) for it in sealed] == [("bthome/thermo_hygrometer", True)]
    data = bytes.fromhex(RUUVI)
    (ruuvi,) = recognise(structures({0x0499: data[2:]}, {}), bytes(6))
    values = {it.channel: it.value for it in ruuvi.readings}
    assert ruuvi.profile == "ruuvi/rawv2" and values["temperature"] == pytest.approx(24.3)
    assert recognise(structures({0x004C: b"\x10\x05\x01"}, {}), bytes(6)) == ()


def test_a_hall_is_bounded() -> None:
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

    hall = Hall()
    said = AdvertisementData(
        local_name=None,
        manufacturer_data={0x004C: bytes(3)},
        service_data={},
        service_uuids=[],
        tx_power=None,
        rssi=-70,
        platform_data=(),
    )
    for n in range(1200):
        hall.note(BLEDevice(f"C0:00:00:00:{n >> 8:02X}:{n & 255:02X}", None, None), said)
    assert len(hall.heard) == 1000 and hall.unnoted == 200


def test_the_command_shows_drafts_and_tells(tmp_path: Path) -> None:
    async def run() -> list[str]:
        air = Air()
        await air.start()
        for number, (name, data) in enumerate(
            (
                ("Climate", b"\x0c\x16\xd2\xfc" + BTHOME),
                ("", b"\x04\xff\x4c\x00\x10"),
                ("Tank", b"\x0c\x16\xd2\xfc" + BTHOME),
            )
        ):
            device = await air.device(
                name, f"{0x44 if name == 'Tank' else 0xC4:02X}:00:00:00:00:{number:02X}"
            )
            response = bytes((len(name) + 1, 9)) + name.encode() if name else b""
            await device.start_advertising(
                advertising_type=AdvertisingType.UNDIRECTED_SCANNABLE,
                advertising_data=data,
                scan_response_data=response,
                advertising_interval_min=50,
                advertising_interval_max=50,
            )
        outputs = []
        for options in (["--json", "--all"], ["--draft"], []):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "from gasan.host.cli import main; main()",
                "ble", "sniff", "--seconds", "1.5", "--air", f"127.0.0.1:{air.port}", *options,
                stdout=subprocess.PIPE,
            )  # fmt: skip
            out, _ = await process.communicate()
            assert process.returncode == 0
            outputs.append(out.decode())
        await air.stop()
        return outputs

    as_json, draft, text = asyncio.run(asyncio.wait_for(run(), 150))
    tank, climate, stranger = json.loads(as_json)
    assert tank["address"] == "44:00:00:00:00:02"
    assert climate["address"] == "C4:00:00:00:00:00" and climate["name"] == "Climate"
    assert climate["profiles"][0]["readings"]["temperature"] == 25.06 and climate["adverts"] > 5
    assert stranger["manufacturer"] == {"0x004C": "10"} and not stranger["profiles"]
    private, device = tomllib.loads("[node.bus]\n" + draft.replace("[[node.bus.device]]", "[[device]]"))[
        "device"
    ]
    assert device == {
        "name": "climate",
        "address": "C4:00:00:00:00:00",
        "profile": "bthome/thermo_hygrometer",
        "channels": ["temperature", "humidity", "battery"],
    }
    assert "address" not in private and private["match"] == {"service": 0xFCD2, "name": "Tank"}
    assert "C4:00:00:00:00:00  -50 dBm" in text and "temperature 25.06 Cel" in text
    assert "1 more that no profile reads; --all shows them" in text


def test_without_an_air_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{nobody.getsockname()[1]}"
        assert cli.run(["ble", "sniff", "--seconds", "1", "--air", where]) == ExitCode.FAILED
    said = capsys.readouterr().err
    assert "no Bluetooth adapter can be used: " in said and where in said and said.count("\n") == 1
