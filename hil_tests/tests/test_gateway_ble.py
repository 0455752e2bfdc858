"""The gateway with a node that it reaches by BLE alone, and which hears a sensor by the same radio."""

import asyncio
from pathlib import Path

import pytest
from gasan.boards.air import Air
from gasan.boards.vm import VmMissing, find_vm
from gasan.hil.air import BTHomeSensor
from gasan.hil.served import ServedLog
from gasan.hil.waiting import until
from gasan.host.account import account
from gasan.host.ble.adapter import AIR
from gasan.host.compile import compile_site
from gasan.host.gateway.boards import VirtualNode
from gasan.host.gateway.service import Gateway
from gasan.host.keys import KeyStore
from gasan.host.site import load

SITE = """\
[site]
name = "test"

[[node]]
name = "press-1"
board = "virtual"
link = "ble:press-1"

[node.batch]
max_age = "500ms"

[[node.bus]]
name = "hall"
type = "ble"
air = "127.0.0.1:{port}"

[[node.bus.device]]
name = "climate"
address = "C4:7C:8D:6A:00:01"
profile = "bthome/thermo_hygrometer"
"""


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def test_a_sensor_s_readings_come_by_ble_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_vm()
    except VmMissing as error:
        pytest.skip(str(error))
    db, state = tmp_path / "a.sqlite", tmp_path / "state"

    async def run() -> None:
        air = Air()
        await air.start()
        monkeypatch.setenv(AIR, f"127.0.0.1:{air.port}")
        file = tmp_path / "site.toml"
        file.write_text(SITE.format(port=air.port))
        (node,) = compile_site(load(file))
        log = ServedLog(tmp_path / "served.jsonl")
        sensor = BTHomeSensor(air, log, "C4:7C:8D:6A:00:01", interval_ms=100)
        board = VirtualNode(node, KeyStore(state / "keys").obtain(node.name), tmp_path / "board")
        await asyncio.to_thread(board.start)
        try:
            gateway = Gateway([node], state_dir=state, db_path=db)
            stop = asyncio.Event()
            running = asyncio.create_task(gateway.run(stop))
            await until(lambda: gateway.snapshot().nodes[0].state == "up")
            for n in range(8):
                if n == 4:
                    address = next(str(it.random_address) for it in air.link.controllers if it.name == "node")
                    assert air.link.cut(address) == 1
                await sensor.say([(0x02, _u16(2100 + n)), (0x03, _u16(5000 + n))])
                await asyncio.sleep(0.4)
            await until(lambda: gateway.snapshot().counters.readings >= 16)
            await until(lambda: gateway.snapshot().nodes[0].state == "up")
            stop.set()
            await running
        finally:
            await asyncio.to_thread(board.stop)
        await sensor.close()
        await air.stop()
        log.close()

    asyncio.run(asyncio.wait_for(run(), 100))
    drawn = account(db).as_dict()
    assert drawn["readings_lost"] == drawn["readings_duplicated"] == drawn["conflicts"] == 0
    assert drawn["readings_stored"] >= 16
