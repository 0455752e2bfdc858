"""Pairing: real LE Secure Connections by bumble on both ends, keys kept on the node through a restart."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import cbor2
import pytest
from gasan.boards.air import Air
from gasan.boards.places import STANDINS
from gasan.hil import vmrun
from gasan.hil.air import GattSensor
from gasan.hil.central_bench import run_node

pytestmark = pytest.mark.skipif(bool(vmrun.missing(64)), reason=vmrun.missing(64))

_SENSOR = "C4:7C:8D:6A:00:01"
_PLACES = [(0x181A, 0x2A6E), (0x181A, 0x2A6F), (0x180F, 0x2A19)]
_VALUES = dict(zip(_PLACES, (b"\xca\x09", b"\xbf\x13", b"\x58"), strict=True))
_DEVICE = f"""
[[node.bus.device]]
name = "climate"
address = "{_SENSOR}"
profile = "bluetooth/environmental_sensing"
period = "1s"
timeout = "4s"
pair = true
"""
_OTHER = _DEVICE.replace("climate", "other").replace("00:01", "00:02")


def _play(scene: Callable[[Air, GattSensor], Awaitable[None]], open_to_all: bool = False) -> None:
    async def run() -> None:
        air = Air()
        await air.start()
        sensor = GattSensor(air, _SENSOR, _VALUES, paired=not open_to_all)
        await sensor.start()
        try:
            await scene(air, sensor)
        finally:
            await air.stop()

    asyncio.run(run())


def test_a_sensor_is_paired_with_once_and_for_good(tmp_path: Path) -> None:
    async def scene(air: Air, sensor: GattSensor) -> None:
        for _start in range(2):
            came = await run_node(air, tmp_path, _DEVICE, 9, 30_000)
            assert came.values["temperature"] == [25.06] * 3, came.lines
            assert came.refused == 0
        assert sensor.pairings == 1
        (secrets,) = {tuple(kind for kind, _, _ in cbor2.loads((tmp_path / "bonds").read_bytes()))}
        assert sorted(secrets) == [1, 2]
        assert sensor.key is not None
        assert sensor.key in (tmp_path / "bonds").read_bytes()
        assert not any(sensor.key.hex() in line for line in came.lines)

    _play(scene)


@pytest.mark.parametrize("key", [None, bytes(range(16))], ids=["lost", "another"])
def test_one_whose_key_has_changed_is_refused(tmp_path: Path, key: bytes | None) -> None:
    """It is neither read nor paired with anew; without its entry in the config it is forgotten."""

    async def scene(air: Air, sensor: GattSensor) -> None:
        await run_node(air, tmp_path, _DEVICE, 3, 30_000)
        before = sensor.reads
        await sensor.rekey(key)
        came = await run_node(air, tmp_path, _DEVICE, 6, 30_000)  # until two were stale
        assert sensor.reads == before
        assert came.refused >= 1
        assert len([line for line in came.lines if "climate: it does not have the key" in line]) == 1, (
            came.lines
        )
        assert came.values["temperature"] == [None, None]
        await run_node(air, tmp_path, _OTHER, 3, 1_500)
        assert cbor2.loads((tmp_path / "bonds").read_bytes()) == []
        await run_node(air, tmp_path, _DEVICE, 3, 30_000)
        assert sensor.pairings == 2
        assert sensor.reads > before

    _play(scene, open_to_all=True)


def test_a_board_that_cannot_pair_says_so(tmp_path: Path) -> None:
    async def scene(air: Air, sensor: GattSensor) -> None:
        came = await run_node(air, tmp_path, _DEVICE, 6, 30_000, GASAN_BLE_PAIRING="0")
        assert [line for line in came.lines if "MicroPython on this board cannot pair" in line], came.lines
        assert sensor.reads == 0

    _play(scene)


def test_damaged_bonds_are_no_bonds(tmp_path: Path) -> None:
    async def scene(air: Air, sensor: GattSensor) -> None:
        (tmp_path / "bonds").write_bytes(b"\x81\x83\x02")
        came = await run_node(air, tmp_path, _DEVICE, 3, 30_000)
        assert came.values["temperature"] == [25.06], came.lines
        assert sensor.pairings == 1

    _play(scene)


def test_a_key_is_not_replaced_by_another() -> None:
    """A port may pair anew where the sensor asks for it: NimBLE does, for a key with confirmation."""
    said = vmrun.run(
        f"""
import sys
sys.path.insert(0, {str(STANDINS)!r})
import bluetooth
sys.path.pop(0)
from gasan.node.ble_bonds import Bonds
class Peer:
    pair, kind, address = True, 1, b"\\xc4\\0\\0\\0\\0\\1"
bonds = Bonds([Peer])
key = b"\\1\\1\\0\\0\\0\\0\\xc4"
print([bonds.irq(30, (2, key, memoryview(value))) for value in (b"one", b"one", b"two")], bonds.changed)
print(bonds.irq(29, (2, 0, memoryview(key))), bonds.irq(29, (2, 0, None)), bonds.irq(29, (2, 1, None)))
print(bonds.irq(30, (2, b"\\0" + key[1:], b"one")), bonds.irq(30, (2, key, bytes(161))))
print(bonds.irq(30, (2, key, None)), bonds.irq(30, (2, key, None)), bonds.irq(29, (2, 0, key)))
"""
    )
    assert said.split("\n")[:4] == [
        "[True, True, False] True",
        "b'one' b'one' None",
        "False False",
        "True False None",
    ]


def test_with_the_last_sensor_to_pair_with_the_file_goes() -> None:
    said = vmrun.run(
        """
from gasan.node import log, sources
log.sink = lambda line: None
removed = []
class Files:
    remove = removed.append
sources.os = Files
class Node:
    sampler = clock = batcher = None
    sources = []
def gatt(pair):
    return ["s", bytes(6), 5, 1, [], [], [0, pair, 1, []]]
for devices in ([gatt(True)], [gatt(False), gatt(True)], [["s", bytes(6), 5]], [gatt(False)], []):
    sources.add(Node, [[0, "line", {}, []], [2, "hall", {}, devices]])
    print(removed)
    removed.clear()
"""
    )
    assert said.split("\n")[:5] == ["[]", "[]", "[]", "['/secret/bonds']", "['/secret/bonds']"]
