"""The supervisor of one virtual board: everything around the VM that is hardware on a real board.

It holds the console, the watchdog, the reset logic and the power switch, and starts the VM again after every
reset. It is one process with one event loop; commands come over a socket in the board's folder, one JSON
object per line, and what happens is logged there as JSON lines.
"""

import fcntl
import json
import os
import selectors
import signal
import struct
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

from gasan.boards import standins
from gasan.boards.commands import CommandError, Commands
from gasan.boards.console import Console
from gasan.boards.image import blank_image
from gasan.boards.log import EventLog, TextLog
from gasan.boards.process import Process
from gasan.boards.settings import FLASH, Settings
from gasan.boards.vm import VmMissing
from gasan.boards.world import World

__all__ = ["Supervisor", "main"]

_LOOK_S = 0.02
_SAFE_WAIT_S = 0.5
_COUNTERS = struct.Struct("<IIII")
_CUT_MODES = ("before", "torn", "bits", "after")


class Supervisor:
    """``lifeline``: a descriptor whose end of file means that the owner is gone; None: there is no owner."""

    def __init__(self, folder: Path, lifeline: int | None, cut: dict[str, Any] | None = None) -> None:
        self._folder = folder
        self._settings = Settings.load(folder)
        self._facts = self._settings.facts
        self._vm = self._settings.find_vm()
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RuntimeError(f"the board in {folder} is running already") from None
        self._events = EventLog(folder / "events.jsonl")
        self._text = TextLog(folder / "console.log")
        self._standins = standins.compiled()
        self._world = World(folder / "levels")
        if not (folder / FLASH).exists():
            blank_image(folder / FLASH, self._facts)
        self._clear_counters()
        self._standins_heap = standins.heap_used(
            self._vm, self._standins, self._arguments("measure", 1), folder
        )
        self._console = Console(self._facts.console, folder / "console")
        self._process: Process | None = None
        self._power = "off"
        self._phase = ""
        self._cause = 1
        self._starts: Counter[str] = Counter()
        self._pins: deque[tuple[float, int, int]] = deque(maxlen=4096)
        self._heap: dict[str, int] = {}
        self._flash_before: Counter[str] = Counter()
        self._cut = ""
        self._plan_cut(cut)
        self._watchdog_s = 0.0
        self._deadline: float | None = None
        self._interrupt_since: float | None = None
        self._start_at: tuple[float, str] | None = None
        self._next_kind = ""
        self._last_start = 0.0
        self._running = True
        self._selector = selectors.DefaultSelector()
        self._registered: dict[int, Any] = {}
        self._commands = Commands(folder, self._command, self._watch, self._unwatch)
        if lifeline is not None:
            self._watch(lifeline, lambda: self._owner(lifeline))
        wake, self._wake = os.pipe()
        self._watch(wake, lambda: self._owner(wake))

    # -- the loop

    def run(self) -> None:
        """Power on and serve until told to stop."""
        self._schedule("power-on", 0)
        try:
            while self._running:
                self._turn()
        finally:
            self._close()

    def _turn(self) -> None:
        now = time.monotonic()
        if self._start_at and now >= self._start_at[0]:
            self._start(self._start_at[1])
        self._update_watches()
        for key, _ in self._selector.select(self._timeout(now)):
            if key.fd in self._registered:
                key.data()
        now = time.monotonic()
        self._console.flush(now)
        if not self._console.present:
            self._console.look()
        if self._console.held_back:
            self._console.retry(self._process.ring if self._process else None, self._want_interrupt)
        if self._interrupt_since is not None:
            self._try_interrupt(now)
        if self._deadline is not None and now >= self._deadline:
            self._messages()  # a feed may be on its way
            if self._deadline is not None and now >= self._deadline:
                self._event("watchdog", timeout_ms=round(self._watchdog_s * 1000))
                self._end("watchdog")

    def _timeout(self, now: float) -> float | None:
        due = [self._deadline, self._start_at[0] if self._start_at else None]
        if self._console.path and not self._console.present:
            due.append(now + _LOOK_S)
        if self._console.pending or self._console.held_back:
            due.append(now + 0.005)
        if self._interrupt_since is not None:
            due.append(now + 0.001)
        times = [at for at in due if at is not None]
        return max(0.0, min(times) - now) if times else None

    def _watch(self, fd: int, call: Any) -> None:
        self._selector.register(fd, selectors.EVENT_READ, call)
        self._registered[fd] = call

    def _unwatch(self, fd: int) -> None:
        if fd in self._registered:
            self._selector.unregister(fd)
            del self._registered[fd]

    def _update_watches(self) -> None:
        """Watch the terminal while it is open and input may come, the output while there is room."""
        console = self._console
        master = console.fileno()
        watched = master is not None and console.present and not console.held_back
        if master is not None and (master in self._registered) != watched:
            if watched:
                self._watch(master, self._input)
            else:
                self._unwatch(master)
        if self._process:
            receiver = self._process.output.receiver.fileno()
            room = not console.pending
            if (receiver in self._registered) != room:
                if room:
                    self._watch(receiver, self._output)
                else:
                    self._unwatch(receiver)

    # -- the VM

    def _arguments(self, mode: str, cause: int) -> dict[str, object]:
        board = self._facts
        settings = self._settings
        wifi = 0 if "wifi" not in board.capabilities else 2
        name, password = settings.wifi or ("", "")
        return {
            "family": board.family,
            "platform": "linux" if board.family == "virtual" else board.family,
            "machine": board.title,
            "image": FLASH,
            "levels": "levels",
            "count": "count",
            "block": board.flash.block,
            "blocks": board.flash.blocks,
            "page": board.flash.program,
            "uid": settings.uid,
            "freq": board.frequency,
            "cause": cause,
            "wdt_min": board.watchdog.min_ms,
            "wdt_max": board.watchdog.max_ms,
            "epoch": board.clock.epoch,
            "rtc": board.clock.rtc,
            "wifi": wifi,
            "ssid": name,
            "password": password,
            "ble": int("ble" in board.capabilities),
            "mode": mode,
            **{f"uart{number}": path for number, path in settings.uarts.items()},
        }

    def _schedule(self, kind: str, delay_s: float) -> None:
        self._start_at = (time.monotonic() + delay_s, kind)
        self._power = "on"

    def _start(self, kind: str) -> None:
        """Start the VM after a reset of this kind."""
        self._start_at = None
        self._last_start = time.monotonic()
        self._cause = self._facts.reset_cause("soft" if kind == "soft-raw" else kind, self._cause)
        self._starts["soft" if kind == "soft-raw" else kind] += 1
        arguments = self._arguments("raw" if kind == "soft-raw" else "main", self._cause)
        if self._cut:
            arguments["cut"], self._cut = self._cut, ""
        self._clear_counters()
        heap = (self._settings.heap or self._facts.heap) * (self._vm.bits // 32)
        env = dict(self._settings.env)
        if self._settings.air:
            env["GASAN_AIR"] = self._settings.air
        self._console.interrupt = 3
        self._next_kind = ""
        self._phase = "boot"
        # The allocator's tables take 3 bits for each block of 4 words, of the stand-ins' share, too.
        self._process = Process(
            self._vm,
            self._standins,
            arguments,
            heap + self._standins_heap * 131 // 128,
            self._facts.console.ring,
            self._folder,
            env,
        )
        self._watch(self._process.messages, self._messages)
        self._watch(self._process.ended, self._ended)
        self._event("start", kind=kind, cause=self._cause, pid=self._process.pid, boots=self._starts.total())

    def _end(self, kind: str) -> None:
        """Kill the VM; ``kind`` is the reset that follows."""
        self._next_kind = kind
        if self._process:
            self._process.kill()
            self._ended()

    def _ended(self) -> None:
        process = self._process
        if process is None:
            return
        for words in process.told():
            reset = self._message(words)
            self._next_kind = self._next_kind or reset
        while said := process.output.take():
            self._say(*said)
        status = process.reap()
        flash = self._flash_counters()
        self._flash_before.update(flash)
        for fd in (process.messages, process.ended, process.output.receiver.fileno()):
            self._unwatch(fd)
        process.close()
        self._process = None
        self._interrupt_since = None
        kind, self._next_kind = self._next_kind, ""
        if kind not in ("soft", "soft-raw"):
            self._deadline = None  # the watchdog runs on through a soft reset
        self._event("end", kind=kind, status=status, flash=flash)
        if not self._running or kind == "off":
            self._power = "off"
        elif kind == "bootloader":
            self._power = "bootloader"
        elif kind.startswith("deepsleep"):
            self._schedule("deepsleep", int(kind.split()[1]) / 1000)
        elif kind:
            self._schedule(kind, max(0.0, self._last_start + 0.1 - time.monotonic()))
        else:
            # Killed from outside is a power cut; any other end is a crash of the VM, as a hard fault is.
            cut = status == -signal.SIGKILL
            tired = not cut and time.monotonic() - self._last_start < 2  # it may crash at every start
            self._schedule("power-on" if cut else "reset", 1.0 if tired else 0.05)

    def _messages(self) -> None:
        """Do what the VM has told (standins/control.py)."""
        if self._process:
            for words in self._process.told():
                self._obey(words)

    def _obey(self, words: list[str]) -> None:
        if reset := self._message(words):
            if reset in ("soft", "soft-raw"):
                self._next_kind = reset  # the VM tidies up and ends by itself
            else:
                self._end(reset)

    def _message(self, words: list[str]) -> str:
        """Take note of a message; the kind of reset that it asks for, or nothing."""
        match words:
            case ["F"]:
                if self._deadline is not None:
                    self._deadline = time.monotonic() + self._watchdog_s
            case ["W", timeout]:
                self._watchdog_s = int(timeout) / 1000
                self._deadline = time.monotonic() + self._watchdog_s
            case ["K", char]:
                self._console.interrupt = int(char)
                if self._console.interrupt < 0:
                    self._interrupt_since = None
            case ["P", pin, level]:
                self._pins.append((time.monotonic(), int(pin), int(level)))
            case ["M", phase]:
                self._phase = phase
                self._event("phase", phase=phase)
            case ["H", used, total]:
                self._heap = {"standins": self._standins_heap, "at_start": int(used), "total": int(total)}
                self._event("heap", **self._heap)
            case ["C"]:
                self._event("cut", flash=self._flash_counters())
                return "power-on"
            case ["R", *kind]:
                return " ".join(kind)
        return ""

    def _clear_counters(self) -> None:
        (self._folder / "count").write_bytes(bytes(_COUNTERS.size))

    def _flash_counters(self) -> dict[str, int]:
        data = (self._folder / "count").read_bytes()
        programs, erases, overwrites, _ = _COUNTERS.unpack(data[: _COUNTERS.size])
        return {"programs": programs, "erases": erases, "overwrites": overwrites}

    def _flash_total(self) -> dict[str, int]:
        """The counters of all starts."""
        now = self._flash_counters() if self._process else {}
        return {
            name: self._flash_before[name] + now.get(name, 0) for name in ("programs", "erases", "overwrites")
        }

    # -- the console

    def _input(self) -> None:
        self._messages()  # what the VM said before comes first: it may have changed the interrupt byte
        self._console.read(self._process.ring if self._process else None, self._want_interrupt)

    def _output(self) -> None:
        while self._process and not self._console.pending and (said := self._process.output.take()):
            self._say(*said)

    def _say(self, data: bytes, raw: bool) -> None:
        if not raw:
            data = data.replace(b"\n", b"\r\n")
            self._text.write(data)
        self._console.write(data, time.monotonic())

    def _want_interrupt(self) -> None:
        if self._process and self._interrupt_since is None:
            self._interrupt_since = time.monotonic()

    def _try_interrupt(self, now: float) -> None:
        """Raise KeyboardInterrupt once the VM waits, as a board does at a safe point of the interpreter.

        The VM would raise it anywhere, also inside its allocator or littlefs. A program that does not wait
        for half a second is interrupted wherever it is.
        """
        process = self._process
        if process is None or self._interrupt_since is None:
            return
        with process.stopped() as alive:
            told = list(process.told())  # acted upon when the VM runs again
            tired = now - self._interrupt_since > _SAFE_WAIT_S
            if alive and ["K", "-1"] not in told and (process.waits() or tired):
                self._interrupt_since = None
                process.interrupt()
        for words in told:
            self._obey(words)

    # -- commands

    def _command(self, request: dict[str, Any]) -> dict[str, Any]:
        do = request.pop("do")
        if do == "status":
            return self._status()
        if do == "pins":
            return {"pins": list(self._pins)}
        if do == "stop":
            self._running = False
        elif do == "off":
            self._start_at = None
            self._end("off")
            self._power = "off"
        elif do == "on":
            if self._process or self._start_at:
                raise CommandError("the board is on")
            self._plan_cut(request.get("cut"))
            self._schedule("power-on", 0)
        elif do in ("kill", "reset"):  # the reset pin looks like power-on to the chips
            self._plan_cut(request.get("cut"))
            if self._process:
                self._end("power-on")
            else:
                self._schedule("power-on", 0)
        elif do == "plug":
            self._unwatch(self._console.fileno() or -1)
            if request["in"]:
                self._console.plug()
            else:
                self._console.unplug()
            self._event("plug" if request["in"] else "unplug")
        elif do == "set":
            self._world.change(request)
        else:
            raise CommandError(f"there is no command {do}")
        return {}

    def _plan_cut(self, cut: dict[str, Any] | None) -> None:
        if cut:
            mode = _CUT_MODES.index(cut["mode"])
            self._cut = f"{int(cut['operation'])}:{mode}:{int(cut.get('argument', 0))}"

    def _status(self) -> dict[str, Any]:
        return {
            "power": self._power,
            "phase": self._phase,
            "pid": self._process.pid if self._process else None,
            "vm": str(self._vm),
            "boots": self._starts.total(),
            "starts": dict(self._starts),
            "cause": self._cause,
            "watchdog": self._deadline is not None,
            "console": {
                "path": self._console.path,
                "present": self._console.present,
                **self._console.counters,
            },
            "flash": self._flash_counters(),
            "flash_total": self._flash_total(),
            "heap": self._heap,
        }

    def _owner(self, lifeline: int) -> None:
        """Something came from the owner's end; nothing means that it is gone."""
        if not os.read(lifeline, 4096):
            self._running = False

    def _event(self, event: str, **data: Any) -> None:
        self._events.event(event, data)

    def stop(self) -> None:
        """Leave the loop soon; may be called from a signal handler."""
        if self._wake >= 0:
            os.close(self._wake)  # which wakes the loop
            self._wake = -1

    def _close(self) -> None:
        self._running = False
        if self._process:
            self._process.kill()
            self._ended()
        self._event("stop")
        self._console.close()
        self._commands.close()
        self._selector.close()
        self._events.close()
        self._text.close()
        self._lock.close()


def main(folder: Path, keep: bool, cut: dict[str, Any] | None) -> int:
    """Run the supervisor of the board in ``folder``; tells on stdout when it is ready, or why it is not."""
    try:
        supervisor = Supervisor(folder, None if keep else sys.stdin.fileno(), cut)
    except (OSError, ValueError, KeyError, RuntimeError, VmMissing) as e:
        print(json.dumps({"ready": False, "error": str(e)}), flush=True)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    print(json.dumps({"ready": True, "pid": os.getpid()}), flush=True)
    supervisor.run()
    return 0
