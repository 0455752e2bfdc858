"""The virtual board's `bluetooth` over the air that bumble plays: the observer's part of the API."""

import asyncio
import errno
import json
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gasan.boards.air
import pytest
from bumble.device import AdvertisingEventProperties, AdvertisingParameters
from gasan.boards.air import Air
from gasan.boards.air_board import BoardRadio
from gasan.hil import vmrun

STANDINS = Path(gasan.boards.air.__file__).parents[2] / "standins"
SENSOR = "C4:7C:8D:6A:00:01"
ADVERT = bytes.fromhex("020106 0a16d2fc40000502ca09".replace(" ", ""))

PREAMBLE = f"""
import asyncio, os, sys
sys.path.insert(0, {str(STANDINS)!r})
import bluetooth
sys.path.pop(0)
"""


async def advertise(air: Air, address: str = SENSOR, data: bytes = ADVERT, interval_ms: float = 50) -> None:
    device = await air.device("sensor", address)
    await device.create_advertising_set(
        advertising_parameters=AdvertisingParameters(
            advertising_event_properties=AdvertisingEventProperties(is_legacy=True),
            primary_advertising_interval_min=interval_ms,
            primary_advertising_interval_max=interval_ms,
        ),
        random_address=device.random_address,
        advertising_data=data,
    )


async def on_vm(program: str) -> list[str]:
    if why := vmrun.missing(64):
        pytest.skip(why)
    return (await asyncio.to_thread(vmrun.run, PREAMBLE + program, timeout=30)).splitlines()


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - bumble has no event for it
        await asyncio.sleep(0.02)


def with_air(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_a_scan_hears_advertisements_until_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        air = Air()
        await air.start()
        monkeypatch.setenv("GASAN_AIR", f"127.0.0.1:{air.port}")
        monkeypatch.setenv("GASAN_BLE_ADDRESS", "C2:00:00:00:00:99")
        await advertise(air)
        out = await on_vm("""
async def main():
    ble = bluetooth.BLE()
    print(ble is bluetooth.BLE(), ble.active(), ble.active(True), ble.active())
    print(ble.config("mac"))
    over = asyncio.Event()
    heard = []
    kept = []
    def irq(event, data):
        if event == 5:
            heard.append((data[0], bytes(data[1]).hex(), data[2], data[3], bytes(data[4]).hex()))
            kept.append(data[4])
        elif event == 6:
            over.set()
    ble.irq(irq)
    ble.gap_scan(400, 100000, 50000)
    await over.wait()
    print(2 <= len(heard) <= 10, set(heard))
    print(set(bytes(kept[0])))
    n = len(heard)
    await asyncio.sleep_ms(150)
    print(len(heard) == n)
    try:
        ble.gap_scan(0, 1000, 2000)
    except OSError as e:
        print(e)
    ble.active(False)
    print(ble.active())
asyncio.run(main())
""")
        assert out == [
            "True False True True",
            "(1, b'\\xc2\\x00\\x00\\x00\\x00\\x99')",
            f"True {{(1, '{SENSOR.replace(':', '').lower()}', 0, -50, '{ADVERT.hex()}')}}",
            "{165}",  # what a handler keeps without copying is lost
            "True",
            f"[Errno {errno.EINVAL}] EINVAL",
            "False",
        ]
        await until(lambda: len(air.link.controllers) == 1)  # the node's goes with it
        await air.stop()

    with_air(run())


def test_without_air_there_is_no_radio(monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
ble = bluetooth.BLE()
for ask in (lambda: ble.active(True), lambda: ble.gap_scan(0), lambda: ble.config("mac")):
    try:
        ask()
    except OSError as e:
        print(e)
try:
    ble.config(colour=1)
except ValueError as e:
    print(e)
"""
    expected = [f"[Errno {errno.ENODEV}] ENODEV"] * 3 + ["unknown config param"]
    monkeypatch.delenv("GASAN_AIR", raising=False)
    assert asyncio.run(on_vm(program)) == expected
    monkeypatch.setenv("GASAN_AIR", "127.0.0.1:1")
    assert asyncio.run(on_vm(program)) == expected


def test_a_scan_ends_when_the_air_goes_and_the_radio_comes_back_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        air = Air()
        await air.start()
        port = air.port
        monkeypatch.setenv("GASAN_AIR", f"127.0.0.1:{port}")
        await advertise(air)
        vm = asyncio.create_task(
            on_vm("""
async def main():
    ble = bluetooth.BLE()
    over, heard = asyncio.Event(), asyncio.Event()
    ble.irq(lambda event, data: (heard if event == 5 else over).set())
    ble.active(True)
    ble.gap_scan(0, 100000, 100000)
    await heard.wait()
    await over.wait()
    print(ble.active())
    heard.clear()
    while not ble.active():
        try:
            ble.active(True)
        except OSError:
            await asyncio.sleep_ms(50)
    ble.gap_scan(0, 100000, 100000)
    await heard.wait()
    print("heard again")
asyncio.run(main())
""")
        )
        await until(lambda: len(air.link.controllers) == 2)
        await asyncio.sleep(0.3)
        await air.stop()
        again = Air()
        await again.start(port=port)
        await advertise(again)
        assert await vm == ["False", "heard again"]
        await again.stop()

    with_air(run())


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x02\x00{]",
        b"\x00\x04\x00null",
        b"\x00\x02\x00[]",
        b"\x00\x0f\x00" + b'{"nothing": 1}\n',
        b"\x00\x02\x07{}",
        b"\xff\xff\x00",
    ],
)
def test_a_node_that_talks_nonsense_is_cut_off(sent: bytes) -> None:
    async def run() -> None:
        air = Air()
        await air.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", air.port)
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        await air.stop()

    with_air(run())


def test_what_the_air_does_not_know_is_refused_and_the_link_holds() -> None:
    async def run() -> None:
        air = Air()
        await air.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", air.port)

        async def ask(**command: object) -> dict[str, Any]:
            body = json.dumps(command).encode()
            writer.write(struct.pack(">HB", len(body), 0) + body)
            size, kind = struct.unpack(">HB", await reader.readexactly(3))
            assert kind == 0
            answer: dict[str, Any] = json.loads(await reader.readexactly(size))
            return answer

        assert await ask(op="gap_scan", duration_ms=0) == {"errno": errno.ENODEV}
        assert (await ask(op="active"))["address_type"] == 1
        assert await ask(op="l2cap_listen", psm=1) == {"errno": errno.EOPNOTSUPP}
        writer.close()
        await writer.wait_closed()
        await air.stop()

    with_air(run())


def test_a_node_that_does_not_read_costs_bounded_memory() -> None:
    async def run() -> None:
        air = Air()
        sent: list[bytes] = []
        node = BoardRadio(air, lambda _kind, body: sent.append(body), lambda: sum(map(len, sent)))
        report = SimpleNamespace(
            event_type=1, address=(await air.device("far")).random_address, rssi=-90, data=bytes(31)
        )
        for _ in range(5000):
            node._on_report(report)
        assert sum(map(len, sent)) < 70_000
        assert air.unheard + len(sent) == 5000

    with_air(run())
