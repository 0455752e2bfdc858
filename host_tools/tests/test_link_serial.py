"""The serial port: opened exclusively, told about in plain words, back by itself, never blocking."""

import asyncio
import os
import tty
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import serial
from gasan.host.link.ports import PortState
from gasan.host.link.serial import SerialPort


class Cable:
    """A pty and a link to it, which a test unplugs and plugs in again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1

    def plug_in(self) -> None:
        self.fd, slave = os.openpty()
        tty.setraw(slave)
        self.path.symlink_to(os.ttyname(slave))
        os.close(slave)

    def unplug(self) -> None:
        self.path.unlink()
        os.close(self.fd)


class Watch:
    """What a port has told."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.states: list[PortState] = []
        self.sentences: list[str] = []
        self._changed = asyncio.Event()

    def on_data(self, data: bytes) -> None:
        self.data += data
        self._changed.set()

    def on_state(self, state: PortState, sentence: str) -> None:
        self.states.append(state)
        self.sentences.append(sentence)
        self._changed.set()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not done():
                self._changed.clear()
                await self._changed.wait()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def scenario(path: Path, play: Callable[[SerialPort, Watch], Awaitable[None]]) -> Watch:
    """Run a port beside what a test does, and see that it leaves nothing behind."""

    async def run() -> Watch:
        watch = Watch()
        port = SerialPort(str(path), watch.on_data, watch.on_state)
        task = asyncio.create_task(port.run())
        try:
            await play(port, watch)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert port.state is PortState.CLOSED
        return watch

    before = open_files()
    watch = asyncio.run(run())
    assert open_files() <= before + 1  # the cable's end, if it was plugged in meanwhile
    return watch


def test_bytes_go_both_ways_as_they_are(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "port")
    cable.plug_in()
    data = bytes(range(256)) * 4

    async def play(port: SerialPort, watch: Watch) -> None:
        await watch.until(lambda: port.state is PortState.OPEN)
        os.write(cable.fd, data)
        await watch.until(lambda: len(watch.data) == len(data))
        assert port.write(data)
        assert os.read(cable.fd, 4096) == data

    assert scenario(cable.path, play).data == data
    cable.unplug()


def test_unplugged_and_plugged_in_again(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "port")

    async def play(port: SerialPort, watch: Watch) -> None:
        await watch.until(lambda: port.state is PortState.MISSING)
        for _ in range(2):
            cable.plug_in()
            await watch.until(lambda: port.state is PortState.OPEN)
            os.write(cable.fd, b"hello")
            size = len(watch.data) + 5
            await watch.until(lambda size=size: len(watch.data) == size)  # type: ignore[misc]
            cable.unplug()
            await watch.until(lambda: port.state is PortState.LOST)
            assert not port.write(b"into the void")
            await asyncio.sleep(0.6)
        assert port.state is PortState.LOST
        assert port.dropped == 26

    watch = scenario(cable.path, play)
    states = [PortState.OPEN, PortState.LOST] * 2
    assert watch.states == [PortState.MISSING, *states, PortState.CLOSED]
    assert watch.sentences[0] == f"no such port: {cable.path}; is the cable plugged in?"
    assert watch.sentences[2] == f"{cable.path} is gone; waiting for it to come back"


def test_in_use_by_another_program(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "port")
    cable.plug_in()
    other = serial.Serial(str(cable.path), exclusive=True)

    async def play(port: SerialPort, watch: Watch) -> None:
        await watch.until(lambda: port.state is PortState.BUSY)
        other.close()
        await watch.until(lambda: port.state is PortState.OPEN)
        with pytest.raises(serial.SerialException):
            serial.Serial(str(cable.path), exclusive=True)

    watch = scenario(cable.path, play)
    assert watch.sentences[0] == f"{cable.path} is in use by another program; close it there"
    cable.unplug()


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, nothing is forbidden, so pyserial's words for it are played."""

    def refuse(path: str, *args: object, **options: object) -> None:
        raise serial.SerialException(13, f"could not open port {path}: [Errno 13] Permission denied")

    monkeypatch.setattr(serial, "Serial", refuse)
    path = tmp_path / "port"
    path.touch()

    async def play(port: SerialPort, watch: Watch) -> None:
        await watch.until(lambda: port.state is PortState.FORBIDDEN)

    assert "add yourself to group dialout" in scenario(path, play).sentences[0]


def test_a_file_that_is_no_serial_port(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("no port")

    async def play(port: SerialPort, watch: Watch) -> None:
        await watch.until(lambda: port.state is PortState.FAILED)

    assert scenario(path, play).sentences[0] == f"{path} cannot be opened as a serial port"


def test_a_device_that_does_not_read_costs_bounded_memory(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "port")
    cable.plug_in()

    async def play(port: SerialPort, watch: Watch) -> None:
        await watch.until(lambda: port.state is PortState.OPEN)
        taken = sum(port.write(bytes(1000)) for _ in range(200)) * 1000
        assert taken < 100_000 and port.dropped == 200_000 - taken
        read = 0
        async with asyncio.timeout(10):
            while read < taken:
                read += len(os.read(cable.fd, 65536))
                await asyncio.sleep(0)
        assert read == taken
        assert port.write(b"again")

    scenario(cable.path, play)
    cable.unplug()
