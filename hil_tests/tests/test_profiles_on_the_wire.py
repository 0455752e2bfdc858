"""Profiles against registers and values written by hand, through all that stands between device and value.

profiles_by_hand.txt says which registers stand where and what they mean. For each row a device made from the
profile is told the value, a real Modbus client reads it, and the compiled config of a node decodes the
answer. So neither profile, nor simulator, nor decoding can be wrong without the hand-written row telling.
"""

import asyncio
import math
import re
from collections.abc import Coroutine
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import pytest
from gasan.hil.equipment import serve_tcp, stop
from gasan.hil.profile_device import ProfileDevice
from gasan.hil.served import ServedLog, read_served
from gasan.host import profiles
from gasan.host.compile import compile_node
from gasan.host.resources import profiles_folder
from gasan.host.site import load
from gasan.host.store.meaning import Meaning, config_meanings
from gasan.wire import columns, quality
from gasan.wire.modbus import reorder
from pymodbus.client import AsyncModbusTcpClient

TABLE = Path(__file__).with_name("profiles_by_hand.txt")
# Simulated by equipment of their own, and judged by test_profiles_by_hand.py.
ELSEWHERE = {"autonics/tk4", "eastron/sdm120", "ls-electric/s100", "sim/counter"}
UNIT = 7
_JOIN = 3  # a step of a config's rules
# A float32 that was scaled: its own rounding, and the scale's.
FLOAT32 = 2**-23


@dataclass(frozen=True)
class Row:
    line: int
    channel: str
    function: int
    address: int
    registers: str
    unit: str
    value: str


def table() -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    rows: list[Row] = []
    for number, line in enumerate(TABLE.read_text(encoding="ascii").splitlines(), 1):
        if line.startswith("["):
            rows = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            channel, function, address, registers, unit, value = line.split(None, 5)
            unit = "" if unit == "-" else unit
            rows.append(Row(number, channel, int(function), int(address, 0), registers, unit, value))
    return found


ROWS = table()


@dataclass(frozen=True)
class Item:
    """A channel as a node has it in its compiled config. decimals: another channel that has them."""

    function: int
    address: int
    words: int
    order: int
    meaning: Meaning
    decimals: str | None = None


def compiled(name: str, folder: Path) -> tuple[dict[str, Item], int]:
    """Every channel of a profile, as a node gets it; and the most registers of one request."""
    profile = profiles.load(name)
    listed = ", ".join(f'"{channel}"' for channel in profile.channels)
    site = folder / "site.toml"
    site.write_text(
        f"""\
[site]
name = "hand"

[[node]]
name = "node"
board = "virtual"

[[node.bus]]
name = "lan"
type = "modbus-tcp"
host = "127.0.0.1"

[[node.bus.device]]
name = "device"
unit = {UNIT}
profile = "{name}"
channels = [{listed}]
""",
        encoding="utf-8",
    )
    loaded = load(site)
    config = compile_node(loaded, loaded.nodes[0]).config
    meanings = {meaning.number: meaning for meaning in config_meanings(config)}
    _format, _name, _limits, buses, _meanings, *rules = cbor2.loads(config)
    ((_type, _bus, _params, (device,)), *_others) = buses
    joins = {}
    for step in cbor2.loads(rules[0])[1] if rules else ():
        if step[0] == _JOIN:
            joins[step[1]] = step[2], meanings[step[3]].name
    items = {}
    for number, function, address, type_code, order, _period in device[-1]:
        number, decimals = joins.get(number, (number, None))
        meaning = meanings[number]
        words = max(1, columns.width(type_code) // 2)
        items[meaning.name] = Item(function, address, words, order, meaning, decimals)
    return items, profile.max_registers


def raw_of(item: Item, answer: bytes, places: int) -> int | bytes:
    """What the store keeps of an answer: an integer, or the four or eight bytes of a float.

    places: what the channel with the decimals holds; they stand above the number.
    """
    value = bytearray(len(answer))
    if item.decimals is not None:
        assert len(answer) == 2 and not item.order
        return places << 16 | int.from_bytes(answer, "big")
    reorder(bytearray(answer), 0, item.words, item.order, value)
    kind = columns.TYPE[item.meaning.type]
    if kind.startswith("f"):
        return bytes(value)
    return int.from_bytes(value, "big", signed=kind.startswith("i"))


def within(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


async def read(client: AsyncModbusTcpClient, function: int, address: int, count: int) -> Any:
    ask = client.read_input_registers if function == 4 else client.read_holding_registers
    return await ask(address, count=count, device_id=UNIT)


def test_every_modbus_profile_is_judged_by_hand() -> None:
    modbus = {name for name in profiles.names() if profiles.load(name).kind == "modbus"}
    assert modbus == ROWS.keys() | ELSEWHERE
    assert not ROWS.keys() & ELSEWHERE


def test_the_description_lists_every_profile() -> None:
    text = (profiles_folder() / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z0-9-]+/[a-z0-9_-]+)` \|", text, re.MULTILINE) == profiles.names()


@pytest.mark.parametrize("name", sorted(ROWS))
def test_registers_and_values_are_as_written_by_hand(name: str, tmp_path: Path) -> None:
    rows = ROWS[name]
    profile = profiles.load(name)
    assert {row.channel for row in rows} == profile.channels.keys()
    items, _most = compiled(name, tmp_path)
    device = ProfileDevice(profile)

    async def run() -> None:
        log = ServedLog(tmp_path / "served.jsonl")
        server, port = await serve_tcp([device.at("tcp", UNIT, log)])
        client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=5, retries=0)
        assert await client.connect()
        shown: dict[str, int] = {}
        for row in rows:
            where = f"{TABLE.name}:{row.line}: {name} {row.channel}"
            item = items[row.channel]
            assert (item.function, item.address) == (row.function, row.address), where
            assert item.meaning.unit == row.unit, where
            assert 4 * item.words == len(row.registers), where
            words = bool(item.meaning.labels)
            none = row.value == "bad/no-value"
            value_set = row.value if words else None if none else Decimal(row.value)
            device.set(row.channel, value_set)
            answer = await read(client, row.function, row.address, item.words)
            assert not answer.isError(), where
            sent = b"".join(register.to_bytes(2, "big") for register in answer.registers)
            assert sent.hex() == row.registers, where
            raw = raw_of(item, sent, shown.get(item.decimals or "", 0))
            shown[row.channel] = int.from_bytes(sent, "big")
            if none:
                assert quality.name(item.meaning.verdict(raw)) == row.value, where
            elif words:
                assert item.meaning.text(raw) == row.value, where
            elif isinstance(raw, int):
                assert item.meaning.value(raw) == float(row.value), where
            else:
                value = item.meaning.value(raw)
                assert value is not None, where
                assert math.isclose(value, float(row.value), rel_tol=FLOAT32), (where, value)
        client.close()
        await stop(server)
        log.close()

    within(run())
    served = list(read_served(tmp_path / "served.jsonl"))
    assert [(e["device"], e["fc"], e["address"], e["registers"]) for e in served] == [
        (name, row.function, row.address, row.registers) for row in rows
    ]


def test_a_device_has_only_what_its_profile_has(tmp_path: Path) -> None:
    device = ProfileDevice(profiles.load("ls-electric/xgb-cnet"), {"read_area_word_3": 9})
    meter = ProfileDevice(profiles.load("eastron/sdm72d-m"), {"active_power": Decimal("1.5")})

    async def run() -> None:
        log = ServedLog(tmp_path / "served.jsonl")
        for made, function, address, count, registers, code in (
            (device, 4, 0, 4, [0, 0, 0, 9], 0),
            (device, 3, 0, 4, [0, 0, 0, 0], 0),  # its own registers, not those of function 4
            (device, 3, 1, 4, None, 2),
            (meter, 4, 0x0034, 2, [0x3FC0, 0], 0),
            (meter, 3, 0x0034, 2, None, 1),
            (meter, 4, 0x0000, 2, None, 2),
            (meter, 4, 0x0034, 61, None, 3),
        ):
            server, port = await serve_tcp([made.at("tcp", UNIT, log)])
            client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=5, retries=0)
            assert await client.connect()
            answer = await read(client, function, address, count)
            if registers is None:
                assert answer.isError() and answer.exception_code == code, (function, address, answer)
            else:
                assert answer.registers == registers
            assert (await client.write_register(address, 1, device_id=UNIT)).isError()
            client.close()
            await stop(server)
        log.close()

    within(run())
    assert len(list(read_served(tmp_path / "served.jsonl"))) == 3


@pytest.mark.parametrize(
    ("name", "channel", "value", "why"),
    [
        ("siemens/sinamics-v20", "output_frequency", Decimal("0.005"), "between two registers' values"),
        ("siemens/sinamics-v20", "output_frequency", Decimal("327.68"), "beyond a i16"),
        ("delta/ms300", "current_decimals", 256, "does not fit into its bits"),
        ("delta/ms300", "direction", "sideways", 'has no "sideways"'),
    ],
)
def test_a_value_that_no_register_means_is_refused(
    name: str, channel: str, value: Decimal | int | str, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        ProfileDevice(profiles.load(name), {channel: value})


def test_a_radio_profile_makes_no_modbus_device() -> None:
    with pytest.raises(ValueError, match="not a Modbus profile"):
        ProfileDevice(profiles.load("bthome/thermo_hygrometer"))
