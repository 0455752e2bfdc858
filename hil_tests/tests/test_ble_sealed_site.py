"""A whole site with a sensor that encrypts: gateway, virtual node, virtual air, a key that comes later."""

import asyncio
from pathlib import Path

import pytest
from gasan.boards.air import Air
from gasan.boards.vm import VmMissing, find_vm
from gasan.hil.aes_peer import encipher
from gasan.hil.air import BTHomeSensor
from gasan.hil.served import ServedLog
from gasan.hil.waiting import until
from gasan.host.compile import compile_site
from gasan.host.gateway.service import Gateway
from gasan.host.sensor_keys import SensorKeys
from gasan.host.site import load
from gasan.host.store import open_reader, readings

ADDRESS = "C4:7C:8D:6A:00:01"
SENDER = bytes.fromhex(ADDRESS.replace(":", ""))
KEY = bytes(range(100, 116))
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
address = "{address}"
profile = "bthome/thermo_hygrometer"
encrypted = true
"""


async def measure(sensor: BTHomeSensor, said: list[int]) -> None:
    """A new temperature five times a second, and now and then a forged or an old one."""
    counter = 500
    first = b""
    while True:
        counter += 1
        count = counter.to_bytes(4, "little")
        made = encipher(
            KEY, SENDER + b"\xd2\xfc\x41" + count, b"\x02" + (2000 + counter).to_bytes(2, "little")
        )
        data = b"\x41" + made[:-4] + count + made[-4:]
        first = first or data
        said.append(2000 + counter)
        await sensor.say_raw(data)
        await asyncio.sleep(0.2)
        if counter % 3 == 0:
            for wrong in (first, b"\x40\x02\x00\x00", data[:-1] + b"\x00"):
                await sensor.say_raw(wrong)
                await asyncio.sleep(0.15)


def test_a_key_makes_its_way_and_only_genuine_values_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        find_vm()
    except VmMissing as error:
        pytest.skip(str(error))
    monkeypatch.setattr("gasan.host.gateway.node_service._KEYS_S", 0.2)
    state, db, said = tmp_path / "state", tmp_path / "a.sqlite", list[int]()

    async def run() -> None:
        air = Air()
        await air.start()
        log = ServedLog(tmp_path / "served.jsonl")
        sensor = BTHomeSensor(air, log, ADDRESS, interval_ms=60)
        file = tmp_path / "site.toml"
        file.write_text(SITE.format(port=air.port, address=ADDRESS))
        nodes = compile_site(load(file))
        gateway = Gateway(nodes, state_dir=state, db_path=db)
        stop = asyncio.Event()
        running = asyncio.create_task(gateway.run(stop))
        measuring = asyncio.create_task(measure(sensor, said))
        try:
            await until(lambda: gateway.snapshot().nodes[0].state == "up")
            assert gateway.snapshot().counters.readings == 0
            SensorKeys(state / "keys", "hall-1").change(SENDER, KEY)  # what `gasan ble key` does
            await until(lambda: gateway.snapshot().counters.readings >= 12)
        finally:
            measuring.cancel()
            stop.set()
            await running
            await sensor.close()
            await air.stop()
            log.close()

    asyncio.run(asyncio.wait_for(run(), 90))
    connection = open_reader(db)
    try:
        rows = [row for row in readings(connection) if row.channel == "temperature"]
    finally:
        connection.close()
    stored = [round(float(row.value or 0) * 100) for row in rows if row.quality == "good"]
    assert len(stored) >= 12
    assert stored == sorted(set(stored)), "each once, and in order"
    assert set(stored) <= set(said), "nothing that the sensor has not measured"
    logs = b"".join(path.read_bytes() for path in (state / "logs").iterdir())
    assert KEY.hex().encode() not in logs and repr(KEY)[2:-1].encode() not in logs
    assert b"was not encrypted" in logs and b"came again" in logs
