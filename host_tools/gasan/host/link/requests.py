"""What the gateway wants of a node: blobs to be taken, commands to be done. Without I/O, as the session."""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gasan.host.link.events import (
    NO_ANSWER,
    SESSION_ENDED,
    CommandResult,
    Event,
    PutDone,
    PutProgress,
)
from gasan.wire import cbor
from gasan.wire import link as wire

__all__ = ["BODY_MAX", "Requests"]

BODY_MAX = (wire.NODE_PACKET_MAX - 2) // 4 * 3 - wire.HEAD - wire.MAC
"""Bytes that fit into a packet to a node."""

_PUT_MS = 1_500
_PUT_TRIES = 10  # without progress
_PUT_LIMIT_MS = 120_000  # without progress, in a session or not
_COMMAND_MS = 2_000
_COMMAND_LIMIT_MS = 30_000


@dataclass(slots=True)
class _Put:
    kind: int
    hash: bytes
    blob: bytes
    offset: int = 0
    node_id: bytes | None = None  # that it was begun with
    sent_ms: int | None = None
    tries: int = 0  # since the offset last grew
    moved_ms: int | None = None  # when that was; None: not under way yet


@dataclass(slots=True)
class _Command:
    id: int
    body: bytes
    asked_ms: int
    boot: bytes | None = None  # that it was sent to
    sent_ms: int | None = None


class Requests:
    """The oldest put and the oldest command are under way, the others wait.

    A request outlives a session, but not the boot (commands) or the node (puts) that it was sent to.
    """

    def __init__(self, rng: Callable[[int], bytes]) -> None:
        self._rng = rng
        self._puts: deque[_Put] = deque()
        self._commands: deque[_Command] = deque()

    def put(self, kind: int, blob: bytes) -> bytes:
        """Send a blob; returns its hash (8 bytes of SHA-256)."""
        digest = hashlib.sha256(blob).digest()[:8]
        self._puts.append(_Put(kind, digest, blob))
        return digest

    def command(self, name: str, args: tuple[object, ...], now: int) -> int:
        """Have a command done; returns its id. Raises ValueError if it does not fit into a packet."""
        number = int.from_bytes(self._rng(4), "big")
        body = cbor.dumps([number, name, list(args)])
        if len(body) > BODY_MAX:
            raise ValueError(f"the command {name!r} takes {len(body)} bytes, a packet holds {BODY_MAX}")
        self._commands.append(_Command(number, body, now))
        return number

    def begin(self, node_id: bytes, boot: bytes) -> list[Event]:
        """A session stands: what was sent in an earlier one is sent again, or has ended with it."""
        events: list[Event] = []
        for command in [c for c in self._commands if c.boot not in (None, boot)]:
            self._commands.remove(command)
            events.append(CommandResult(command.id, SESSION_ENDED, "the node started again before an answer"))
        for put in [p for p in self._puts if p.node_id not in (None, node_id)]:
            self._puts.remove(put)
            events.append(PutDone(put.kind, put.hash, False, "another node speaks on the port"))
        for command in self._commands:
            command.sent_ms = None
        for put in self._puts:
            put.sent_ms = None
        return events

    def give_up(self, now: int) -> list[Event]:
        """End the requests that a node does not answer."""
        events: list[Event] = []
        for command in [c for c in self._commands if now - c.asked_ms > _COMMAND_LIMIT_MS]:
            self._commands.remove(command)
            events.append(CommandResult(command.id, NO_ANSWER, "the node did not answer"))
        if self._puts:
            put = self._puts[0]
            if put.moved_ms is None:
                put.moved_ms = now
            if put.tries > _PUT_TRIES or now - put.moved_ms > _PUT_LIMIT_MS:
                self._puts.popleft()
                events.append(PutDone(put.kind, put.hash, False, f"the node stays at byte {put.offset}"))
        return events

    def send(self, send: Callable[[int, bytes], bool], node_id: bytes, boot: bytes, now: int) -> None:
        """Send what is due; `send` (kind, body) says whether the node can hold it."""
        if self._commands:
            command = self._commands[0]
            if command.sent_ms is None or now - command.sent_ms >= _COMMAND_MS:
                if not send(wire.COMMAND, command.body):
                    return
                command.sent_ms = now
                command.boot = boot
        if self._puts:
            put = self._puts[0]
            if put.sent_ms is None or now - put.sent_ms >= _PUT_MS:
                data = put.blob[put.offset : put.offset + wire.PUT_CHUNK]
                if send(wire.PUT, cbor.dumps([put.kind, put.hash, len(put.blob), put.offset, data])):
                    put.sent_ms = now
                    put.node_id = node_id
                    put.tries += 1

    def done(self, number: int, status: int, text: str) -> list[Event]:
        """A RESULT has come."""
        for command in self._commands:
            if command.id == number:
                self._commands.remove(command)
                return [CommandResult(number, status, text)]
        return []

    def put_answered(self, kind: int, digest: bytes, offset: int, status: int) -> list[Event]:
        """A PUT_ACK has come."""
        put = self._puts[0] if self._puts else None
        if put is None or (put.kind, put.hash) != (kind, digest):
            return []
        if status == wire.PUT_COMPLETE or status == wire.PUT_REFUSED or offset > len(put.blob):
            self._puts.popleft()
            ok = status == wire.PUT_COMPLETE
            return [PutDone(kind, digest, ok, "" if ok else "the node refused it")]
        if offset == put.offset:
            return []
        if offset > put.offset:
            put.tries = 0
            put.moved_ms = None
        put.offset = offset
        put.sent_ms = None
        return [PutProgress(kind, digest, offset, len(put.blob))]
