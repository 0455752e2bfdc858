"""The whole node on the emulated RP2040: .mpy files from littlefs, Modbus on its UART, its link on USB."""

import hashlib
import json
from pathlib import Path

import pytest
from gasan.boards.image import compile_mpy, list_files, read_file
from gasan.boards.virtual import BoardError
from gasan.hil import on_rp2040
from gasan.hil.emulated_rig import EmulatedRig, modbus_node
from gasan.wire import frame
from gasan.wire.frame_reader import Frame, parse, split

pytestmark = pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing())

_PROGRAMS = Path(__file__).parents[2] / "firmware" / "tests" / "rp2040"
_UNITS = [1, 2, 3, 4, 5]
_DE_PIN = 2


def rig_of(folder: Path, seed: str = "rig", units: list[int] = _UNITS, **node: object) -> EmulatedRig:
    folder.mkdir(exist_ok=True)
    rig = EmulatedRig(folder, modbus_node(folder, units=units, **node), seed=seed)  # type: ignore[arg-type]
    rig.emulator.ask("modbus", uart=1, units=_UNITS, de_pin=_DE_PIN)
    return rig


def test_a_hundred_channels_boot_in_time_and_leave_heap(tmp_path: Path) -> None:
    with rig_of(tmp_path) as rig:
        rig.boot()
        rig.wait(lambda it: bool(it.lines), 5000)
        assert "gasan" in rig.lines[0]
        started = rig.emulator.now_ms
        rig.wait(lambda it: it.up and it.emulator.status()["modbus"]["answers"] > 0, 10_000)
        rig.run(12_000)
        modbus = rig.emulator.status()["modbus"]
        print(f"first line {started:.0f} ms, first request {modbus['first_ns'] / 1e6:.0f} ms, {rig.status}")
        assert started <= 2000
        assert rig.status[8] >= 60 * 1024
        assert rig.status[12] == rig.status[13] == rig.status[14] == 0


def test_every_reading_arrives_once(tmp_path: Path, soak: bool) -> None:
    """A simulated minute of a small cabinet, ten with --soak: nothing lost, nothing twice."""
    minutes = 10 if soak else 1
    with rig_of(tmp_path, units=[1, 2], channels=8, baudrate=9600) as rig:
        rig.boot()
        rig.run(minutes * 60_000)
        modbus = rig.emulator.status()["modbus"]
        account = rig.account()
        node = account.nodes[0]
        print(account, modbus, rig.status)
        assert node.lost == node.duplicated == node.conflicts == node.rejected == 0
        assert node.sampled == node.stored + node.pending
        assert 8 * modbus["answers"] >= node.stored > 8 * 2 * 50 * minutes
        assert modbus["undriven"] == 0


def test_three_runs_of_a_node_are_equal_to_the_instruction(tmp_path: Path) -> None:
    ends = set()
    for run in range(3):
        with rig_of(tmp_path / str(run), seed="same", units=[1], channels=8) as rig:
            rig.boot()
            rig.run(12_000)
            status = rig.emulator.status()
            frames = hashlib.sha256(b"".join(rig.frames)).hexdigest()
        image = hashlib.sha256((tmp_path / str(run) / "flash.img").read_bytes()).hexdigest()
        ends.add((status["instructions"], status["cycles"], status["now"], len(rig.frames), frames, image))
    assert len(ends) == 1


def test_a_power_cut_inside_a_commit_is_accounted_for(tmp_path: Path) -> None:
    """The same gateway before and after; test_rp2040_cuts has all the other cuts."""
    with rig_of(tmp_path, units=[1], channels=8) as rig:
        rig.boot()
        rig.wait(lambda it: len(it.frames) >= 3, 20_000)
        rig.emulator.ask("cut", cut={"operation": 1, "mode": "torn", "argument": 100})
        with pytest.raises(BoardError, match="cut"):
            rig.run(10_000)
        frames = len(rig.frames)
        rig.boot()
        rig.wait(lambda it: len(it.frames) > frames + 3, 20_000)
        account = rig.account().nodes[0]
        print(account)
        assert account.duplicated == account.conflicts == account.rejected == 0
        assert {loss.reason for loss in account.losses} == {"cut_before_commit"}


def test_a_reset_is_told_by_the_next_boot(tmp_path: Path) -> None:
    with rig_of(tmp_path, units=[1], channels=4) as rig:
        rig.boot()
        rig.wait(lambda it: it.up, 10_000)
        first = rig.boots[-1]
        result = rig.command("reboot")
        assert result.status == 0
        rig.wait(lambda it: len(boots_of(it)) == 2, 20_000)
        assert rig.emulator.status()["starts"]["reset"] == 1
        told = boots_of(rig)[1].content
        assert told[2] == first and told[5] == 2


@pytest.mark.parametrize("baudrate", [9600, 19200])
def test_a_part_that_hangs_ends_in_a_restart_that_is_told(baudrate: int, tmp_path: Path) -> None:
    """By the watchdog when nothing else can run, else by the supervisor, which leaves a crash frame."""
    busily = baudrate == 9600
    source = compile_mpy(_PROGRAMS / "hanging_source.py", "hanging_source.py")
    node = modbus_node(tmp_path, units=[1], channels=4, baudrate=baudrate)
    with EmulatedRig(tmp_path, node, files={"/lib/gasan/node/modbus_rtu.mpy": source}) as rig:
        rig.boot()
        rig.wait(lambda it: len(boots_of(it)) == 2, 60_000)
        starts = rig.emulator.status()["starts"]
        assert (starts["watchdog"], starts["reset"]) == ((1, 0) if busily else (0, 1))
        rig.run(2_000)
        crashes = [it.content for it in parsed(rig) if it.kind == frame.CRASH]
        assert boots_of(rig)[1].content[5] == (3 if busily else 2)
        assert crashes == [] if busily else "hangs" in crashes[0]


def parsed(rig: EmulatedRig) -> list[Frame]:
    """The frames that have arrived."""
    return [parse(split(data)[1]) for data in rig.frames]


def boots_of(rig: EmulatedRig) -> list[Frame]:
    return [it for it in parsed(rig) if it.kind == frame.BOOT]


def test_the_image_holds_what_ships(tmp_path: Path) -> None:
    """.mpy files only, beside boot.py and main.py; the event log tells of pins, lines, flash on one clock."""
    with rig_of(tmp_path, units=[1], channels=4) as rig:
        rig.boot()
        rig.run(5_000)
    names = list_files(tmp_path / "flash.img")
    assert {name for name in names if name.startswith("/lib/")} == {
        name for name in names if name.startswith("/lib/gasan/") and name.endswith(".mpy")
    }
    assert read_file(tmp_path / "flash.img", "/secret/key")
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {"start", "pin", "uart", "modbus", "flash", "usb", "power"} <= {event["event"] for event in events}
