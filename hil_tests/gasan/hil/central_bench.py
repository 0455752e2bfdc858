"""The node's central on a VM, with sensors on the virtual air: from a site file to columns."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest import mock

import cbor2
from gasan.boards.air import Air
from gasan.boards.air_link import Pace
from gasan.boards.places import STANDINS
from gasan.hil import vmrun
from gasan.host.compile import compile_node
from gasan.host.site import load
from gasan.host.store.meaning import Meaning, config_meanings
from gasan.wire.frame_reader import expand, parse, split

__all__ = ["Came", "play", "run_node"]

_ADDRESS = "C0:00:00:00:01:00"  # a board keeps its own

_SITE = """\
[site]
name = "test"
[[node]]
name = "n"
board = "virtual"
[[node.bus]]
name = "hall"
type = "ble"
air = "127.0.0.1:7300"
"""

# Runs until so many readings are there, or so many ms; says a sealed frame of each group, and its counts.
_NODE = f"""
import asyncio, json, sys, time
sys.path.insert(0, {str(STANDINS)!r})
import bluetooth
sys.path.pop(0)
from gasan.node import ble_central, log
from gasan.node.sampler import Sampler
from gasan.wire import cbor, frame

lines = []
log.sink = lines.append

async def main():
    bus = cbor.loads(sys.stdin.buffer.read())
    if any([device[2] == 5 and device[6][1] for device in bus[3]]):
        from gasan.node import ble_bonds
        ble_bonds.path = sys.argv[3]
    sampler = Sampler(60000, 4096, 20, 1 << 20)
    source = ble_central.Source(bus, sampler, None)
    task = asyncio.create_task(source.run())
    start = time.ticks_ms()
    while sampler.sampled < int(sys.argv[1]) and time.ticks_diff(time.ticks_ms(), start) < int(sys.argv[2]):
        await asyncio.sleep_ms(20)
    task.cancel()
    await asyncio.sleep_ms(50)
    writer = frame.FrameWriter(bytes(8), 0, bytes(32))
    frames = []
    for group in sampler.groups:
        if group.n:
            writer.begin(0, bytes(8), 0, 0, 0, bytes(8))
            writer.add(group)
            frames.append(bytes(writer.seal()).hex())
    print(json.dumps([frames, source.counters[16], source.counters[17], source.counters[21], lines]))

asyncio.run(main())
"""


class Came:
    """What a node has sampled: values by channel, and by "device.channel" in `of`; in order, None for those
    that are bad. And its log.
    """

    def __init__(self, said: str, meanings: dict[int, Meaning]) -> None:
        frames, self.heard, self.dropped, self.refused, self.lines = json.loads(said)
        self.values: dict[str, list[float | None]] = {it.name: [] for it in meanings.values()}
        self.of = {f"{it.device}.{it.name}": list[float | None]() for it in meanings.values()}
        for data in frames:
            for channels, _times, columns, qualities in expand(parse(split(bytes.fromhex(data))[1])):
                for number, column, marks in zip(channels, columns, qualities, strict=True):
                    meaning = meanings[number]
                    values = [
                        None if mark or raw is None or meaning.verdict(raw) else meaning.value(raw)
                        for raw, mark in zip(column, marks, strict=True)
                    ]
                    self.values[meaning.name] += values
                    self.of[f"{meaning.device}.{meaning.name}"] += values


def _bus_of(folder: Path, devices: str) -> tuple[bytes, dict[int, Meaning]]:
    file = folder / "site.toml"
    file.write_text(_SITE + devices, encoding="utf-8")
    site = load(file)
    config = compile_node(site, site.nodes[0]).config
    return cbor2.dumps(cbor2.loads(config)[3][0]), {it.number: it for it in config_meanings(config)}


async def run_node(
    air: Air, folder: Path, devices: str, readings: int, most_ms: int, **environment: str
) -> Came:
    """A start of a node with these devices, until it has so many readings or so many ms have passed. folder:
    where its bonds are.
    """
    bus, meanings = _bus_of(folder, devices)
    with mock.patch.dict(
        os.environ, {"GASAN_AIR": f"127.0.0.1:{air.port}", "GASAN_BLE_ADDRESS": _ADDRESS, **environment}
    ):
        work = asyncio.to_thread(
            vmrun.run, _NODE, readings, most_ms, folder / "bonds", stdin=bus, timeout=most_ms / 1000 + 60
        )
        return Came(await work, meanings)


def play(
    folder: Path,
    devices: str,
    readings: int,
    most_ms: int,
    scene: Callable[[Air], Awaitable[None]],
    pace: Pace | None = None,
) -> Came:
    """`run_node` while ``scene(air)`` plays."""

    async def run() -> Came:
        air = Air()
        await air.start()
        air.link.pace = pace
        playing = asyncio.ensure_future(scene(air))
        try:
            return await run_node(air, folder, devices, readings, most_ms)
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            await air.stop()

    return asyncio.run(run())
