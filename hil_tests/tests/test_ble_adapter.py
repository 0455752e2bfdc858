"""The gateway's end on a real Bluetooth adapter (--ble-adapter), or on what looks like one."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bleak import BleakScanner
from bleak.exc import BleakError
from gasan.boards.air import Air
from gasan.hil.air import GattSensor
from gasan.host.ble.adapter import Adapter, air_backends
from gasan.host.link.ble import SERVICE

_LISTEN_S = 5.0


def test_it_hears(ble_adapters: list[str], record_property: Callable[[str, object], None]) -> None:
    if not ble_adapters:
        pytest.skip("no --ble-adapter is given")
    name = ble_adapters[0]
    heard: set[str] = set()

    async def run() -> None:
        scanner, _ = air_backends(None if name == "system" else name)
        async with BleakScanner(lambda device, _: heard.add(device.address), backend=scanner):
            await asyncio.sleep(_LISTEN_S)

    try:
        asyncio.run(run())
    except (BleakError, OSError) as error:
        pytest.fail(f"the adapter {name} cannot be used: {error}", pytrace=False)
    record_property("figure", f"the adapter {name} has heard {len(heard)} addresses in {_LISTEN_S:.0f} s")


@pytest.mark.parametrize("name", ["hci99", "usb:99", "127.0.0.1:9", "tcp-client:127.0.0.1:9", "nonsense"])
def test_one_that_is_missing_is_told_in_a_sentence(name: str) -> None:
    async def run() -> None:
        with pytest.raises(BleakError, match=f"^the Bluetooth adapter {name} cannot be opened: ."):
            await Adapter(SERVICE, name).find("anybody", 1)

    asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="BlueZ is Linux' own")
def test_a_machine_without_bluetooth_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """bleak raises what D-Bus does, where it does not run."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere")

    async def run() -> None:
        with pytest.raises(BleakError, match=r"^this machine's Bluetooth does not answer: ."):
            await Adapter(SERVICE).find("anybody", 1)

    asyncio.run(run())


async def _pytest(name: str) -> str:
    """What pytest says of `test_it_hears` with that adapter."""
    arguments = [
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--ble-adapter",
        name,
        "-k",
        "test_it_hears",
        __file__,
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    said, _ = await process.communicate()
    return said.decode()


def test_the_option_reaches_the_adapter() -> None:
    async def run() -> None:
        air = Air()
        await air.start()
        sensor = GattSensor(air, "C4:7C:8D:6A:00:01", {(0x180F, 0x2A19): b"\1"})
        await sensor.start()
        name = f"127.0.0.1:{air.port}"
        said = await _pytest(name)
        assert f"the adapter {name} has heard 1 addresses" in said, said
        await sensor.close()
        await air.stop()
        said = await _pytest(name)
        assert (
            f"the adapter {name} cannot be used: the Bluetooth adapter {name} cannot be opened: " in said
        ), said

    asyncio.run(run())
