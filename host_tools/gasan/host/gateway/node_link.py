"""One node and its port: keeps the session, stores what comes, acknowledges what is stored, dates it, asks
things.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from gasan.host.gateway.clock import mono_ms
from gasan.host.gateway.live import LiveView, NodeState
from gasan.host.gateway.logs import NodeLog
from gasan.host.i18n import _
from gasan.host.keys import NodeKey
from gasan.host.link import (
    NO_ANSWER,
    ClockEstimator,
    CommandResult,
    Event,
    FrameReceived,
    GatewaySession,
    Log,
    PutDone,
    PutProgress,
    SessionDown,
    SessionUp,
    Status,
    Stored,
    Stranger,
    Text,
    TimeSample,
)
from gasan.host.link.clock import BURST, EXCHANGE_MS, ClockMapping
from gasan.host.link.ports import MakePort, PortState
from gasan.host.store import counters
from gasan.host.store.dating import NodeMapping
from gasan.host.store.ingest import Ingest, Outcome, Receipt
from gasan.host.store.ranges import Acknowledgement
from gasan.host.store.writer import StoreWriter
from gasan.wire.frame import BOOT, DATA
from gasan.wire.frame_reader import Frame

__all__ = ["CONFIG_KIND", "SENSOR_KEYS_KIND", "NodeLink", "Running"]

CONFIG_KIND: Final = 1
"""The kind of a PUT that carries a config."""

SENSOR_KEYS_KIND: Final = 2
"""The kind of a PUT that carries the keys of BLE sensors, locked."""

_TICK_S: Final = 0.1
_ANSWER_S: Final = 35.0
_BETTER: Final = 0.8
"""By so much the rate must be known better before what was sampled before the contact is dated anew."""

_NOTES_MS: Final = 10_000
"""Status and clock are written with the next frame, or after this time."""

_WELCOME_BOOTS: Final = 8
_WAITING_MAX: Final = 64
"""Frames of a node that may wait for the store; a node in order has far fewer on the way."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """What the node runs, by the latest frame of the boot that is in session.

    `state` is that of its boot frame: 0 stable, 1 on trial, 2 rolled back; None while the boot frame is
    unknown.
    """

    boot: bytes
    revision: bytes
    state: int | None


class NodeLink:
    """Serves one node on one port until `run` is cancelled. Use it in one event loop."""

    def __init__(
        self,
        name: str,
        key: NodeKey,
        make_port: MakePort,
        writer: StoreWriter,
        live: LiveView,
        node_log: NodeLog,
        gateway_clock: Callable[[], int],
    ) -> None:
        """`make_port` gets what to call with bytes and with states. `gateway_clock()` is the id of the row
        that dates this machine's monotonic time.
        """
        self.name = name
        self.key = key
        self.log = node_log
        self.status: dict[int, int] = {}
        self.running: Running | None = None
        self.listeners: list[Callable[[Receipt], None]] = []
        """Called with each receipt of this node, after its frame is on disk."""
        self._writer = writer
        self._live = live
        self._gateway_clock = gateway_clock
        self._port = make_port(self._received, self._port_state)
        self._session = GatewaySession(self._session_key, writer.store_id, mono_ms(), stored=self._stored)
        self._have: OrderedDict[bytes, Acknowledgement] = OrderedDict()  # by boot, the newest first
        self._waiting = 0
        self._detail = ""
        self._in_session = False
        self._clocks: dict[bytes, ClockEstimator] = {}
        self._former: tuple[bytes, dict[int, int]] = b"", {}
        self._burst = 0
        self._mapped: ClockMapping | None = None  # the latest, of the boot in session
        self._contact = NodeMapping(0, 0, 0, 0)
        self._asked_ms = 0
        self._noted_ms = 0
        self._notes: dict[str, Callable[[Ingest], None]] = {}
        self._notes_waiting = False
        self._notes_due = False
        self._results: dict[int, asyncio.Future[CommandResult]] = {}
        self._puts: dict[bytes, tuple[asyncio.Future[PutDone], Callable[[int, int], None]]] = {}
        self._changed = asyncio.Event()

    @property
    def up(self) -> bool:
        return self._session.up

    @property
    def state(self) -> NodeState:
        if self._session.up:
            return NodeState(self.name, "up", "")
        return NodeState(self.name, "connecting", self._detail)

    def offset_ms(self, boot: bytes, node_ms: int) -> int | None:
        """Gateway-monotonic minus node-monotonic at that moment of a boot; None while unknown."""
        if self._mapped is None or boot not in self._clocks:
            return None
        return self._mapped.at(node_ms) - node_ms

    async def run(self) -> None:
        """Keeps the port and the session until cancelled; then says good-bye."""
        for boot, following, ranges in await self._writer.call(
            lambda ingest: ingest.welcome(self.key.node_id, _WELCOME_BOOTS)
        ):
            self._have[boot] = following, ranges
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._port.run(), name=f"port of {self.name}")
                tasks.create_task(self._tick(), name=f"ticks of {self.name}")
        finally:
            self._end("the gateway stops")

    def farewell(self) -> None:
        """Ends the session in order, so that the node need not find out."""
        self._take(self._session.bye())
        self._port.write(self._session.take_output())

    async def wait(self, condition: Callable[[], bool], timeout_s: float | None) -> bool:
        """Waits until `condition` holds; it is looked at after everything that comes from the node."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return condition()
        return True

    async def command(self, name: str, *args: object) -> CommandResult:
        """Has the node do something; ends with its answer, or with NO_ANSWER after 30 s. Raises ValueError
        when the arguments are too long for a packet.
        """
        number = self._session.command(name, *args)
        answer: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        self._results[number] = answer
        self._send()
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await answer
        except TimeoutError:  # the port is closed, and no time passes for the session
            return CommandResult(number, NO_ANSWER, "the node did not answer")
        finally:
            self._results.pop(number, None)

    async def put(self, kind: int, blob: bytes, progress: Callable[[int, int], None]) -> PutDone:
        """Sends a blob; `progress` is called with the bytes that the node holds, and how many there are."""
        digest = self._session.put(kind, blob)
        done: asyncio.Future[PutDone] = asyncio.get_running_loop().create_future()
        self._puts[digest] = done, progress
        self._send()
        try:
            return await done
        finally:
            self._puts.pop(digest, None)

    # -- the port

    def _received(self, data: bytes) -> None:
        self._take(self._session.feed(data, mono_ms()))
        self._send()

    def _port_state(self, state: PortState, sentence: str) -> None:
        if state is PortState.OPEN:
            self._detail = _("waiting for the node to answer")
        else:
            self._detail = sentence
            self._take(self._session.lost(mono_ms()))
        log.info("node %s: %s", self.name, sentence)
        self._changed.set()

    async def _tick(self) -> None:
        while True:
            now = mono_ms()
            self._take(self._session.tick(now))
            if self._session.up and now - self._asked_ms >= (EXCHANGE_MS if self._burst <= 0 else 1000):
                self._ask_time(now)
            if self._notes and now - self._noted_ms >= _NOTES_MS:
                self._write_notes()
            self._send()
            await asyncio.sleep(_TICK_S)

    def _send(self) -> None:
        out = self._session.take_output()
        if out:
            self._port.write(out)

    def _session_key(self, node_id: bytes, generation: int) -> bytes | None:
        wanted = self.key.node_id == node_id and self.key.generation == generation
        return self.key.key if wanted else None

    def _stored(self, _node_id: bytes) -> Iterable[Stored]:
        return [(boot, *stored) for boot, stored in self._have.items()]

    # -- what comes from the node

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            self._event(event)
            self._changed.set()

    def _event(self, event: Event) -> None:
        match event:
            case FrameReceived(data):
                self._write_notes()
                if self._waiting < _WAITING_MAX:  # else the store is in trouble; the node sends it again
                    self._waiting += 1
                    self._writer.frame(data, self._written)
            case Status(values):
                self._note_status(values)
            case TimeSample():
                self._note_time(event)
            case Text(line):
                self.log.add(line)
            case Log(text):
                self.log.add(text)
            case SessionUp(_, _, boot):
                self._begin(boot)
            case SessionDown(_, reason):
                if reason != "port closed":  # the port's own sentence says more
                    self._detail = _("the node says nothing any more; waiting for it")
                self._end(reason)
            case Stranger(node_id, generation):
                self._stranger(node_id, generation)
            case PutProgress(_, digest, offset, total):
                if digest in self._puts:
                    self._puts[digest][1](offset, total)
            case PutDone(_, digest, _, _):
                if digest in self._puts and not self._puts[digest][0].done():
                    self._puts[digest][0].set_result(event)
            case CommandResult(number, _, _):
                if number in self._results and not self._results[number].done():
                    self._results[number].set_result(event)

    def _begin(self, boot: bytes) -> None:
        self._detail = ""
        self._in_session = True
        self.log.add(f"-- session up, boot {boot.hex()}")
        log.info("node %s is up, boot %s", self.name, boot.hex())
        if boot not in self._clocks:
            self._write_notes(at_once=True)  # of the boot that has ended
            self._former = next(iter(self._clocks), b""), self.status
            self._clocks = {boot: ClockEstimator()}
            self._mapped = None
            self.status = {}
        self._burst = BURST
        self._ask_time(mono_ms())
        self._writer.post(lambda ingest: self._note_session(ingest, boot), self._runs)

    def _note_session(self, ingest: Ingest, boot: bytes) -> Running | None:
        """In the store's thread: this boot is in session; returns what it runs, if a frame has told."""
        ingest.session(self.key.node_id, boot)
        known = ingest.running(self.key.node_id, boot)
        return Running(boot, *known) if known is not None else None

    def _runs(self, known: Running | None) -> None:
        if known is not None and (self.running is None or self.running.boot != known.boot):
            self.running = known
            self._changed.set()

    def _end(self, reason: str) -> None:
        self._write_notes(at_once=True)
        if self._in_session:
            self._in_session = False
            self.log.add(f"-- session down: {reason}")

    def _stranger(self, node_id: bytes, generation: int) -> None:
        if node_id == self.key.node_id:
            self._detail = _(
                "{node} has key generation {theirs}, the gateway {ours}; provision it again"
            ).format(node=self.name, theirs=generation, ours=self.key.generation)
        else:
            self._detail = _(
                "another node ({id}) is on the port of {node}; check the cables, or provision this board"
            ).format(id=node_id.hex(), node=self.name)
        log.warning("node %s: %s", self.name, self._detail)

    def _written(self, receipt: Receipt) -> None:
        """A frame has been dealt with, and the transaction is on disk."""
        self._waiting -= 1
        if receipt.outcome in (Outcome.STORED, Outcome.AGAIN, Outcome.CONFLICT) and receipt.frame is not None:
            boot = receipt.frame.boot
            self._have[boot] = receipt.stored
            self._have.move_to_end(boot, last=boot != self._session.boot and len(self._have) > 1)
            while len(self._have) > _WELCOME_BOOTS:
                self._have.popitem()
            self._session.ack(boot, *receipt.stored)
            self._send()
            if receipt.outcome is Outcome.STORED and boot == self._session.boot:
                self._note_running(receipt.frame)
        elif receipt.outcome is not Outcome.UNKNOWN_KEY or receipt.node_id == self.key.node_id:
            log.error("node %s sent a frame that is refused: %s", self.name, receipt.outcome.value)
        self._live.receipt(self.name, receipt, self._live_offset(receipt))
        for listener in list(self.listeners):
            listener(receipt)
        self._changed.set()

    def _live_offset(self, receipt: Receipt) -> int | None:
        """What dates the frame for the view: None for one of an earlier boot, which is not live."""
        if receipt.frame is None or receipt.frame.boot != self._session.boot:
            return None
        offset = self.offset_ms(self._session.boot, receipt.frame.mono)
        return mono_ms() - receipt.frame.mono if offset is None else offset

    def _note_running(self, frame: Frame) -> None:
        boot, revision = frame.boot, frame.rev
        state = self.running.state if self.running is not None and self.running.boot == boot else None
        if frame.kind == BOOT:
            state = frame.content[8]
            self._note_cut(frame)
        if frame.kind in (BOOT, DATA) or self.running is None or self.running.boot != boot:
            self.running = Running(boot, revision, state)

    def _note_cut(self, frame: Frame) -> None:
        """Counts for the view what the boot before took with it; the account counts for itself."""
        former, status = self._former
        if frame.content[2] == former and frame.content[4] is not None:
            kept = frame.content[4] + status.get(counters.DROPPED, 0)
            self._live.lost(max(0, status.get(counters.SAMPLED, 0) - kept))
            self._former = b"", {}

    def _note_status(self, values: dict[int, int]) -> None:
        boot = self._session.boot
        if boot is None:
            return
        status = self.status = self.status | values  # between full ones come single figures
        self._live.spool(self.name, status.get(counters.SPOOL_FRAMES, 0), status.get(counters.SPOOL_BYTES, 0))
        self._notes["status"] = lambda ingest: ingest.figures(self.key.node_id, boot, status)

    # -- time

    def _ask_time(self, now: int) -> None:
        self._asked_ms = now
        self._session.request_time()

    def _note_time(self, sample: TimeSample) -> None:
        boot = self._session.boot
        clock = self._clocks.get(boot) if boot is not None else None
        if boot is None or clock is None:
            return
        first = self._mapped is None
        clock.add(sample)
        mapped = self._mapped = clock.mapping(sample.t3)
        assert mapped is not None
        mapping = _stored_mapping(mapped, self._gateway_clock())
        self._notes["clock"] = lambda ingest: ingest.set_node_clock(self.key.node_id, boot, mapping)
        self._note_contact(boot, clock, mapping, first)
        if self._burst > 0:
            self._burst -= 1
            self._ask_time(mono_ms())
        if first or self._burst == 0:
            self._burst -= 1
            self._write_notes()

    def _note_contact(self, boot: bytes, clock: ClockEstimator, now: NodeMapping, first: bool) -> None:
        """What was sampled before the first contact is dated from there, better as the rate gets known."""
        if first:
            self._contact = now
        elif now.drift_ppm <= self._contact.drift_ppm * _BETTER:
            mapped = clock.mapping(self._contact.node_ms)
            assert mapped is not None
            self._contact = contact = _stored_mapping(mapped, now.gateway)
            self._notes["contact"] = lambda ingest: ingest.refine_contact(self.key.node_id, boot, contact)

    # -- notes

    def _write_notes(self, at_once: bool = False) -> None:
        """Hands over what is to be written beside frames; while the store is busy with the last, it waits."""
        if not self._notes:
            return
        if self._notes_waiting and not at_once:
            self._notes_due = True
            return
        changes = list(self._notes.values())
        self._notes.clear()
        self._notes_due = False
        self._notes_waiting = True
        self._noted_ms = mono_ms()

        def make(ingest: Ingest) -> None:
            for change in changes:
                change(ingest)

        def done(_: None) -> None:
            self._notes_waiting = False
            if self._notes_due:
                self._write_notes()

        self._writer.post(make, done)


def _stored_mapping(mapped: ClockMapping, gateway: int) -> NodeMapping:
    m = mapped
    return NodeMapping(m.node_ms, gateway, m.gateway_ms, m.err_ms, m.rate_ppb, m.drift_ppm)
