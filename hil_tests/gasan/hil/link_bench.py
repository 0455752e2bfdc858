"""A gateway's session against a node's link on a real VM, over a pty, with faults and attackers between.

with NodeOnPty(key=KEY) as node:
    bench = LinkBench(node)
    bench.until(lambda: bench.session.up)
"""

import contextlib
import importlib.util
import os
import random
import select
import subprocess
import tempfile
import time
import tty
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from gasan.boards.places import STANDINS
from gasan.boards.vm import find_vm
from gasan.host.link import CommandResult, Event, FrameReceived, GatewaySession, SessionUp, Stored
from gasan.wire import cobs, link
from gasan.wire.frame import peek

__all__ = [
    "KEY",
    "NODE_ID",
    "STORE_ID",
    "Faults",
    "LinkBench",
    "NodeOnPty",
    "packets",
    "to_gateway",
    "to_node",
]

KEY = bytes(range(32))
NODE_ID = b"node-one"
STORE_ID = b"store\x00\x03\x04"

_PROGRAM = Path(__file__).parents[3] / "firmware" / "tests" / "link_node.py"
_E = TypeVar("_E")


def to_gateway(packet: bytes) -> bytes:
    """A packet as a node puts it on the wire."""
    buf = bytearray(1) + packet + bytes(len(packet) // 254)
    return b"\x00" + bytes(buf[: cobs.encode(buf, 1, 1 + len(packet))]) + b"\x00"


def to_node(packet: bytes) -> bytes:
    """A packet as a gateway puts it on the wire."""
    return b"\x00" + link.armour(packet) + b"\x00"


def packets(stream: bytes, *, armoured: bool) -> list[bytes]:
    """The packets in what was on the wire (armoured: on the way to a node), text left out."""
    found = []
    for chunk in stream.split(b"\x00"):
        with contextlib.suppress(ValueError):
            buf = bytearray(chunk)
            packet = link.unarmour(chunk) if armoured else bytes(buf[1 : cobs.decode(buf, 0, len(buf))])
            if packet[:1] and packet[0] in (link.TO_NODE if armoured else link.TO_GATEWAY):
                found.append(packet)
    return found


class NodeOnPty:
    """`link_node.py` on a VM whose console is a pty; `fd` is the cable's other end."""

    def __init__(
        self,
        key: bytes = KEY,
        node_id: bytes = NODE_ID,
        generation: int = 1,
        frames: int = 0,
        bits: int = 64,
        console: bool = True,
        air: str = "",
    ) -> None:
        """frames: in the spool at the start. console: whether text travels as it is, or in LOG packets. air:
        where the node's radio is played; its link is BLE then, and not the pty.
        """
        self._scratch = tempfile.TemporaryDirectory(prefix="gasan-link-")
        folder = Path(self._scratch.name)
        (folder / "gasan").mkdir()
        for portion in ("wire", "node"):
            spec = importlib.util.find_spec(f"gasan.{portion}")
            assert spec is not None and spec.submodule_search_locations
            (folder / "gasan" / portion).symlink_to(next(iter(spec.submodule_search_locations)))
        self.fd, slave = os.openpty()
        tty.setraw(slave)
        self._complaint = folder / "stderr"
        arguments = [key.hex(), node_id.hex(), str(generation), str(frames), str(int(console))]
        if air:
            arguments[-1:] = ["2", str(STANDINS)]
        with self._complaint.open("wb") as stderr:
            self.process = subprocess.Popen(
                find_vm(bits).command(str(_PROGRAM), *arguments, heap="4m"),
                stdin=slave,
                stdout=slave,
                stderr=stderr,
                env={**os.environ, "MICROPYPATH": f"{folder}:.frozen", "GASAN_AIR": air},
            )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)
        if error is not None:
            error.add_note("the node's stderr: " + self._complaint.read_text(errors="replace"))
        self._scratch.cleanup()


class Faults:
    """What a bad cable does to bytes, repeatably: some are lost, flipped, cut off or made up.

    rate: of faults per piece that is carried; 0 for a good cable.
    """

    def __init__(self, rng: random.Random, rate: float) -> None:
        self.done = 0
        self._rng = rng
        self._rate = rate

    def __call__(self, data: bytes) -> bytes:
        rng = self._rng
        if not data or rng.random() >= self._rate:
            return data
        self.done += 1
        at = rng.randrange(len(data))
        kind = rng.randrange(5)
        if kind == 0:
            return data[:at] + data[at + rng.randrange(1, 40) :]
        if kind == 1:
            return data[:at] + bytes((data[at] ^ (1 << rng.randrange(8)),)) + data[at + 1 :]
        if kind == 2:
            return data[:at]
        if kind == 3:
            return data[:at] + rng.randbytes(rng.randrange(1, 400)) + data[at:]
        return data[:at] + b"\x00" + data[at:]


def _as_it_is(data: bytes) -> bytes:
    return data


class LinkBench:
    """Carries bytes between a `GatewaySession` and a node, stores what comes and acknowledges it.

    to_node, to_gateway: what the line does to the bytes. acknowledge: whether the store works.
    """

    def __init__(
        self,
        node: NodeOnPty | None,
        *,
        keys: Callable[[bytes, int], bytes | None] = lambda node_id, generation: KEY,
        to_node: Callable[[bytes], bytes] = _as_it_is,
        to_gateway: Callable[[bytes], bytes] = _as_it_is,
        acknowledge: bool = True,
    ) -> None:
        self._node = node
        self.to_node = to_node
        self.to_gateway = to_gateway
        self.acknowledge = acknowledge
        self.events: list[Event] = []
        self.frames: dict[tuple[bytes, int], bytes] = {}  # (boot, seq) -> frame
        self.duplicates = 0
        self.sent = bytearray()  # all that left the gateway
        self.heard = bytearray()  # all that reached it
        self.session = GatewaySession(keys, STORE_ID, self.now_ms(), stored=self._stored)

    @property
    def node(self) -> NodeOnPty:
        assert self._node is not None, "the link is not a pty"
        return self._node

    @staticmethod
    def now_ms() -> int:
        """The gateway's clock."""
        return time.monotonic_ns() // 1_000_000

    def turn(self, wait_s: float = 0.005) -> None:
        """Carry what there is, in both directions."""
        readable, _, _ = select.select([self.node.fd], [], [], wait_s)
        data = b""
        if readable:
            with contextlib.suppress(OSError):  # the node has ended
                data = os.read(self.node.fd, 4096)
        now = self.now_ms()
        data = self.to_gateway(data)
        self.heard += data
        self.take(self.session.feed(data, now) + self.session.tick(now))
        out = self.session.take_output()
        self.sent += out
        self.write(self.to_node(out))

    def take(self, events: list[Event]) -> None:
        """Act on events as a gateway does."""
        for event in events:
            self.events.append(event)
            if isinstance(event, FrameReceived):
                _, boot, seq, *_ = peek(event.data)
                self.duplicates += (boot, seq) in self.frames
                assert self.frames.setdefault((boot, seq), event.data) == event.data
        if self.acknowledge and any(isinstance(event, FrameReceived) for event in events):
            for boot, upto, ranges in self._stored(NODE_ID):
                self.session.ack(boot, upto, ranges)

    def _stored(self, node_id: bytes) -> Iterable[Stored]:
        for boot in dict.fromkeys(boot for boot, _ in self.frames):
            seqs = sorted(seq for b, seq in self.frames if b == boot)
            upto = next((i for i, seq in enumerate(seqs) if i != seq), len(seqs))
            ranges: list[tuple[int, int]] = []
            for seq in seqs[upto:]:
                if ranges and ranges[-1][1] == seq - 1:
                    ranges[-1] = (ranges[-1][0], seq)
                else:
                    ranges.append((seq, seq))
            yield boot, upto, ranges

    def write(self, data: bytes) -> None:
        """Put bytes on the line towards the node, whoever they are from."""
        while data:
            data = data[os.write(self.node.fd, data) :]

    def until(self, done: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Let it run until something holds."""
        end = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < end, (timeout_s, self.session.counters, self.events[-5:])
            self.turn()

    def run(self, seconds: float) -> None:
        """Let it run for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def of(self, kind: type[_E]) -> list[_E]:
        """The events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def connect(self) -> SessionUp:
        """Wait for a session."""
        self.until(lambda: self.session.up)
        return self.of(SessionUp)[-1]

    def ask(self, name: str, *args: object) -> CommandResult:
        """Have a command done."""
        number = self.session.command(name, *args)
        self.until(lambda: any(result.id == number for result in self.of(CommandResult)))
        return next(result for result in self.of(CommandResult) if result.id == number)

    def look(self, name: str = "look") -> dict[str, int]:
        """The node's figures ("look") or what its link has refused ("refused")."""
        return {key: int(value) for key, value in (item.split("=") for item in self.ask(name).text.split())}
