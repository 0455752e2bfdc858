"""What a frame without readings says: a start, a loss, health, a crash. And whether the store can hold it."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from gasan.host.store import counters
from gasan.host.store.meaning import parse_birth
from gasan.host.store.registry import Boot, Node, Registry
from gasan.wire.frame import BIRTH, BOOT, CRASH, DATA, HEALTH, TOMBSTONE, FrameError
from gasan.wire.frame_reader import Frame

__all__ = ["Notes", "check", "note_figures"]

_I64_MAX: Final = (1 << 63) - 1


class Notes:
    """Writes it down, inside the caller's transaction.

    unbounded: takes the ids of nodes of which starts may get a date by those around them.
    """

    def __init__(self, db: sqlite3.Connection, registry: Registry, unbounded: set[int]) -> None:
        self._db = db
        self._registry = registry
        self._unbounded = unbounded

    def take(self, node: Node, boot: Boot, frame: Frame, frame_id: int) -> None:
        """Notes what a stored frame says, of any kind but data and births."""
        content = frame.content
        if frame.kind == BOOT:
            self._boot(node, boot, content)
        elif frame.kind == TOMBSTONE:
            reason, of, first, last, readings, mono_from, mono_to, counts = content
            lost = self._registry.boot(node, bytes(of))
            lost.gone.add_range(first, last)
            lost.dirty = True
            pairs = list(zip(counts[::2], counts[1::2], strict=True))
            self._db.execute(
                "INSERT INTO tombstone (frame, boot, reason, first_seq, last_seq, n, mono_from, mono_to,"
                " channels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (frame_id, lost.id, reason, first, last, readings, mono_from, mono_to, json.dumps(pairs)),
            )
        elif frame.kind == HEALTH:
            note_figures(boot, content)
            self._dropped(node, boot, frame)
            self._db.execute("INSERT INTO event (frame, body) VALUES (?, ?)", (frame_id, json.dumps(content)))
        elif frame.kind == CRASH:
            self._db.execute("INSERT INTO event (frame, body) VALUES (?, ?)", (frame_id, content))

    def _boot(self, node: Node, boot: Boot, content: dict[int, Any]) -> None:
        boot.ordinal = content[1]
        self._unbounded.add(node.id)
        self._db.execute(
            "UPDATE boot SET reset_cause = ?, firmware = ?, board = ?, config_state = ? WHERE id = ?",
            (content[5], content[6], content[7], content[8], boot.id),
        )
        if content[2] is not None:
            previous = self._registry.boot(node, bytes(content[2]))
            if previous.ordinal is None:  # until its own boot frame arrives
                previous.ordinal = content[1] - 1
                previous.dirty = True
            self._db.execute(
                "UPDATE boot SET closed = 1, last_seq = ?, final_count = ? WHERE id = ?",
                (content[3], content[4], previous.id),
            )

    def _dropped(self, node: Node, boot: Boot, frame: Frame) -> None:
        """What rules left out, of each channel: the highest figures stay."""
        told = [
            (key - counters.DROPPED_OF, n) for key, n in frame.content.items() if key >= counters.DROPPED_OF
        ]
        if told:
            revision = self._registry.revision(node, frame.rev)
            self._db.executemany(
                "INSERT INTO dropped (boot, revision, number, n) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (boot, number) DO UPDATE SET n = max(n, excluded.n)",
                [(boot.id, revision.id, number, n) for number, n in told],
            )


def note_figures(boot: Boot, values: Mapping[int, int]) -> None:
    """Notes the counters of a status message or health frame; the highest ones stay."""
    boot.sampled = max(boot.sampled, values.get(counters.SAMPLED, 0))
    boot.committed = max(boot.committed, values.get(counters.COMMITTED, 0))
    boot.missed = max(boot.missed, values.get(counters.MISSED, 0))
    boot.dropped = max(boot.dropped, values.get(counters.DROPPED, 0))
    boot.uptime_ms = max(boot.uptime_ms, values.get(counters.UPTIME_MS, 0))
    if values.get(counters.SPOOL_FRAMES) == 0 and counters.NEXT_SEQ in values:
        boot.settled_seq = max(boot.settled_seq or 0, values[counters.NEXT_SEQ])
        boot.settled_count = max(boot.settled_count or 0, values.get(counters.COMMITTED, 0))
    boot.dirty = True


def check(frame: Frame) -> None:
    """Raises FrameError for what the wire format allows and the database could not hold."""
    if max(frame.seq, frame.count + frame.n_readings, frame.mono) > _I64_MAX:
        raise FrameError("a number of more than 63 bits")
    if frame.kind not in (DATA, BIRTH) and _largest(frame.content) > _I64_MAX:
        raise FrameError("a number of more than 63 bits in the content")
    if frame.kind == TOMBSTONE and frame.content[2] > frame.content[3]:
        raise FrameError("a tombstone whose sequence numbers are not in order")
    if frame.kind == BIRTH:
        try:
            parse_birth(frame.content)
        except ValueError as error:
            raise FrameError(str(error)) from error


def _largest(content: Any) -> int:
    """The largest integer in a frame's content."""
    if isinstance(content, int):
        return content
    if isinstance(content, list):
        return max(map(_largest, content), default=0)
    if isinstance(content, dict):
        return max((max(_largest(key), _largest(value)) for key, value in content.items()), default=0)
    return 0
