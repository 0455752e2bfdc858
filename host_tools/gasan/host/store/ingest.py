"""From received frames to stored readings: verify, tell new from known, store, note what the frame says.

Everything happens in a transaction, and only after it is committed may a frame be acknowledged. A frame
that is not authentic or not well-formed is counted and never stored; one with the identity of a stored
frame is dropped when it is the same, and set aside as a conflict when it is not.
"""

import json
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

from gasan.host.store import counters, dating
from gasan.host.store.meaning import Meaning, config_meanings, parse_birth
from gasan.host.store.open import Store, unavailable
from gasan.host.store.ranges import Acknowledgement, Ranges
from gasan.host.store.registry import Boot, Layout, Node, Registry, Revision
from gasan.host.store.samples import Group, SampleWriter
from gasan.wire.cose import Hmac
from gasan.wire.frame import BIRTH, BOOT, CRASH, DATA, HEALTH, TOMBSTONE, FrameError, frame_key
from gasan.wire.frame_reader import Frame, expand, parse, split, verify
from gasan.wire.link import RANGES_MAX

__all__ = ["Ingest", "Keys", "Outcome", "Receipt"]

log = logging.getLogger(__name__)

_I64_MAX: Final = (1 << 63) - 1
_CONFLICTS_KEPT: Final = 1000
_DECODED_AT_ONCE: Final = 256


class Keys(Protocol):
    """What the store has to know of nodes."""

    def key(self, node_id: bytes, generation: int) -> bytes | None:
        """The 32-byte key of that generation, also a retired one; None when there is none."""

    def name(self, node_id: bytes) -> str:
        """The site file's name of a node that has a key."""


class Outcome(Enum):
    """What became of a received frame."""

    STORED = "stored"
    AGAIN = "received_again"
    CONFLICT = "conflict"
    BAD_MAC = "bad_mac"
    BAD_SHAPE = "bad_shape"
    UNKNOWN_KEY = "unknown_key"
    FAILED = "failed"
    """The store has a fault that only this frame shows: it is neither stored nor acknowledged."""


class Receipt(NamedTuple):
    """One frame's outcome.

    size: bytes of the frame. frame: None unless it was authentic and well-formed. groups, layouts: of a
    data frame that was stored and could be decoded at once. stored: what the store then has of the frame's
    boot, fit for an acknowledgement. overlap: readings that, by the frame's own count, an earlier frame
    holds as well.
    """

    outcome: Outcome
    size: int
    node_id: bytes = b""
    frame: Frame | None = None
    groups: Sequence[Group] = ()
    layouts: Sequence[Layout] = ()
    stored: Acknowledgement = (0, ())
    overlap: int = 0


class Ingest:
    """The writing side of a store. Use it in the store's thread; every method but the properties belongs
    inside `transaction`, except `store`, which makes its own.
    """

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._db = store.connection
        self._keys = keys
        self._macs: dict[bytes, tuple[bytes, Hmac]] = {}
        self._registry = Registry(self._db, keys.name)
        self._samples = SampleWriter(self._db)
        self._tally: Counter[tuple[int, str]] = Counter()
        self._next_frame = 0
        self._undecoded: dict[int, int] | None = None

    @property
    def store_id(self) -> bytes:
        return self._store.id

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and on disk when it returns.

        Raises StoreUnavailableError when the database cannot be written now, StoreDamagedError when it is
        damaged. Then nothing of it has happened, and the caller may try the same again.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if not self._next_frame:
                self._recall()
            yield
            self._save()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise unavailable(self._store.path, error) from error
        except BaseException:
            self._roll_back()
            raise
        self._registry.tidy()

    def store(self, frames: Iterable[bytes]) -> list[Receipt]:
        """Stores frames in a transaction, and decodes whatever they made decodable. Raises like
        `transaction`.
        """
        with self.transaction():
            receipts = [self.frame(data) for data in frames]
        while self.decodable:
            with self.transaction():
                self.decode()
        return receipts

    def frame(self, data: bytes) -> Receipt:
        """Takes one received frame. Never raises for what is in it."""
        try:
            kid, payload, tag = split(data)
        except FrameError:
            return self._refuse(Outcome.BAD_SHAPE, data)
        node_id = kid[:8]
        mac = self._mac(kid)
        if mac is None:
            return self._refuse(Outcome.UNKNOWN_KEY, data, node_id)
        if not verify(mac, payload, tag):
            return self._refuse(Outcome.BAD_MAC, data, node_id)
        node = self._registry.node(node_id)
        try:
            frame = parse(payload)
            _check(frame)
        except FrameError:
            return self._refuse(Outcome.BAD_SHAPE, data, node_id, node.id)
        boot = self._registry.boot(node, frame.boot)
        if frame.seq in boot.stored:
            return self._known(boot, frame, data, tag)
        overlap = self._overlap(boot, frame)
        groups, layouts = self._take(node, boot, frame, data, payload, tag)
        stored = boot.acknowledgement(RANGES_MAX)
        return Receipt(Outcome.STORED, len(data), node_id, frame, groups, layouts, stored, overlap)

    def session(self, node_id: bytes, boot_id: bytes) -> None:
        """Notes that a session with this start of the node is up: every other start of it has ended."""
        node = self._registry.node(node_id)
        boot = self._registry.boot(node, boot_id)
        if node.current != boot.id:
            self._db.execute("UPDATE node SET current = ? WHERE id = ?", (boot.id, node.id))
            node.current = boot.id

    def figures(self, node_id: bytes, boot_id: bytes, values: Mapping[int, int]) -> None:
        """Notes the counters of a status message or health frame; the highest ones stay."""
        boot = self._registry.boot(self._registry.node(node_id), boot_id)
        _note_figures(boot, values)

    def welcome(self, node_id: bytes, most: int) -> list[tuple[bytes, int, Ranges]]:
        """(boot, next, ranges) of at most `most` of the node's boots, the newest first: what the store has
        of them.
        """
        newest = self._registry.newest_boots(self._registry.node(node_id), most)
        return [(boot.boot, *boot.acknowledgement(RANGES_MAX)) for boot in newest]

    def running(self, node_id: bytes, boot_id: bytes) -> tuple[bytes, int | None] | None:
        """(config revision, config state) of the latest stored frame of that boot; None while there is
        none.
        """
        row: tuple[bytes, int | None] | None = self._db.execute(
            "SELECT revision.revision, boot.config_state FROM node JOIN boot ON boot.node = node.id"
            " JOIN frame ON frame.boot = boot.id JOIN revision ON revision.id = frame.revision"
            " WHERE node.node_id = ? AND boot.boot = ? ORDER BY frame.seq DESC LIMIT 1",
            (node_id, boot_id),
        ).fetchone()
        return row

    def learn_config(self, node_id: bytes, revision_id: bytes, config: bytes) -> None:
        """Learns what the channels of a compiled config mean, as a birth would tell. Raises ValueError."""
        self._learn(self._registry.node(node_id), revision_id, config_meanings(config))

    def set_gateway_clock(self, machine_boot: str, mono_ms: int, utc_ms: int, synchronised: bool) -> int:
        """Sets the one row that turns this machine's monotonic time into UTC; returns its id."""
        return dating.set_gateway_clock(self._db, machine_boot, mono_ms, utc_ms, synchronised)

    def set_node_clock(self, node_id: bytes, boot_id: bytes, mapping: dating.NodeMapping) -> None:
        """Sets how this start's monotonic time maps to the gateway's, and dates the frames that wait for
        it.
        """
        dating.set_node_clock(self._db, self._registry.boot(self._registry.node(node_id), boot_id), mapping)

    @property
    def decodable(self) -> bool:
        """Whether `decode` may have something to do: frames that came before their meaning."""
        return bool(self._undecoded)

    def decode(self) -> None:
        """Decodes some of the frames that were stored before their meaning was known."""
        for revision_id, after in list((self._undecoded or {}).items())[:1]:
            last = self._decode(revision_id, after)
            assert self._undecoded is not None
            if last is None:
                del self._undecoded[revision_id]
            else:
                self._undecoded[revision_id] = last

    # -- one frame

    def _mac(self, kid: bytes) -> Hmac | None:
        key = self._keys.key(kid[:8], kid[8])
        if key is None:
            return None
        known = self._macs.get(kid)
        if known is None or known[0] != key:
            known = self._macs[kid] = key, Hmac(frame_key(key))
        return known[1]

    def _refuse(self, outcome: Outcome, data: bytes, node_id: bytes = b"", node: int = 0) -> Receipt:
        self._tally[node, outcome.value] += 1
        return Receipt(outcome, len(data), node_id)

    def _known(self, boot: Boot, frame: Frame, data: bytes, tag: bytes) -> Receipt:
        row = self._db.execute(
            "SELECT tag FROM frame WHERE boot = ? AND seq = ?", (boot.id, frame.seq)
        ).fetchone()
        if row is None or row[0] == tag:  # no row: it was stored, and has left by retention
            self._tally[boot.node.id, Outcome.AGAIN.value] += 1
            stored = boot.acknowledgement(RANGES_MAX)
            return Receipt(Outcome.AGAIN, len(data), boot.node.node_id, frame, stored=stored)
        (kept,) = self._db.execute("SELECT count(*) FROM conflict WHERE boot = ?", (boot.id,)).fetchone()
        new = (
            kept >= _CONFLICTS_KEPT
            or self._db.execute(
                "INSERT OR IGNORE INTO conflict (boot, seq, tag, received_ms, frame) VALUES (?, ?, ?, ?, ?)",
                (boot.id, frame.seq, tag, time.time_ns() // 1_000_000, data),
            ).rowcount
        )
        if new:
            self._tally[boot.node.id, Outcome.CONFLICT.value] += 1
            log.error(
                "conflict: node %s sent two different frames as boot %s sequence %d; the second is set "
                "aside; look for a copied node or flash",
                boot.node.name, boot.boot.hex(), frame.seq,
            )  # fmt: skip
        stored = boot.acknowledgement(RANGES_MAX)
        return Receipt(Outcome.CONFLICT, len(data), boot.node.node_id, frame, stored=stored)

    def _overlap(self, boot: Boot, frame: Frame) -> int:
        """Readings that the boot's frames so far hold already, by what this next frame counts before it."""
        if frame.kind != DATA or frame.seq <= boot.stored.last:
            return 0
        overlap = min(frame.n_readings, max(0, boot.counted - frame.count))
        if overlap:
            log.error(
                "node %s, boot %s: frame %d holds %d readings that were in earlier frames",
                boot.node.name, boot.boot.hex(), frame.seq, overlap,
            )  # fmt: skip
        return overlap

    def _take(
        self, node: Node, boot: Boot, frame: Frame, data: bytes, payload: bytes, tag: bytes
    ) -> tuple[Sequence[Group], Sequence[Layout]]:
        revision = self._registry.revision(node, frame.rev)
        frame_id = self._next_frame
        groups: list[Group] = list(expand(frame)) if frame.kind == DATA else []
        end = frame.mono
        for _, times, _, _ in groups:
            end = max(end, *times)
        clock = dating.clock_for(self._db, boot, frame.mono)
        self._db.execute(
            "INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (frame_id, boot.id, frame.seq, frame.kind, frame.count, frame.n_readings, frame.mono,
             end - frame.mono, revision.id, len(data), tag, clock),
        )  # fmt: skip
        self._next_frame += 1
        boot.stored.add(frame.seq)
        boot.counted = max(boot.counted, frame.count + frame.n_readings)
        boot.committed = max(boot.committed, boot.counted)
        boot.dirty = True
        if frame.kind != DATA:
            self._note(node, boot, frame, frame_id)
            return (), ()
        layouts = _layouts(revision, groups)
        if layouts is None:
            self._db.execute("INSERT INTO undecoded VALUES (?, ?)", (frame_id, payload))
            return (), ()
        self._samples.add(frame_id, frame.mono, groups, layouts)
        return groups, layouts

    def _note(self, node: Node, boot: Boot, frame: Frame, frame_id: int) -> None:
        content = frame.content
        if frame.kind == BOOT:
            self._note_boot(node, boot, content)
        elif frame.kind == BIRTH:
            self._learn(node, frame.rev, parse_birth(content))
        elif frame.kind == TOMBSTONE:
            reason, of, first, last, readings, mono_from, mono_to, counts = content
            lost = self._registry.boot(node, bytes(of))
            lost.gone.add_range(first, last)
            lost.dirty = True
            pairs = list(zip(counts[::2], counts[1::2], strict=True))
            self._db.execute(
                "INSERT INTO tombstone VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (frame_id, lost.id, reason, first, last, readings, mono_from, mono_to, json.dumps(pairs)),
            )
        elif frame.kind == HEALTH:
            _note_figures(boot, content)
            self._db.execute("INSERT INTO event VALUES (?, ?)", (frame_id, json.dumps(content)))
        elif frame.kind == CRASH:
            self._db.execute("INSERT INTO event VALUES (?, ?)", (frame_id, content))

    def _note_boot(self, node: Node, boot: Boot, content: dict[int, Any]) -> None:
        boot.ordinal = content[1]
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

    # -- meaning

    def _learn(self, node: Node, revision_id: bytes, meanings: Iterable[Meaning]) -> None:
        revision = self._registry.revision(node, revision_id)
        try:
            new = self._registry.learn(revision, meanings)
        except ValueError as error:
            log.error(
                "node %s, config revision %s: %s; the first meaning stays",
                node.name,
                revision_id.hex(),
                error,
            )
            return
        if new and self._undecoded is not None:
            waiting = self._db.execute(
                "SELECT 1 FROM undecoded JOIN frame ON frame.id = undecoded.frame"
                " WHERE frame.revision = ? LIMIT 1",
                (revision.id,),
            ).fetchone()
            if waiting:
                self._undecoded[revision.id] = 0

    def _decode(self, revision_id: int, after: int) -> int | None:
        rows = self._db.execute(
            "SELECT frame.id, payload FROM undecoded JOIN frame ON frame.id = undecoded.frame"
            " WHERE frame.revision = ? AND frame.id > ? ORDER BY frame.id LIMIT ?",
            (revision_id, after, _DECODED_AT_ONCE),
        ).fetchall()
        revision = self._revision(revision_id)
        for frame_id, payload in rows:
            frame = parse(payload)
            groups = list(expand(frame))
            layouts = _layouts(revision, groups)
            if layouts is not None:
                self._samples.add(frame_id, frame.mono, groups, layouts)
                self._db.execute("DELETE FROM undecoded WHERE frame = ?", (frame_id,))
        return rows[-1][0] if len(rows) == _DECODED_AT_ONCE else None

    def _revision(self, row_id: int) -> Revision:
        node_id, revision_id = self._db.execute(
            "SELECT node_id, revision FROM revision JOIN node ON node.id = revision.node"
            " WHERE revision.id = ?",
            (row_id,),
        ).fetchone()
        return self._registry.revision(self._registry.node(node_id), revision_id)

    # -- the transaction

    def _recall(self) -> None:
        (last,) = self._db.execute("SELECT coalesce(max(id), 0) FROM frame").fetchone()
        self._next_frame = last + 1
        self._undecoded = dict.fromkeys(
            (
                row[0]
                for row in self._db.execute(
                    "SELECT DISTINCT frame.revision FROM undecoded JOIN frame ON frame.id = undecoded.frame"
                )
            ),
            0,
        )

    def _save(self) -> None:
        self._samples.flush()
        self._registry.save_boots()
        if self._tally:
            self._db.executemany(
                "INSERT INTO tally VALUES (?, ?, ?)"
                " ON CONFLICT (node, what) DO UPDATE SET n = n + excluded.n",
                [(*key, n) for key, n in self._tally.items()],
            )
            self._tally.clear()

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._registry.forget()
        self._samples.clear()
        self._tally.clear()
        self._next_frame = 0
        self._undecoded = None


def _layouts(revision: Revision, groups: Sequence[Group]) -> list[Layout] | None:
    """The layout of each group; None while the meaning of any channel is unknown."""
    layouts = []
    for numbers, _, _, _ in groups:
        layout = revision.layout(numbers)
        if layout is None:
            return None
        layouts.append(layout)
    return layouts


def _note_figures(boot: Boot, values: Mapping[int, int]) -> None:
    boot.sampled = max(boot.sampled, values.get(counters.SAMPLED, 0))
    boot.committed = max(boot.committed, values.get(counters.COMMITTED, 0))
    boot.missed = max(boot.missed, values.get(counters.MISSED, 0))
    boot.dropped = max(boot.dropped, values.get(counters.DROPPED, 0))
    boot.uptime_ms = max(boot.uptime_ms, values.get(counters.UPTIME_MS, 0))
    if values.get(counters.SPOOL_FRAMES) == 0 and counters.NEXT_SEQ in values:
        boot.settled_seq = max(boot.settled_seq or 0, values[counters.NEXT_SEQ])
        boot.settled_count = max(boot.settled_count or 0, values.get(counters.COMMITTED, 0))
    boot.dirty = True


def _check(frame: Frame) -> None:
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
