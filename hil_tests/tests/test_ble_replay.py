"""Air that `gasan ble sniff --record` has recorded, played again: a node makes the same readings of it."""

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from bumble.device import AdvertisingType
from gasan.boards.air import Air
from gasan.boards.air_tape import play
from gasan.boards.places import STANDINS
from gasan.hil import vmrun
from gasan.hil.air import BTHomeSensor
from gasan.hil.served import ServedLog
from gasan.host import cli
from gasan.host.cli.exit_codes import ExitCode

FIRST, SECOND, TAG = "C4:7C:8D:6A:00:01", "C4:7C:8D:6A:00:02", "C4:7C:8D:6A:00:03"
COUNT = 12

# Says each row: the device, and its values, the RSSI among them. Ends with what was dropped and refused.
NODE = f"""
import asyncio, json, sys
sys.path.insert(0, {str(STANDINS)!r})
import bluetooth
sys.path.pop(0)
from gasan.node import ble
from gasan.node.sampler import Sampler

LAYOUT = [[[b"\\xff\\x99\\x04", b"\\x05", 24]], [[0, 1, 0x32], [0, 16, 0x12]], True]
def bthome(i, address):
    items = [[3 * i, 0x02, 0, 2, 0], [3 * i + 1, 0x03, 0, 1, 0], [3 * i + 2, 256, 0, 10, 0]]
    return ["s%d" % i, bytes.fromhex(address), 0x10, 3600000, items]
DEVICES = [bthome(0, "c47c8d6a0001"), bthome(1, "c47c8d6a0002"),
    ["tag", bytes.fromhex("c47c8d6a0003"), 0x12, 3600000, [[6, 0, 0, 2, 0], [7, 256, 0, 10, 0]], LAYOUT]]

async def main():
    sampler = Sampler(60000, 4096, 8, 65536)
    source = ble.Source([2, "hall", {{1: 100, 2: 100, 3: 1}}, DEVICES], sampler, None)
    task = asyncio.create_task(source.run())
    wanted, said = int(sys.argv[1]), 0
    while said < wanted:
        for group in sampler.groups:
            for row in range(group.n):
                said += 1
                values = []
                for k in range(group.columns):
                    width = ble.columns.width(group.types[k])
                    at = group.offsets[k] + row * width
                    values.append(bytes(group.data[at : at + width]).hex())
                print(json.dumps([group.channels[0] // 3, values]))
            group.offered = group.n
            group.take()
        await asyncio.sleep_ms(20)
    print(json.dumps([source.counters[17], source.counters[21]]))
    task.cancel()

asyncio.run(main())
"""


async def listeners(air: Air, count: int) -> None:
    while sum(bool(it.le_scan_enable) for it in air.link.controllers) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def recorded(air: Air, folder: Path, seed: int) -> list[str]:
    """What a node hears of three sensors while the gateway's adapter records them."""
    rng = random.Random(seed)
    for address in (FIRST, SECOND, TAG):
        air.link.set_rssi(address, rng.randrange(-99, -20))
    log = ServedLog(folder / "served.jsonl")
    sensors = [BTHomeSensor(air, log, address, interval_ms=40) for address in (FIRST, SECOND)]
    tag = await air.device("Tag", TAG)
    node = asyncio.create_task(asyncio.to_thread(vmrun.run, NODE, 2 * COUNT + COUNT // 2, timeout=120))
    await listeners(air, 1)
    sniffing = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from gasan.host.cli import main; main()",
        "ble", "sniff", "--seconds", "9", "--air", f"127.0.0.1:{air.port}", "--json",
        "--record", str(folder / "air.jsonl"), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    await listeners(air, 2)
    for n in range(COUNT):
        for sensor in sensors:
            await sensor.say([(0x02, rng.randbytes(2)), (0x03, rng.randbytes(2))])
        if n % 2 == 0:
            data = b"\x1b\xff\x99\x04\x05" + rng.randbytes(15) + n.to_bytes(2) + bytes(6)
            if n:
                await tag.stop_advertising()
            await tag.start_advertising(
                advertising_type=AdvertisingType.UNDIRECTED_SCANNABLE,
                advertising_data=data,
                scan_response_data=b"\x04\x09Tag",
                advertising_interval_min=40,
                advertising_interval_max=40,
            )
        await asyncio.sleep(0.2)
    heard = (await node).splitlines()
    assert await sniffing.wait() == ExitCode.OK
    for sensor in sensors:
        await sensor.close()
    log.close()
    return heard


def by_sensor(lines: list[str]) -> dict[int, list[list[str]]]:
    """The rows of each sensor in their order."""
    found: dict[int, list[list[str]]] = {}
    for number, row in map(json.loads, lines):
        found.setdefault(number, []).append(row)
    return found


def test_recorded_and_replayed_are_the_same_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    if why := vmrun.missing(64):
        pytest.skip(why)
    file = tmp_path / "air.jsonl"

    async def run() -> tuple[list[str], list[str]]:
        air = Air(seed)
        await air.start()
        monkeypatch.setenv("GASAN_AIR", f"127.0.0.1:{air.port}")
        live = await recorded(air, tmp_path, seed)
        await air.stop()
        again = Air(seed)
        await again.start()
        monkeypatch.setenv("GASAN_AIR", f"127.0.0.1:{again.port}")
        node = asyncio.create_task(asyncio.to_thread(vmrun.run, NODE, len(live) - 1, timeout=120))
        await listeners(again, 1)
        lines = file.read_text().splitlines()
        assert await play(again.link, lines, speed=2) == len(lines)
        played = (await node).splitlines()
        await again.stop()
        return live, played

    live, played = asyncio.run(asyncio.wait_for(run(), 240))
    assert live[-1] == played[-1] == "[0, 0]"
    assert by_sensor(played[:-1]) == by_sensor(live[:-1])
    assert {k: len(rows) for k, rows in by_sensor(live[:-1]).items()} == {0: COUNT, 1: COUNT, 2: COUNT // 2}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {it["address"] for it in lines} == {FIRST, SECOND, TAG} and all(it["random"] for it in lines)
    assert any(it["kind"] == 4 and it["data"] == b"\x04\x09Tag".hex() for it in lines)


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "air.jsonl"
    file.write_text("mine")
    assert cli.run(["ble", "sniff", "--record", str(file)]) == ExitCode.WRONG_INPUT
    assert cli.run(["ble", "sniff", "--node", "x", "--record", str(file)]) == ExitCode.WRONG_INPUT
    assert file.read_text() == "mine"
    assert "is there already" in capsys.readouterr().err
