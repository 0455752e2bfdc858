"""All the equipment of the demo in one process: ``python -m gasan.hil.demo_equipment --dir DIR``.

An RS-485 line with a power meter (unit 1) and a temperature controller (unit 2), an inverter on Modbus
TCP (unit 1), a BTHome sensor in the air. ``--counter`` serves counting devices in their places, and no
sensor: every read is then unique. Prints one line of JSON when all of it is there, and ends with whoever
started it.

DIR gets served.jsonl (gasan.hil.served) and equipment.log (what pymodbus and bumble have to say).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import logging.handlers
import signal
from pathlib import Path
from typing import Any

from gasan.boards.air import Air
from gasan.boards.parent import parent_gone
from gasan.hil import equipment
from gasan.hil.air import BTHomeSensor
from gasan.hil.press import Press, PressState
from gasan.hil.rs485 import Line, Relay
from gasan.hil.served import ServedLog

__all__ = ["DemoEquipment", "main"]

log = logging.getLogger(__name__)

_SENSOR_ADDRESS = "C4:7C:8D:6A:00:01"
_MEASURE_S = 2.0
_LOG_BYTES = 1 << 20


class DemoEquipment:
    """Started and stopped as a whole; `ready` is what is printed."""

    def __init__(self, folder: Path, *, counters: bool = False, baudrate: int = 9600, seed: int = 1) -> None:
        self._folder = folder
        self._counters = counters
        self._baudrate = baudrate
        self._press = Press(seed)
        self._stack = contextlib.AsyncExitStack()
        self.log = ServedLog(folder / "served.jsonl")
        self.ready: dict[str, Any] = {}

    async def start(self) -> None:
        """Raises RelayError or OSError when something cannot be started; `stop` stops what was."""
        self._stack.callback(self.log.close)
        relay = Relay(Line(self._baudrate))
        self._stack.callback(relay.stop)
        await asyncio.to_thread(relay.start)
        if self._counters:
            units = [equipment.counter(f"counter {unit}").at("rtu", unit, self.log) for unit in (1, 2)]
            drive = equipment.counter("counter tcp").at("tcp", 1, self.log)
        else:
            units = [
                equipment.meter(self._press).at("rtu", 1, self.log),
                equipment.controller(self._press).at("rtu", 2, self.log),
            ]
            drive = equipment.inverter(self._press).at("tcp", 1, self.log)
        line = await equipment.serve_rtu(relay.devices, units, self._baudrate)
        self._stack.push_async_callback(equipment.stop, line)
        server, tcp_port = await equipment.serve_tcp([drive])
        self._stack.push_async_callback(equipment.stop, server)
        self.ready = {
            "rtu_port": relay.master,
            "baudrate": self._baudrate,
            "tcp_port": tcp_port,
            "air": None,
            "ble_address": None,
            "served": str(self.log.path),
        }
        if not self._counters:
            await self._start_air()

    async def _start_air(self) -> None:
        air = Air()
        await air.start()
        self._stack.push_async_callback(air.stop)
        sensor = BTHomeSensor(air, self.log, _SENSOR_ADDRESS)
        self._stack.push_async_callback(sensor.close)
        measuring = asyncio.create_task(self._measure(sensor))
        self._stack.push_async_callback(_cancel, measuring)
        self.ready["air"] = f"127.0.0.1:{air.port}"
        self.ready["ble_address"] = _SENSOR_ADDRESS.lower()

    async def _measure(self, sensor: BTHomeSensor) -> None:
        try:
            while True:
                await sensor.say(climate(self._press.now()))
                await asyncio.sleep(_MEASURE_S)
        except Exception:
            log.exception("the sensor has stopped to measure")
            raise

    async def stop(self) -> None:
        await self._stack.aclose()


def climate(state: PressState) -> list[tuple[int, bytes]]:
    """The room beside the press as BTHome objects: battery, temperature, humidity."""
    return [
        (0x01, state.battery.to_bytes(1, "little")),
        (0x02, round(100 * state.room_c).to_bytes(2, "little", signed=True)),
        (0x03, round(100 * state.room_rh).to_bytes(2, "little")),
    ]


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _run(arguments: argparse.Namespace) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    orphaned = loop.create_task(parent_gone())
    orphaned.add_done_callback(lambda _: ended.set())
    equipment_ = DemoEquipment(
        arguments.dir, counters=arguments.counter, baudrate=arguments.baudrate, seed=arguments.seed
    )
    try:
        await equipment_.start()
        print(json.dumps(equipment_.ready), flush=True)
        await ended.wait()
    finally:
        orphaned.cancel()
        await equipment_.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulated equipment of the demo; prints where it listens.")
    parser.add_argument("--dir", type=Path, required=True, help="folder for the logs")
    parser.add_argument("--counter", action="store_true", help="devices whose every read is unique")
    parser.add_argument("--baudrate", type=int, default=9600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the output is JSON anyway")
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        arguments.dir / "equipment.log", maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    asyncio.run(_run(arguments))


if __name__ == "__main__":
    main()
