"""What the terminal view shows: the latest value of every channel, and counters of this run."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from gasan.host.store.ingest import Outcome, Receipt
from gasan.host.store.meaning import Meaning, Raw
from gasan.wire import columns, quality
from gasan.wire.frame import DATA, TOMBSTONE

__all__ = ["Counters", "LiveRow", "LiveView", "NodeState", "Snapshot", "shown_value"]

HISTORY: Final = 60
"""Values kept for a sparkline."""

Shown = Decimal | float | str | None


@dataclass(frozen=True, slots=True)
class LiveRow:
    """The latest reading of a channel. `age_ms` is None before the first; `history` has None where there
    was no value.
    """

    node: str
    device: str
    channel: str
    value: Shown
    unit: str
    quality: int
    age_ms: int | None
    history: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Counters:
    """Sums of this run; `bytes` and `readings` are those of data frames, `rejected` counts frames not
    stored.
    """

    frames: int
    readings: int
    bytes: int
    spool_frames: int
    spool_bytes: int
    lost: int
    duplicated: int
    conflicts: int
    rejected: int


@dataclass(frozen=True, slots=True)
class NodeState:
    """`state` is "starting", "connecting" or "up"; `detail` a sentence, or empty."""

    name: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    rows: tuple[LiveRow, ...]
    counters: Counters
    nodes: tuple[NodeState, ...]
    trouble: str | None
    """Why nothing can be stored just now, in one sentence."""


@dataclass(slots=True)
class _Row:
    unit: str
    value: Shown = None
    quality: int = quality.GOOD
    taken_ms: int | None = None
    history: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY))


class LiveView:
    """Follows the receipts of stored frames. All times are the gateway's monotonic ms."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], _Row] = {}
        self._spool: dict[str, tuple[int, int]] = {}
        self._frames = self._readings = self._bytes = 0
        self._lost = self._duplicated = self._conflicts = self._rejected = 0

    def expect(self, node: str, meanings: Sequence[Meaning]) -> None:
        """Shows these channels of a node, in this order, instead of those of its former config."""
        known = {key: self._rows.pop(key) for key in list(self._rows) if key[0] == node}
        for meaning in meanings:
            key = node, meaning.device, meaning.name
            self._rows[key] = known.get(key) or _Row(meaning.unit)

    def spool(self, node: str, frames: int, size: int) -> None:
        """Notes how much a node holds."""
        self._spool[node] = frames, size

    def lost(self, readings: int) -> None:
        self._lost += readings

    def receipt(self, node: str, receipt: Receipt, offset_ms: int | None) -> None:
        """Notes a frame that the store has dealt with. Node-monotonic + `offset_ms` is gateway-monotonic;
        None for a frame of a former boot, which is counted and not shown.
        """
        if receipt.outcome is Outcome.CONFLICT:
            self._conflicts += 1
        elif receipt.outcome not in (Outcome.STORED, Outcome.AGAIN):
            self._rejected += 1
        frame = receipt.frame
        if receipt.outcome is not Outcome.STORED or frame is None:
            return
        self._frames += 1
        self._duplicated += receipt.overlap
        if frame.kind == DATA:
            self._readings += frame.n_readings
            self._bytes += receipt.size
        elif frame.kind == TOMBSTONE:
            self._lost += frame.content[4]
        if offset_ms is None:
            return
        for (_, times, values, qualities), layout in zip(receipt.groups, receipt.layouts, strict=True):
            for channel, column, marks in zip(layout.channels, values, qualities, strict=True):
                meaning = channel.meaning
                row = self._rows.setdefault((node, meaning.device, meaning.name), _Row(meaning.unit))
                _update(row, meaning, times, column, marks, offset_ms)

    def snapshot(self, nodes: tuple[NodeState, ...], now_ms: int, trouble: str | None) -> Snapshot:
        rows = tuple(
            LiveRow(
                *key,
                value=row.value,
                unit=row.unit,
                quality=row.quality,
                age_ms=None if row.taken_ms is None else max(0, now_ms - row.taken_ms),
                history=tuple(row.history),
            )
            for key, row in self._rows.items()
        )
        spool_frames = sum(frames for frames, _ in self._spool.values())
        spool_bytes = sum(size for _, size in self._spool.values())
        counters = Counters(
            self._frames, self._readings, self._bytes, spool_frames, spool_bytes,
            self._lost, self._duplicated, self._conflicts, self._rejected,
        )  # fmt: skip
        return Snapshot(rows, counters, nodes, trouble)


def shown_value(meaning: Meaning, raw: Raw | None) -> Shown:
    """A raw value as a person wants it: a label, an exact decimal, or a float with the digits that it has."""
    label = meaning.text(raw)
    if label is not None:
        return label
    if isinstance(raw, int) and not (meaning.form or meaning.decimals):
        decimals = len(str(meaning.den)) - 1
        if meaning.den == 10**decimals:
            return Decimal(((raw >> meaning.shift) & meaning.mask) * meaning.num + meaning.off).scaleb(
                -decimals
            )
    value = meaning.value(raw)
    if value is not None and meaning.type == columns.F32:
        return float(f"{value:.7g}")
    return value


def _update(
    row: _Row,
    meaning: Meaning,
    times: Sequence[int],
    column: Sequence[Raw | None],
    marks: Sequence[int],
    offset_ms: int,
) -> None:
    taken_ms = times[-1] + offset_ms
    if row.taken_ms is not None and taken_ms < row.taken_ms:
        return  # an old frame, drained beside live ones
    for raw, mark in zip(column[-HISTORY:], marks[-HISTORY:], strict=True):
        row.history.append(None if mark >= quality.BAD_NO_VALUE else meaning.value(raw))
    row.taken_ms = taken_ms
    row.unit = meaning.unit
    row.quality = marks[-1]
    row.value = None if marks[-1] >= quality.BAD_NO_VALUE else shown_value(meaning, column[-1])
