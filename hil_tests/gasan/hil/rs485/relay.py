"""The bus between two ptys, or serial ports, in a process of its own and in real time.

    python -m gasan.hil.rs485 --baudrate 9600 --units 1,2

prints one line of JSON with the paths of the master's and the devices' pty and runs until its standard input
closes, so that it never outlives whoever started it. Lines on its standard input: ``stats``, ``served``,
``injected``; each is answered by one line of JSON.
"""

import argparse
import ctypes
import dataclasses
import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gasan.hil.rs485.bus import MASTER, OUTSIDE, Bus, Delivery, Totals
from gasan.hil.rs485.ends import End, PortEnd, PtyEnd
from gasan.hil.rs485.faults import Fault, FaultPlan, Injection, Kind
from gasan.hil.rs485.line import Line
from gasan.hil.rs485.protocol_relay import settings
from gasan.hil.rs485.responder import Responder, Served
from gasan.hil.rs485.uart import heard_by_adapter, heard_by_device

__all__ = ["Relay", "RelayError", "Stats", "ahead", "main"]

# At high speed bytes are handed over in lumps of this time, as by a UART's FIFO; the end of a frame at once.
_LUMP_NS = 500_000
_SPIN_NS = 150_000  # waits shorter than this are spun, since a sleeping process wakes that late
_START_S = 20.0


class RelayError(Exception):
    """The relay's process did not start or has ended."""


@dataclass(frozen=True)
class Stats:
    """The totals of the line, and how late the relay handed the ends of frames over, in microseconds."""

    totals: Totals
    late_mean_us: float
    late_p99_us: float
    late_max_us: float


class _Lateness:
    """How late the ends of frames were handed over, by microsecond."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, late_ns: int) -> None:
        self._counts[late_ns // 1000] += 1

    def figures(self) -> dict[str, float]:
        """Mean, 99th percentile and maximum; 0 when nothing was handed over."""
        total = sum(self._counts.values())
        if not total:
            return {"late_mean_us": 0, "late_p99_us": 0, "late_max_us": 0}
        seen, p99 = 0, 0
        for late in sorted(self._counts):
            seen += self._counts[late]
            p99 = late
            if seen >= 0.99 * total:
                break
        mean = sum(late * count for late, count in self._counts.items()) / total
        return {"late_mean_us": round(mean, 1), "late_p99_us": p99, "late_max_us": max(self._counts)}


class _Loop:
    """Runs a bus in real time between two ends; an empty port is a pty."""

    def __init__(self, bus: Bus, settings_matter: bool = False, ports: tuple[str, str] = ("", "")) -> None:
        self.bus = bus
        self.lateness = _Lateness()
        self._settings_matter = settings_matter
        self._ends: list[End] = [PortEnd(port, bus.line) if port else PtyEnd() for port in ports]
        self.paths = [end.path for end in self._ends]

    def run(self) -> None:
        """Until standard input closes."""
        commands = b""
        while True:
            now = time.monotonic_ns()
            self._deliver(self.bus.run(now))
            due = self.bus.next_time(_LUMP_NS)
            due = min(
                (one for one in (due, *(end.due for end in self._ends)) if one is not None), default=None
            )
            wait = None if due is None else max(0, due - time.monotonic_ns() - _SPIN_NS) / 1e9
            ready, _, _ = select.select([*(end.fd for end in self._ends), 0], [], [], wait)
            now = time.monotonic_ns()
            for station, end in enumerate(self._ends):
                data = end.frame(now, end.fd in ready)
                if data:
                    # Bytes that passed before these must be on their way first.
                    self._deliver(self.bus.run(now))
                    if station == MASTER and self._settings_matter:
                        adapter = settings(end.user)
                        data = b"" if adapter is None else heard_by_device(data, adapter, self.bus.line)
                    self.bus.send(station, data, now)
            if 0 in ready:
                data = os.read(0, 4096)
                if not data:
                    return
                *lines, commands = (commands + data).split(b"\n")
                for line in lines:
                    print(json.dumps(self._answer(line.decode())), flush=True)

    def _deliver(self, deliveries: list[Delivery]) -> None:
        for station in (MASTER, OUTSIDE):
            mine = [one for one in deliveries if one.station == station]
            if not mine:
                continue
            data = bytes(one.byte for one in mine)
            if station == MASTER and self._settings_matter:
                adapter = settings(self._ends[MASTER].user)
                data = b"" if adapter is None else heard_by_adapter(data, self.bus.line, adapter)
            self._ends[station].send(data, mine[-1].last)
            now = time.monotonic_ns()
            for one in mine:
                if one.last:
                    self.lateness.add(now - one.time)

    def _answer(self, command: str) -> Any:
        if command == "served":
            return [] if self.bus.responder is None else self.bus.responder.served
        if command == "injected":
            return [dataclasses.astuple(one) for one in (self.bus.faults.injected if self.bus.faults else ())]
        return {"totals": dataclasses.asdict(self.bus.totals), **self.lateness.figures()}


class Relay:
    """A relay in a process of its own; a context manager.

    ``master`` and ``devices`` are the paths of the two ptys. With master_port or devices_port (anything that
    pyserial opens and that has a file descriptor) that side is a real line, on which the relay plays the
    other side through an adapter: a board under test as the master, real machines as the devices, faults in
    between. Raises RelayError when the process is not there, or a port cannot be opened.
    settings_matter: the master's pty must be set to the line's baud rate and parity (``relay://`` ports, see
    `protocol_relay`); at other settings either side hears what a UART would (see `uart`), in the line's time.
    """

    def __init__(
        self,
        line: Line,
        *,
        faults: Iterable[Fault] = (),
        seed: int = 0,
        responder: Responder | None = None,
        settings_matter: bool = False,
        master_port: str = "",
        devices_port: str = "",
    ) -> None:
        self.line = line
        self.master = ""
        self.devices = ""
        self._setup = {
            "line": dataclasses.asdict(line),
            "faults": [{**dataclasses.asdict(fault), "frames": sorted(fault.frames)} for fault in faults],
            "seed": seed,
            "settings_matter": settings_matter,
            "ports": [master_port, devices_port],
            "responder": None
            if responder is None
            else {
                "units": list(responder.units),
                "limit": responder.limit,
                "turnaround_ms": list(responder.turnaround_ms.items()),
                "refuses": list(responder.refuses.items()),
            },
        }
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Start the process; returns when the ptys are there."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gasan.hil.rs485", "--json", json.dumps(self._setup)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C at the terminal is for whoever started it
        )
        ready = self._read()
        if "error" in ready:
            self.stop()
            raise RelayError(ready["error"])
        self.master, self.devices = ready["master"], ready["devices"]
        return self

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def stats(self) -> Stats:
        """Totals and lateness since the start."""
        answer = self._ask("stats")
        return Stats(Totals(**answer.pop("totals")), **answer)

    def served(self) -> list[Served]:
        """What the responder has answered; times are ``time.monotonic_ns()``."""
        return [Served(*one) for one in self._ask("served")]

    def injected(self) -> list[Injection]:
        """The faults that were injected."""
        return [
            Injection(direction, frame, Kind(kind), detail)
            for direction, frame, kind, detail in self._ask("injected")
        ]

    def _ask(self, command: str) -> Any:
        if self._process is None or self._process.stdin is None:
            raise RelayError("The relay is not running; start it first.")
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RelayError("The relay's process has ended; its standard error says why.") from None
        return self._read()

    def _read(self) -> Any:
        assert self._process is not None and self._process.stdout is not None
        if select.select([self._process.stdout], [], [], _START_S)[0]:
            line = self._process.stdout.readline()
            if line:
                return json.loads(line)
        raise RelayError("The relay's process has ended or hangs; its standard error says why.")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _bus(setup: dict[str, Any]) -> Bus:
    faults = [
        Fault(**{**one, "kind": Kind(one["kind"]), "frames": frozenset(one["frames"])})
        for one in setup["faults"]
    ]
    responder = setup["responder"]
    return Bus(
        Line(**setup["line"]),
        FaultPlan.of(setup["seed"], faults) if faults else None,
        None
        if responder is None
        else Responder(
            responder["units"],
            responder["limit"],
            dict(responder["turnaround_ms"]),
            dict(responder["refuses"]),
        ),
    )


def ahead(priority: int) -> bool:
    """Let this thread, and what it starts, go before all usual processes; False where that is not allowed."""
    if not hasattr(os, "sched_setscheduler") or (os.cpu_count() or 1) < 2:
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        return False
    return True


def _be_on_time() -> None:
    """Have the kernel wake this process on time: a line waits for no other process.

    Linux groups wake-ups within 50 us by default, and lets whoever runs finish a slice of some milliseconds
    first; the latter can be changed by root only.
    """
    if Path("/proc/self/timerslack_ns").exists():
        ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK
    ahead(3)
    gc.freeze()
    gc.disable()  # nothing here makes cycles


def main(argv: list[str] | None = None) -> None:
    """Run a relay until standard input closes."""
    parser = argparse.ArgumentParser(
        prog="python -m gasan.hil.rs485", description="An RS-485 line between two ptys."
    )
    parser.add_argument("--baudrate", type=int, default=9600)
    parser.add_argument("--parity", choices=("none", "even", "odd"), default="none")
    parser.add_argument("--stop", type=int, choices=(1, 2), default=1)
    parser.add_argument("--units", default="", help="units that a built-in responder plays, e.g. 1,2")
    parser.add_argument("--settings-matter", action="store_true", help="other settings hear garbage")
    parser.add_argument("--master-port", default="", help="a serial port instead of the master's pty")
    parser.add_argument("--devices-port", default="", help="a serial port instead of the devices' pty")
    parser.add_argument("--json", default="", help="the whole setup as JSON, instead of the options above")
    options = parser.parse_args(argv)
    setup = json.loads(options.json or "null") or {
        "line": {"baudrate": options.baudrate, "parity": options.parity, "stop": options.stop},
        "faults": [],
        "seed": 0,
        "settings_matter": options.settings_matter,
        "ports": [options.master_port, options.devices_port],
        "responder": {
            "units": [int(unit) for unit in options.units.split(",")],
            "limit": 0x8000,
            "turnaround_ms": [],
            "refuses": [],
        }
        if options.units
        else None,
    }
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        loop = _Loop(_bus(setup), setup["settings_matter"], tuple(setup["ports"]))
    except (OSError, ValueError) as error:  # pyserial's errors are OSErrors
        print(json.dumps({"error": str(error)}), flush=True)
        return
    print(json.dumps({"master": loop.paths[MASTER], "devices": loop.paths[OUTSIDE]}), flush=True)
    _be_on_time()
    loop.run()
