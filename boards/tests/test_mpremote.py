"""The real mpremote works on a virtual board that is at its REPL."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gasan.boards.virtual import VirtualBoard

NewBoard = Callable[..., VirtualBoard]
Mpremote = Callable[..., str]

_MPREMOTE = Path(sys.executable).with_name("mpremote")


@pytest.fixture
def board(new_board: NewBoard) -> VirtualBoard:
    made = new_board("print('main ran')\nimport os\nos.mkdir('/d') if 'd' not in os.listdir('/') else None")
    made.wait(lambda s: s["phase"] == "repl")
    return made


@pytest.fixture
def mpremote(board: VirtualBoard) -> Mpremote:
    def run(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            [
                str(_MPREMOTE),
                "connect",
                str(board.console_path.resolve()),
                *words,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    return run


def test_mpremote(board: VirtualBoard, mpremote: Mpremote, tmp_path: Path) -> None:
    assert mpremote("resume", "exec", "print(1)") == "1\n"
    assert board.status()["boots"] == 1  # resume left it as it was
    assert mpremote("exec", "print(2)") == "2\n"  # without, a soft reset into raw mode comes first
    assert board.status()["starts"] == {"power-on": 1, "soft": 1}

    content = bytes(range(256)) * 8
    (tmp_path / "here.bin").write_bytes(content)
    mpremote("resume", "cp", str(tmp_path / "here.bin"), ":d/there.bin")
    assert "2048 there.bin" in mpremote("resume", "ls", ":d")
    mpremote("resume", "cp", ":d/there.bin", str(tmp_path / "back.bin"))
    assert (tmp_path / "back.bin").read_bytes() == content
    mpremote("resume", "rm", ":d/there.bin")
    assert "there.bin" not in mpremote("resume", "ls", ":d")

    assert "ZeroDivisionError" in mpremote("resume", "exec", "1/0", status=1)
    assert "No such file" in mpremote("resume", "cat", ":nothing", status=1)
    assert mpremote("resume", "eval", "3 * 7") == "21\n"
    (tmp_path / "script.py").write_text("for n in range(3):\n    print('line', n)\n")
    assert mpremote("resume", "run", str(tmp_path / "script.py")) == "line 0\nline 1\nline 2\n"

    mpremote("reset")
    board.wait(lambda s: s["starts"].get("reset") == 1 and s["phase"] == "repl")
    assert mpremote("resume", "eval", "__import__('machine').reset_cause()") == "2\n"
