"""A whole site with a sensor that has no address: gateway, virtual node, virtual air, a second sender."""

import asyncio
from pathlib import Path

import pytest
from gasan.boards.air import Air
from gasan.boards.vm import VmMissing, find_vm
from gasan.hil.air import BTHomeSensor
from gasan.hil.served import ServedLog
from gasan.hil.waiting import until
from gasan.host.compile import compile_site
from gasan.host.gateway.service import Gateway
from gasan.host.site import load
from gasan.host.store import open_reader, readings

FIRST, SECOND = "C4:7C:8D:6A:00:01", "C4:7C:8D:6A:00:02"
SITE = """\
[site]
name = "hall"
[[node]]
name = "hall-1"
board = "virtual"
[node.batch]
max_age = "300ms"
[[node.bus]]
name = "air"
type = "ble"
scan_window = "100ms"
air = "127.0.0.1:{port}"
[[node.bus.device]]
name = "climate"
profile = "bthome/sensor"
match = {{service = 0xFCD2}}
channels = ["temperature", "rssi"]
"""


async def measure(sensor: BTHomeSensor, first: int) -> None:
    """A new temperature four times a second."""
    while True:
        first += 1
        await sensor.say([(0x02, first.to_bytes(2, "little"))])
        await asyncio.sleep(0.25)


def test_one_sender_is_read_and_a_second_one_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_vm()
    except VmMissing as error:
        pytest.skip(str(error))
    state, db = tmp_path / "state", tmp_path / "a.sqlite"

    async def run() -> None:
        air = Air()
        await air.start()
        air.link.set_rssi(FIRST, -77)
        air.link.set_rssi(SECOND, -33)
        log = ServedLog(tmp_path / "served.jsonl")
        sensors = [BTHomeSensor(air, log, address, interval_ms=60) for address in (FIRST, SECOND)]
        file = tmp_path / "site.toml"
        file.write_text(SITE.format(port=air.port))
        gateway = Gateway(compile_site(load(file)), state_dir=state, db_path=db)
        stop = asyncio.Event()
        running = asyncio.create_task(gateway.run(stop))
        tasks = [asyncio.create_task(measure(sensors[0], 1000))]
        try:
            await until(lambda: gateway.snapshot().counters.readings >= 12)
            tasks.append(asyncio.create_task(measure(sensors[1], 9000)))
            await until(lambda: gateway.snapshot().counters.readings >= 48)
        finally:
            for task in tasks:
                task.cancel()
            stop.set()
            await running
            for sensor in sensors:
                await sensor.close()
            await air.stop()
            log.close()

    asyncio.run(asyncio.wait_for(run(), 150))
    connection = open_reader(db)
    try:
        rows = list(readings(connection))
    finally:
        connection.close()
    stale = "bad/stale"
    strengths = {row.value for row in rows if row.channel == "rssi" and row.quality != stale}
    assert strengths == {-77} and {row.unit for row in rows if row.channel == "rssi"} == {"dBm"}
    told = [row for row in rows if row.channel == "temperature" and row.quality != stale]
    values = [round(float(row.value or 0) * 100) for row in told]
    assert values == sorted(set(values)) and values[0] > 1000 and values[-1] < 9000
    qualities = [row.quality for row in told]
    turn = qualities.index("uncertain")
    assert turn >= 4 and set(qualities[:turn]) == {"good"} and set(qualities[turn:]) == {"uncertain"}
    logs = b"".join(path.read_bytes() for path in (state / "logs").iterdir())
    assert b"climate is c4:7c:8d:6a:00:01" in logs and logs.count(b"two senders match") == 1
