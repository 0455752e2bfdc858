"""Keys of sensors travel to a node and stay there: a virtual board, and a sensor on the virtual air."""

import asyncio
from pathlib import Path

import cbor2
import pytest
from gasan.boards.air import Air
from gasan.boards.image import firmware_files, read_file
from gasan.boards.virtual import VirtualBoard
from gasan.hil import vmrun
from gasan.hil.aes_peer import encipher
from gasan.hil.air import BTHomeSensor
from gasan.hil.bare_gateway import BareGateway
from gasan.hil.served import ServedLog
from gasan.ota.slots import pack
from gasan.wire.lockbox import lock

ADDRESS = bytes.fromhex("c47c8d6a0001")
KEY = bytes(range(16))
NODE_ID, NODE_KEY = b"\x01gasan!\x02", bytes(range(32))
SENSOR_KEYS = 2  # kind of a put
ITEMS = [[0, 0x02, 0, 2, 0]]
CONFIG = cbor2.dumps(
    [
        2,
        "hall-1",
        {1: 500, 2: 1600, 4: 0},
        [[2, "air", {1: 100, 2: 100}, [["climate", ADDRESS, 1, 60000, ITEMS]]]],
        [cbor2.dumps([0, [["climate", "temperature", "Cel", 2, 1, 100, 0, 0, {}]]])],
    ]
)


class Sender:
    """A sensor that measures all the time, and encrypts."""

    def __init__(self, air: Air, log: ServedLog) -> None:
        self._sensor = BTHomeSensor(air, log, ADDRESS.hex(":"), interval_ms=100)
        self.counter = 500

    async def measure(self) -> None:
        while True:
            self.counter += 1
            count = self.counter.to_bytes(4, "little")
            objects = b"\x02" + (2000 + self.counter).to_bytes(2, "little")
            made = encipher(KEY, ADDRESS + b"\xd2\xfc\x41" + count, objects)
            await self._sensor.say_raw(b"\x41" + made[:-4] + count + made[-4:])
            await asyncio.sleep(0.2)


def test_a_node_is_given_the_key_of_a_sensor(tmp_path: Path) -> None:
    if why := vmrun.missing(64):
        pytest.skip(why)
    box = lock(NODE_KEY, cbor2.dumps({ADDRESS: KEY}))
    first: list[int] = []

    def with_node(air: str) -> None:
        board = VirtualBoard(tmp_path / "node", "virtual", air=air)
        files = {"/secret/key": cbor2.dumps([NODE_ID, 0, NODE_KEY]), "/cfg/a": pack(CONFIG)}
        board.install({**firmware_files(), **files})
        board.start()
        try:
            with BareGateway(board.console_path, NODE_ID, 0, NODE_KEY) as gateway:
                gateway.wait(lambda: gateway.status.get(21, 0) > 2)  # heard, and not believed without a key
                assert gateway.readings() == 0
                changed = bytearray(box)
                changed[20] ^= 1
                for wrong in (bytes(changed), lock(bytes(32), cbor2.dumps({ADDRESS: KEY})), b"x" * 3000):
                    assert not gateway.put(SENSOR_KEYS, wrong).ok
                assert gateway.put(SENSOR_KEYS, box).ok
                assert gateway.put(SENSOR_KEYS, box).ok  # it has it already
                gateway.wait(lambda: gateway.readings() >= 5)
                first.append(gateway.readings())
                board.kill()
                gateway.wait(lambda: gateway.readings() >= first[0] + 5, 20)  # the key is still there
        finally:
            board.stop()
        assert read_file(board.image, "/secret/ble", board.settings.facts) == box
        console = (tmp_path / "node" / "console.log").read_bytes()
        assert KEY.hex().encode() not in console and repr(KEY)[2:-1].encode() not in console

    async def run() -> None:
        air = Air()
        await air.start()
        log = ServedLog(tmp_path / "served.jsonl")
        sending = asyncio.create_task(Sender(air, log).measure())
        try:
            await asyncio.to_thread(with_node, f"127.0.0.1:{air.port}")
        finally:
            sending.cancel()
            await air.stop()
            log.close()

    asyncio.run(asyncio.wait_for(run(), 60))
