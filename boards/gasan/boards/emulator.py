"""The emulated RP2040 as a process, driven step by step: simulated time passes only while it is told to run.

Two runs with the same seed, image and commands are equal to the instruction. A board that runs by itself, at
the pace of the wall clock, is ``gasan.boards.emulated``.
"""

import base64
import contextlib
import json
import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from gasan.boards import facts, rp2040
from gasan.boards.virtual import BoardError, Cut

__all__ = ["Emulator", "Ran"]

_MAIN = rp2040.FOLDER / "harness" / "main.mjs"
_LOG_LIMIT = 16 << 20
_WALL_S = 120.0
_CHUNK_MS = 1000.0


@dataclass(frozen=True)
class Ran:
    """What a run came to. Times are simulated; ``usb`` is what the board said meanwhile.

    ``reason``: time (as long as asked), usb, uart, reset, cut, off, or wall (the wall clock's limit).
    ``instructions`` and ``cycles`` count from the start of the emulator, ``operations`` of the flash from the
    power-on.
    """

    now_ns: int
    reason: str
    usb: bytes
    power: str
    instructions: int
    cycles: int
    operations: int


class Emulator:
    """One board. A context manager ends the process; the board is off until ``on``.

    image: the file of the file system, made (erased) when it is not there. seed: of all that is random on the
    board; fresh by default, since boots must not repeat their ids. uid: the flash chip's unique id. log:
    file for the events, bounded by ``log_limit`` bytes. journal: file for what each flash operation leaves
    (boards/rp2040/harness/flash.mjs).
    usb, uarts: descriptors of a socket and of terminals, for a board that is paced.
    """

    def __init__(
        self,
        image: Path,
        *,
        board: str = "rpi_pico",
        seed: str | None = None,
        uid: bytes | None = None,
        log: Path | None = None,
        log_limit: int = _LOG_LIMIT,
        journal: Path | None = None,
        usb: int | None = None,
        uarts: Mapping[int, int] | None = None,
    ) -> None:
        """Raises rp2040.Rp2040Missing, BoardError."""
        built = rp2040.built()
        self.image = image
        self.now_ns = 0
        self.seed = os.urandom(16).hex() if seed is None else seed
        uarts = dict(uarts or {})
        fds = [*(() if usb is None else (usb,)), *uarts.values()]
        self._process = subprocess.Popen(
            ["node", str(_MAIN)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=fds,
            text=True,
            start_new_session=True,  # Ctrl-C at the terminal is for the program that started it
        )
        flash = facts.load(board).flash
        try:
            self._say(
                {
                    "firmware": built.firmware,
                    "bootrom": built.bootrom,
                    "image": str(image),
                    "flash": {"size": flash.size, "fs_offset": flash.fs_offset, "fs_size": flash.fs_size},
                    "seed": self.seed,
                    "uid": (uid or bytes(8)).hex(),
                    "log": None if log is None else str(log),
                    "log_limit": log_limit,
                    "journal": None if journal is None else str(journal),
                    "usb": usb,
                    "uarts": uarts,
                }
            )
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False when the process has ended."""
        return self._process.poll() is None

    @property
    def now_ms(self) -> float:
        """Simulated milliseconds since the start of the emulator."""
        return self.now_ns / 1e6

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """One command of the harness (boards/rp2040/harness/commands.mjs). Raises BoardError."""
        return self._say({"do": do, **request})

    def on(self, cut: Cut | None = None) -> None:
        """Give the power, perhaps with a plan to cut it at a flash operation (counted from now)."""
        self.ask("on", **({"cut": vars(cut)} if cut else {}))

    def off(self) -> None:
        """Cut the power."""
        self.ask("off")

    def run(
        self, ms: float, stops: Collection[str] = (), *, usb: bytes = b"", wall_s: float = _WALL_S
    ) -> Ran:
        """Let ``ms`` of simulated time pass, or less when one of ``stops`` comes first.

        usb: sent to the board at the start. Raises BoardError when the chip faults or the wall clock's limit
        is reached.
        """
        answer = self.ask(
            "run",
            until_ns=self.now_ns + round(ms * 1e6),
            stops=list(stops),
            usb=base64.b64encode(usb).decode() if usb else "",
            wall_ms=wall_s * 1000,
        )
        self.now_ns = answer["now"]
        if answer["reason"] == "fault":
            raise BoardError(f"{self.image}: {answer['fault']}.")
        if answer["reason"] == "wall":
            raise BoardError(f"{self.image}: still running after {wall_s} s; {self.now_ms:.0f} ms simulated.")
        return Ran(
            self.now_ns,
            answer["reason"],
            base64.b64decode(answer["usb"]),
            answer["power"],
            answer["instructions"],
            answer["cycles"],
            answer["operations"],
        )

    def boot(self, ms: float = 2000, cut: Cut | None = None) -> None:
        """Give the power and run until the USB port is there. Raises BoardError after ``ms``."""
        self.on(cut)
        if self.run(ms, ("usb-up", "off", "cut")).reason != "usb-up":
            raise BoardError(f"{self.image}: no USB port within {ms:.0f} simulated ms.")

    def expect(self, text: bytes, ms: float, *, usb: bytes = b"", stops: Sequence[str] = ()) -> bytes:
        """Run until the board has said ``text``; all that it said. Raises BoardError after ``ms``."""
        said = b""
        end = self.now_ns + round(ms * 1e6)
        while text not in said:
            left = (end - self.now_ns) / 1e6
            if left <= 0:
                tail = said[-400:].decode(errors="replace")
                raise BoardError(f"{self.image}: no {text!r} within {ms:.0f} simulated ms, but {tail!r}.")
            ran = self.run(min(left, _CHUNK_MS), ("usb", "off", "cut", *stops), usb=usb)
            usb = b""
            said += ran.usb
            if ran.reason in ("off", "cut") or ran.reason in stops:
                raise BoardError(f"{self.image}: {ran.reason} before {text!r}; it said {said[-400:]!r}.")
        return said

    def status(self) -> dict[str, Any]:
        """Counters and state (boards/rp2040/harness/commands.mjs)."""
        return self.ask("status")

    def close(self) -> None:
        """End the process; the image is what the flash holds at that moment."""
        process = self._process
        assert process.stdin and process.stdout
        try:
            process.stdin.close()
            process.wait(timeout=5)
        except (subprocess.TimeoutExpired, OSError):
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> "Emulator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _say(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)  # its pipes are closed before it is gone
            raise BoardError(f"{self.image}: the emulator has ended (status {self._process.poll()}).")
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise BoardError(f"{self.image}: {answer['error']}.")
        return answer
