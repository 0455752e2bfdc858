"""A virtual board's life: starts, resets, watchdog, power cuts, and that nothing is left of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gasan.boards import facts
from gasan.boards.image import read_file
from gasan.boards.log import TextLog
from gasan.boards.virtual import BoardError, Cut, VirtualBoard

NewBoard = Callable[..., VirtualBoard]

_SAY_CAUSE = """
import machine
def note(text):
    with open("/causes", "a") as f: f.write(text + " ")
cause = machine.reset_cause()
note(str(cause))
"""

_STARTER = """
import sys, time
from pathlib import Path
from gasan.boards.virtual import VirtualBoard
board = VirtualBoard.existing(Path(sys.argv[1]))
board.start()
status = board.wait(lambda s: s["pid"])
print(board._process.pid, status["pid"], flush=True)
time.sleep(100)
"""


def in_repl(status: dict[str, Any]) -> bool:
    return bool(status["phase"] == "repl")


def causes(board: VirtualBoard) -> list[str]:
    board.stop()
    return read_file(board.image, "/causes").decode().split()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_runs_boot_then_main_on_its_own_flash(new_board: NewBoard) -> None:
    board = new_board(
        """
from lib_module import name
import sys
print("main", name, boot, sys.platform, sys.implementation._machine)
""",
        files={"/boot.py": b"boot = 'booted'", "/lib/lib_module.py": b"name = 'from lib'"},
    )
    status = board.wait(in_repl)
    assert status["boots"] == 1 and status["cause"] == 1
    assert (
        "main from lib booted linux Virtual board with unix VM" in (board.folder / "console.log").read_text()
    )


def test_an_error_in_boot_skips_main(new_board: NewBoard) -> None:
    board = new_board("print('main ran')", files={"/boot.py": b"1/0"})
    board.wait(in_repl)
    text = (board.folder / "console.log").read_text()
    assert "ZeroDivisionError" in text and "main ran" not in text


def test_stand_ins_take_nothing_of_the_boards_heap(new_board: NewBoard, bits: int) -> None:
    board = new_board("import gc\ngc.collect()\nprint('free', gc.mem_free())", heap=98304)
    board.wait(in_repl)
    text = (board.folder / "console.log").read_text()
    free = int(text.split("free ")[1].split()[0]) // (bits // 32)
    # What is missing: the allocator's tables (1/33), littlefs with its caches, main.py's few objects.
    assert 90_000 < free < 98_304


def test_every_reset_has_its_cause(new_board: NewBoard) -> None:
    board = new_board(
        _SAY_CAUSE
        + """
import time
starts = len(open("/causes").read().split())
if starts == 1: machine.reset()
if starts == 2: machine.soft_reset()
if starts == 3: machine.deepsleep(50)
if starts == 4:
    machine.WDT(timeout=200)
    while True: pass                # hangs without feeding
"""
    )
    board.wait(lambda s: s["boots"] == 5 and in_repl(s))
    status = board.status()
    assert status["starts"] == {"power-on": 1, "reset": 1, "soft": 1, "deepsleep": 1, "watchdog": 1}
    board.reset()
    board.wait(lambda s: s["boots"] == 6 and in_repl(s))
    assert causes(board) == ["1", "2", "5", "4", "3", "1"]


def test_rp2_knows_two_causes_only(new_board: NewBoard) -> None:
    board = new_board(
        _SAY_CAUSE
        + """
assert not hasattr(machine, "HARD_RESET")
starts = len(open("/causes").read().split())
if starts == 1: machine.reset()
if starts == 2: machine.soft_reset()
try:
    machine.WDT(timeout=8389)
except ValueError as e:
    note(str(e).replace(" ", "_"))
""",
        board="rpi_pico",
    )
    board.wait(lambda s: s["boots"] == 3 and in_repl(s))
    assert causes(board) == ["1", "3", "3", "timeout_exceeds_8388"]


def test_a_fed_watchdog_lets_the_board_live(new_board: NewBoard) -> None:
    board = new_board(
        """
import machine, time
dog = machine.WDT(timeout=150)
for _ in range(30):
    time.sleep_ms(20)
    dog.feed()
print("fed")
machine.soft_reset() if machine.reset_cause() == 1 else time.sleep(10)
"""
    )
    board.wait(
        lambda s: s["boots"] == 3, 10
    )  # it runs on through the soft reset and bites in the sleep after it
    assert board.status()["starts"] == {"power-on": 1, "soft": 1, "watchdog": 1}
    assert (board.folder / "console.log").read_text().count("fed") == 2


def test_power_cuts(new_board: NewBoard) -> None:
    board = new_board(_SAY_CAUSE + "import time\nprint('noted')\ntime.sleep(60)")

    def life(number: int) -> dict[str, Any]:
        """The status once this life has written down its cause."""
        log = board.folder / "console.log"
        return board.wait(lambda s: s["boots"] == number and log.read_text().count("noted") == number)

    life(1)
    board.kill()
    status = life(2)
    os.kill(status["pid"], signal.SIGKILL)  # from outside: a power cut, too
    life(3)
    board.off()
    assert board.status()["pid"] is None
    board.on()
    with pytest.raises(BoardError, match="is on"):
        board.on()
    life(4)
    assert causes(board) == ["1", "1", "1", "1"]


@pytest.mark.parametrize(("mode", "argument"), [("before", 0), ("torn", 100), ("bits", 3), ("after", 0)])
def test_a_cut_inside_the_flash(new_board: NewBoard, mode: Any, argument: int) -> None:
    board = new_board(
        """
import os
try:
    os.stat("/done")
    print("rest")
except OSError:
    with open("/file.new", "w") as f: f.write("new" * 1000)
    os.rename("/file.new", "/file")
    with open("/done", "w") as f: pass
""",
        files={"/file": b"old" * 1000},
        start=False,
    )
    board.start(Cut(3, mode, argument))
    board.wait(lambda s: s["boots"] == 2 and in_repl(s))
    assert [event["event"] for event in board.events()].count("cut") == 1
    board.stop()
    assert read_file(board.image, "/file") == b"new" * 1000  # the second life did it again


def test_flash_operations_are_counted(new_board: NewBoard) -> None:
    board = new_board("with open('/x', 'wb') as f: f.write(bytes(10000))")
    flash = board.wait(in_repl)["flash"]
    assert flash["programs"] >= 40 and flash["erases"] >= 3 and flash["overwrites"] == 0
    board.kill()
    status = board.wait(lambda s: s["boots"] == 2 and in_repl(s))
    assert status["flash_total"]["programs"] == flash["programs"] + status["flash"]["programs"]


def test_open_files_are_lost_by_reset_and_kept_by_soft_reset(new_board: NewBoard) -> None:
    board = new_board(
        """
import machine, os
names = os.listdir("/")
if "reset" not in names:
    f = open("/reset", "w")
    f.write("x")
    machine.reset()
if "soft" not in names:
    f = open("/soft", "w")
    f.write("x")
    machine.soft_reset()
"""
    )
    board.wait(lambda s: s["boots"] == 3 and in_repl(s))
    board.stop()
    assert read_file(board.image, "/reset") == b""
    assert read_file(board.image, "/soft") == b"x"  # a soft reset runs the finalisers


def test_pins_are_logged_and_driven(new_board: NewBoard) -> None:
    board = new_board(
        """
import machine, time
out = machine.Pin(2, machine.Pin.OUT, value=0)
out.on(); out.off(); out.on()
pull, plain = machine.Pin(3, machine.Pin.IN, machine.Pin.PULL_UP), machine.Pin(4, machine.Pin.IN)
assert pull.value() == 1 and plain() == 0
open("/ready", "w").close()
led = machine.Signal(out, invert=True)
while pull.value(): time.sleep_ms(5)
print("low", machine.ADC(27).read_u16(), led.value(), machine.I2C(0).scan())
"""
    )
    board.wait(lambda s: s["flash"]["programs"] > 0)  # it has looked at the pins
    board.set(pins={3: 0}, analogue={1: 12345})
    board.wait(in_repl)
    assert [(pin, level) for _, pin, level in board.pins()] == [(2, 1), (2, 0), (2, 1)]
    assert "low 12345 0 []" in (board.folder / "console.log").read_text()


def test_the_clock_starts_anew_and_can_be_set(new_board: NewBoard) -> None:
    board = new_board(
        """
import machine, time
assert time.localtime()[:3] == (2000, 1, 1) and time.time() < 60, time.localtime()
machine.RTC().datetime((2026, 3, 4, 0, 5, 6, 7, 0))
assert time.gmtime()[:6] == (2026, 3, 4, 5, 6, 7) and machine.RTC().datetime()[:3] == (2026, 3, 4)
assert time.mktime((2001, 1, 1, 0, 0, 0, 0, 0)) == 366 * 86400
assert 0 <= time.time_ns() // 10**9 - time.time() <= 1
print("clock", "right")
""",
        board="esp32_generic",
    )
    board.wait(in_repl)
    assert "clock right" in (board.folder / "console.log").read_text()


def test_dies_with_the_program_that_started_it(new_board: NewBoard, tmp_path: Path) -> None:
    board = new_board("import time\ntime.sleep(100)", start=False)
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _STARTER,
            str(board.folder),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout
    supervisor, vm = map(int, starter.stdout.readline().split())
    with pytest.raises(BoardError, match="running already"):
        board.start()
    starter.kill()
    starter.wait()
    starter.stdout.close()
    wait_for(lambda: not alive(supervisor) and not alive(vm))
    assert not board.console_path.exists()


def test_the_vm_dies_with_its_supervisor(new_board: NewBoard) -> None:
    board = new_board("while True: pass")
    vm = board.wait(lambda s: s["phase"] == "main")["pid"]
    assert board._process
    board._process.kill()
    wait_for(lambda: not alive(vm))


def test_wrong_settings_are_one_sentence(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, vm=("/bin/false",))
    with pytest.raises(BoardError, match="cannot run device code"):
        board.start()
    with pytest.raises(BoardError, match="is not running"):
        board.status()


def test_logs_stay_bounded(tmp_path: Path) -> None:
    log = TextLog(tmp_path / "log", limit=1000)
    for n in range(500):
        log.write(b"%09d\n" % n)
    log.close()
    assert (tmp_path / "log").stat().st_size <= 1000 and (tmp_path / "log.1").stat().st_size <= 1000
    assert (tmp_path / "log").read_bytes().endswith(b"000000499\n")


def test_every_board_has_consistent_facts() -> None:
    assert "virtual" in facts.names()
    for name in facts.names():
        board = facts.load(name)
        flash = board.flash
        assert flash.fs_offset + flash.fs_size <= flash.size, name
        assert flash.fs_size % flash.block == 0 and flash.block % flash.program == 0, name
        assert flash.fs_offset % flash.block == 0, name
        assert board.spool_bytes < flash.fs_size * 3 // 4, name
        assert board.heap >= 98_304, name  # what a node is promised to run in
        assert board.console.ring > 256, name  # the link's credit
        assert board.watchdog.min_ms <= 8000 <= board.watchdog.max_ms, name
        assert board.capabilities <= {"tcp", "wifi", "ble", "pairing"}, name
        assert board.sources and board.verified, name
        pins = [pin for uart in board.uarts.values() for pin in (uart.tx, uart.rx)]
        assert len(pins) == len(set(pins)), name
        if (
            board.family == "rp2"
        ):  # RP2040 datasheet, GPIO functions: UART n has TX on 0/12/16 (n=0), 4/8/20 (n=1)
            for number, uart in board.uarts.items():
                assert uart.tx % 4 == 0 and uart.rx == uart.tx + 1 and ((uart.tx + 4) & 8) >> 3 == number, (
                    name
                )
        assert [board.reset_cause(kind) for kind in ("power-on", "watchdog")] == [1, 3]
    with pytest.raises(KeyError):
        facts.load("no_such_board")
