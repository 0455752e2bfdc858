"""The emulated RP2040 at the pace of the wall clock: what the gateway and mpremote see."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gasan.boards.emulated import EmulatedBoard
from gasan.boards.virtual import BoardError, Cut
from gasan.hil import on_rp2040

pytestmark = pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing())


def mpremote(board: EmulatedBoard, *words: str) -> str:
    command = [sys.executable, "-m", "mpremote", "connect", str(board.console_path), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ready(board: EmulatedBoard) -> None:
    board.wait(lambda status: status["power"] == "on" and status["usb"]["connected"], 20)


def test_mpremote_works_over_kills_and_unplugging(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("kept")
    with EmulatedBoard(tmp_path / "board") as board:
        ready(board)
        uid = mpremote(board, "exec", "import machine; print(machine.unique_id().hex())").strip()
        assert uid == board.settings.uid
        mpremote(board, "fs", "cp", str(tmp_path / "note.txt"), ":note.txt")
        os.kill(board.status()["pid"], 9)
        board.wait(lambda status: status["emulator_starts"] == 2, 20)
        ready(board)
        assert "kept" in mpremote(board, "fs", "cat", ":note.txt")
        board.unplug()
        assert not board.console_path.exists()
        board.plug()
        ready(board)
        assert "kept" in mpremote(board, "fs", "cat", ":note.txt")
        board.off()
        assert board.status()["power"] == "off"
        board.on()
        ready(board)
        with pytest.raises(BoardError, match="cannot do this"):
            board.set(wifi=False)
    with pytest.raises(BoardError, match="not running"):
        board.status()


def test_runs_at_the_pace_of_the_wall_clock_and_starts_again_after_a_cut(tmp_path: Path) -> None:
    with EmulatedBoard(tmp_path / "board") as board:
        ready(board)
        first = board.status()["now"]
        start = time.monotonic()
        board.wait(lambda status: status["now"] - first > 1e9)
        assert 0.9 < time.monotonic() - start < 2.0
        board.off()
        board.on(Cut(1, "torn", 100))  # a start changes nothing in a flash that has its file system
        ready(board)
        starts = board.status()["boots"]
        command = [sys.executable, "-m", "mpremote", "connect", str(board.console_path)]
        command += ["exec", "open('/a', 'w').write('b' * 9000)"]
        writer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            board.wait(lambda status: status["boots"] > starts and status["power"] == "on", 30)
        finally:
            writer.kill()
            writer.wait()
