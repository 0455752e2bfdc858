"""Writes to a machine: a real gateway, a node on the VM, and a device of pymodbus that logs what comes."""

import asyncio
import json
import os
import random
import select
import sqlite3
import struct
import threading
import time
import tty
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from gasan.boards.vm import VmMissing, find_vm
from gasan.hil.rs485 import Fault, Kind, Line, Relay
from gasan.hil.rs485.faults import with_crc
from gasan.hil.waiting import until
from gasan.host import cli, i18n
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.compile import CompiledNode, compile_site
from gasan.host.gateway.service import Gateway
from gasan.host.site import load
from gasan.host.writes import rules
from gasan.wire.modbus_rtu import crc16
from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

PROFILE = """\
[profile]
maker = "test"
model = "oven"
kind = "modbus"
verified = "simulated"
default = ["set_point", "limit", "mode", "heat", "locked", "power"]
max_registers = 125
timeout = "200ms"
gap = "0ms"
period = "1s"
[profile.source]
title = "test"
revision = "1"
pages = "1"
"""
CHANNELS = {
    "set_point": 'address = 0\ntype = "i16"\nunit = "Cel"\nscale = "0.1"',
    "limit": 'address = 10\ntype = "f32"\norder = "CDAB"\nunit = "Cel"',
    "mode": 'address = 20\ntype = "u16"\nunit = ""\nenum = { 0 = "off", 1 = "auto", 2 = "manual" }\n'
    'enum_ko = { 0 = "a", 1 = "b", 2 = "c" }',
    "heat": 'address = 30\ntype = "u16"\nunit = ""\nbits = { shift = 4, mask = 0xF }',
    "locked": 'address = 40\ntype = "u16"\nunit = ""',
    "power": 'address = 50\ntype = "u32"\nunit = "W"',
    "reading": 'address = 60\ntype = "u16"\nunit = ""',
    "lamp": 'table = "coil"\naddress = 3\ntype = "bool"',
    "horn": 'table = "coil"\naddress = 12\ntype = "bool"',
}
OVEN = """
[[node.bus.device]]
name = "oven"
unit = 5
profile = "oven.toml"
[node.bus.device.write.set_point]
min = -20
max = 300
step = "0.5"
rate = "0s"
[node.bus.device.write.limit]
min = 0
max = 400
rate = "0s"
[node.bus.device.write.mode]
rate = "0s"
function = 16
[node.bus.device.write.heat]
min = 0
max = 9
rate = "0s"
[node.bus.device.write.locked]
min = 0
max = 1
rate = "0s"
[node.bus.device.write.power]
min = 0
max = 100000
rate = "10m"
"""
BITS = 0x1234  # in the register of which "heat" is a part
LOCKED = 40  # a register that the device refuses to have written


class Oven:
    """A device of unit 5; `writes` are the (function, address, values) that reached it. mute: whose answers
    get lost: "write", or "all" from the first write on.
    """

    def __init__(self) -> None:
        self.writes: list[tuple[int, int, list[Any]]] = []
        self.mute = ""
        self.registers = [0] * 100
        self._lose = False

    def device(self, unit: int = 5) -> SimDevice:
        async def action(
            function: int, first: int, address: int, count: int, registers: list[int], values: Any
        ) -> ExcCodes | None:
            self._lose = self.mute == "all" and bool(self.writes)
            if values is not None:
                self.writes.append((function, address, list(values)))
                self._lose = bool(self.mute)
                if address == LOCKED:
                    return ExcCodes.ILLEGAL_VALUE
            return None

        words = SimData(0, values=[BITS if at == 30 else 0 for at in range(100)], datatype=DataType.REGISTERS)
        bits = SimData(0, count=100, values=False, datatype=DataType.BITS)
        return SimDevice(unit, simdata=([bits], [bits], [words], [words]), action=action)

    def trace(self, sending: bool, data: bytes) -> bytes:
        return b"" if sending and self._lose else data


def compiled(folder: Path, bus: str, devices: str) -> CompiledNode:
    channels = "".join(
        f'[channel.{name}]\nlabel_en = "a"\nlabel_ko = "a"\n{text}\n'
        + ("" if "table" in text else 'table = "holding"\n')
        + ("" if name == "reading" else 'access = "read-write"\n')
        for name, text in CHANNELS.items()
    )
    (folder / "oven.toml").write_text(PROFILE + channels)
    (folder / "site.toml").write_text(
        '[site]\nname = "t"\n[[node]]\nname = "press-1"\nboard = "virtual"\n[node.batch]\nmax_age = "300ms"\n'
        f'[[node.bus]]\nname = "line"\n{bus}\n{devices}'
    )
    (node,) = compile_site(load(folder / "site.toml"))
    return node


@pytest.fixture(autouse=True)
def english() -> None:
    i18n.set_language("en")


def run(folder: Path, bus: str, oven: Oven, kind: str, port: str, scene: Any, devices: str = OVEN) -> None:
    """kind: tcp, rtu-over-tcp or rtu; or none, then the devices are the caller's."""
    try:
        find_vm()
    except VmMissing as error:
        pytest.skip(str(error))

    async def main() -> None:
        server: Any = None
        where = bus
        units = [oven.device(unit) for unit in (5, 6, 7) if f"unit = {unit}" in devices]
        if kind in ("tcp", "rtu-over-tcp"):
            framer = FramerType.SOCKET if kind == "tcp" else FramerType.RTU
            server = ModbusTcpServer(units, framer=framer, address=("127.0.0.1", 0), trace_packet=oven.trace)
            await server.serve_forever(background=True)
            bound = server.transport.sockets[0].getsockname()[1]
            where = f'type = "modbus-{kind}"\nhost = "127.0.0.1"\nport = {bound}'
        elif kind == "rtu":
            server = ModbusSerialServer(units, port=port, baudrate=38400, trace_packet=oven.trace)
            await server.serve_forever(background=True)
        node = compiled(folder, where, devices)
        gateway = Gateway([node], state_dir=folder / "state", db_path=folder / "a.sqlite")
        stop = asyncio.Event()
        running = asyncio.create_task(gateway.run(stop))
        try:
            await until(lambda: gateway.snapshot().counters.readings > 6)
            await scene(gateway, node)
        finally:
            stop.set()
            await running
            if server is not None:
                await server.shutdown()

    asyncio.run(main())


def gasan(folder: Path, *arguments: str) -> int:
    return cli.run([*arguments, "--state", str(folder / "state"), "--json"])


async def write(
    folder: Path, capsys: Any, channel: str, value: str, *more: str, device: str = "oven"
) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = await asyncio.to_thread(gasan, folder, "write", "press-1", device, channel, value, "--yes", *more)
    told = capsys.readouterr()
    return code, json.loads(told.out) if told.out else {"error": told.err}


@pytest.mark.parametrize("kind", ["tcp", "rtu-over-tcp", "rtu", "rtu with echo"])
def test_what_is_allowed_arrives_once_and_what_is_not_never_does(
    kind: str, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    oven = Oven()

    async def scene(gateway: Gateway, node: CompiledNode) -> None:
        code, told = await write(tmp_path, capsys, "set_point", "123.5", "--dry-run")
        assert code == ExitCode.OK and told["registers"] == "04d3" and told["outcome"] == "dry_run"
        assert oven.writes == []

        cases: list[tuple[str, str, list[Any]]] = [
            ("set_point", "123.5", [(6, 0, [1235])]),
            ("set_point", "-20", [(6, 0, [65536 - 200])]),
            ("mode", "auto", [(16, 20, [1])]),
            ("mode", "2", [(16, 20, [2])]),
            ("limit", "240.25", [(16, 10, list(struct.unpack(">HH", struct.pack(">f", 240.25)))[::-1])]),
            ("heat", "7", [(22, 30, [0x1274])]),
            ("power", "70000", [(16, 50, [1, 70000 - 65536])]),
        ]
        for channel, value, arrived in cases:
            oven.writes.clear()
            code, told = await write(tmp_path, capsys, channel, value)
            assert (code, told["outcome"]) == (ExitCode.OK, "read_back"), (channel, told)
            assert oven.writes == arrived, channel
            assert told["new"] == {"2": "manual"}.get(value, value)
        oven.writes.clear()
        for channel, value in (
            ("set_point", "300.5"), ("set_point", "-20.5"), ("set_point", "1.3"), ("set_point", "hot"),
            ("set_point", "nan"), ("set_point", "1e400"), ("set_point", "1/3"), ("mode", "3"), ("mode", "on"),
            ("limit", "401"), ("limit", "inf"), ("heat", "10"), ("reading", "1"), ("nothing", "1"),
            ("power", "1"),  # too soon
        ):  # fmt: skip
            code, told = await write(tmp_path, capsys, channel, value)
            assert code not in (ExitCode.OK, ExitCode.INTERNAL), (channel, value, told)
        code, told = await write(tmp_path, capsys, "locked", "1")
        assert (code, told["outcome"]) == (ExitCode.FAILED, "exception"), told
        assert oven.writes == [(6, LOCKED, [1])]
        oven.writes.clear()
        # What the gateway would refuse, the node refuses too: whoever holds the link is not believed.
        link = gateway._services["press-1"].link
        held = rules(node.config)
        number = held["oven", "set_point"].meaning.number
        rng = random.Random(seed)
        for args in (
            [number, (3005).to_bytes(2, "big"), 0],
            [number, (1234).to_bytes(2, "big"), 0],
            [number, b"\x04", 0],
            [number, b"", 0],
            [number, b"\x04\xd3", 1],
            [held["oven", "limit"].meaning.number, struct.pack(">f", float("nan")), 0],
            [held["oven", "limit"].meaning.number, struct.pack(">f", 1e9), 0],
            [held["oven", "mode"].meaning.number, b"\x00\x03", 0],
            [held["oven", "power"].meaning.number, b"\x00\x00\x00\x01", 0],
            [6, b"\x00\x01", 0],
            [-1, b"\x00\x01", 0],
            [number, 5, 0],
            ["set_point", b"\x04\xd3", 0],
            [],
            [number, b"\x04\xd3"],
            *([rng.choice([99, None, "x", b"", [], {}]) for _ in range(rng.randrange(5))] for _ in range(6)),
        ):
            result = await link.command("write", *args)
            assert result.status == 12, (args, result)
        assert oven.writes == []
        if kind != "rtu with echo":
            oven.mute = "write"  # the answer is lost, and what is read back tells
            code, told = await write(tmp_path, capsys, "set_point", "55")
            assert (told["outcome"], len(oven.writes)) == ("read_back", 1), told
            oven.writes.clear()
            oven.mute = "all"
            code, told = await write(tmp_path, capsys, "set_point", "66")
            assert (code, told["outcome"], len(oven.writes)) == (ExitCode.FAILED, "unknown", 1), told
            await asyncio.sleep(1)
            assert len(oven.writes) == 1

    if "tcp" in kind:
        run(tmp_path, "", oven, kind, "", scene)
    else:
        faults = [Fault(Kind.ECHO, rate=1.0, on="request")] if kind == "rtu with echo" else []
        with Relay(Line(38400), faults=faults) as relay:
            bus = f'type = "modbus-rtu"\nport = "{relay.master}"\nbaudrate = 38400'
            run(tmp_path, bus, oven, "rtu", relay.devices, scene)
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as db:
        rows = db.execute(
            "SELECT channel, value, outcome, old, new, who FROM write_request"
            " JOIN write_outcome ON request = write_request.id ORDER BY write_request.id"
        ).fetchall()
        assert rows[0][:5] == ("set_point", "123.5", "read_back", "0", "123.5") and rows[0][5]
        assert [row[2] for row in rows].count("refused") == 15
        for statement in ("DELETE FROM write_request", "UPDATE write_outcome SET outcome = 'read_back'"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                db.execute(statement)
    capsys.readouterr()
    assert cli.run(["writes", "--db", str(tmp_path / "a.sqlite"), "--json"]) == ExitCode.OK
    assert len(json.loads(capsys.readouterr().out)) == len(rows)


ALL_FUNCTIONS = """
[[node.bus.device]]
name = "oven"
unit = 5
profile = "oven.toml"
channels = ["set_point", "mode", "heat", "power", "lamp", "horn"]
write.set_point = { min = 0, max = 300, rate = "0s" }
write.mode = { rate = "0s", function = 23 }
write.heat = { min = 0, max = 9, rate = "0s" }
write.power = { min = 0, max = 100000, rate = "0s", function = 23 }
write.lamp = { rate = "0s" }
write.horn = { rate = "0s", function = 15 }
[[node.bus.device]]
name = "six"
unit = 6
profile = "oven.toml"
channels = ["set_point", "heat", "lamp"]
write_function = 6
write.set_point = { min = 0, max = 300, rate = "0s" }
write.heat = { min = 0, max = 9, rate = "0s" }
write.lamp = { rate = "0s" }
[[node.bus.device]]
name = "sixteen"
unit = 7
profile = "oven.toml"
channels = ["set_point", "heat", "power"]
write_function = 16
write.set_point = { min = 0, max = 300, rate = "0s" }
write.heat = { min = 0, max = 9, rate = "0s", function = 22 }
write.power = { min = 0, max = 100000, rate = "0s" }
"""


@pytest.mark.parametrize("kind", ["tcp", "rtu-over-tcp"])
def test_a_unit_behind_an_address_is_found_through_the_node(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(gateway: Gateway, node: CompiledNode) -> None:
        capsys.readouterr()
        scan = ("modbus", "scan", "--node", "press-1", "--units", "5", "--timeout", "200")
        state = ("--state", str(tmp_path / "state"))
        assert await asyncio.to_thread(cli.run, [*scan, *state]) == ExitCode.OK
        told = capsys.readouterr().out.splitlines()
        assert told[0] == "Found at press-1 line:" and told[1].startswith("  unit 5, ")
        assert told[-1] == "  gasan modbus explore --node press-1 --line line --unit 5"

    run(tmp_path, "", Oven(), kind, "", scene)


@pytest.mark.parametrize("kind", ["tcp", "rtu-over-tcp", "rtu"])
def test_every_function_that_a_site_file_can_call_for(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By type, by the channel's 'function', and by the device's 'write_function'."""
    oven = Oven()

    async def scene(gateway: Gateway, node: CompiledNode) -> None:
        for device, channel, value, function, arrived in (
            ("oven", "set_point", "25", 6, [(6, 0, [250])]),
            ("oven", "mode", "2", 23, [(23, 20, [2])]),
            ("oven", "heat", "7", 22, [(22, 30, [0x1274])]),
            ("oven", "power", "70000", 23, [(23, 50, [1, 70000 - 65536])]),
            ("oven", "lamp", "1", 5, [(5, 3, [True])]),
            ("oven", "horn", "1", 15, [(15, 12, [True])]),
            ("oven", "horn", "0", 15, [(15, 12, [False])]),
            ("six", "set_point", "30", 6, [(6, 0, [300])]),
            ("six", "heat", "5", 6, [(6, 30, [0x1254])]),
            ("six", "lamp", "1", 5, [(5, 3, [True])]),
            ("sixteen", "set_point", "31", 16, [(16, 0, [310])]),
            ("sixteen", "heat", "5", 22, [(22, 30, [0x1254])]),
            ("sixteen", "power", "5", 16, [(16, 50, [0, 5])]),
        ):
            oven.writes.clear()
            code, told = await write(tmp_path, capsys, channel, value, device=device)
            assert (code, told["outcome"]) == (ExitCode.OK, "read_back"), (device, channel, told)
            assert told["function"] == function
            assert [(one, at, [int(value) for value in values]) for one, at, values in oven.writes] == [
                (one, at, [int(value) for value in values]) for one, at, values in arrived
            ], (device, channel)

    if "tcp" in kind:
        run(tmp_path, "", oven, kind, "", scene, ALL_FUNCTIONS)
    else:
        with Relay(Line(38400)) as relay:
            bus = f'type = "modbus-rtu"\nport = "{relay.master}"\nbaudrate = 38400'
            run(tmp_path, bus, oven, "rtu", relay.devices, scene, ALL_FUNCTIONS)


class Party(threading.Thread):
    """Two units on a serial line that take writes to unit 0; notes every request, with when it had come."""

    def __init__(self, port: str) -> None:
        super().__init__(daemon=True)
        self.registers = {5: [0] * 100, 6: [0] * 100}
        self.heard: list[tuple[float, bytes]] = []
        self._end = os.open(port, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._end)
        self._over = threading.Event()

    def run(self) -> None:
        frame = b""
        while not self._over.is_set():
            if not select.select([self._end], [], [], 0.05)[0]:
                continue
            frame += os.read(self._end, 256)
            size = 8 if frame[1:2] != b"\x10" else 9 + frame[6] if len(frame) > 6 else 99
            if len(frame) >= size:
                assert not crc16(frame, 0, len(frame)), frame.hex()
                self._take(frame[:-2])
                frame = b""

    def _take(self, frame: bytes) -> None:
        self.heard.append((time.monotonic(), frame))
        unit, function, address, value = struct.unpack_from(">BBHH", frame)
        for one, registers in self.registers.items():
            if function != 3 and unit in (0, one):
                words = [value] if function == 6 else struct.unpack_from(f">{value}H", frame, 7)
                registers[address : address + len(words)] = words
            elif unit == one:
                data = struct.pack(f">{value}H", *registers[address : address + value])
                os.write(self._end, with_crc(bytes((unit, 3, len(data))) + data))

    def stop(self) -> None:
        self._over.set()
        self.join()
        os.close(self._end)


BROADCAST = """
[[node.bus.device]]
name = "oven"
unit = 5
profile = "oven.toml"
channels = ["set_point", "power"]
write.set_point = { min = 0, max = 300, rate = "0s", broadcast = true }
write.power = { min = 0, max = 100000, rate = "0s", broadcast = true, read_back = false }
[[node.bus.device]]
name = "other"
unit = 6
profile = "oven.toml"
channels = ["set_point", "power"]
"""


def test_a_broadcast_reaches_all_is_answered_by_none_and_the_line_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Relay(Line(38400)) as relay:
        party = Party(relay.devices)
        party.start()

        async def scene(gateway: Gateway, node: CompiledNode) -> None:
            code, told = await write(tmp_path, capsys, "set_point", "25")
            assert (code, told["outcome"], told["unit"]) == (ExitCode.OK, "read_back", 0), told
            code, told = await write(tmp_path, capsys, "power", "70000")
            assert (code, told["outcome"]) == (ExitCode.OK, "written"), told
            asked = len(party.heard)
            await until(lambda: len(party.heard) > asked + 4)

        bus = f'type = "modbus-rtu"\nport = "{relay.master}"\nbaudrate = 38400\nturnaround = "600ms"'
        try:
            run(tmp_path, bus, Oven(), "none", "", scene, BROADCAST)
        finally:
            party.stop()
    assert all(registers[0] == 250 for registers in party.registers.values())
    assert all(registers[50:52] == [1, 70000 - 65536] for registers in party.registers.values())
    sent = [i for i, (_, frame) in enumerate(party.heard) if frame[0] == 0]
    assert [party.heard[i][1][:2] for i in sent] == [b"\x00\x06", b"\x00\x10"], "each once"
    for i in sent:
        assert party.heard[i + 1][0] - party.heard[i][0] > 0.4, "they have had their time"
    assert all(frame[1] == 3 for _, frame in party.heard if frame[0])
