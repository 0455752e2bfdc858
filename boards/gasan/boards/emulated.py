"""The emulated RP2040 as a board of its own, at the pace of the wall clock, with the controls of a virtual
board.

``python -m gasan.boards.emulated --folder DIR`` runs the board that DIR/board.json describes;
``EmulatedBoard`` does so in a process of its own that ends with the program that started it. For tests in
simulated time see ``gasan.boards.emulator``.
"""

import argparse
import dataclasses
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
import tty
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gasan.boards.commands import CommandError, Commands
from gasan.boards.console import Console
from gasan.boards.emulator import Emulator
from gasan.boards.rp2040 import Rp2040Missing
from gasan.boards.settings import FLASH, Settings
from gasan.boards.virtual import BoardError, Cut, VirtualBoard

__all__ = ["EmulatedBoard"]

_TURN_S = 0.02
_LOOK_S = 0.1
_FOR_EVER_MS = 1 << 40


class EmulatedBoard(VirtualBoard):
    """An emulated RP2040 in ``folder``, which keeps its flash between starts.

    ``uarts``: {id: pseudo-terminal}. The USB port is ``console_path``. Of a virtual board's controls it has
    all but Wi-Fi; the event log counts simulated nanoseconds.
    """

    _MODULE = "gasan.boards.emulated"

    def __init__(
        self,
        folder: Path,
        board: str = "rpi_pico",
        *,
        uarts: Mapping[int, str] | None = None,
        uid: str = "",
    ) -> None:
        super().__init__(folder, board, uarts=uarts, uid=uid)


class _Socket:
    """The emulator's USB port as the console's input: takes what fits."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def put(self, data: bytes) -> int:
        try:
            return self._line.send(data)
        except BlockingIOError:
            return 0

    def clear(self) -> None:
        """Nothing is cleared here: an interrupt byte is the firmware's to act on."""


class _Supervisor:
    """Holds the USB cable and the power switch, and starts the emulator again when it was killed."""

    def __init__(self, folder: Path, lifeline: int | None, cut: dict[str, Any] | None) -> None:
        self._folder = folder
        self._settings = Settings.load(folder)
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RuntimeError(f"the board in {folder} is running already") from None
        self._uarts = {number: _terminal(path) for number, path in self._settings.uarts.items()}
        # The firmware itself gives up a host that does not read; what it has given away waits.
        facts = dataclasses.replace(self._settings.facts.console, stall_ms=_FOR_EVER_MS)
        self._console = Console(facts, folder / "console")
        self._console.interrupt = -1
        self._present = False
        self._wanted = "on"
        self._starts = 0
        self._emulator: Emulator
        self._line: socket.socket
        self._ring: _Socket
        self._ports: set[int] = set()
        self._start(Cut(**cut) if cut else None)
        self._running = True
        self._looked = 0.0
        self._selector = selectors.DefaultSelector()
        self._commands = Commands(folder, self._do, self._watch, self._unwatch)
        if lifeline is not None:
            self._watch(lifeline, lambda: self._owner(lifeline))

    def run(self) -> None:
        try:
            while self._running:
                self._turn()
        finally:
            self._close()

    def stop(self) -> None:
        """Leave the loop soon; may be called from a signal handler."""
        self._running = False

    def _turn(self) -> None:
        console = self._console
        watched: dict[int, Callable[[], None]] = {}
        master = console.fileno()
        if master is not None and console.present and not console.held_back:
            watched[master] = self._typed
        if not console.pending:
            watched[self._line.fileno()] = self._said
        for fd in self._ports - set(watched):
            self._unwatch(fd)
        for fd in set(watched) - self._ports:
            self._watch(fd, watched[fd])
        self._ports = set(watched)
        for key, _ in self._selector.select(_TURN_S):
            if key.fd in self._selector.get_map():
                key.data()
        now = time.monotonic()
        console.flush(now)
        if console.held_back:
            console.retry(self._ring, lambda: None)
        if not console.present:
            console.look()
        if console.present != self._present:
            self._present = console.present
            self._ask("host", open=self._present)
        if now - self._looked >= _LOOK_S:
            self._looked = now
            if self._ask("status").get("power") == "off" and self._wanted == "on":
                self._ask("on")  # the power was cut inside a flash operation

    def _watch(self, fd: int, call: Callable[[], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, call)

    def _unwatch(self, fd: int) -> None:
        self._selector.unregister(fd)

    def _owner(self, lifeline: int) -> None:
        """Something came from the owner's end; nothing means that it is gone."""
        if not os.read(lifeline, 4096):
            self._running = False

    def _typed(self) -> None:
        self._console.read(self._ring, lambda: None)

    def _said(self) -> None:
        try:
            data = self._line.recv(4096)
        except BlockingIOError:
            return
        if data:
            self._console.write(data, time.monotonic())
        else:
            self._again()

    def _start(self, cut: Cut | None) -> None:
        self._line, theirs = socket.socketpair()
        self._ring = _Socket(self._line)
        try:
            self._line.setblocking(False)
            theirs.setblocking(False)
            self._emulator = Emulator(
                self._folder / FLASH,
                board=self._settings.board,
                uid=bytes.fromhex(self._settings.uid),
                log=self._folder / "events.jsonl",
                usb=theirs.fileno(),
                uarts=self._uarts,
            )
        finally:
            theirs.close()
        self._emulator.on(cut)
        self._emulator.ask("host", open=self._present)
        self._emulator.ask("pace", on=True)
        self._starts += 1

    def _again(self) -> None:
        """Somebody has killed the emulator: a power cut, after which it starts again."""
        self._emulator.close()
        if self._line.fileno() in self._ports:
            self._unwatch(self._line.fileno())
            self._ports.discard(self._line.fileno())
        self._line.close()
        self._start(None)
        if self._wanted == "off":
            self._ask("off")

    def _ask(self, do: str, **request: Any) -> dict[str, Any]:
        try:
            return self._emulator.ask(do, **request)
        except BoardError:
            if self._emulator.alive:
                raise
            self._again()
            return {}

    # -- commands

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._done(request)
        except BoardError as e:
            raise CommandError(str(e).rstrip(".")) from None

    def _done(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"do": "status"}:
                return self._status()
            case {"do": "kill"}:
                self._wanted = "on"
                self._ask("off")
                self._ask("on", cut=request.get("cut"))
            case {"do": "off"}:
                self._wanted = "off"
                self._ask("off")
            case {"do": "on"}:
                self._wanted = "on"
                self._ask("on", cut=request.get("cut"))
            case {"do": "reset"}:
                self._ask("reset")
            case {"do": "plug", "in": bool(plugged)}:
                self._ask("plug", **{"in": plugged})
                if plugged:
                    self._console.plug()
                else:
                    self._forget_terminal()
                    self._console.unplug()
            case {"do": "set", **levels} if set(levels) <= {"pins", "analogue"}:
                self._ask("pins", levels=levels.get("pins", {}))
                self._ask("analogue", values=levels.get("analogue", {}))
            case _:
                raise CommandError(f"an emulated RP2040 cannot do this: {json.dumps(request)}")
        return {}

    def _forget_terminal(self) -> None:
        master = self._console.fileno()
        if master is not None and master in self._ports:
            self._unwatch(master)
            self._ports.discard(master)

    def _status(self) -> dict[str, Any]:
        status = self._ask("status")
        return {
            **status,
            "pid": self._emulator.pid,
            "phase": "main" if status.get("power") == "on" else "",
            "emulator_starts": self._starts,
            "console": {
                "path": self._console.path,
                "present": self._console.present,
                **self._console.counters,
            },
        }

    def _close(self) -> None:
        self._emulator.close()
        self._line.close()
        self._console.close()
        self._commands.close()
        self._selector.close()
        for fd in self._uarts.values():
            os.close(fd)
        self._lock.close()


def _terminal(path: str) -> int:
    """A pseudo-terminal, raw and non-blocking."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(fd)
    return fd


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gasan.boards.emulated", description="Run an emulated RP2040."
    )
    parser.add_argument("--folder", type=Path, required=True, help="the board's folder, with board.json")
    parser.add_argument(
        "--keep", action="store_true", help="go on when the program that started it has ended"
    )
    parser.add_argument("--cut", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    lifeline = None if options.keep else sys.stdin.fileno()
    try:
        supervisor = _Supervisor(options.folder, lifeline, options.cut)
    except (OSError, ValueError, KeyError, RuntimeError, BoardError, Rp2040Missing) as e:
        print(json.dumps({"ready": False, "error": str(e).rstrip(".")}), flush=True)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    print(json.dumps({"ready": True, "pid": os.getpid()}), flush=True)
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
