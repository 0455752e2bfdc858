"""Simulated Modbus equipment, served by pymodbus; every answer is logged before it leaves.

The register maps are those of protocols/profiles, written a second time here, from the makers' side.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from gasan.hil.press import Press
from gasan.hil.served import ServedLog
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

__all__ = ["Equipment", "controller", "counter", "inverter", "meter", "serve_rtu", "serve_tcp", "stop"]

Words = Sequence[int]  # 16-bit registers


def f32(value: float) -> Words:
    """An IEEE 754 single, the high word first."""
    return struct.unpack(">2H", struct.pack(">f", value))


def u32(value: int) -> Words:
    """The high word first."""
    return (value >> 16 & 0xFFFF, value & 0xFFFF)


def u16(value: float) -> Words:
    """The nearest whole number, two's complement when it is negative."""
    return (round(value) & 0xFFFF,)


class Equipment:
    """A device of which nothing is stored: registers are computed when a request asks for them.

    functions: Modbus functions that it answers. most: registers that one request may ask for.
    blocks: first address -> what stands there; `refresh` is called once per request, before them.
    """

    def __init__(
        self,
        name: str,
        *,
        functions: Collection[int],
        most: int,
        blocks: Mapping[int, Callable[[], Words]],
        refresh: Callable[[int], None],
    ) -> None:
        self.name = name
        self._functions = functions
        self._most = most
        self._blocks = dict(sorted(blocks.items()))
        self._refresh = refresh

    def at(self, bus: str, unit: int, log: ServedLog) -> SimDevice:
        """This device as a unit of a bus."""
        self._refresh(-1)
        data = [
            SimData(address, values=list(read()), datatype=DataType.REGISTERS, readonly=True)
            for address, read in self._blocks.items()
        ]

        async def action(
            fc: int,
            first: int,
            address: int,
            count: int,
            registers: list[int],
            values: list[int] | list[bool] | None,
        ) -> ExcCodes | None:
            if values is not None or fc not in self._functions:
                return ExcCodes.ILLEGAL_FUNCTION
            if count > self._most:
                return ExcCodes.ILLEGAL_VALUE
            self._refresh(address)
            for at, read in self._blocks.items():
                words = read()
                if at < address + count and at + len(words) > address:
                    registers[at - first : at - first + len(words)] = words
            log.request(
                bus, self.name, unit, fc, address, registers[address - first : address - first + count]
            )
            return None

        return SimDevice(unit, simdata=data, action=action)


def meter(press: Press) -> Equipment:
    """An Eastron SDM120 on one phase of the press's supply."""
    s = press.now()
    return Equipment(
        "meter",
        functions={4},
        most=60,
        refresh=lambda _: _update(press),
        blocks={
            0x0000: lambda: f32(s.voltage_v),
            0x0006: lambda: f32(s.current_a),
            0x000C: lambda: f32(s.active_w),
            0x0012: lambda: f32(s.apparent_va),
            0x0018: lambda: f32(s.reactive_var),
            0x001E: lambda: f32(s.active_w / s.apparent_va if s.apparent_va else 1.0),
            0x0046: lambda: f32(s.mains_hz),
            0x0048: lambda: f32(s.import_kwh),
            0x004A: lambda: f32(0.0),
            0x004C: lambda: f32(s.import_kvarh),
            0x004E: lambda: f32(0.0),
            0x0156: lambda: f32(s.import_kwh),
            0x0158: lambda: f32(s.import_kvarh),
        },
    )


def controller(press: Press) -> Equipment:
    """An Autonics TK4 that heats the press's die; one decimal place, degrees Celsius."""
    s = press.now()
    return Equipment(
        "controller",
        functions={4},
        most=125,
        refresh=lambda _: _update(press),
        blocks={
            0x03E8: lambda: u16(10 * s.die_c),
            0x03E9: lambda: u16(1),
            0x03EA: lambda: u16(0),
            0x03EB: lambda: u16(10 * s.die_set_c),
            0x03EC: lambda: u16(1000 * s.heating),
            0x03ED: lambda: u16(0),
            0x03EE: lambda: u16(0x01 | (0x08 if s.heating > 0 else 0)),
            0x03EF: lambda: u16(10 * s.heater_current_a),
        },
    )


_STATUS_WORD = {"stopped": 0x6001, "accelerating": 0x6812, "running": 0x6842, "decelerating": 0x6822}


def inverter(press: Press) -> Equipment:
    """An LS ELECTRIC S100 that turns the press: its common area, each address less one as on the wire."""
    s = press.now()
    return Equipment(
        "inverter",
        functions={3, 4},
        most=16,
        refresh=lambda _: _update(press),
        blocks={
            4: lambda: u16(6000),
            5: lambda: u16(0x02),
            6: lambda: u16(40),
            7: lambda: u16(40),
            8: lambda: u16(10 * s.motor_current_a),
            9: lambda: u16(100 * s.frequency_hz),
            10: lambda: u16(s.motor_voltage_v),
            11: lambda: u16(s.dc_link_v),
            12: lambda: u16(s.motor_power_w / 100),
            13: lambda: u16(_STATUS_WORD[s.running]),
            14: lambda: u16(0),
            15: lambda: u16(0),
            16: lambda: u16(0),
            17: lambda: u16(0),
            18: lambda: u16(0),
            19: lambda: u16(0),
            20: lambda: u16(s.motor_speed_rpm),
        },
    )


def _update(press: Press) -> None:
    press.now()


def counter(name: str = "counter") -> Equipment:
    """A device that counts the requests that begin at address 0 (profile sim/counter)."""
    reads = -1

    def refresh(address: int) -> None:
        nonlocal reads
        if address <= 0:  # -1 when the device is set up
            reads += 1

    return Equipment(
        name,
        functions={3, 4},
        most=125,
        refresh=refresh,
        blocks={0: lambda: u32(reads), 2: lambda: u32(reads)},
    )


async def serve_rtu(port: str, devices: Sequence[SimDevice], baudrate: int = 9600) -> ModbusSerialServer:
    """Serve the units of an RS-485 line on a serial port; other units' requests stay unanswered."""
    units = {device.id for device in devices}

    def silent_unless_here(sending: bool, data: bytes) -> bytes:
        return b"" if sending and data[0] not in units else data

    server = ModbusSerialServer(list(devices), port=port, baudrate=baudrate, trace_packet=silent_unless_here)
    await server.serve_forever(background=True)
    return server


async def serve_tcp(devices: Sequence[SimDevice], port: int = 0) -> tuple[ModbusTcpServer, int]:
    """Serve over Modbus TCP on this machine; returns the server and its port."""
    server = ModbusTcpServer(list(devices), address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    transport: Any = server.transport
    return server, int(transport.sockets[0].getsockname()[1])


async def stop(server: ModbusSerialServer | ModbusTcpServer) -> None:
    """Close a server and its connections."""
    await server.shutdown()  # type: ignore[no-untyped-call]
