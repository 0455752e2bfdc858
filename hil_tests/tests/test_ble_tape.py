"""Advertisements that were recorded are heard again, on another air and by a real node's observer."""

import asyncio
import json
from pathlib import Path

import pytest
from bleak import BleakScanner
from gasan.boards.air import Air
from gasan.boards.air_bleak import backends
from gasan.boards.air_tape import play, record
from gasan.hil import vmrun
from gasan.hil.air import BTHomeSensor
from gasan.hil.central_bench import run_node
from gasan.hil.served import ServedLog

_DEVICE = """
[[node.bus.device]]
name = "climate"
address = "C4:7C:8D:6A:00:01"
profile = "bthome/thermo_hygrometer"
"""


async def _recorded(folder: Path, said: list[int]) -> list[str]:
    """A tape of a sensor that says these temperatures, one after the other."""
    air = Air()
    await air.start()
    log = ServedLog(folder / "served.jsonl")
    sensor = BTHomeSensor(air, log, "C4:7C:8D:6A:00:01", interval_ms=100)
    tape: list[str] = []
    recording = asyncio.create_task(record(f"127.0.0.1:{air.port}", 60, tape.append))
    for value in said:
        heard = len(tape)
        await sensor.say([(0x02, value.to_bytes(2, "little")), (0x03, b"\x10\x27")])
        while len(tape) < heard + 2:  # noqa: ASYNC110 - bumble has no event for it
            await asyncio.sleep(0.02)
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    await sensor.close()
    await air.stop()
    log.close()
    return tape


def test_a_node_reads_what_is_on_tape(tmp_path: Path) -> None:
    if reason := vmrun.missing(64):
        pytest.skip(reason)

    async def run() -> None:
        tape = await _recorded(tmp_path, [2100, 2150, 2200])
        air = Air()
        await air.start()
        playing = asyncio.create_task(_again_and_again(air, tape))
        came = await run_node(air, tmp_path, _DEVICE, 6, 30_000)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        await air.stop()
        values = came.values["temperature"]
        assert len(values) >= 3, came.lines
        order = [21.0, 21.5, 22.0]
        first = order.index(values[0])  # it may have come in the middle
        assert values == [order[(first + n) % 3] for n in range(len(values))]

    asyncio.run(run())


async def _again_and_again(air: Air, tape: list[str]) -> None:
    while True:
        await play(air.link, tape)


def test_kinds_strengths_and_addresses_are_those_of_the_tape() -> None:
    one = {"address": "C4:00:00:00:00:01", "random": True}
    other = {"address": "A4:00:00:00:00:02", "random": False}
    lines = [
        {"t": 0.0, **one, "kind": 2, "rssi": -71, "data": "020106"},
        {"t": 0.0, **one, "kind": 4, "rssi": -72, "data": "03094142"},
        {"t": 0.1, **other, "kind": 3, "rssi": -90, "data": "03ff4c00"},
    ]
    heard: dict[str, tuple[str | None, int]] = {}

    async def run() -> None:
        air = Air()
        await air.start()
        scanner, _ = backends(f"127.0.0.1:{air.port}")

        def note(device: object, advert: object) -> None:
            heard[getattr(device, "address", "")] = (
                getattr(advert, "local_name", None),
                getattr(advert, "rssi", 0),
            )

        async with BleakScanner(note, backend=scanner):
            while len(heard) < 2:
                assert await play(air.link, [json.dumps(line) for line in lines]) == 3
        await air.stop()

    asyncio.run(asyncio.wait_for(run(), 60))
    assert heard == {"C4:00:00:00:00:01": ("AB", -72), "A4:00:00:00:00:02": (None, -90)}
