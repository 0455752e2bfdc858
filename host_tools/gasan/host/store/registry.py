"""The rows that every frame needs, kept in memory: nodes, boots, config revisions and their channels.

What is here is what the open transaction has written. After a rollback it may not be, so it is all
forgotten and read again when it is needed.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gasan.host.store.meaning import Meaning, unpacked
from gasan.host.store.ranges import Acknowledgement, RangeSet
from gasan.host.store.seal import packed

__all__ = ["Boot", "Channel", "Clock", "Layout", "Node", "Registry", "Revision"]

_KEPT_BOOTS: Final = 512
_KEPT_LAYOUTS: Final = 256


@dataclass(slots=True, eq=False)
class Node:
    id: int
    node_id: bytes
    name: str
    current: int | None


@dataclass(slots=True, eq=False)
class Clock:
    """The newest row of `node_clock` of a boot."""

    id: int
    from_ms: int
    node_ms: int
    gateway: int


@dataclass(slots=True, eq=False)
class Boot:
    """One start of a node; the fields are those of the table `boot`."""

    id: int
    node: Node
    boot: bytes
    stored: RangeSet
    gone: RangeSet
    ordinal: int | None
    settled_seq: int | None
    settled_count: int | None
    sampled: int
    committed: int
    missed: int
    dropped: int
    uptime_ms: int
    clock: Clock | None
    counted: int
    """Readings up to and with the frame that counts furthest."""
    dirty: bool = False

    def acknowledgement(self, most: int) -> Acknowledgement:
        """What the node need not keep: what is stored, and what it has given up by itself."""
        return (self.stored.union(self.gone) if self.gone else self.stored).acknowledgement(most)


@dataclass(slots=True, eq=False)
class Channel:
    """A channel's row and its meaning; integers from `low` to `high` need no value of their own."""

    id: int
    meaning: Meaning
    low: int
    high: int


@dataclass(slots=True, eq=False)
class Layout:
    """Channels that stand together in a group; `low` and `high` hold for all of them. judged: whether what
    was read of any of them may turn out to be no value.
    """

    channels: list[Channel]
    low: int
    high: int
    judged: bool
    _owners: tuple[list[int], bytes] = field(default=([], b""))

    def owners(self, rows: int) -> tuple[list[int], bytes]:
        """The channel's row id for each reading of a group with so many rows, and the same as `packed` of
        the frame's seal. It is to be read only.
        """
        if len(self._owners[0]) != rows * len(self.channels):
            owners = [channel.id for channel in self.channels for _ in range(rows)]
            self._owners = owners, packed(owners)
        return self._owners


@dataclass(slots=True, eq=False)
class Revision:
    id: int
    channels: dict[int, Channel] = field(default_factory=dict)
    _layouts: dict[tuple[int, ...], Layout] = field(default_factory=dict)

    def layout(self, numbers: Sequence[int]) -> Layout | None:
        """The channels of a group; None while the meaning of any is unknown."""
        key = tuple(numbers)
        known = self._layouts.get(key)
        if known is not None:
            return known
        channels = [self.channels[number] for number in key if number in self.channels]
        if len(channels) < len(key):
            return None
        if len(self._layouts) >= _KEPT_LAYOUTS:
            self._layouts.clear()
        low, high = max(channel.low for channel in channels), min(channel.high for channel in channels)
        judged = any(channel.meaning.judged for channel in channels)
        layout = self._layouts[key] = Layout(channels, low, high, judged)
        return layout


class Registry:
    """`name_of(node id)` is the site file's name of a node."""

    def __init__(self, connection: sqlite3.Connection, name_of: Callable[[bytes], str]) -> None:
        self._db = connection
        self._name_of = name_of
        self._nodes: dict[bytes, Node] = {}
        self._boots: dict[tuple[int, bytes], Boot] = {}
        self._revisions: dict[tuple[int, bytes], Revision] = {}

    def forget(self) -> None:
        self._nodes.clear()
        self._boots.clear()
        self._revisions.clear()

    def tidy(self) -> None:
        """After a commit: keeps memory flat, however often nodes restart."""
        if len(self._boots) > _KEPT_BOOTS:
            self._boots.clear()
        if len(self._revisions) > _KEPT_BOOTS:
            self._revisions.clear()

    def node(self, node_id: bytes) -> Node:
        node = self._nodes.get(node_id)
        if node is None:
            name = self._name_of(node_id)
            row = self._db.execute(
                "SELECT id, name, current FROM node WHERE node_id = ?", (node_id,)
            ).fetchone()
            if row is None:
                cursor = self._db.execute("INSERT INTO node (node_id, name) VALUES (?, ?)", (node_id, name))
                row = (cursor.lastrowid, name, None)
            elif row[1] != name:
                self._db.execute("UPDATE node SET name = ? WHERE id = ?", (name, row[0]))
            node = self._nodes[node_id] = Node(row[0], node_id, name, row[2])
        return node

    def boot(self, node: Node, boot_id: bytes) -> Boot:
        boot = self._boots.get((node.id, boot_id))
        if boot is None:
            boot = self._load_boot(node, boot_id)
            if boot is None:
                self._db.execute("INSERT INTO boot (node, boot) VALUES (?, ?)", (node.id, boot_id))
                boot = self._load_boot(node, boot_id)
                assert boot is not None
            self._boots[node.id, boot_id] = boot
        return boot

    def newest_boots(self, node: Node, most: int) -> list[Boot]:
        """The node's boots, the current and the latest first."""
        rows = self._db.execute(
            "SELECT boot FROM boot WHERE node = ?"
            " ORDER BY id = ? DESC, ordinal IS NULL DESC, ordinal DESC, id DESC LIMIT ?",
            (node.id, node.current, most),
        ).fetchall()
        return [self.boot(node, boot_id) for (boot_id,) in rows]

    def save_boots(self) -> None:
        for boot in self._boots.values():
            if boot.dirty:
                self._db.execute(
                    "UPDATE boot SET stored = ?, gone = ?, ordinal = ?, settled_seq = ?, settled_count = ?,"
                    " sampled = ?, committed = ?, missed = ?, dropped = ?, uptime_ms = ? WHERE id = ?",
                    (
                        str(boot.stored), str(boot.gone), boot.ordinal, boot.settled_seq, boot.settled_count,
                        boot.sampled, boot.committed, boot.missed, boot.dropped, boot.uptime_ms, boot.id,
                    ),
                )  # fmt: skip
                boot.dirty = False

    def revision(self, node: Node, revision_id: bytes) -> Revision:
        key = (node.id, revision_id)
        revision = self._revisions.get(key)
        if revision is None:
            row = self._db.execute("SELECT id FROM revision WHERE node = ? AND revision = ?", key).fetchone()
            if row is None:
                row = (
                    self._db.execute("INSERT INTO revision (node, revision) VALUES (?, ?)", key).lastrowid,
                )
            revision = self._revisions[key] = Revision(row[0])
            self._load_channels(revision)
        return revision

    def learn(self, revision: Revision, meanings: Iterable[Meaning]) -> int:
        """Adds the channels that are new; returns how many. Raises ValueError when a known one means
        otherwise.
        """
        new = 0
        for meaning in meanings:
            known = revision.channels.get(meaning.number)
            if known is None:
                revision.channels[meaning.number] = self._add_channel(revision, meaning)
                new += 1
            elif known.meaning != meaning:
                raise ValueError(f"channel {meaning.number} already means {known.meaning}, not {meaning}")
        return new

    def _load_boot(self, node: Node, boot_id: bytes) -> Boot | None:
        row = self._db.execute(
            "SELECT id, stored, gone, ordinal, settled_seq, settled_count, sampled, committed, missed,"
            " dropped, uptime_ms FROM boot WHERE node = ? AND boot = ?",
            (node.id, boot_id),
        ).fetchone()
        if row is None:
            return None
        clock = self._db.execute(
            "SELECT id, from_ms, node_ms, gateway FROM node_clock WHERE boot = ? AND NOT bounded"
            " ORDER BY node_ms DESC LIMIT 1",
            (row[0],),
        ).fetchone()
        (counted,) = self._db.execute(
            "SELECT coalesce(max(counted), 0) FROM (SELECT count + n AS counted FROM frame WHERE boot = ?1"
            " AND seq = (SELECT max(seq) FROM frame WHERE boot = ?1)"
            " UNION ALL SELECT count + n FROM retired WHERE boot = ?1)",
            (row[0],),
        ).fetchone()
        stored, gone = RangeSet.parse(row[1]), RangeSet.parse(row[2])
        return Boot(
            row[0],
            node,
            boot_id,
            stored,
            gone,
            *(*row[3:], Clock(*clock) if clock else None, counted),
        )

    def _load_channels(self, revision: Revision) -> None:
        labels: dict[int, dict[int, str]] = {}
        for channel_id, value, text in self._db.execute(
            "SELECT channel, value, text FROM label"
            " WHERE channel IN (SELECT id FROM channel WHERE revision = ?)",
            (revision.id,),
        ):
            labels.setdefault(channel_id, {})[value] = text
        for row_id, number, *rest, label, more in self._db.execute(
            "SELECT id, number, device, name, unit, type, num, den, off, period_ms, shift, mask, label, more"
            " FROM channel WHERE revision = ?",
            (revision.id,),
        ):
            meaning = Meaning(*(number, *rest, labels.get(row_id, {}), label), **unpacked(more))
            revision.channels[number] = Channel(row_id, meaning, *meaning.bounds())

    def _add_channel(self, revision: Revision, meaning: Meaning) -> Channel:
        m = meaning
        row_id = self._db.execute(
            "INSERT INTO channel (revision, number, device, name, unit, type, num, den, off, period_ms,"
            " shift, mask, label, more) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                revision.id, m.number, m.device, m.name, m.unit, m.type, m.num, m.den, m.off, m.period_ms,
                m.shift, m.mask, m.label, m.packed(),
            ),
        ).lastrowid  # fmt: skip
        assert row_id is not None
        self._db.executemany(
            "INSERT INTO label (channel, value, text) VALUES (?, ?, ?)",
            [(row_id, value, text) for value, text in m.labels.items()],
        )
        return Channel(row_id, meaning, *meaning.bounds())
