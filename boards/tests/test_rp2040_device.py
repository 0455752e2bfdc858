"""What the emulated RP2040 does as a board: start, flash, reset causes, ports, pins, the ends of a run."""

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gasan.boards.emulator import Emulator
from gasan.boards.virtual import BoardError, Cut
from gasan.hil import on_rp2040

pytestmark = pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing())

_PROGRAMS = Path(__file__).parents[2] / "firmware" / "tests" / "rp2040"
_PROMPT = b"\r\n>>> "


class Repl:
    """The interpreter's prompt over the emulated USB port."""

    def __init__(self, folder: Path, seed: str | None = "repl") -> None:
        self.log = folder / "events.jsonl"
        self.emulator = Emulator(folder / "flash.img", seed=seed, log=self.log, uid=b"gasan-01")

    def boot(self, cut: Cut | None = None) -> None:
        self.emulator.boot(cut=cut)
        self.emulator.expect(b">>> ", 2000)

    def __call__(self, line: str, ms: float = 5000) -> str:
        said = self.emulator.expect(_PROMPT, ms, usb=line.encode() + b"\r").decode()
        return said.replace("\r\n", "\n").removeprefix(line).removesuffix("\n>>> ").strip()

    def restart(self, line: str, ms: float = 20_000) -> None:
        """Enter a line that resets the chip, and wait for the prompt after it."""
        boots = self.emulator.status()["boots"]
        self.emulator.run(ms, ("reset",), usb=line.encode() + b"\r")
        self.emulator.run(ms, ("usb-up",))
        assert self.emulator.status()["boots"] == boots + 1
        self.emulator.expect(b">>> ", 2000)


@pytest.fixture
def repl(tmp_path: Path) -> Iterator[Repl]:
    it = Repl(tmp_path)
    with it.emulator:
        it.boot()
        yield it


def test_boots_from_an_empty_flash_and_keeps_files(tmp_path: Path) -> None:
    for text in ("", "kept"):
        it = Repl(tmp_path)
        with it.emulator:
            it.boot()
            assert it.emulator.now_ms < 500
            if text:
                assert it("print(open('/x').read())") == "kept"
            else:
                it("f = open('/x', 'w'); f.write('kept'); f.close()")


def test_tells_its_id_and_why_it_started(repl: Repl) -> None:
    assert repl("import machine; print(machine.unique_id(), machine.reset_cause())") == "b'gasan-01' 1"
    repl.restart("machine.reset()")
    assert repl("import machine; print(machine.reset_cause())") == "3"
    assert repl.emulator.status()["starts"] == {"power-on": 1, "reset": 1, "watchdog": 0, "button": 0}


def test_the_watchdog_bites_when_it_should(repl: Repl) -> None:
    repl("import machine, time; w = machine.WDT(timeout=500); time.sleep_ms(300); w.feed(); t = 0")
    fed = repl.emulator.now_ms
    repl.restart("while True: pass")
    repl.emulator.ask("sync")
    bite = next(event["t"] for event in events_in(repl.log) if event["event"] == "watchdog") / 1e6
    assert 495 < bite - fed < 545  # the feed was within the line before
    assert repl("import machine; print(machine.reset_cause())") == "3"


def test_randomness_is_a_parameter_of_the_run_and_new_at_every_boot(tmp_path: Path) -> None:
    seen = []
    for seed in ("one", "one", "two", None, None):
        folder = tmp_path / str(len(seen))
        folder.mkdir()
        it = Repl(folder, seed)
        with it.emulator:
            it.boot()
            first = it("import os; print(os.urandom(8))")
            it.restart("import machine; machine.reset()")
            seen.append((first, it("import os; print(os.urandom(8))")))
    assert seen[0] == seen[1]
    assert len({value for pair in seen[1:] for value in pair}) == 8


def test_three_runs_are_equal_to_the_instruction(tmp_path: Path) -> None:
    ends = set()
    for run in range(3):
        folder = tmp_path / str(run)
        folder.mkdir()
        it = Repl(folder, "same")
        with it.emulator:
            it.boot()
            it("import os, hashlib\r")
            it("for i in range(20):\r f = open('/f%d' % i, 'wb'); f.write(os.urandom(700)); f.close()\r\r")
            status = it.emulator.status()
        image = hashlib.sha256((folder / "flash.img").read_bytes()).hexdigest()
        ends.add((status["instructions"], status["cycles"], status["now"], image))
    assert len(ends) == 1


def test_i2c_scan_finds_devices(repl: Repl) -> None:
    repl.emulator.ask("i2c", bus=0, address=0x48, registers=bytes(range(16)).hex())
    repl.emulator.ask("i2c", bus=0, address=0x50, registers="ff")
    repl("from machine import I2C, Pin; i = I2C(0, scl=Pin(1), sda=Pin(0))")
    start = repl.emulator.now_ms
    assert repl("print(i.scan())", 20_000) == "[72, 80]"
    assert repl.emulator.now_ms - start < 100
    repl("i.writeto_mem(0x48, 5, b'abc')")
    assert repl("print(i.readfrom_mem(0x48, 4, 5))") == "b'\\x04abc\\x08'"
    assert "EIO" in repl("i.writeto(0x20, b'x')")
    assert "EIO" in repl("i.readfrom(0x20, 1)")


def test_pins_pulls_and_analogue_inputs(repl: Repl) -> None:
    assert (
        repl("from machine import Pin, ADC; print(Pin(14, Pin.IN, Pin.PULL_UP)(), Pin(15, Pin.IN)())")
        == "1 0"
    )
    repl.emulator.ask("pins", levels={14: 0, 15: 1})
    assert repl("print(Pin(14)(), Pin(15)())") == "0 1"
    repl("seen = []; Pin(16, Pin.IN).irq(lambda p: seen.append(p()), Pin.IRQ_RISING | Pin.IRQ_FALLING)")
    for level in (1, 0, 1):
        repl.emulator.ask("pins", levels={16: level})
        repl.emulator.run(5)
    assert repl("print(seen)") == "[1, 0, 1]"
    repl("p = Pin(17, Pin.OUT); p(1)")
    assert repl.emulator.ask("level", pin=17)["level"] == 1
    assert repl("print(p())") == "1"
    repl.emulator.ask("analogue", values={0: 2048})
    assert repl("print(ADC(0).read_u16() >> 4)") == "2048"


def test_uart_echoes_at_every_speed(tmp_path: Path, seed: int) -> None:
    bauds = [9600, 19200, 38400, 57600, 115200]
    rng = random.Random(seed)
    sent = {baud: rng.randbytes(600) for baud in bauds}
    files = on_rp2040.program_files(_PROGRAMS / "echo.py", {"/bauds": json.dumps(bauds).encode()})
    on_rp2040.build_image(tmp_path / "flash.img", files, on_rp2040.load(on_rp2040.BOARD))
    with Emulator(tmp_path / "flash.img", seed="echo", log=tmp_path / "events.jsonl") as emulator:
        emulator.boot()
        for baud in bauds:
            emulator.expect(b"ready %d\r\n" % baud, 5000)
            start = emulator.now_ms
            emulator.ask("uart", uart=1, data=sent[baud].hex())
            emulator.expect(b"got 600\r\n", 5000)
            took = emulator.now_ms - start
            assert 600 * 10_000 / baud < took < 2.2 * 600 * 10_000 / baud + 60, baud
        emulator.run(50)
        assert emulator.status()["overruns"] == [0, 0]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    back = b"".join(
        bytes.fromhex(e["data"]) for e in events if e["event"] == "uart" and e["direction"] == "tx"
    )
    assert back == b"".join(sent[baud] for baud in bauds)


def test_an_erase_loses_what_comes_on_the_uart_meanwhile(repl: Repl) -> None:
    """Interrupts are off for 45 ms: the FIFO of 32 characters overflows at 115200 baud."""
    repl("from machine import UART; import rp2; u = UART(1, 115200, rxbuf=1024); f = rp2.Flash()")
    repl("f.ioctl(6, 300)")
    repl.emulator.ask("uart", uart=1, data=bytes(500).hex())
    repl("f.ioctl(6, 301)")
    repl.emulator.run(50)
    got = int(repl("print(len(u.read()))"))
    assert got < 500 and repl.emulator.status()["overruns"][1] == 500 - got
    repl.emulator.ask("uart", uart=1, data=bytes(500).hex())
    repl.emulator.run(50)
    assert repl("print(len(u.read()))") == "500"


def test_power_cut_at_every_operation_of_a_replaced_file(tmp_path: Path) -> None:
    """Torn, partly and after, which is before the next: the old content or the new, never neither."""
    work = "f = open('/n', 'w'); f.write('new' * 300); f.close(); import os; os.rename('/n', '/f')"
    it = Repl(tmp_path)
    with it.emulator:
        it.boot()
        it("f = open('/f', 'w'); f.write('old' * 300); f.close()")
        before = (tmp_path / "flash.img").read_bytes()
        start = it.emulator.status()["flash"]["operations"]
        it(work)
        operations = it.emulator.status()["flash"]["operations"] - start
    assert operations >= 5
    seen = set()
    for operation in range(operations):
        for mode, argument in (("torn", 100), ("bits", operation), ("after", 0)):
            (tmp_path / "flash.img").write_bytes(before)
            it = Repl(tmp_path)
            with it.emulator:
                it.boot()
                it.emulator.ask("cut", cut={"operation": operation, "mode": mode, "argument": argument})
                ran = it.emulator.run(2000, ("cut",), usb=work.encode() + b"\r")
                assert ran.reason == "cut", (operation, mode)
                it.boot()
                seen.add(
                    it("print(open('/f').read() in ('old' * 300, 'new' * 300) and open('/f').read()[:3])")
                )
    assert seen == {"old", "new"}


def test_what_cannot_run_ends_in_a_clear_error(repl: Repl) -> None:
    with pytest.raises(BoardError, match="started the second core"):
        repl("import _thread; _thread.start_new_thread(print, (1,))")


def test_a_run_is_bounded(repl: Repl) -> None:
    with pytest.raises(BoardError, match="still running after"):
        repl.emulator.run(1e9, usb=b"while True: pass\r\r", wall_s=0.5)


def test_the_log_is_bounded(tmp_path: Path) -> None:
    with Emulator(tmp_path / "flash.img", seed="x", log=tmp_path / "log", log_limit=4096) as emulator:
        emulator.boot()
        emulator.expect(b">>> ", 1000)
        emulator.expect(
            _PROMPT, 20_000, usb=b"import machine; p = machine.Pin(2, 1); [p.toggle() for i in range(500)]\r"
        )
        assert emulator.status()["log_dropped"] > 300
    lines = (tmp_path / "log").read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "log-full"


def test_a_host_that_does_not_read_stalls_writes_for_half_a_second(repl: Repl) -> None:
    repl("import time")
    repl.emulator.ask("host", open=True, reading=False)
    repl.emulator.run(3000, usb=b"t = time.ticks_ms(); print('x' * 600); t = time.ticks_ms() - t\r")
    repl.emulator.ask("host", open=True, reading=True)
    repl.emulator.run(100)
    assert 400 < int(repl("print(t)")) < 3000


def test_the_cable_can_be_pulled_and_plugged_in_again(repl: Repl) -> None:
    repl("n = 5")
    repl.emulator.ask("plug", **{"in": False})
    assert repl.emulator.run(500).usb == b""
    repl.emulator.ask("plug", **{"in": True})
    assert repl.emulator.run(1000, ("usb-up",)).reason == "usb-up"
    assert repl("print(n)").endswith("5")


def events_in(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]
