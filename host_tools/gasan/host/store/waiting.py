"""Frames that came before the meaning of their channels: kept as they are, and decoded when it is known."""

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from gasan.host.store.meaning import Meaning
from gasan.host.store.registry import Layout, Node, Registry, Revision
from gasan.host.store.samples import Group, SampleWriter, judged
from gasan.wire.frame_reader import expand, parse

__all__ = ["Waiting", "layouts_of"]

log = logging.getLogger(__name__)

_DECODED_AT_ONCE: Final = 256


class Waiting:
    """The waiting frames of a store. Every method belongs inside the caller's transaction."""

    def __init__(self, db: sqlite3.Connection, registry: Registry, samples: SampleWriter) -> None:
        self._db = db
        self._registry = registry
        self._samples = samples
        self._after: dict[int, int] | None = None  # revision to look through -> last frame looked at

    @property
    def decodable(self) -> bool:
        """Whether `decode` may have something to do."""
        return bool(self._after)

    def add(self, frame_id: int, payload: bytes) -> None:
        """Keeps the payload of a stored data frame that could not be decoded."""
        self._db.execute("INSERT INTO undecoded (frame, payload) VALUES (?, ?)", (frame_id, payload))

    def recall(self) -> None:
        """Looks for revisions with frames that wait, at the beginning and after a `forget`."""
        revisions = self._db.execute(
            "SELECT DISTINCT frame.revision FROM undecoded JOIN frame ON frame.id = undecoded.frame"
        )
        self._after = dict.fromkeys((row[0] for row in revisions), 0)

    def forget(self) -> None:
        """After a roll-back: what is known may never have happened."""
        self._after = None

    def decode(self) -> None:
        """Decodes some of one revision's frames, where all their channels have a meaning now."""
        for revision_id, after in list((self._after or {}).items())[:1]:
            last = self._decode(revision_id, after)
            assert self._after is not None
            if last is None:
                del self._after[revision_id]
            else:
                self._after[revision_id] = last

    def learn(self, node: Node, revision_id: bytes, meanings: Iterable[Meaning]) -> None:
        """Learns what a revision's channels mean. What contradicts an earlier meaning is logged."""
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
        if new and self._after is not None:
            waiting = self._db.execute(
                "SELECT 1 FROM undecoded JOIN frame ON frame.id = undecoded.frame"
                " WHERE frame.revision = ? LIMIT 1",
                (revision.id,),
            ).fetchone()
            if waiting:
                self._after[revision.id] = 0

    def _decode(self, revision_id: int, after: int) -> int | None:
        rows = self._db.execute(
            "SELECT frame.id, payload FROM undecoded JOIN frame ON frame.id = undecoded.frame"
            " WHERE frame.revision = ? AND frame.id > ? ORDER BY frame.id LIMIT ?",
            (revision_id, after, _DECODED_AT_ONCE),
        ).fetchall()
        revision = self._revision(revision_id)
        for frame_id, payload in rows:
            frame = parse(payload)
            groups: Sequence[Group] = list(expand(frame))
            layouts = layouts_of(revision, groups)
            if layouts is not None:
                groups = judged(groups, layouts)
                seal = self._samples.add(frame_id, frame.mono, groups, layouts)
                *head, tag = self._db.execute(
                    "SELECT boot, seq, kind, count, n, mono, span, revision, size, tag FROM frame"
                    " WHERE id = ?",
                    (frame_id,),
                ).fetchone()
                self._db.execute("UPDATE frame SET crc = ? WHERE id = ?", (seal.close(head, tag), frame_id))
                self._db.execute("DELETE FROM undecoded WHERE frame = ?", (frame_id,))
        return rows[-1][0] if len(rows) == _DECODED_AT_ONCE else None

    def _revision(self, row_id: int) -> Revision:
        node_id, revision_id = self._db.execute(
            "SELECT node_id, revision FROM revision JOIN node ON node.id = revision.node"
            " WHERE revision.id = ?",
            (row_id,),
        ).fetchone()
        return self._registry.revision(self._registry.node(node_id), revision_id)


def layouts_of(revision: Revision, groups: Sequence[Group]) -> list[Layout] | None:
    """The layout of each group; None while the meaning of any channel is unknown."""
    layouts = []
    for numbers, _, _, _ in groups:
        layout = revision.layout(numbers)
        if layout is None:
            return None
        layouts.append(layout)
    return layouts
