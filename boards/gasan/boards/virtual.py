"""Virtual boards: start one, cut its power, pull its cable.

``python -m gasan.boards.virtual --folder DIR`` runs the board that DIR/board.json describes, in the
foreground; ``VirtualBoard`` does the same in a process of its own that ends with the program that started it.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from gasan.boards import supervisor
from gasan.boards.commands import CommandError, ask
from gasan.boards.image import build_image
from gasan.boards.settings import FLASH, Settings

__all__ = ["BoardError", "Cut", "VirtualBoard"]


class BoardError(Exception):
    """A virtual board did not do as told; the message says which board and why."""


@dataclass(frozen=True)
class Cut:
    """A power cut inside the flash: at the n-th program or erase (from 0) after the next start.

    ``argument``: the bytes that were done (torn), or the seed of the bits that were done (bits).
    """

    operation: int
    mode: Literal["before", "torn", "bits", "after"] = "before"
    argument: int = 0


class VirtualBoard:
    """A board in ``folder``, which keeps its flash between starts. A context manager starts and stops it.

    ``board``: name of its facts. ``bits``: of the VM (None: any); ``vm``: its command line. ``heap``:
    bytes on a 32-bit VM. ``uarts``: {id: terminal}. The rest as in Settings. A folder that has a
    board.json may be used again with ``VirtualBoard.existing``.
    """

    _MODULE = "gasan.boards.virtual"

    def __init__(
        self,
        folder: Path,
        board: str = "virtual",
        *,
        bits: int | None = None,
        vm: tuple[str, ...] = (),
        uarts: Mapping[int, str] | None = None,
        heap: int | None = None,
        air: str | None = None,
        wifi: tuple[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        uid: str = "",
    ) -> None:
        self.folder = folder
        if not uid and (folder / "board.json").is_file():
            uid = Settings.load(folder).uid
        self.settings = Settings(
            board, vm, bits, dict(uarts or {}), heap, air, wifi, dict(env or {}), uid
        ).save(folder)
        self._process: subprocess.Popen[str] | None = None

    @classmethod
    def existing(cls, folder: Path) -> "VirtualBoard":
        """The board that another program has set up or runs. Raises FileNotFoundError."""
        board = cls.__new__(cls)
        board.folder = folder
        board.settings = Settings.load(folder)
        board._process = None
        return board

    def install(self, files: Mapping[str, bytes]) -> None:
        """Make a new flash image with these files; the board must not be running."""
        build_image(self.folder / FLASH, files, self.settings.facts)

    @property
    def console_path(self) -> Path:
        """A name of the console's terminal that stays when the cable is plugged in anew."""
        return self.folder / "console"

    @property
    def image(self) -> Path:
        return self.folder / FLASH

    def start(self, cut: Cut | None = None) -> None:
        """Start the supervisor and power the board on. Raises BoardError."""
        if self._process:
            raise BoardError(f"{self.folder}: the board is started already.")
        command = [sys.executable, "-m", self._MODULE, "--folder", str(self.folder)]
        if cut:
            command += ["--cut", json.dumps(vars(cut))]
        with (self.folder / "supervisor.log").open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C at the terminal is for the program that started it
            )
        assert self._process.stdout
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"ready": False, "error": "it ended at once (supervisor.log)"}
        if not answer["ready"]:
            self.stop()
            raise BoardError(f"{self.folder}: the board does not start: {answer['error']}.")

    def stop(self) -> None:
        """Power off and end the supervisor; nothing is left running. Harmless when it is not running."""
        if self._process is None:
            return
        process, self._process = self._process, None
        assert process.stdin and process.stdout
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> "VirtualBoard":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def status(self) -> dict[str, Any]:
        """What the supervisor knows: power, phase, pid of the VM, boots, starts by kind, counters, heap."""
        return self._ask("status")

    def kill(self, cut: Cut | None = None) -> None:
        """Cut the power, like SIGKILL to the VM, and give it back at once."""
        self._ask("kill", **({"cut": vars(cut)} if cut else {}))

    def off(self) -> None:
        """Cut the power."""
        self._ask("off")

    def on(self, cut: Cut | None = None) -> None:
        """Give the power back, perhaps with a plan to cut it inside a flash operation."""
        self._ask("on", **({"cut": vars(cut)} if cut else {}))

    def reset(self) -> None:
        """Press the reset button."""
        self._ask("reset")

    def unplug(self) -> None:
        """Pull the console's cable; the board keeps its power."""
        self._ask("plug", **{"in": False})

    def plug(self) -> None:
        """Plug the console's cable in again: a new terminal under the same name."""
        self._ask("plug", **{"in": True})

    def set(
        self,
        *,
        wifi: bool | None = None,
        rssi: int | None = None,
        pins: Mapping[int, int | None] | None = None,
        analogue: Mapping[int, int] | None = None,
    ) -> None:
        """Change the outside world: Wi-Fi in range, its strength (in -dBm), levels, voltages."""
        given = {"wifi": wifi, "rssi": rssi, "pins": pins, "analogue": analogue}
        self._ask("set", **{name: value for name, value in given.items() if value is not None})

    def pins(self) -> list[tuple[float, int, int]]:
        """The last pin changes: (monotonic seconds, pin, level)."""
        return [(at, pin, level) for at, pin, level in self._ask("pins")["pins"]]

    def events(self) -> list[dict[str, Any]]:
        """The board's event log."""
        path = self.folder / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait(self, until: Callable[[dict[str, Any]], bool], timeout_s: float = 10) -> dict[str, Any]:
        """Wait until the status is as wanted; the status. Raises BoardError after the timeout."""
        end = time.monotonic() + timeout_s
        while True:
            status = self.status()
            if until(status):
                return status
            if time.monotonic() > end:
                raise BoardError(f"{self.folder}: still not as expected after {timeout_s} s: {status}.")
            time.sleep(0.01)

    def _ask(self, do: str, **request: Any) -> dict[str, Any]:
        try:
            return ask(self.folder, do, **request)
        except CommandError as e:
            raise BoardError(str(e)) from None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gasan.boards.virtual", description="Run a virtual board."
    )
    parser.add_argument("--folder", type=Path, required=True, help="the board's folder, with board.json")
    parser.add_argument(
        "--keep", action="store_true", help="go on when the program that started it has ended"
    )
    parser.add_argument("--cut", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    return supervisor.main(options.folder, options.keep, options.cut)


if __name__ == "__main__":
    sys.exit(main())
