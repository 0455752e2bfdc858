"""The gateway's end of a link, without any I/O: bytes and times go in, events and bytes come out.

    session = GatewaySession(keys, store_id, now_ms)
    events = session.feed(data, now_ms)     # what the port gave
    events = session.tick(now_ms)           # some ten times a second
    port.write(session.take_output())       # after either, and after any request

All times are the gateway's monotonic clock in whole milliseconds. Nothing is believed that is not
authenticated by a key of the node; what is refused is counted in `counters` and has no other effect.
The spec is protocols/link.md.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from gasan.host.link.chunks import Chunks, Lines, as_text, tail_text
from gasan.host.link.events import (
    Event,
    FrameReceived,
    Log,
    SessionDown,
    SessionUp,
    Status,
    Stranger,
    Text,
    TimeSample,
)
from gasan.host.link.requests import BODY_MAX, Requests
from gasan.wire import cbor, cobs
from gasan.wire import link as wire
from gasan.wire.cose import Hmac, equal
from gasan.wire.frame import FRAME_MAX

__all__ = ["GatewaySession", "KeyLookup", "Stored"]

KeyLookup = Callable[[bytes, int], bytes | None]
"""(node id, key generation) -> the node's key, or None if no session may be opened with it.

A retired generation gives None: it only verifies frames that were spooled before.
"""

Stored = tuple[bytes, int, Sequence[tuple[int, int]]]
"""(boot, next, ranges): all frames before `next` are stored, and those of the inclusive ranges."""

_HELLO_MS = 1_000
_HELLO_MAX_MS = 8_000  # between two on a slow line
_ASK_MS = 10_000  # HELLOs are sent for so long after the port has opened or a node has spoken
_SILENT_MS = 5_000  # without a valid packet the peer is dead
_DOUBT_MS = 1_500  # a live node says something each second
_KEEPALIVE_MS = 2_000
_CREDIT_MS = 1_000  # an unreported byte is taken for seen after that
_TIME_MS = 5_000  # an exchange that took longer says nothing
_NOISE = "noise"  # a reason beside those of the wire
_CHUNK_MAX = wire.HEAD + FRAME_MAX + wire.MAC + 16  # between two zeros
_NONCES = 4  # of HELLOs, the last ones: a reply may be on its way when the next HELLO is sent


@dataclass(slots=True)
class _Peer:
    """A node that has proved its key, with all that ends when its session does."""

    session: wire.Session
    node_id: bytes
    generation: int
    boot: bytes
    heard_ms: int
    confirmed: bool = False  # by a packet inside the session
    unreported: deque[tuple[int, int, int]] = field(default_factory=deque)  # (counter, wire bytes, ms sent)
    acks: dict[bytes, bytes] = field(default_factory=dict)  # boot -> body
    times: dict[int, int] = field(default_factory=dict)  # id -> t1


class GatewaySession:
    """One port, on which one node at a time speaks."""

    def __init__(
        self,
        keys: KeyLookup,
        store_id: bytes,
        now_ms: int,
        rng: Callable[[int], bytes] = os.urandom,
        stored: Callable[[bytes], Iterable[Stored]] = lambda node_id: (),
    ) -> None:
        """
        keys: see `KeyLookup`. store_id: 8 bytes, of the store that acknowledges.
        rng: n -> n random bytes. stored: node id -> what the store has of it, newest boot first; asked once
        for each session, and as much as fits is told to the node at once.
        """
        self.counters: Counter[str] = Counter()
        self._keys = keys
        self._store_id = store_id
        self._rng = rng
        self._stored = stored
        self._now = now_ms
        self._peer: _Peer | None = None
        self._nonce = b""  # of the HELLO of which the reply is waited for
        self._nonces: deque[bytes] = deque(maxlen=_NONCES)
        self._hello_ms: int | None = None
        self._hello_gap_ms = _HELLO_MS
        self._late = False  # a reply came after the next HELLO
        self._ask_until = now_ms + _ASK_MS
        self._strangers: set[tuple[bytes, int]] = set()

        self._output: list[bytes] = []
        self._sent_ms = now_ms
        self._time_wanted = False
        self._time_id = int.from_bytes(rng(2), "big")
        self._requests = Requests(rng)

        self._chunks = Chunks(_CHUNK_MAX)
        self._lines = Lines()

    # What the owner asks

    @property
    def up(self) -> bool:
        """Whether a session stands."""
        return self._peer is not None and self._peer.confirmed

    @property
    def node_id(self) -> bytes | None:
        """The node in session."""
        return self._peer.node_id if self._peer is not None and self._peer.confirmed else None

    @property
    def generation(self) -> int | None:
        """The generation of the key that the session stands on."""
        return self._peer.generation if self._peer is not None and self._peer.confirmed else None

    @property
    def boot(self) -> bytes | None:
        """The boot of the node in session."""
        return self._peer.boot if self._peer is not None and self._peer.confirmed else None

    def ack(self, boot: bytes, next_seq: int, ranges: Sequence[tuple[int, int]] = ()) -> None:
        """Tell the node what is stored. Call it only after the commit; per boot the newest call wins.

        ranges: what is stored past `next_seq`: (from, to) inclusive, ascending, with gaps between; the first
        8 are told. Raises ValueError if they are not so.
        """
        if self._peer is not None:
            body = cbor.dumps(_entry(boot, next_seq, ranges))
            wire.body(wire.ACK, body)
            self._peer.acks.pop(boot, None)
            self._peer.acks[boot] = body

    def request_time(self) -> None:
        """Exchange times; gives a TimeSample."""
        self._time_wanted = True

    def put(self, kind: int, blob: bytes) -> bytes:
        """Send a blob to the node; returns its hash (8 bytes of SHA-256), which the events about it carry."""
        return self._requests.put(kind, blob)

    def command(self, name: str, *args: object) -> int:
        """Have the node do something, once; returns the id that the CommandResult will carry.

        Raises ValueError if name and arguments do not fit into a packet to a node.
        """
        return self._requests.command(name, args, self._now)

    def bye(self) -> list[Event]:
        """End the session in order."""
        if self._peer is not None:
            self._send(self._peer, wire.BYE, b"")
        return self._drop("bye")

    def lost(self, now_ms: int) -> list[Event]:
        """The port is closed: forget what was on it. The next feed or tick asks for a node again."""
        self._now = now_ms
        self._output.clear()
        self._chunks.clear()
        self._hello_ms = None
        self._hello_gap_ms = _HELLO_MS
        self._late = False
        self._nonce = b""
        self._ask_until = now_ms + _ASK_MS
        return self._drop("port closed") + [Text(line) for line in self._lines.end()]

    def take_output(self) -> bytes:
        """All that is to be written to the port now."""
        self._fill()
        out = b"".join(self._output)
        self._output.clear()
        return out

    # Time

    def tick(self, now_ms: int) -> list[Event]:
        """Let time pass."""
        self._now = now_ms
        events: list[Event] = []
        peer = self._peer
        if peer is not None and now_ms - peer.heard_ms > _SILENT_MS:
            self._ask_until = now_ms + _ASK_MS
            events += self._drop("silent")
            peer = None
        doubtful = peer is None or not peer.confirmed or now_ms - peer.heard_ms > _DOUBT_MS
        due = self._hello_ms is None or now_ms - self._hello_ms >= self._hello_gap_ms
        if doubtful and due and now_ms < self._ask_until:
            self._hello()
        if peer is not None and peer.confirmed and now_ms - self._sent_ms >= _KEEPALIVE_MS:
            self._time_wanted = True
        events += self._requests.give_up(now_ms)
        for chunk in self._chunks.waiting(now_ms):
            events += self._chunk(chunk)
        events += [Text(line) for line in self._lines.waiting(now_ms)]
        return events

    # Receiving

    def feed(self, data: bytes, now_ms: int) -> list[Event]:
        """Take bytes of the port."""
        self._now = now_ms
        events: list[Event] = []
        for chunk in self._chunks.split(data, now_ms):
            events += self._chunk(chunk)
        return events

    def _chunk(self, chunk: bytes) -> list[Event]:
        """What stood between two zeros: a packet, text, or noise."""
        reason = _NOISE
        if len(chunk) <= _CHUNK_MAX:
            buf = bytearray(chunk)
            try:
                return self._packet(bytes(buf[1 : cobs.decode(buf, 0, len(buf))]))
            except cobs.CobsError:
                pass
            except wire.LinkError as error:
                reason = _NOISE if error.args[0] == wire.MALFORMED else error.args[0]
        text = as_text(chunk)
        if text is None:
            self.counters[reason] += 1
            text = tail_text(chunk) if reason == _NOISE else ""
        return [Text(line) for line in self._lines.add(text, self._now)]

    def _packet(self, packet: bytes) -> list[Event]:
        kind = packet[0] if packet else 0
        if kind == wire.ANNOUNCE:
            return self._announced(wire.body(kind, packet[1:]))
        if kind == wire.REPLY:
            return self._replied(packet)
        peer = self._peer
        if peer is None:
            raise wire.LinkError(wire.REFLECTED if kind in wire.TO_NODE else wire.STALE)
        body = peer.session.open(packet)
        peer.heard_ms = self._now
        self._nonce = b""  # the node lives: no reply is waited for
        events: list[Event] = []
        if not peer.confirmed:
            peer.confirmed = True
            self._hello_gap_ms = _HELLO_MS
            self._ask_until = self._now
            events += self._confirmed(peer)
        if kind == wire.DATA:
            return [*events, FrameReceived(body)]
        if kind == wire.BYE:
            self._ask_until = self._now + _ASK_MS
            return events + self._drop("bye")
        try:
            events += self._message(peer, kind, body)
        except wire.LinkError as error:  # authentic, and wrong
            self.counters[error.args[0]] += 1
        return events

    def _announced(self, value: list[int | bytes]) -> list[Event]:
        """Unauthenticated: worth a HELLO if no live session stands, and nothing else."""
        _, node_id, generation, _ = value
        assert isinstance(node_id, bytes) and isinstance(generation, int)
        if self._session_key(node_id, generation) is None:
            return self._stranger(node_id, generation)
        self._ask_until = self._now + _ASK_MS
        return []

    def _session_key(self, node_id: bytes, generation: int) -> bytes | None:
        return self._keys(node_id, generation) if generation < 256 else None

    def _stranger(self, node_id: bytes, generation: int) -> list[Event]:
        self.counters["stranger"] += 1
        if (node_id, generation) in self._strangers or len(self._strangers) >= 100:
            return []
        self._strangers.add((node_id, generation))
        return [Stranger(node_id, generation)]

    def _replied(self, packet: bytes) -> list[Event]:
        signed, tag = packet[: -wire.MAC], packet[-wire.MAC :]
        _, node_id, generation, boot, nonce_n = wire.body(wire.REPLY, signed[1:])
        key = self._session_key(node_id, generation)
        if key is None:
            return self._stranger(node_id, generation)
        k_link = Hmac(wire.link_key(key))
        if not self._nonce or not equal(k_link.tag(signed, self._nonce, self._store_id), tag):
            if not any(equal(k_link.tag(signed, nonce, self._store_id), tag) for nonce in self._nonces):
                raise wire.LinkError(wire.FORGED)
            self._late = True
            self._ask_until = self._now + _ASK_MS
            raise wire.LinkError(wire.STALE)
        context = wire.context(self._nonce, nonce_n, node_id, boot, self._store_id, generation)
        session = wire.Session(k_link, context, False)
        self._nonce = b""  # a reply to it is valid once
        events = self._drop("replaced")
        self._peer = _Peer(session, node_id, generation, boot, self._now)
        self._send(self._peer, wire.WELCOME, self._welcome(node_id))
        return events

    def _welcome(self, node_id: bytes) -> bytes:
        entries: list[list[object]] = []
        for boot, next_seq, ranges in self._stored(node_id):
            entry = _entry(boot, next_seq, ranges)
            if len(cbor.dumps([[*entries, entry]])) > BODY_MAX:
                break
            entries.append(entry)
        return cbor.dumps([entries])

    def _confirmed(self, peer: _Peer) -> list[Event]:
        """A session stands."""
        up = SessionUp(peer.node_id, peer.generation, peer.boot)
        return [up, *self._requests.begin(peer.node_id, peer.boot)]

    def _message(self, peer: _Peer, kind: int, body: bytes) -> list[Event]:
        if kind == wire.STATUS:
            return [Status(_status(body))]
        if kind == wire.LOG:
            try:
                text = cbor.loads(body, 1, 1)
            except cbor.CBORError:
                text = None
            if not isinstance(text, str):
                raise wire.LinkError(wire.MALFORMED)
            return [Log(text)]
        value = wire.body(kind, body)
        if kind == wire.SEEN:
            while peer.unreported and peer.unreported[0][0] <= value[0]:
                peer.unreported.popleft()
        elif kind == wire.TIME_RESP:
            return self._timed(peer, *value)
        elif kind == wire.PUT_ACK:
            return self._requests.put_answered(*value)
        elif kind == wire.RESULT:
            return self._requests.done(*value)
        return []

    def _timed(self, peer: _Peer, number: int, t2: int, t3: int) -> list[Event]:
        t1 = peer.times.pop(number, None)
        if t1 is None or not 0 <= t3 - t2 <= self._now - t1 + 1 or self._now - t1 > _TIME_MS:
            self.counters["implausible time"] += 1
            return []
        return [TimeSample(t1, t2, t3, self._now)]

    # Sending

    def _hello(self) -> None:
        """Ask, with a new nonce; less often after an answer that the next HELLO had overtaken."""
        if self._late:
            self._late = False
            self._hello_gap_ms = min(2 * self._hello_gap_ms, _HELLO_MAX_MS)
        self._hello_ms = self._now
        self._nonce = self._rng(16)
        self._nonces.append(self._nonce)
        body = cbor.dumps([wire.VERSION, self._nonce, self._store_id])
        self._output.append(_wire(bytes((wire.HELLO,)) + body))

    def _drop(self, reason: str) -> list[Event]:
        peer, self._peer = self._peer, None
        return [SessionDown(peer.node_id, reason)] if peer is not None and peer.confirmed else []

    def _fill(self) -> None:
        """Send what is due, as far as the node's credit goes."""
        peer = self._peer
        if peer is None or not peer.confirmed:
            return
        now = self._now
        while peer.acks:
            boot = next(iter(peer.acks))
            if not self._send(peer, wire.ACK, peer.acks[boot]):
                return
            del peer.acks[boot]
        if self._time_wanted:
            self._time_id += 1
            if not self._send(peer, wire.TIME_REQ, cbor.dumps([self._time_id, now])):
                return
            self._time_wanted = False
            peer.times[self._time_id] = now
            while len(peer.times) > 4:
                del peer.times[next(iter(peer.times))]
        self._requests.send(lambda kind, body: self._send(peer, kind, body), peer.node_id, peer.boot, now)

    def _send(self, peer: _Peer, kind: int, body: bytes) -> bool:
        """Send a packet, unless the node could not hold it; WELCOME comes first and BYE last, regardless."""
        while peer.unreported and self._now - peer.unreported[0][2] >= _CREDIT_MS:
            peer.unreported.popleft()
        size = (wire.HEAD + len(body) + wire.MAC + 2) // 3 * 4 + 2
        used = sum(entry[1] for entry in peer.unreported)
        if used + size > wire.CREDIT and kind not in (wire.WELCOME, wire.BYE):
            return False
        counter = peer.session.sent
        buf = bytearray(wire.HEAD) + body + bytes(wire.MAC)
        peer.session.seal(buf, 0, kind, wire.HEAD + len(body))
        self._output.append(_wire(bytes(buf)))
        peer.unreported.append((counter, len(self._output[-1]), self._now))
        self._sent_ms = self._now
        return True


def _entry(boot: bytes, next_seq: int, ranges: Sequence[tuple[int, int]]) -> list[object]:
    return [boot, next_seq, [edge for pair in ranges[: wire.RANGES_MAX] for edge in pair]]


def _wire(packet: bytes) -> bytes:
    """A packet as it goes to a node: text between zeros."""
    return b"\x00" + wire.armour(packet) + b"\x00"


def _status(body: bytes) -> dict[int, int]:
    try:
        values = cbor.loads(body, 1, 200)
    except cbor.CBORError:
        values = None
    if not isinstance(values, dict):
        raise wire.LinkError(wire.MALFORMED)
    for item in (*values.keys(), *values.values()):
        if not isinstance(item, int) or isinstance(item, bool) or item < 0:
            raise wire.LinkError(wire.MALFORMED)
    return values
