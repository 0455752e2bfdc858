"""A node's BLE source on the VM hears sensors on the virtual air: all of what they log as said."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import gasan.boards.air
import pytest
from gasan.boards.air import Air
from gasan.hil import vmrun
from gasan.hil.air import BTHomeSensor
from gasan.hil.served import ServedLog, read_served

STANDINS = Path(gasan.boards.air.__file__).parents[2] / "standins"
ADDRESS = "C4:7C:8D:6A:00:01"

NODE = f"""
import asyncio, json, os, sys
sys.path.insert(0, {str(STANDINS)!r})
import bluetooth
sys.path.pop(0)
from gasan.node import ble
from gasan.node.sampler import Sampler
from gasan.wire import cbor, frame

BUS = [2, "hall", {{1: 100, 2: 100}}, [["press", bytes.fromhex("{ADDRESS.replace(":", "")}"), 0, 2500,
    [[0, 0x02, 0, 2, 0], [1, 0x03, 0, 1, 0], [2, 0x01, 0, 9, 0]]]]]

async def main():
    sampler = Sampler(60000, 4096, 3, 65536)
    source = ble.Source(BUS, sampler, None)
    task = asyncio.create_task(source.run())
    while sampler.sampled < int(sys.argv[1]):
        await asyncio.sleep_ms(20)
    writer = frame.FrameWriter(bytes(8), 0, bytes(32))
    writer.begin(0, bytes(8), 0, 0, 0, bytes(8))
    writer.add(sampler.groups[0])
    group = cbor.loads(cbor.loads(writer.seal()).value[2])[6][0]
    print(json.dumps({{"columns": group[4], "marks": group[5] if len(group) > 5 else [],
        "counters": [source.counters[16], source.counters[17]]}}))
    task.cancel()

asyncio.run(main())
"""


def undelta(column: list[int | None]) -> list[int | None]:
    """A column of a frame as values: the first is absolute, the others are differences."""
    values: list[int | None] = []
    last = 0
    for step in column:
        if step is not None:
            last += step
        values.append(None if step is None else last)
    return values


def measured(temperature: int, humidity: int, battery: int) -> Iterable[tuple[int, bytes]]:
    return [
        (0x03, humidity.to_bytes(2, "little")),
        (0x01, bytes([battery])),
        (0x02, temperature.to_bytes(2, "little", signed=True)),
    ]


def test_every_measurement_is_heard_once_and_silence_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why := vmrun.missing(64):
        pytest.skip(why)
    said = [(2506 - 700 * n, 5055 + n, 88 - n) for n in range(8)]

    async def run() -> str:
        air = Air()
        await air.start()
        monkeypatch.setenv("GASAN_AIR", f"127.0.0.1:{air.port}")
        log = ServedLog(tmp_path / "served.jsonl")
        sensor = BTHomeSensor(air, log, ADDRESS, interval_ms=100)
        stranger = BTHomeSensor(air, log, "C4:7C:8D:6A:01:01", name="stranger", interval_ms=15)
        await stranger.say(measured(1, 2, 3))
        node = asyncio.create_task(asyncio.to_thread(vmrun.run, NODE, 3 * (len(said) + 1), timeout=40))
        while len(air.link.controllers) < 2:  # noqa: ASYNC110 - bumble has no event for it
            await asyncio.sleep(0.02)
        for values in said:
            await sensor.say(measured(*values))
            await asyncio.sleep(0.25)
        await sensor.fall_silent()
        out = await node
        await sensor.close()
        await stranger.close()
        await air.stop()
        log.close()
        return out

    heard = json.loads(asyncio.run(asyncio.wait_for(run(), 60)))
    columns = [undelta(column) for column in heard["columns"]]
    assert list(zip(*columns, strict=True)) == [*said, (None, None, None)]
    assert heard["marks"] == [0, 3, len(said), 1, 69]  # one row, bad/stale
    assert heard["counters"][0] >= len(said) and heard["counters"][1] == 0
    entries = [e for e in read_served(tmp_path / "served.jsonl") if e["device"] == "climate"]
    assert [e["packet_id"] for e in entries] == list(range(1, len(said) + 1))
    assert entries[0]["service_data"] == "40" + "0001" + "0158" + "02ca09" + "03bf13"
