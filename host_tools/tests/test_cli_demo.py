"""The demo as a user runs it: a process of its own, on a terminal or not, ended by time or by Ctrl-C."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

KEYS = {
    "nodes": int,
    "readings_sampled": int,
    "readings_stored": int,
    "readings_dropped_by_rule": int,
    "readings_lost": int,
    "readings_pending": int,
    "readings_missed": int,
    "readings_duplicated": int,
    "conflicts": int,
    "lost_reasons": dict,
    "bytes_per_reading": float,
    "frames": int,
    "seconds": float,
    "db": str,
}
GASAN = [sys.executable, "-c", "from gasan.host.cli import main; main()"]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SIZE = struct.pack("HHHH", 40, 110, 0, 0)


def _environment(**more: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("LC_ALL", "LC_MESSAGES", "LANG")
    }
    return kept | {"TERM": "xterm-256color", "LANG": "C.UTF-8"} | more


def _processes(folder: Path) -> list[str]:
    """Command lines of the processes that work with `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in line:
                found.append(line)
    return found


def _wait_for_nobody(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while _processes(folder):
        assert time.monotonic() < deadline, _processes(folder)
        time.sleep(0.05)


class _Terminal:
    """A process on a terminal of its own, as a person starts it; `text` is all it has written."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, SIZE)
        self.process = subprocess.Popen(
            [*GASAN, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=_environment(**environment),
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def read_until(self, words: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < deadline, f"no {words!r} in {self.text[-4000:]}"
            if not self._read(0.1) and self.process.poll() is not None:
                raise AssertionError(f"ended without {words!r}: {self.text[-4000:]}")

    def read_to_end(self, seconds: float) -> int:
        """The exit code."""
        deadline = time.monotonic() + seconds
        while self._read(0.1) or self.process.poll() is None:
            assert time.monotonic() < deadline, f"still running: {self.text[-4000:]}"
        return self.process.wait()

    def press_ctrl_c(self) -> None:
        """What the terminal does: SIGINT to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other side is closed
            return False
        self.text += ESCAPES.sub("", data.decode(errors="replace"))
        return bool(data)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    _wait_for_nobody(tmp_path)


@contextlib.contextmanager
def _terminal(*arguments: str, **environment: str) -> Iterator[_Terminal]:
    terminal = _Terminal(*arguments, **environment)
    try:
        yield terminal
    finally:
        terminal.close()


def test_the_account_as_json_and_nothing_else(state: Path) -> None:
    arguments = [*GASAN, "demo", "--seconds", "8", "--json", "--state", str(state)]
    result = subprocess.run(arguments, env=_environment(), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    told = json.loads(result.stdout)
    assert {key: type(value) for key, value in told.items()} == KEYS
    assert list(told) == list(KEYS)
    assert told["nodes"] == 1
    assert told["readings_stored"] > 50
    assert told["readings_sampled"] == (
        told["readings_stored"]
        + told["readings_dropped_by_rule"]
        + told["readings_lost"]
        + told["readings_pending"]
    )
    for key in ("readings_lost", "readings_pending", "readings_missed", "readings_duplicated", "conflicts"):
        assert told[key] == 0, told
    assert told["lost_reasons"] == {}
    assert 1 < told["bytes_per_reading"] < 12
    assert 8 <= told["seconds"] < 20
    with contextlib.closing(sqlite3.connect(told["db"])) as connection:
        rows = connection.execute("SELECT device, channel, quality, value FROM readings").fetchall()
    assert len(rows) == told["readings_stored"]
    assert {device for device, *_rest in rows} == {"main-meter", "oven", "press-drive", "hall"}
    assert {quality for _device, _channel, quality, _value in rows} == {"good"}
    voltages = [value for _device, channel, _quality, value in rows if channel == "voltage"]
    assert all(200 < value < 240 for value in voltages)
    assert "press-1 up" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_live_view_and_ctrl_c(state: Path) -> None:
    with _terminal("demo", "--state", str(state)) as terminal:
        terminal.read_until("press-1 up", 60)
        terminal.read_until("main-meter", 30)
        terminal.read_until(" good", 30)
        terminal.press_ctrl_c()
        assert terminal.read_to_end(30) == 0
        assert "press-1 lost nothing" in terminal.text
        assert f"The readings are in {state}/gasan.sqlite" in terminal.text
        assert "Traceback" not in terminal.text


def test_ctrl_c_twice_quits_at_once(state: Path) -> None:
    with _terminal("demo", "--state", str(state), "--lang", "ko") as terminal:
        terminal.read_until("press-1 연결됨", 60)
        terminal.press_ctrl_c()
        time.sleep(0.05)  # a terminal's second key press is another signal, not the same
        terminal.press_ctrl_c()
        assert terminal.read_to_end(5) in (0, 130)


def test_ctrl_c_before_anything_runs(state: Path) -> None:
    with _terminal("demo", "--state", str(state)) as terminal:
        deadline = time.monotonic() + 30
        while not (state / "equipment").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        terminal.press_ctrl_c()
        assert terminal.read_to_end(30) in (0, 130)
        assert "Traceback" not in terminal.text


def test_a_screenshot(state: Path, tmp_path: Path) -> None:
    picture = tmp_path / "img" / "demo.svg"
    arguments = [*GASAN, "demo", "--seconds", "4", "--state", str(state), "--screenshot", str(picture)]
    result = subprocess.run(arguments, env=_environment(), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    svg = picture.read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "main-meter" in svg
    assert "url(http" not in svg.replace('"', ""), "nothing is fetched from elsewhere"
