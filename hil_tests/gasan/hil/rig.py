"""A whole rig of real processes: counting equipment, a node on a virtual board, a gateway. Each can be hurt.

Every reading is a count that the equipment made and logged, so that what the store holds can be compared with
what was served, one by one (`compare`).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gasan.boards.image import firmware_files
from gasan.boards.virtual import VirtualBoard
from gasan.hil.served import read_served
from gasan.host.account import Account, account
from gasan.host.compile import compile_site
from gasan.host.control_client import ask_once
from gasan.host.errors import TryAgainError
from gasan.host.keys import KeyStore
from gasan.host.site import load
from gasan.ota.slots import pack

__all__ = ["Comparison", "Rig", "compare"]

_UNDER_WAY_S = 0.3
"""A request that is on the line when the node dies is still served, on a busy machine later."""

NODE = "rig"
_SITE = """\
[site]
name = "rig"

[[node]]
name = "{node}"
board = "virtual"
link = "serial:{console}"

[node.batch]
max_age = "{max_age_ms}ms"

[[node.bus]]
name = "line"
type = "modbus-rtu"
port = "{rtu_port}"
baudrate = {baudrate}

[[node.bus.device]]
name = "rtu-1"
unit = 1
profile = "sim/counter"
period = "{period_ms}ms"

[[node.bus.device]]
name = "rtu-2"
unit = 2
profile = "sim/counter"
period = "{period_ms}ms"

[[node.bus]]
name = "lan"
type = "modbus-tcp"
host = "127.0.0.1"
port = {tcp_port}

[[node.bus.device]]
name = "tcp-1"
unit = 1
profile = "sim/counter"
period = "{period_ms}ms"
"""
_WITH_WRONG_CLOCK = """\
import sys, time
from pathlib import Path
ahead, right = Path(sys.argv.pop(1)), time.time_ns
time.time_ns = lambda: right() + int(ahead.read_text()) * 1_000_000
from gasan.host.cli import main
sys.exit(main())
"""
#: site file's device -> (bus, unit) of the equipment's log
DEVICES = {"rtu-1": ("rtu", 1), "rtu-2": ("rtu", 2), "tcp-1": ("tcp", 1)}


class Rig:
    """Everything in ``folder``. A context manager; all processes end with it.

    period_ms: of each of the three devices, two channels each. max_age_ms: of a batch. bits: of its VM.
    """

    def __init__(
        self, folder: Path, *, period_ms: int = 200, max_age_ms: int = 400, bits: int | None = None
    ) -> None:
        self.folder = folder
        self.period_ms = period_ms
        self.max_age_ms = max_age_ms
        self.state = folder / "state"
        self.db = folder / "rig.sqlite"
        self.site = folder / "site.toml"
        self.board: VirtualBoard
        self.served: Path
        self._bits = bits
        self._ahead: Path | None = None
        self._stack = contextlib.ExitStack()
        self._gateway: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Rig:
        with contextlib.ExitStack() as self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        equipment = subprocess.Popen(
            [
                *(sys.executable, "-m", "gasan.hil.demo_equipment", "--counter"),
                *("--baudrate", "38400", "--dir", self.folder / "equipment"),
            ],
            stdout=subprocess.PIPE,
        )
        self._stack.callback(_end, equipment)
        assert equipment.stdout is not None
        ready = json.loads(equipment.stdout.readline())
        self.served = Path(ready["served"])
        self.site.write_text(
            _SITE.format(
                node=NODE,
                console=self.folder / "board" / "console",
                max_age_ms=self.max_age_ms,
                period_ms=self.period_ms,
                rtu_port=ready["rtu_port"],
                baudrate=ready["baudrate"],
                tcp_port=ready["tcp_port"],
            )
        )
        (node,) = compile_site(load(self.site))
        key = KeyStore(self.state / "keys").obtain(NODE)
        self.board = VirtualBoard(self.folder / "board", "virtual", bits=self._bits, uarts=node.uarts)
        self.board.install(firmware_files() | {"/secret/key": key.encode(), "/cfg/a": pack(node.config)})
        self.board.start()
        self._stack.callback(self.board.stop)
        self._stack.callback(self.kill_gateway)
        self.start_gateway()

    # the gateway

    def set_clock(self, ahead_ms: int) -> None:
        """Set the clock of the gateway's machine so much wrong; for the first time before the rig starts."""
        self._ahead = self.folder / "ahead_ms"
        new = self._ahead.with_suffix(".new")
        new.write_text(str(ahead_ms))
        new.replace(self._ahead)

    def start_gateway(self) -> None:
        """Start `gasan up`; returns at once."""
        gasan: list[str | Path] = [Path(sys.executable).with_name("gasan")]
        if self._ahead is not None:
            gasan = [sys.executable, "-c", _WITH_WRONG_CLOCK, self._ahead]
        with (self.folder / "gateway.err").open("ab") as errors:
            self._gateway = subprocess.Popen(
                [
                    *(*gasan, "up", "--json"),
                    *("--site", self.site, "--state", self.state, "--db", self.db),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def kill_gateway(self) -> None:
        """SIGKILL, if it runs."""
        if self._gateway is not None:
            self._gateway.kill()
            self._gateway.wait(10)
            self._gateway = None

    def end_gateway(self) -> None:
        """SIGTERM, and wait for its orderly end."""
        assert self._gateway is not None
        self._gateway.terminate()
        assert self._gateway.wait(30) == 0, (self.folder / "gateway.err").read_text()[-2000:]
        self._gateway = None

    def flush(self) -> None:
        """Stop sampling for good and wait until the store has all that the node has."""
        self.until(lambda: self._ask_flush(), "the node took the command flush")
        self.until(lambda: self.account().total("pending") == 0, "nothing is pending")

    def _ask_flush(self) -> bool:
        try:
            answer = ask_once(self.state, {"do": "command", "node": NODE, "name": "flush", "args": []})
        except TryAgainError:
            return False
        return bool(answer["status"] == 0)

    def account(self) -> Account:
        return account(self.db)

    def stored(self) -> int:
        """Readings in the store; 0 while there is no store yet."""
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)) as connection:
                return int(connection.execute("SELECT count(*) FROM readings").fetchone()[0])
        except sqlite3.OperationalError:
            return 0

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Poll until the condition holds; else AssertionError with its name and everybody's last words."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}\n{self._last_words()}"
            time.sleep(0.05)

    def _last_words(self) -> str:
        words = []
        for name in ("gateway.err", "state/gateway.log", f"state/logs/{NODE}.log", "board/console.log"):
            path = self.folder / name
            if path.exists():
                words.append(f"-- {name}\n{path.read_text(errors='replace')[-1500:]}")
        return "\n".join(words)


@dataclass
class Comparison:
    """What the store holds beside what the equipment served, in readings.

    invented: stored as good, but never served. twice: stored more than once. missing: served and not
    stored, as (device, count, unix s when it was served). bad: readings stored without a value, by device.
    """

    served: int = 0
    stored: int = 0
    invented: list[tuple[str, int]] = field(default_factory=list)
    twice: list[tuple[str, int]] = field(default_factory=list)
    missing: list[tuple[str, int, float]] = field(default_factory=list)
    bad: Counter[str] = field(default_factory=Counter)

    def unexplained(self, cuts: list[tuple[float, float]], window_s: float) -> list[tuple[str, int, float]]:
        """The missing ones that no power cut and no bad reading accounts for.

        cuts: of the node, as (begin, end) in unix s; one explains what was served up to ``window_s`` before
        it. A served count that the node judged broken stands in the store as a bad reading of the same
        device: the first request after a start may meet the answer to the last one before the cut.
        """
        bad = self.bad.copy()
        rest = []
        for item in self.missing:
            device, _, served = item
            if any(begin - window_s <= served <= end + _UNDER_WAY_S for begin, end in cuts):
                continue
            if bad[device]:
                bad[device] -= 1
            else:
                rest.append(item)
        return rest


def compare(rig: Rig) -> Comparison:
    """Compare the store with the equipment's own log."""
    result = Comparison()
    served: dict[str, dict[int, float]] = {device: {} for device in DEVICES}
    by_unit = {unit: device for device, unit in DEVICES.items()}
    for entry in read_served(rig.served):
        device = by_unit[entry["bus"], entry["unit"]]
        served[device][int(entry["registers"][:8], 16)] = entry["unix"]
    stored: dict[tuple[str, str], Counter[int]] = {}
    with contextlib.closing(sqlite3.connect(f"file:{rig.db}?mode=ro", uri=True)) as connection:
        for device, channel, raw, quality in connection.execute(
            "SELECT device, channel, raw, quality FROM readings"
        ):
            if quality in ("good", "uncertain/time"):
                stored.setdefault((device, channel), Counter())[int(raw)] += 1
            else:
                result.bad[device] += 1
    for channel in ("reads", "reads_again"):
        for device, counts in served.items():
            found = stored.get((device, channel), Counter())
            result.twice += [(device, count) for count, times in found.items() if times > 1]
            result.invented += [(device, count) for count in sorted(found.keys() - counts.keys())]
            result.missing += [
                (device, count, counts[count]) for count in sorted(counts.keys() - found.keys())
            ]
            result.served += len(counts)
            result.stored += len(found)
    return result


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(10)
    if process.stdout is not None:
        process.stdout.close()
