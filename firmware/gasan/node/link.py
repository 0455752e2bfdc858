"""The node's end of the link: one session with one gateway over any byte stream (protocols/link.md).

One flat coroutine reads, writes and keeps the times; `gasan.node.jobs` works on commands and puts. `node`
is the app: `id`, `generation`, `boot`, `k_link`, `clock.now()`, `spool`, `status()`, `orders()`.
A stream has `read(buf)`, `write(view)`, `claim(on)` and `is_console`.

Bounds: 300 bytes between two zeros that come in, 8 answers that wait, 8 frames under way. What does
not fit is dropped and counted, and the gateway asks again.
"""

import asyncio
import os
import time

from gasan.node import log
from gasan.node.console import Console
from gasan.wire import cbor, cobs
from gasan.wire import session as wire
from gasan.wire.cose import Hmac
from gasan.wire.frame import FRAME_MAX, peek
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.jobs import Jobs

# The protocol's numbers, as gasan.wire.link names them.
_VERSION = const(1)
_ANNOUNCE = const(0x01)
_HELLO = const(0x02)
_REPLY = const(0x03)
_WELCOME = const(0x04)
_DATA = const(0x10)
_ACK = const(0x11)
_TIME_REQ = const(0x12)
_TIME_RESP = const(0x13)
_STATUS = const(0x14)
_RESULT = const(0x18)
_SEEN = const(0x19)
_LOG = const(0x1A)
_BYE = const(0x1B)
_REPORT = const(96)
_WINDOW = const(8)

_START = const(2)  # of the packet in the out buffer, behind a zero and the first COBS code
_BODY = const(8)
_IN_MAX = const(300)
_ANSWERS_MAX = const(8)
_ANNOUNCE_MS = const(5000)
_HELLO_GAP_MS = const(500)  # a HELLO that comes sooner after the last one is not answered
_STATUS_MS = const(1000)
_TELL_MS = const(100)  # between two words of how many readings were sampled
_RESEND_MS = const(3000)  # from the last byte of a frame to its acknowledgement; then all is sent again
_SILENCE_MS = const(6000)  # without a valid packet the session is over
_STALL_MS = const(2000)  # a packet of which the host takes no byte for so long is given up
_IDLE_MS = const(10)
_PIECE = const(64)  # bytes written at once: on USB a write may wait for 500 ms for each 64 bytes


class Link:
    """Speaks with a gateway for ever. `up`: in session; `beat`: ticks_ms() of the last turn.

    It has more than 29 attributes on purpose: a table of 29 would be full, and a full one is slow to search.
    """

    def __init__(self, node: "Any", stream: "Any" = None) -> None:
        self.up = False
        self.beat = time.ticks_ms()
        self.refused: dict[str, int] = {}  # by reason, see protocols/link.md
        self.counters = {15: 0}  # by key of a health frame: their sum; 30: sessions begun
        self._node = node
        self.use(stream or Console())
        self._k_link = Hmac(node.k_link)
        self._session: wire.Session | None = None
        self._candidate: wire.Session | None = None  # of the last HELLO; becomes the session by its WELCOME
        self._hello_ms = -_HELLO_GAP_MS
        self._heard_ms = 0  # last valid packet
        self._due_ms = 0  # next ANNOUNCE, or STATUS in session
        self._told = self._told_ms = 0  # readings sampled, as the gateway knows; when it was told
        self._unreported = 0  # bytes seen since the last SEEN
        self._chunk = bytearray(32)
        self._in = bytearray(_IN_MAX)
        self._in_view = memoryview(self._in)
        self._fill = 0  # bytes since the last zero; past _IN_MAX they are not kept
        size = _BODY + FRAME_MAX + 8  # the MAC
        self._out = bytearray(size + size // 254 + 1)
        self._out_view = memoryview(self._out)
        self._frame_view = self._out_view[_BODY : _BODY + FRAME_MAX]  # view of _out
        self._pos = self._end = 0  # _out[_pos:_end] is still to be written
        self._taken_ms = 0  # when the host last took a byte
        self._flying: list[list[Any]] = []  # [boot, seq, ms when written or -1], in the order of sending
        self._rewound_ms, self._resend_ms = 0, _RESEND_MS
        self._answers: list[tuple[int, Any]] = []  # (kind, body); of a REPLY the whole packet
        self._jobs: Jobs | None = None  # loaded when there is the first

    def use(self, port: "Any") -> None:
        """Speak over ``port``; not to be called once it runs."""
        self._port = port
        self._read = port.read
        self._write = port.write

    async def run(self) -> None:
        """Run until cancelled. Meanwhile lines of the log travel between packets, not inside them."""
        log.ring(True)
        try:
            while True:
                self.beat = time.ticks_ms()
                now = self._node.clock.now()
                heard = self._receive(now)
                if self.up and now - self._heard_ms > _SILENCE_MS:
                    self._drop_session()
                if self.up and self._flying and 0 <= self._flying[0][2] < now - self._resend_ms:
                    self._rewind(now)
                    self._resend_ms = min(2 * self._resend_ms, 16 * _RESEND_MS)
                moving = self._transmit(now)
                await asyncio.sleep_ms(0 if heard or moving else _IDLE_MS)
        finally:
            self._drop_session()
            line = log.take()
            while line:
                print(line)
                line = log.take()
            log.ring(False)

    async def farewell(self) -> None:
        """Say BYE before an orderly reset; takes at most 500 ms."""
        self._answer(_BYE, b"")
        for _ in range(50):
            if self._pos == self._end and not self._answers:
                break
            await asyncio.sleep_ms(10)

    def _count(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
        self.counters[15] += 1

    def _drop_session(self) -> None:
        self._session = self._candidate = None
        self._answers = []
        self._unreported = 0
        if self.up:
            self.up = False
            self._due_ms = 0
            self._port.claim(False)

    # Receiving

    def _receive(self, now: int) -> bool:
        """Take what the stream has; returns whether there was anything."""
        n = self._read(self._chunk)
        for i in range(n):
            byte = self._chunk[i]
            if byte:
                if self._fill < _IN_MAX:
                    self._in[self._fill] = byte
                if self._fill <= _IN_MAX:
                    self._fill += 1
            elif self._fill:
                try:
                    if self._fill > _IN_MAX:
                        raise wire.LinkError("oversize")
                    self._packet(now)
                except wire.LinkError as error:
                    self._count(error.args[0])
                self._fill = 0
        return n > 0

    def _packet(self, now: int) -> None:
        """Act on the packet in `_in[:_fill]`."""
        packet = wire.unarmour(bytes(self._in_view[: self._fill]))
        kind = packet[0] if packet else 0
        if kind == _HELLO:
            self._hello(wire.shaped(packet[1:], wire.SHAPES[kind]), now)
            return
        session = self._session
        if kind == _WELCOME and self._candidate:
            session = self._candidate
        if session is None:
            raise wire.LinkError("stale")
        value = wire.shaped(session.open(packet), wire.SHAPES[kind])
        self._heard_ms = now
        self._unreported += self._fill + 2
        if kind == _WELCOME:
            self._session, self._candidate = session, None
            self._due_ms = now
            self.counters[30] = self.counters.get(30, 0) + 1
            self.up = True
            self._port.claim(True)
            for entry in value[0]:
                self._node.spool.ack(entry[0], entry[1], entry[2])
            self._rewind(now)
        elif kind == _ACK:
            self._resend_ms = _RESEND_MS
            self._node.spool.ack(value[0], value[1], value[2])
            lost = wire.settle(self._flying, value[0], value[1], value[2])
            if lost and now - self._rewound_ms > _RESEND_MS:  # else it was sent before the last rewind
                self._rewind(now)
        elif kind == _TIME_REQ:
            self._answer(kind, (value[0], self._node.clock.now()))
        elif kind == _BYE:
            self._drop_session()
        else:
            if self._jobs is None:
                from gasan.node.jobs import Jobs

                self._jobs = Jobs(self._node, self._answer)
            if not self._jobs.add(kind, value):
                self._count("dropped")

    def _hello(self, value: "list[Any]", now: int) -> None:
        """Answer with a nonce of our own; a session that is up stays until a WELCOME proves the asker."""
        if now - self._hello_ms < _HELLO_GAP_MS:
            self._count("spam")
            return
        self._hello_ms = now
        node = self._node
        nonce = os.urandom(16)
        context = value[1] + nonce + node.id + node.boot + value[2] + bytes((node.generation,))
        self._candidate = wire.Session(self._k_link, context, True)
        packet = b"\x03" + cbor.dumps([_VERSION, node.id, node.generation, node.boot, nonce])
        self._answer(_REPLY, packet + self._k_link.tag(packet, value[1], value[2]))

    def _rewind(self, now: int) -> None:
        """Send again all that is not acknowledged."""
        self._rewound_ms = now
        self._flying = []
        self._node.spool.rewind()

    # Sending

    def _answer(self, kind: int, body: "Any") -> None:
        if not self.up and kind != _REPLY:
            return
        if len(self._answers) < _ANSWERS_MAX:
            self._answers.append((kind, body))
        else:
            self._count("dropped")

    def _transmit(self, now: int) -> bool:
        """Write a piece of a packet; returns whether the stream took one."""
        if self._pos == self._end:
            self._pos = self._end = 0
            self._taken_ms = now
            if not self._next(now):
                return False
        n = self._write(self._out_view[self._pos : min(self._end, self._pos + _PIECE)])
        self._pos += n
        if n:
            self._taken_ms = now
        elif now - self._taken_ms > _STALL_MS:
            self._pos = self._end
            self._count("stalled")
        if self._pos == self._end:
            for frame in self._flying:
                if frame[2] < 0:
                    frame[2] = now
        return n > 0

    def _next(self, now: int) -> bool:
        """Put the next thing due into the out buffer; returns whether there was one."""
        node = self._node
        session = self._session
        line = log.take() if session or self._port.is_console else None
        if line and self._port.is_console:
            data = line.encode() + b"\r\n"
            self._end = len(data)
            self._out[: self._end] = data
        elif line:
            self._put(_LOG, cbor.dumps(line))
        elif self._answers:
            kind, body = self._answers.pop(0)
            if kind == _TIME_REQ:
                kind = _TIME_RESP
                body = cbor.dumps([body[0], body[1], node.clock.now()])
            self._put(kind, body)
            if kind == _RESULT:
                self._due_ms = now  # a command changes the status
            elif kind == _BYE:
                self._drop_session()
        elif session is None:
            if now >= self._due_ms:
                self._due_ms = now + _ANNOUNCE_MS
                body = cbor.dumps([_VERSION, node.id, node.generation, node.boot])
                self._put(_ANNOUNCE, b"\x01" + body)
        elif self._unreported >= _REPORT or (self._unreported and now >= self._due_ms):
            self._unreported = 0
            self._put(_SEEN, cbor.dumps([session.seen]))
        elif now >= self._due_ms:
            self._due_ms = now + _STATUS_MS
            self._tell(node.status(), now)
        elif node.sampler.sampled != self._told and now - self._told_ms >= _TELL_MS:
            self._tell({1: node.sampler.sampled, 11: now}, now)
        elif len(self._flying) < _WINDOW:
            n = node.spool.next(self._frame_view)
            if n:
                head = peek(self._frame_view)
                self._flying.append([head[1], head[2], -1])
                self._close(session.seal(self._out, _START, _DATA, _BODY + n))
        return self._end > 0

    def _tell(self, status: dict, now: int) -> None:
        self._told = status[1]
        self._told_ms = now
        self._put(_STATUS, cbor.dumps(status))

    def _put(self, kind: int, body: bytes) -> None:
        """Pack a packet of `body`; outside of a session `body` is the packet."""
        start = _BODY if kind > _REPLY else _START
        end = start + len(body)
        self._out[start:end] = body
        if kind > _REPLY and self._session:
            end = self._session.seal(self._out, _START, kind, end)
        self._close(end)

    def _close(self, end: int) -> None:
        end = cobs.encode(self._out, _START, end)
        self._out[0] = self._out[end] = 0
        self._end = end + 1
