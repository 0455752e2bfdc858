"""From received frames to stored readings: verify, tell new from known, store, note what the frame says.

Everything happens in a transaction, and only after it is committed may a frame be acknowledged. A frame
that is not authentic or not well-formed is counted and never stored; one with the identity of a stored
frame is dropped when it is the same, and set aside as a conflict when it is not.
"""

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

from gasan.host.store import bounds, dating
from gasan.host.store.config_devices import modbus_devices
from gasan.host.store.meaning import config_meanings, parse_birth
from gasan.host.store.notes import Notes, check, note_figures
from gasan.host.store.open import Store, unavailable
from gasan.host.store.ranges import Acknowledgement, Ranges
from gasan.host.store.registry import Boot, Layout, Node, Registry
from gasan.host.store.samples import Group, SampleWriter, judged
from gasan.host.store.seal import sealed
from gasan.host.store.waiting import Waiting, layouts_of
from gasan.wire.cose import Hmac
from gasan.wire.frame import BIRTH, DATA, FrameError, frame_key
from gasan.wire.frame_reader import Frame, expand, parse, split, verify
from gasan.wire.link import RANGES_MAX

__all__ = ["Ingest", "Keys", "Outcome", "Receipt"]

log = logging.getLogger(__name__)

_CONFLICTS_KEPT: Final = 1000
_AT_FAULT: Final = (
    sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError
)  # fmt: skip
"""What SQLite says of a change that cannot be made, however often it is tried."""


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
        self._unbounded: set[int] = set()  # nodes of which starts may get a date by those around them
        self._notes = Notes(self._db, self._registry, self._unbounded)
        self._waiting = Waiting(self._db, self._registry, self._samples)
        self._next_frame = 0

    @property
    def store_id(self) -> bytes:
        return self._store.id

    @property
    def database(self) -> sqlite3.Connection:
        """The store's connection, in the store's thread."""
        return self._db

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and on disk when it returns.

        Raises StoreUnavailableError when the database cannot be written now, StoreDamagedError when it is
        damaged. Then nothing of it has happened, and the caller may try the same again. Any other error is
        that of a change which cannot be made.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if not self._next_frame:
                self._recall()
            yield
            self._save()
            self._db.execute("COMMIT")
        except _AT_FAULT:
            self._roll_back()
            raise
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
            check(frame)
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
        note_figures(boot, values)

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
        node = self._registry.node(node_id)
        self._waiting.learn(node, revision_id, config_meanings(config))
        revision = self._registry.revision(node, revision_id)
        self._db.executemany(
            "INSERT OR IGNORE INTO modbus_device (revision, first, device, line, kind, unit, setting)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(revision.id, *row) for row in modbus_devices(config)],
        )

    def write_asked(self, row: Sequence[Any]) -> int:
        """Records who asks for a write, before it is sent; returns its number.

        It is past those of all outcomes too: damage may have taken the request of one.
        """
        number = self._db.execute(
            "INSERT INTO write_request (id, time_ms, node, device, channel, who, value, raw, boot)"
            " VALUES (1 + max(coalesce((SELECT max(id) FROM write_request), 0),"
            " coalesce((SELECT max(request) FROM write_outcome), 0)), ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        assert number is not None
        return number

    def write_ended(self, row: Sequence[Any]) -> None:
        """Records what became of a write: (number, time, outcome, old, new, detail)."""
        self._db.execute(
            "INSERT INTO write_outcome (request, time_ms, outcome, old, new, detail)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            row,
        )

    def set_gateway_clock(self, machine_boot: str, mono_ms: int, utc_ms: int, synchronised: bool) -> int:
        """Sets the one row that turns this machine's monotonic time into UTC; returns its id."""
        self._unbounded.update(
            row[0]
            for row in self._db.execute(
                "SELECT node FROM boot JOIN node_clock ON node_clock.boot = boot.id WHERE bounded"
                " UNION SELECT node FROM boot JOIN frame ON frame.boot = boot.id WHERE clock IS NULL"
            )
        )
        return dating.set_gateway_clock(self._db, machine_boot, mono_ms, utc_ms, synchronised)

    def set_node_clock(self, node_id: bytes, boot_id: bytes, mapping: dating.NodeMapping) -> None:
        """Sets how this start's monotonic time maps to the gateway's, and dates the frames that wait for
        it.
        """
        boot = self._registry.boot(self._registry.node(node_id), boot_id)
        if dating.set_node_clock(self._db, boot, mapping):
            self._unbounded.add(boot.node.id)

    def refine_contact(self, node_id: bytes, boot_id: bytes, mapping: dating.NodeMapping) -> None:
        """Sets a better mapping of the first contact with this start, by which all before it is dated."""
        boot = self._registry.boot(self._registry.node(node_id), boot_id)
        dating.refine_contact(self._db, boot, mapping)

    @property
    def decodable(self) -> bool:
        """Whether `decode` may have something to do: frames that came before their meaning."""
        return self._waiting.decodable

    def decode(self) -> None:
        """Decodes some of the frames that were stored before their meaning was known."""
        self._waiting.decode()

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
        layouts = layouts_of(revision, groups)
        groups = judged(groups, layouts or ())
        told = frame.seq, frame.kind, frame.count, frame.n_readings, frame.mono, end - frame.mono
        head = boot.id, *told, revision.id, len(data)
        if layouts:
            crc = self._samples.add(frame_id, frame.mono, groups, layouts).close(head, tag)
        else:
            crc = sealed(head, tag, ())
        clock = dating.clock_for(self._db, boot, frame.mono)
        if clock is None and boot.id != node.current:
            self._unbounded.add(node.id)
        self._db.execute(
            "INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (frame_id, *head, tag, clock, crc),
        )
        self._next_frame += 1
        boot.stored.add(frame.seq)
        boot.counted = max(boot.counted, frame.count + frame.n_readings)
        boot.committed = max(boot.committed, boot.counted)
        boot.dirty = True
        if frame.kind == BIRTH:
            self._waiting.learn(node, frame.rev, parse_birth(frame.content))
        elif frame.kind != DATA:
            self._notes.take(node, boot, frame, frame_id)
        elif layouts is None:
            self._waiting.add(frame_id, payload)
        else:
            return groups, layouts
        return (), ()

    # -- the transaction

    def _recall(self) -> None:
        (last,) = self._db.execute("SELECT coalesce(max(id), 0) FROM frame").fetchone()
        self._next_frame = last + 1
        self._waiting.recall()

    def _save(self) -> None:
        self._samples.flush()
        self._registry.save_boots()
        for node in self._unbounded:
            bounds.bound_boots(self._db, node)
        self._unbounded.clear()
        if self._tally:
            self._db.executemany(
                "INSERT INTO tally (node, what, n) VALUES (?, ?, ?)"
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
        self._unbounded.clear()
        self._next_frame = 0
        self._waiting.forget()
