"""`gasan modbus scan` and `explore` on a simulated RS-485 line with devices played by pymodbus.

The line insists on its settings (see `gasan.hil.rs485.uart` for what is modelled); everything else is real:
the command, pyserial, the pty and its byte times.
"""

import asyncio
import json
import os
import re
import shlex
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import serial
from gasan.hil import equipment
from gasan.hil.equipment import Equipment, f32, u16
from gasan.hil.rs485 import Fault, Kind, Line, Relay, Responder
from gasan.hil.rs485.faults import with_crc
from gasan.hil.served import ServedLog, read_served
from gasan.host import cli, i18n
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.modbus.ports import SerialLine
from gasan.host.modbus.scan import Progress, Scan
from gasan.host.modbus.settings import BAUDRATES, Setting
from gasan.host.profiles import ModbusPlace, read_profile

ROOT = Path(__file__).parents[2]
SETTINGS = [Setting(baudrate, parity) for baudrate in BAUDRATES for parity in "NEO"]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """relay:// ports, English, a folder of its own."""
    monkeypatch.setattr(serial, "protocol_handler_packages", ["gasan.hil.rs485"])
    monkeypatch.chdir(tmp_path)
    i18n.set_language("en")
    yield
    i18n.set_language("en")


def meter() -> Equipment:
    """A power meter that stands still: singles in input registers, and a temperature in a single register."""
    return Equipment(
        "meter",
        functions={4},
        most=60,
        refresh=lambda _address: None,
        blocks={
            0: lambda: f32(230.2),
            6: lambda: f32(4.44),
            12: lambda: f32(1019.6),
            30: lambda: u16(234),
            36: lambda: f32(60.0),
        },
    )


@contextmanager
def served(start: Callable[[], Coroutine[Any, Any, Any]]) -> Iterator[Any]:
    """Run a pymodbus server in a loop of its own; yields what `start` returned."""
    ready: Any = None
    up, down = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        nonlocal ready
        ready = await start()
        up.set()
        await down.wait()
        await equipment.stop(ready[0] if isinstance(ready, tuple) else ready)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert up.wait(20)
    try:
        yield ready
    finally:
        loop.call_soon_threadsafe(down.set)
        thread.join(20)
        loop.close()


@contextmanager
def line_with(line: Line, units: Sequence[int], log: Path) -> Iterator[Relay]:
    """A line with meters at `units`."""
    with (
        closing(ServedLog(log)) as served_log,
        Relay(line, settings_matter=True) as relay,
        served(
            lambda: equipment.serve_rtu(
                relay.devices, [meter().at("rtu", unit, served_log) for unit in units], line.baudrate
            )
        ),
    ):
        yield relay


def gasan(*arguments: str) -> ExitCode:
    return ExitCode(cli.run(["modbus", *arguments]))


def test_the_usual_line_is_found_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with line_with(Line(9600), [1, 3], tmp_path / "served.jsonl") as relay:
        assert (
            gasan("scan", f"relay://{relay.master}", "--units", "1-5", "--listen", "0.2", "--json")
            == ExitCode.OK
        )
        totals = relay.stats().totals
    told = json.loads(capsys.readouterr().out)
    assert told["setting"] == {"baudrate": 9600, "parity": "none", "stop_bits": 1}
    assert told["also"] == [{"baudrate": 9600, "parity": "none", "stop_bits": 2}]
    assert [one["unit"] for one in told["devices"]] == [1, 3]
    assert [one["exception"] for one in told["devices"]] == [1, 1]
    assert told["requests_to_first"] == 1 and told["complete"] and not told["disturbed"]
    assert told["seconds"] < 15
    assert totals.early_requests == 0 and totals.collisions == 0


@pytest.mark.parametrize(
    ("line", "unit", "most_s"), [(Line(9600), 1, 4.0), (Line(19200, "even"), 17, 25.0)], ids=str
)
def test_how_long_it_takes_to_the_first_device(
    line: Line, unit: int, most_s: float, record_property: Callable[[str, object], None]
) -> None:
    """All settings, all units; interrupted as by Ctrl-C when the first device is there."""

    def watch(_progress: Progress) -> None:
        if work.report.devices:
            raise KeyboardInterrupt

    with (
        Relay(line, responder=Responder(units=(unit,)), settings_matter=True) as relay,
        SerialLine(f"relay://{relay.master}", SETTINGS[0]) as adapter,
    ):
        work = Scan(adapter, SETTINGS, range(1, 248), watch=watch)
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            work.run()
        took = time.monotonic() - start
    record_property("seconds", round(took, 1))
    print(f"{line}, unit {unit}: {took:.1f} s, {work.report.first_request} requests")
    assert work.report.setting == Setting(line.baudrate, line.parity[0].upper())
    assert [one.unit for one in work.report.devices] == [unit]
    assert took < most_s


def test_ctrl_c_shows_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    with Relay(Line(9600), responder=Responder(units=(1,)), settings_matter=True) as relay:

        def interrupt() -> None:
            while relay.stats().totals.requests < 12:  # settled at these settings, on the way to unit 247
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

        killer = threading.Thread(target=interrupt)
        killer.start()
        code = gasan("scan", f"relay://{relay.master}", "--listen", "0")
        killer.join()
    text = capsys.readouterr().out
    assert code == ExitCode.INTERRUPTED
    assert text.startswith("Interrupted. So far:\nFound at 9600 8N1")
    assert "unit 1, answers after" in text


@pytest.mark.parametrize("as_json", [False, True])
def test_an_adapter_that_is_pulled_does_not_take_along_what_was_found(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = SerialLine.ask

    def ask(self: SerialLine, unit: int, pdu: bytes, timeout_s: float) -> Any:
        if unit == 3:
            raise self._gone()
        return original(self, unit, pdu, timeout_s)

    monkeypatch.setattr(SerialLine, "ask", ask)
    options = ("--listen", "0", "--baud", "9600", "--parity", "none", *(("--json",) if as_json else ()))
    with Relay(Line(9600), responder=Responder(units=(1,)), settings_matter=True) as relay:
        assert gasan("scan", f"relay://{relay.master}", *options) == ExitCode.FAILED
    told = capsys.readouterr()
    assert "is gone; is the cable plugged in?" in told.err
    if as_json:
        found = json.loads(told.out)
        assert [one["unit"] for one in found["devices"]] == [1] and not found["complete"]
    else:
        assert told.out.startswith("Interrupted. So far:\nFound at 9600 8N1")


def test_a_line_on_which_another_master_speaks_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    over = threading.Event()
    with Relay(Line(9600), settings_matter=True) as relay:
        foreign = os.open(relay.devices, os.O_RDWR | os.O_NOCTTY)

        def poll() -> None:
            while not over.wait(0.15):
                os.write(foreign, with_crc(b"\x07\x04\x00\x00\x00\x02"))

        master = threading.Thread(target=poll)
        master.start()
        try:
            code = gasan("scan", f"relay://{relay.master}", "--listen", "0.6")
            totals = relay.stats().totals
        finally:
            over.set()
            master.join()
            os.close(foreign)
    text = capsys.readouterr().out
    assert code == ExitCode.FAILED
    assert "The line is in use" in text and "9600 baud, units 7" in text
    assert totals.requests == 0  # not a byte was sent


def test_damaged_answers_are_told_from_silence(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [Fault(Kind.FLIP, frames=frozenset(range(100)))]
    options = ("--listen", "0", "--baud", "9600", "--parity", "none", "--units", "1-2", "--json")
    with Relay(Line(9600), responder=Responder(units=(1,)), faults=faults, settings_matter=True) as relay:
        assert gasan("scan", f"relay://{relay.master}", *options) == ExitCode.FAILED
    told = json.loads(capsys.readouterr().out)
    assert {one["unit"] for one in told["disturbed"]} == {1} and told["devices"] == []


def test_the_echo_of_the_adapter_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [Fault(Kind.ECHO, rate=1, on="request")]
    options = ("--listen", "0", "--baud", "9600", "--parity", "none", "--units", "1-4", "--json")
    with Relay(Line(9600), responder=Responder(units=(3,)), faults=faults, settings_matter=True) as relay:
        assert gasan("scan", f"relay://{relay.master}", *options) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert told["echo"] and [one["unit"] for one in told["devices"]] == [3] and not told["refused"]


def test_a_displayed_value_becomes_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "served.jsonl"
    with line_with(Line(19200, "even"), [17], log) as relay:
        port = ("explore", f"relay://{relay.master}", "--unit", "17", "--baud", "19200", "--parity", "even")
        seen = ("--seen", "voltage=230.2V@30001", "--seen", "4.44", "--seen", "23.4°C")
        options = ("--to", "40", "--every", "0.1", "--draft", "meter.toml", "--json")
        assert gasan(*port, *seen, *options) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    tables = {one["table"]: one for one in told["tables"]}
    assert not tables["holding"]["there"]
    assert [one["address"] for one in tables["input"]["registers"]] == [0, 1, 6, 7, 12, 13, 30, 36, 37]
    assert set(tables["input"]["refused"]) == set(range(41)) - {0, 1, 6, 7, 12, 13, 30, 36, 37}
    best = [one["candidates"][0] for one in told["seen"]]
    assert [(one["address"], one["type"], one["scale"]) for one in best] == [
        *((0, "f32", "1"), (6, "f32", "1"), (30, "u16", "0.1"))
    ]
    profile = read_profile(tmp_path / "meter.toml", "meter")
    assert profile.channels["voltage"].place == ModbusPlace(4, 0, 0)
    assert profile.channels["value_30"].unit == "Cel"
    assert cli.run(["check", "meter.toml"]) == ExitCode.OK
    assert {row["fc"] for row in read_served(log)} == {4}


def test_what_was_read_is_shown_though_nothing_of_it_becomes_a_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with line_with(Line(38400), [1], tmp_path / "served.jsonl") as relay:
        port = ("explore", f"relay://{relay.master}", "--unit", "1", "--baud", "38400", "--table", "input")
        options = ("--to", "7", "--reads", "1", "--draft", "meter.toml")
        assert gasan(*port, "--seen", "987.65", *options) == ExitCode.FAILED
        told = capsys.readouterr()
        assert "f32 230.2" in told.out and "nothing fits, so no profile" in told.err
        # Both are at address 6: one of them only can be.
        assert gasan(*port, "--seen", "4.44", "--seen", "4.440", *options) == ExitCode.OK
        assert "no other value has taken: 4.440" in capsys.readouterr().out
        assert gasan(*port, "--seen", "4.44", *options[:-1], "no/meter.toml") == ExitCode.FAILED
        told = capsys.readouterr()
        assert "no/meter.toml cannot be written (No such file or directory)" in told.err and told.out == ""


def test_a_line_that_goes_away_leaves_the_registers_that_were_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = SerialLine.ask

    def ask(self: SerialLine, unit: int, pdu: bytes, timeout_s: float) -> Any:
        if pdu[0] == 4:
            raise self._gone()
        return original(self, unit, pdu, timeout_s)

    monkeypatch.setattr(SerialLine, "ask", ask)
    with Relay(Line(38400), responder=Responder(units=(1,)), settings_matter=True) as relay:
        port = ("explore", f"relay://{relay.master}", "--unit", "1", "--baud", "38400", "--to", "9")
        assert gasan(*port) == ExitCode.FAILED
        told = capsys.readouterr()
        assert told.out.startswith("Interrupted. So far:\nholding registers") and "40010" in told.out
        assert "is gone" in told.err
        assert gasan(*port, "--table", "input") == ExitCode.FAILED
        assert capsys.readouterr().out == ""


def test_a_unit_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with Relay(Line(9600), responder=Responder(units=(1,)), settings_matter=True) as relay:
        assert (
            gasan("explore", f"relay://{relay.master}", "--unit", "2", "--timeout", "20") == ExitCode.FAILED
        )
    error = capsys.readouterr().err
    assert "unit 2 does not answer" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["scan", "/dev/no-such-port"], ExitCode.FAILED, "no such port"),
        (["scan", "127.0.0.1:1"], ExitCode.FAILED, "nothing answers at 127.0.0.1:1"),
        (["scan", "/dev/null"], ExitCode.WRONG_INPUT, "is not a serial port"),
        (["scan", "a b"], ExitCode.WRONG_INPUT, "neither a serial port nor an address"),
        (["scan", "/dev/null", "--units", "0-3"], ExitCode.WRONG_INPUT, "is not a unit"),
        (["explore", "h", "--unit", "1", "--from", "9", "--to", "3"], ExitCode.WRONG_INPUT, "before --from"),
        (
            ["explore", "--node", "n", "--unit", "1", "--timeout", "3000"],
            ExitCode.WRONG_INPUT,
            "at most 2000 ms",
        ),
        (["scan", "--node", "n", "--timeout", "3000"], ExitCode.WRONG_INPUT, "at most 2000 ms"),
        (["explore", "/dev/null", "--unit", "250"], ExitCode.WRONG_INPUT, "cannot be a device on an RTU"),
        (["explore", "h", "--unit", "1", "--seen", "warm"], ExitCode.WRONG_INPUT, "is not a value"),
        (["explore", "h", "--unit", "1", "--draft", "x.toml"], ExitCode.WRONG_INPUT, "add --seen"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    arguments: list[str], code: ExitCode, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gasan(*arguments) == code
    captured = capsys.readouterr()
    assert words in captured.err and captured.out == ""
    assert captured.err.count("\n") == 1


def blocks(page: str, kind: str) -> list[str]:
    """The lines of a page's code blocks of a kind."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)
    return [line for block in found for line in block.splitlines()]


def test_the_commands_of_the_page_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = blocks("commissioning.md", "sh")
    assert lines == blocks("commissioning.ko.md", "sh") and len(lines) == 5
    with (
        line_with(Line(9600), [1], tmp_path / "rtu.jsonl") as relay,
        closing(ServedLog(tmp_path / "tcp.jsonl")) as log,
        # Unit 0 of pymodbus answers whatever unit it is called by.
        served(lambda: equipment.serve_tcp([meter().at("tcp", 0, log)])) as (_server, port),
    ):
        for line in lines:
            words = line.replace("/dev/ttyUSB0", f"relay://{relay.master}")
            words = words.replace("192.168.0.20", f"127.0.0.1:{port}")
            program, *arguments = shlex.split(words)
            assert program == "gasan"
            assert cli.run(arguments) == ExitCode.OK, line
    printed = re.sub(r"\d+ ms", "12 ms", capsys.readouterr().out).splitlines()
    for told in blocks("commissioning.md", "text"):
        assert told in printed
    assert "meter.toml: unknown Pymodbus, 2 channels, no mistakes" in printed
    assert any("answers to any unit number" in one for one in printed)
