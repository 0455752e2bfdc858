"""The simulated equipment: what a real Modbus client reads is what the log says was served."""

import asyncio
import json
import math
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from gasan.hil import equipment
from gasan.hil.demo_equipment import DemoEquipment
from gasan.hil.press import Press
from gasan.hil.served import ServedLog, read_served
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException


def within(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


async def clients(
    ready: dict[str, Any], retries: int = 0
) -> tuple[AsyncModbusSerialClient, AsyncModbusTcpClient]:
    rtu = AsyncModbusSerialClient(ready["rtu_port"], baudrate=ready["baudrate"], timeout=1, retries=retries)
    tcp = AsyncModbusTcpClient("127.0.0.1", port=ready["tcp_port"], timeout=1, retries=retries)
    assert await rtu.connect() and await tcp.connect()
    return rtu, tcp


def test_what_a_client_reads_is_what_the_log_says(tmp_path: Path) -> None:
    read: list[tuple[str, int, int, int, str]] = []

    async def run() -> None:
        demo = DemoEquipment(tmp_path, baudrate=115200)
        await demo.start()
        rtu, tcp = await clients(demo.ready)
        for _ in range(5):
            for client, unit, fc, address, count in (
                (rtu, 1, 4, 0x0000, 2),
                (rtu, 1, 4, 0x0046, 10),
                (rtu, 1, 4, 0x0156, 4),
                (rtu, 2, 4, 0x03E8, 8),
                (tcp, 1, 3, 8, 7),
                (tcp, 1, 4, 20, 1),
            ):
                ask = client.read_input_registers if fc == 4 else client.read_holding_registers
                answer = await ask(address, count=count, device_id=unit)
                assert not answer.isError(), answer
                raw = b"".join(register.to_bytes(2, "big") for register in answer.registers)
                bus = "tcp" if client is tcp else "rtu"
                read.append((bus, unit, fc, address, raw.hex()))
        rtu.close()
        tcp.close()
        await demo.stop()

    within(run())
    served = [e for e in read_served(tmp_path / "served.jsonl") if e["bus"] != "air"]
    assert [(e["bus"], e["unit"], e["fc"], e["address"], e["registers"]) for e in served] == read
    assert all(e["count"] * 4 == len(e["registers"]) for e in served)
    assert [e["t"] for e in served] == sorted(e["t"] for e in served)
    frequency = struct.unpack(">f", bytes.fromhex(read[1][4])[:4])[0]
    assert 59.9 < frequency < 60.1


def test_what_a_device_does_not_have_is_refused_and_absent_units_are_silent(tmp_path: Path) -> None:
    async def run() -> None:
        demo = DemoEquipment(tmp_path, baudrate=115200)
        await demo.start()
        rtu, tcp = await clients(demo.ready)
        for client, unit, ask, address, count, code in (
            (rtu, 1, "read_holding_registers", 0, 2, 1),  # the meter answers function 4 only
            (rtu, 1, "read_input_registers", 2, 2, 2),  # a hole of its map
            (rtu, 2, "read_input_registers", 0x03F0, 1, 2),
            (tcp, 1, "read_holding_registers", 21, 1, 2),
            (tcp, 1, "read_holding_registers", 4, 17, 3),  # more than the inverter takes
        ):
            answer = await getattr(client, ask)(address, count=count, device_id=unit)
            assert answer.isError() and answer.exception_code == code, (unit, address, answer)
        answer = await tcp.write_register(4, 1000, device_id=1)
        assert answer.isError()
        with pytest.raises(ModbusIOException):
            await rtu.read_input_registers(0, count=2, device_id=9)
        answer = await rtu.read_input_registers(0, count=2, device_id=1)
        assert not answer.isError()
        rtu.close()
        tcp.close()
        await demo.stop()

    within(run())
    assert [e["unit"] for e in read_served(tmp_path / "served.jsonl") if e["bus"] != "air"] == [1]


def test_every_read_of_a_counter_is_unique(tmp_path: Path) -> None:
    async def run() -> None:
        demo = DemoEquipment(tmp_path, counters=True, baudrate=115200)
        await demo.start()
        assert demo.ready["air"] is None
        rtu, tcp = await clients(demo.ready)
        for expected in range(1, 6):
            for client, unit in ((rtu, 1), (rtu, 2), (tcp, 1)):
                answer = await client.read_holding_registers(0, count=4, device_id=unit)
                assert answer.registers == [0, expected, 0, expected]
        rtu.close()
        tcp.close()
        await demo.stop()

    within(run())
    served = [(e["device"], e["registers"]) for e in read_served(tmp_path / "served.jsonl")]
    assert len(served) == len(set(served)) == 15


def test_the_press_moves_as_a_machine_does() -> None:
    at = 0.0
    press = Press(seed=7, clock=lambda: at)
    first = press.now().import_kwh
    seen, energy_j, temperatures = set(), 0.0, []
    for _ in range(4 * 400):
        at += 0.25
        s = press.now()
        seen.add(s.running)
        energy_j += s.active_w * 0.25
        temperatures.append(s.die_c)
        assert math.isclose(s.apparent_va, math.hypot(s.active_w, s.reactive_var))
        assert 0 <= s.heating <= 1 and 0 <= s.frequency_hz <= 60 and s.current_a > 0
    assert seen == {"stopped", "accelerating", "running", "decelerating"}
    assert math.isclose(press.now().import_kwh - first, energy_j / 3.6e6, rel_tol=1e-6)
    assert temperatures[0] < 100 < 170 < temperatures[1100]  # before the set value steps
    assert temperatures[-1] > temperatures[1100] + 5


def test_a_full_log_becomes_the_older_one(tmp_path: Path) -> None:
    log = ServedLog(tmp_path / "served.jsonl", limit=2000)
    device = equipment.counter().at("rtu", 1, log)
    assert device.action is not None
    for _ in range(40):
        registers = [0] * 4
        asyncio.run(device.action(3, 0, 0, 4, registers, None))  # type: ignore[arg-type]
    log.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 5000
    counts = [int(e["registers"][:8], 16) for e in read_served(log.path)]
    assert counts == list(range(counts[0], 41)) and len(counts) > 10


def test_the_demo_equipment_tells_where_it_is_and_ends_when_told(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gasan.hil.demo_equipment", "--dir", str(tmp_path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert Path(ready["rtu_port"]).is_char_device()
    assert ready["tcp_port"] > 0 and ready["air"].startswith("127.0.0.1:") and len(ready["ble_address"]) == 17
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_demo_equipment_ends_with_whoever_started_it(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys\n"
            f"subprocess.run([sys.executable, '-m', 'gasan.hil.demo_equipment', '--dir', {str(tmp_path)!r}])",
        ],
        stdout=subprocess.PIPE,
    )
    assert starter.stdout is not None
    assert json.loads(starter.stdout.readline())["tcp_port"]
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    assert starter.stdout.read() == b""  # the pipe ends when the last process that holds it has ended
    starter.stdout.close()
