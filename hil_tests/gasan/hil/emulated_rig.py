"""A whole node on the emulated RP2040 with a gateway in lockstep: session, store, account in simulated time.

The board's firmware is what ships: .mpy files in its littlefs image. Its RS-485 line has Modbus slaves inside
the emulator (boards/rp2040/harness/modbus.mjs); its USB port ends in a GatewaySession that is given the
simulated time, and frames are stored before they are acknowledged. Equal seeds give equal runs.
"""

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from gasan.boards.emulator import Emulator
from gasan.boards.facts import load
from gasan.boards.image import build_image, firmware_files
from gasan.boards.virtual import BoardError
from gasan.host.account import Account, account
from gasan.host.compile import CompiledNode, compile_site
from gasan.host.keys import NodeKey
from gasan.host.link import (
    CommandResult,
    Event,
    FrameReceived,
    GatewaySession,
    SessionUp,
    Status,
    Text,
)
from gasan.host.site import load as load_site
from gasan.host.store.ingest import Ingest, Outcome
from gasan.host.store.open import open_store
from gasan.host.store.ranges import Acknowledgement
from gasan.ota.slots import pack

__all__ = ["EmulatedRig", "modbus_node"]

BOARD = "rpi_pico"
_TICK_MS = 100

_PROFILE = """
[profile]
maker = "gasan"
model = "registers"
kind = "modbus"
verified = "simulated"
default = {default}
max_registers = 125
timeout = "{timeout}"
gap = "0ms"
period = "1s"

[profile.source]
title = "boards/rp2040/harness/modbus.mjs"
revision = "the file beside this one"
pages = "class ModbusLine"
"""

_CHANNEL = """
[channel.{name}]
table = "holding"
address = {address}
type = "u16"
unit = "count"
label_en = "Register {address}"
label_ko = "레지스터 {address}"
"""

_SITE = """
[site]
name = "emulated"

[[node]]
name = "pico"
board = "{board}"
link = "serial:/dev/null"

[node.batch]
max_age = "{max_age}"

[[node.bus]]
name = "line"
type = "modbus-rtu"
uart = 1
baudrate = {baudrate}
parity = "{parity}"
"""

_DEVICE = """
[[node.bus.device]]
name = "unit-{unit}"
unit = {unit}
profile = "registers.toml"
period = "{period}"
"""


def modbus_node(
    folder: Path,
    *,
    baudrate: int = 19200,
    parity: str = "none",
    units: Sequence[int] = (1, 2, 3, 4, 5),
    channels: int = 20,
    period: str = "1s",
    de_pin: int | None = 2,
    max_age: str = "2s",
    timeout: str = "200ms",
) -> CompiledNode:
    """A node that reads ``channels`` registers of each of ``units``; its files are left in ``folder``."""
    names = [f"r{address}" for address in range(channels)]
    profile = [_PROFILE.format(timeout=timeout, default=json.dumps(names))]
    profile += [_CHANNEL.format(name=name, address=address) for address, name in enumerate(names)]
    (folder / "registers.toml").write_text("\n".join(profile))
    site = [_SITE.format(board=BOARD, max_age=max_age, baudrate=baudrate, parity=parity)]
    if de_pin is not None:
        site.append(f"de_re_pin = {de_pin}")
    site += [_DEVICE.format(unit=unit, period=period) for unit in units]
    (folder / "site.toml").write_text("\n".join(site))
    return compile_site(load_site(folder / "site.toml"))[0]


class EmulatedRig:
    """The board and its gateway. A context manager; the board is off until ``boot``.

    lines: of the console. status: the last figures that the node told. frames: as they came. results: of
    commands. boots: ids of boots, one for each session.
    """

    def __init__(
        self,
        folder: Path,
        node: CompiledNode | None,
        *,
        seed: str = "rig",
        key_seed: str = "rig",
        files: Mapping[str, bytes] | None = None,
        log: bool = True,
        journal: Path | None = None,
    ) -> None:
        """seed: of the board's and the gateway's randomness; key_seed: of the node's identity. files: beside,
        or instead of, those of the firmware. log, journal: of the emulator. An image that is in ``folder`` is
        taken as it is. Raises rp2040.Rp2040Missing.
        """
        digest = hashlib.sha256(key_seed.encode()).digest()
        self.key = NodeKey("pico", digest[:8], 0, hashlib.sha256(digest).digest())
        self._keys = _Keys(self.key)
        self.folder = folder
        self.lines: list[str] = []
        self.status: dict[int, int] = {}
        self.frames: list[bytes] = []
        self.results: list[CommandResult] = []
        self.boots: list[bytes] = []
        self._away = False
        self._random = random.Random(seed)
        image = folder / "flash.img"
        if not image.exists():
            content = firmware_files() | {"/secret/key": self.key.encode()}
            if node is not None:
                content["/cfg/a"] = pack(node.config)
            build_image(image, content | dict(files or {}), load(BOARD))
        events = folder / "events.jsonl" if log else None
        self.emulator = Emulator(image, board=BOARD, seed=seed, uid=digest[8:16], log=events, journal=journal)
        try:
            self.store = open_store(folder / "gasan.sqlite")
        except BaseException:
            self.emulator.close()
            raise
        self._ingest = Ingest(self.store, self._keys)
        self._have: dict[bytes, Acknowledgement] = {}
        self._store_id = digest[16:24]
        self._session = self._new_session()
        self._ticked_ms = 0

    @property
    def up(self) -> bool:
        """Whether the session is up."""
        return self._session.up

    @property
    def refused(self) -> int:
        """Packets that the session did not believe: forged, replayed, reflected, noise."""
        counted = self._session.counters
        return sum(n for name, n in counted.items() if name in ("forged", "replayed", "reflected", "noise"))

    def boot(self) -> None:
        """Power on. The gateway says hello as soon as the USB port is there."""
        self._session = self._new_session()
        self.emulator.boot()

    def run(self, ms: float, until: Callable[["EmulatedRig"], bool] | None = None) -> bool:
        """Let time pass, with the gateway at work; True as soon as ``until`` holds, which is looked at after
        whatever the board says.

        Raises BoardError when the board loses its power or faults.
        """
        end = self.emulator.now_ms + ms
        while self.emulator.now_ms < end:
            left = min(end, self._ticked_ms + _TICK_MS) - self.emulator.now_ms
            usb = b"" if self._away else self._session.take_output()
            ran = self.emulator.run(max(left, 0.001), ("usb", "cut", "off"), usb=usb)
            now = int(self.emulator.now_ms)
            if ran.reason in ("cut", "off"):
                raise BoardError(f"{self.folder}: the board lost its power ({ran.reason}).")
            events = self._session.feed(ran.usb, now) if ran.usb else []
            if now >= self._ticked_ms + _TICK_MS:
                self._ticked_ms = now
                if not self._away:
                    events += self._session.tick(now)
            self._take(events)
            if until is not None and until(self):
                return True
        return False

    def wait(self, until: Callable[["EmulatedRig"], bool], ms: float) -> None:
        """As ``run``, but raises BoardError when it does not come to that."""
        if not self.run(ms, until):
            tail = "\n".join(self.lines[-10:])
            raise BoardError(f"{self.folder}: not as expected after {ms:.0f} simulated ms; its log:\n{tail}")

    def command(self, name: str, *args: object, ms: float = 10_000) -> CommandResult:
        """Have the node do something. Raises BoardError when it does not answer."""
        number = self._session.command(name, *args)
        self.wait(lambda rig: any(result.id == number for result in rig.results), ms)
        return next(result for result in self.results if result.id == number)

    def leave(self) -> None:
        """End the gateway, as a kill does."""
        self._away = True
        self.emulator.ask("host", open=False)

    def come(self) -> None:
        """Start the gateway again."""
        self._session = self._new_session()
        self._away = False
        self.emulator.ask("host", open=True)

    def account(self) -> Account:
        """What became of every reading."""
        return account(self.folder / "gasan.sqlite", None, self.emulator.now_ms / 1000, channels=False)

    def close(self) -> None:
        self.emulator.close()
        self.store.close()

    def __enter__(self) -> "EmulatedRig":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _new_session(self) -> GatewaySession:
        return GatewaySession(
            lambda node_id, generation: self._keys.key(node_id, generation),
            self._store_id,
            int(self.emulator.now_ms),
            rng=self._random.randbytes,
            stored=lambda _: [(boot, *have) for boot, have in reversed(self._have.items())],
        )

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case FrameReceived(data):
                    self._store(data)
                case Status(values):  # all figures, or those that change often
                    self.status |= values
                    boot = self._session.boot
                    if boot is not None:
                        with self._ingest.transaction():
                            self._ingest.figures(self.key.node_id, boot, values)
                case SessionUp(_, _, boot):
                    if self.boots[-1:] != [boot]:
                        self.status = {}
                    self.boots.append(boot)
                    with self._ingest.transaction():
                        self._ingest.session(self.key.node_id, boot)
                case CommandResult():
                    self.results.append(event)
                case Text(line):
                    self.lines.append(line)

    def _store(self, data: bytes) -> None:
        """On disk first, then acknowledged."""
        self.frames.append(data)
        (receipt,) = self._ingest.store([data])
        if receipt.outcome in (Outcome.STORED, Outcome.AGAIN) and receipt.frame is not None:
            boot = bytes(receipt.frame.boot)
            self._have[boot] = receipt.stored
            self._session.ack(boot, *receipt.stored)
        else:
            raise BoardError(f"{self.folder}: a frame was refused: {receipt.outcome.value}.")


class _Keys:
    """The one key, as the store asks for it."""

    def __init__(self, key: NodeKey) -> None:
        self._key = key

    def key(self, node_id: bytes, generation: int) -> bytes | None:
        known = (self._key.node_id, self._key.generation)
        return self._key.key if (node_id, generation) == known else None

    def name(self, node_id: bytes) -> str:
        return self._key.name
