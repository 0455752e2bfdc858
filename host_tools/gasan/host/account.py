"""The account: what nodes sampled, what became of it, and why anything is missing.

    sampled = stored + dropped by rule + lost + pending

for each node and in sum. What a node sampled is the most it has told (status, health) or its frames prove.
What it sampled after its last word, at most a tenth of a second before its end, nobody can know, and it is
in no figure. The boards that had one name after the other are one node.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from gasan.host.account_boots import (
    CUT,
    DAMAGED,
    ELSEWHERE,
    GONE,
    REPLACED,
    RESTORED,
    WIPED,
    Boot,
    BootReader,
    Disagreement,
    Loss,
    reason_name,
)
from gasan.host.account_channels import ChannelAccount, channel_accounts
from gasan.host.account_gaps import ChannelGap, channel_gaps
from gasan.host.account_since import narrow
from gasan.host.errors import GasanError
from gasan.host.store.open import open_reader, unavailable
from gasan.host.store.schema import time_sql

__all__ = [
    "CUT",
    "DAMAGED",
    "ELSEWHERE",
    "GONE",
    "REPLACED",
    "RESTORED",
    "WIPED",
    "Account",
    "ChannelAccount",
    "ChannelGap",
    "Disagreement",
    "Loss",
    "NodeAccount",
    "account",
    "reason_name",
]


@dataclass(frozen=True, slots=True)
class NodeAccount:
    node: str
    sampled: int
    stored: int
    dropped_by_rule: int
    lost: int
    pending: int
    missed: int
    duplicated: int
    conflicts: int
    received_again: int
    rejected: int
    frames: int
    data_bytes: int
    boots: int
    boards: int
    losses: tuple[Loss, ...]
    channels: tuple[ChannelAccount, ...]
    disagreements: tuple[Disagreement, ...]
    gaps: tuple[ChannelGap, ...] = ()
    open_ends: int = 0
    """Starts that are over, of which nobody can tell how much they had sampled in the end."""
    torn_ends: int = 0
    """Starts whose last frames have rotted on the node: nobody can tell how many readings stood in them."""
    since_ms: int | None = None
    """From when on it holds: as asked, else the first reading that is dated."""

    @property
    def unexplained(self) -> int:
        """What the equation leaves over: 0 unless the node's counters and the store contradict each other."""
        return self.sampled - self.stored - self.dropped_by_rule - self.lost - self.pending

    @property
    def nobodys_lost(self) -> int:
        """Lost readings of which no channel is known: of open batches, and of whole frames that are gone."""
        return self.lost - sum(channel.lost for channel in self.channels)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for ``gasan account --json``."""
        return {
            "node": self.node,
            "since_ms": self.since_ms,
            "sampled": self.sampled,
            "stored": self.stored,
            "dropped_by_rule": self.dropped_by_rule,
            "lost": self.lost,
            "pending": self.pending,
            "missed": self.missed,
            "duplicated": self.duplicated,
            "conflicts": self.conflicts,
            "unexplained": self.unexplained,
            "agrees": self.agrees,
            "boots": self.boots,
            "boards": self.boards,
            "open_ends": self.open_ends,
            "torn_ends": self.torn_ends,
            "losses": [asdict(loss) for loss in self.losses],
            "channels": [
                asdict(channel) | {"sampled": channel.sampled, "lost": channel.lost}
                for channel in self.channels
            ],
            "lost_of_unknown_channel": self.nobodys_lost,
            "gaps": [asdict(gap) for gap in self.gaps],
            "disagreements": [asdict(each) for each in self.disagreements],
        }

    @property
    def agrees(self) -> bool:
        """Whether the node's counters and the store tell the same."""
        return not (self.unexplained or self.disagreements or self.conflicts)


@dataclass(frozen=True, slots=True)
class Account:
    """The account of a database. `rejected` counts frames that no known node can have sent."""

    nodes: tuple[NodeAccount, ...]
    rejected: int
    seconds: float
    db: Path

    def total(self, field_name: str) -> int:
        """The sum of an integer field of `NodeAccount` over the nodes."""
        return sum(getattr(node, field_name) for node in self.nodes)

    @property
    def lost_reasons(self) -> dict[str, int]:
        reasons: Counter[str] = Counter()
        for node in self.nodes:
            for loss in node.losses:
                reasons[loss.reason] += loss.readings
        return dict(sorted(reasons.items()))

    @property
    def bytes_per_reading(self) -> float:
        """Bytes of all data frames, MAC and header included, by their readings; 0.0 before the first."""
        stored = self.total("stored")
        return round(self.total("data_bytes") / stored, 3) if stored else 0.0

    @property
    def unexplained(self) -> int:
        return self.total("unexplained")

    @property
    def agrees(self) -> bool:
        """Whether nodes and store tell the same of every node."""
        return all(node.agrees for node in self.nodes)

    def as_dict(self, *, details: bool = False) -> dict[str, Any]:
        """The account as the command line prints it with ``--json``; details: of each node and channel."""
        sums = self._sums()
        if details:
            sums |= {"agrees": self.agrees, "by_node": [node.as_dict() for node in self.nodes]}
        return sums

    def _sums(self) -> dict[str, Any]:
        return {
            "nodes": len(self.nodes),
            "readings_sampled": self.total("sampled"),
            "readings_stored": self.total("stored"),
            "readings_dropped_by_rule": self.total("dropped_by_rule"),
            "readings_lost": self.total("lost"),
            "readings_pending": self.total("pending"),
            "readings_missed": self.total("missed"),
            "readings_duplicated": self.total("duplicated"),
            "conflicts": self.total("conflicts"),
            "lost_reasons": self.lost_reasons,
            "bytes_per_reading": self.bytes_per_reading,
            "frames": self.total("frames"),
            "seconds": self.seconds,
            "db": str(self.db),
        }


def account(
    db: Path,
    node: str | None = None,
    seconds: float | None = None,
    *,
    since_ms: int | None = None,
    channels: bool = True,
    gaps: bool = False,
) -> Account:
    """Draws up the account of the database at `db`, of one node or of all, also while a gateway writes it.

    since_ms: leaves out what is known to be from before that moment (Unix ms); frames are taken whole.

    `seconds` is how long the run lasted; without it, the time from the first dated reading to the last.
    `channels=False` leaves out the figures by channel, and `gaps` adds the intervals without readings;
    each takes a pass over all readings. Raises InputError when there is no database at `db` or it is of
    another version, StoreUnavailableError when it cannot be read.
    """
    connection = open_reader(db)
    try:
        connection.execute("BEGIN")  # all figures of one moment
        boards = connection.execute(
            "SELECT name, id, current FROM node WHERE ?1 IS NULL OR name = ?1 ORDER BY name, id", (node,)
        ).fetchall()
        nodes = tuple(
            _node(
                connection, name, [row[1:] for row in rows], since_ms, with_channels=channels, with_gaps=gaps
            )
            for name, rows in groupby(boards, key=lambda row: str(row[0]))
        )
        (rejected,) = connection.execute("SELECT coalesce(sum(n), 0) FROM tally WHERE node = 0").fetchone()
        return Account(nodes, rejected, round(_span_s(connection) if seconds is None else seconds, 1), db)
    except GasanError:
        raise
    except sqlite3.Error as error:
        raise unavailable(db, error) from error
    finally:
        connection.close()


def _node(
    db: sqlite3.Connection,
    name: str,
    boards: Sequence[tuple[int, int | None]],
    since_ms: int | None,
    *,
    with_channels: bool,
    with_gaps: bool,
) -> NodeAccount:
    """`boards`: (id, boot in session last) of the rows of `node` that have the name, oldest first."""
    reader = BootReader(db)
    boots: list[Boot] = []
    tally: Counter[str] = Counter()
    newest = max((board for board, current in boards if current is not None), default=None)
    for board, current in boards:
        found = reader.boots(board, current, replaced=newest is not None and board < newest)
        boots += found if since_ms is None else narrow(db, reader, found, since_ms)
        tally.update(dict(db.execute("SELECT what, n FROM tally WHERE node = ?", (board,)).fetchall()))
    disagreements = [each for boot in boots for each in boot.disagreements]
    channels = channel_accounts(db, boots, [board for board, _ in boards], since_ms) if with_channels else ()
    if channels and since_ms is None:
        disagreements += _differences(db, boots, channels, [board for board, _ in boards])
    return NodeAccount(
        node=name,
        sampled=sum(boot.sampled for boot in boots),
        stored=sum(boot.stored for boot in boots),
        dropped_by_rule=sum(boot.dropped for boot in boots),
        lost=sum(boot.lost for boot in boots),
        pending=sum(boot.pending for boot in boots),
        missed=sum(boot.missed for boot in boots),
        duplicated=sum(boot.duplicated for boot in boots),
        conflicts=tally["conflict"] if since_ms is None else _conflicts(db, boots, since_ms),
        received_again=tally["received_again"],
        rejected=tally["bad_mac"] + tally["bad_shape"],
        frames=sum(boot.frames for boot in boots),
        data_bytes=sum(boot.data_bytes for boot in boots),
        boots=len(boots),
        boards=len(boards),
        losses=tuple(loss for boot in boots for loss in boot.losses),
        channels=channels,
        disagreements=tuple(disagreements),
        gaps=channel_gaps(db, boots) if with_gaps else (),
        open_ends=sum(boot.open_end for boot in boots),
        torn_ends=sum(boot.torn_end for boot in boots),
        since_ms=_first(reader, boots) if since_ms is None else since_ms,
    )


def _differences(
    db: sqlite3.Connection, boots: Sequence[Boot], channels: Sequence[ChannelAccount], boards: Sequence[int]
) -> Iterator[Disagreement]:
    """Where the rows of readings do not add up to what headers of frames and counters of nodes say."""
    undecoded = sum(
        db.execute(
            "SELECT coalesce((SELECT sum(n) FROM undecoded JOIN frame ON frame.id = undecoded.frame"
            " JOIN boot ON boot.id = frame.boot WHERE boot.node = ?1), 0)"
            " + coalesce((SELECT sum(n) FROM retired_channel JOIN boot ON channel = -boot.id"
            " WHERE boot.node = ?1), 0)",
            (board,),
        ).fetchone()[0]
        for board in boards
    )
    stored = sum(boot.stored for boot in boots)
    rows = sum(channel.stored for channel in channels) + undecoded
    if rows != stored:
        yield Disagreement("rows", "", abs(rows - stored))
    dropped = sum(channel.dropped_by_rule for channel in channels)
    if dropped > sum(boot.dropped for boot in boots):
        yield Disagreement("dropped", "", dropped - sum(boot.dropped for boot in boots))


def _conflicts(db: sqlite3.Connection, boots: Sequence[Boot], since_ms: int) -> int:
    return sum(
        db.execute(
            "SELECT count(*) FROM conflict WHERE boot = ? AND received_ms >= ?", (boot.id, since_ms)
        ).fetchone()[0]
        for boot in boots
    )


def _first(reader: BootReader, boots: Sequence[Boot]) -> int | None:
    """When the first of the boots began that has a date and readings."""
    for boot in boots:
        began = reader.utc(boot, 0) if boot.sampled else None
        if began is not None:
            return began
    return None


def _span_s(db: sqlite3.Connection) -> float:
    row = db.execute(
        f"SELECT min({time_sql('frame.mono')}), max({time_sql('frame.mono + frame.span')}) FROM frame"
        " JOIN node_clock ON node_clock.id = frame.clock"
        " JOIN gateway_clock ON gateway_clock.id = node_clock.gateway WHERE frame.kind = 0"
    ).fetchone()
    return 0.0 if row[0] is None else (row[1] - row[0]) / 1000
