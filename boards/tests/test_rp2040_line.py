"""The Modbus RTU master on the emulated RP2040, against slaves that answer as promptly as the specification
allows, in simulated time.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from gasan.boards.emulator import Emulator
from gasan.hil import on_rp2040
from gasan.hil.rs485 import Line

pytestmark = pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing())

_PROGRAM = Path(__file__).parents[2] / "firmware" / "tests" / "rp2040" / "line.py"
_DE_PIN = 2


def poll(
    folder: Path, baudrate: int, ms: int, *, erase: str = "", units: int = 4, registers: int = 20
) -> dict[str, Any]:
    """What the node and the line have counted; a block of each unit is always due."""
    items = [[i, 3, i, 1, 0, 10] for i in range(registers)]
    devices = [[f"unit-{unit}", unit, 200, 0, 125, items] for unit in range(1, units + 1)]
    job = {"bus": [0, "line", {1: 1, 2: baudrate, 3: 0, 5: _DE_PIN}, devices], "ms": ms, "erase": erase}
    status: dict[str, Any] = {}
    line = Line(baudrate)
    assert line.char_bits == 10

    def prepare(emulator: Emulator) -> None:
        emulator.ask("modbus", uart=1, units=[1, 2, 3, 4], de_pin=_DE_PIN)
        close = emulator.close

        def note_and_close() -> None:
            if emulator.alive:
                status.update(emulator.status())
            close()

        emulator.close = note_and_close  # type: ignore[method-assign]

    done = on_rp2040.run(_PROGRAM, folder, files={"/job": json.dumps(job).encode()}, prepare=prepare)
    modbus = status["modbus"]
    # The last request may be without its answer; all of them take equally long.
    least = modbus["least_ns"] * modbus["answers"] / max(1, modbus["requests"])
    used = least / (modbus["last_ns"] - modbus["first_ns"]) if modbus["answers"] else 0
    return {**json.loads(done.output), **modbus, "use": used, "overruns": status["overruns"]}


@pytest.mark.parametrize("baudrate", [9600, 19200, 38400, 115200])
def test_uses_the_line(baudrate: int, tmp_path: Path) -> None:
    got = poll(tmp_path, baudrate, 5000)
    print(got)
    assert got["bad"] == 0 and got["good"] >= got["answers"] - 1
    assert got["undriven"] == got["collisions"] == 0
    assert got["release_ns"] < 10e9 / baudrate, "the line is let go within a character"
    assert 0.95 <= got["use"] <= 1


@pytest.mark.parametrize("registers", [1, 125])
def test_keeps_to_the_silence_whatever_is_read(registers: int, tmp_path: Path) -> None:
    got = poll(tmp_path, 115200, 2000, registers=registers)
    print(got)
    assert got["bad"] == 0 and got["good"] >= got["answers"] - 1
    assert got["collisions"] == 0 and got["overruns"] == [0, 0]
    # One register takes 4.8 ms; each transaction leaves the other tasks a turn of 1 ms, which shows here. A
    # hundred and more take the node longer to hand over than the silence between two frames.
    assert (0.84 if registers == 1 else 0.93) <= got["use"] <= 1


def test_flash_and_line_keep_out_of_each_others_way(tmp_path: Path) -> None:
    """With the lock no answer is lost; without it the same erases cut into answers, which must show."""
    for lock, fine in (("locked", True), ("bare", False)):
        folder = tmp_path / lock
        folder.mkdir()
        got = poll(folder, 115200, 3000, erase=lock, units=1, registers=100)
        print(got)
        assert (got["bad"] == 0) is fine
        assert (got["overruns"][1] == 0) is fine
        assert got["good"] > (10 if fine else 0)  # erases and answers may fall into step
