"""The least that a node takes for a gateway: opens a session on the console, keeps the frames in memory.

For tests of one node, in one thread, without a store: everything happens inside ``wait``.
"""

import contextlib
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from gasan.host.link.events import (
    CommandResult,
    Event,
    FrameReceived,
    Log,
    PutDone,
    SessionDown,
    SessionUp,
    Status,
    Text,
)
from gasan.host.link.session import GatewaySession
from gasan.wire.cose import Hmac
from gasan.wire.frame import DATA, frame_key
from gasan.wire.frame_reader import Frame, parse, split, verify

__all__ = ["BareGateway"]

_STEP_S = 0.02


class BareGateway:
    """Speaks with the node on ``console`` whose id, key generation and key are given. A context manager.

    frames: every frame once, in the order of arrival, MAC verified; data: as they came. again: how many came
    more than once; came: all, as often as they came.
    text: what stood on the console or came as log lines. status: the node's last figures, by key; low: the
    lowest value seen of each. acknowledge: whether frames are; while it is False the node keeps them.
    """

    def __init__(self, console: Path, node_id: bytes, generation: int, key: bytes) -> None:
        self.frames: list[Frame] = []
        self.data: list[bytes] = []
        self.came: list[bytes] = []
        self.sizes: list[int] = []
        self.again = 0
        self.text: list[str] = []
        self.status: dict[int, int] = {}
        self.low: dict[int, int] = {}
        self.results: dict[int, CommandResult] = {}
        self.puts: dict[bytes, PutDone] = {}
        self.acknowledge = True
        self._console = console
        self._known: dict[bytes, set[int]] = {}
        self._upto: dict[bytes, int] = {}  # the first that is missing
        self._tags: dict[tuple[bytes, int], bytes] = {}
        self._mac = Hmac(frame_key(key))
        self._file = -1
        self.session = GatewaySession(
            lambda i, g: key if (i, g) == (node_id, generation) else None,
            b"bare-gw!",
            self._now(),
            stored=lambda _: [self._stored(boot) for boot in self._known] if self.acknowledge else [],
        )

    def __enter__(self) -> "BareGateway":
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def wait(self, until: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Work until ``until()`` is true. Raises TimeoutError, which tells what the node said last."""
        end = time.monotonic() + timeout_s
        while not until():
            if time.monotonic() > end:
                said = "\n".join(self.text[-20:])
                kinds = [(f.kind, f.seq) for f in self.frames[-10:]]
                raise TimeoutError(f"not within {timeout_s:g} s; frames {kinds}, the node said:\n{said}")
            self._step()

    def of(self, kind: int, boot: bytes | None = None) -> list[Frame]:
        """The frames of a kind, of one boot or of all."""
        return [f for f in self.frames if f.kind == kind and boot in (None, f.boot)]

    def known(self, boot: bytes) -> int:
        """How many frames of a boot have come."""
        return len(self._known.get(boot, ()))

    def readings(self) -> int:
        """Readings in all data frames."""
        return sum(f.n_readings for f in self.of(DATA))

    def command(self, name: str, *args: object, timeout_s: float = 10.0) -> CommandResult:
        """Have the node do something and wait for its answer."""
        number = self.session.command(name, *args)
        self.wait(lambda: number in self.results, timeout_s)
        return self.results[number]

    def put(self, kind: int, blob: bytes, timeout_s: float = 20.0) -> PutDone:
        """Send a blob and wait until the node has it, or will not have it."""
        name = self.session.put(kind, blob)
        self.puts.pop(name, None)
        self.wait(lambda: name in self.puts, timeout_s)
        return self.puts[name]

    def _now(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def _open(self) -> None:
        self._close()
        with contextlib.suppress(OSError):  # the cable is pulled
            self._file = os.open(self._console, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _read(self) -> bytes:
        """What the console gives within a step; opens it again when it was gone."""
        if self._file < 0:
            time.sleep(_STEP_S)
            self._open()
        elif select.select([self._file], [], [], _STEP_S)[0]:
            try:
                data = os.read(self._file, 65536)
            except OSError:
                data = b""
            if not data:
                self._close()
            return data
        return b""

    def _stored(self, boot: bytes) -> tuple[bytes, int, list[tuple[int, int]]]:
        known, upto = self._known[boot], self._upto.get(boot, 0)
        while upto in known:
            upto += 1
        self._upto[boot] = upto
        ranges: list[tuple[int, int]] = []
        for i in sorted(i for i in known if i > upto) if len(known) > upto else ():
            if ranges and ranges[-1][1] == i - 1:
                ranges[-1] = (ranges[-1][0], i)
            else:
                ranges.append((i, i))
        return boot, upto, ranges[:8]

    def _step(self) -> None:
        events: list[Event] = []
        if data := self._read():
            events += self.session.feed(data, self._now())
        events += self.session.tick(self._now())
        for event in events:
            self._take(event)
        output = self.session.take_output()
        with contextlib.suppress(OSError):  # what a pulled cable loses is sent again by the session
            while output and self._file >= 0:
                output = output[os.write(self._file, output) :]

    def _take(self, event: Event) -> None:
        if isinstance(event, FrameReceived):
            self._take_frame(event.data)
        elif isinstance(event, Status):
            self.status = {**self.status, **event.values}
            for key, value in event.values.items():
                self.low[key] = min(value, self.low.get(key, value))
        elif isinstance(event, Text):
            self.text.append(event.line)
        elif isinstance(event, Log):
            self.text.append(event.text)
        elif isinstance(event, CommandResult):
            self.results[event.id] = event
        elif isinstance(event, PutDone):
            self.puts[event.hash] = event
        elif isinstance(event, SessionUp | SessionDown):
            self.text.append(f"[{event}]")

    def _take_frame(self, data: bytes) -> None:
        _, payload, tag = split(data)
        if not verify(self._mac, payload, tag):
            raise AssertionError("a frame whose MAC is wrong came through an authentic session")
        frame = parse(payload)
        known = self._known.setdefault(frame.boot, set())
        if self._tags.setdefault((frame.boot, frame.seq), tag) != tag:
            raise AssertionError(f"two frames of boot {frame.boot.hex()} have the number {frame.seq}")
        self.came.append(data)
        if frame.seq in known:
            self.again += 1
        else:
            known.add(frame.seq)
            self.frames.append(frame)
            self.data.append(data)
            self.sizes.append(len(data))
        if self.acknowledge:
            self.session.ack(*self._stored(frame.boot))
