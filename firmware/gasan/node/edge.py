"""Edge rules: what becomes of a channel's samples before they are stored. Loaded when the config has rules.

A source fills rows as ever. Columns of channels with rules go through their `Channel` instead: its value and
quality, what is kept of them, and the taps that make other channels out of them (`gasan.node.edge_taps`,
`gasan.node.edge_expr`). A reading that a rule leaves out counts as sampled and as dropped; a change of
quality is never left out.

Comparisons are of bytes: `Channel.key` orders as the values do, so that a sample that is dropped takes no
memory. What is computed when one is kept does.
"""

from array import array
from time import ticks_ms

from gasan.node.batcher import Batcher
from gasan.node.sampler import Rows, Sampler
from gasan.wire import columns
from gasan.wire.frame import HEALTH
from gasan.wire.quality import NO_VALUE
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from gasan.node.clock import Clock
    from gasan.node.edge_channel import Channel
    from gasan.node.edge_expr import Expression

_SAMPLED = const(1)  # keys of the status
_DROPPED = const(4)
_DROPPED_OF = const(0x10000)  # plus a channel's number: key of a health frame
_TOLD_MAX = const(120)  # channels in a health frame
_LEAST_ROWS = const(8)
_MOST_ROWS = const(512)
_OWN: "dict[tuple, Any]" = {}


class Staged(columns.Group):
    """A row that a source fills, of which some columns have rules. rest: where the others go."""

    def __init__(
        self,
        channels: "Sequence[int]",
        types: bytes,
        period_ms: int,
        sinks: "list[Channel | None]",
        rest: "Rows | None",
    ) -> None:
        super().__init__(channels, types, 1, period_ms)
        self.sinks = sinks
        self.rest = rest
        self.counted = sum(1 for sink in sinks if not (sink and sink.inner))
        self.tick: "Any" = 0


class Own(Rows):
    """A group of one channel. What those of one type and period have in common stands in a class of theirs
    (`own`), and what all have here, since there may be a hundred.
    """

    columns = 1
    offsets = (0,)
    marked = False
    n = first = offered = 0
    base: "Any" = 0

    def __init__(self, number: int) -> None:
        self.channels = (number,)
        self.data = bytearray(columns.WIDTH[self.types[0]] * self.capacity + 8)
        self.quality = bytearray(self.capacity)
        self.times = array("i", bytes(4 * self.capacity))


def own(code: int, rows: int, period_ms: int) -> "Any":
    """The class of groups of one channel of a type, with so many rows.

    With fewer rows than are due a batch is written sooner, when the channel is busy.
    """
    key = code, rows, period_ms
    if key not in _OWN:
        shared = {"types": bytes((code,)), "rows": rows, "capacity": rows + 1, "period_ms": period_ms}
        _OWN[key] = type("Own", (Own,), shared)
    return _OWN[key]


class Edge(Sampler):
    """A sampler that applies rules. channels: by number. expressions: in the order in which they are due."""

    def __init__(self, max_age_ms: int, max_bytes: int, channels: int, memory: int, clock: "Clock") -> None:
        super().__init__(max_age_ms, max_bytes, channels, memory)
        self.dropped = 0
        self.channels: "dict[int, Channel]" = {}
        self.periods: "dict[int, int]" = {}  # of them, at the start
        self.expressions: "list[Expression]" = []
        self.clock = clock

    def group(self, channels: "Sequence[int]", types: bytes, period_ms: int) -> "Any":
        """As of a sampler; what comes into the group goes through the rules of its channels."""
        sinks = [self.channels.get(number) for number in channels]
        if not any(sinks):
            return super().group(channels, types, period_ms)
        for sink, code in zip(sinks, types):
            if sink and sink.code != code:
                raise ValueError("channel %d is of another type than its rules" % sink.number)
        plain = [i for i in range(len(sinks)) if not sinks[i]]
        rest = None
        if plain:
            rest = super().group([channels[i] for i in plain], bytes([types[i] for i in plain]), period_ms)
        return Staged(channels, types, period_ms, sinks, rest)

    def share(self, memory: int) -> None:
        """Bytes of memory for the rows of each channel."""
        self._share = memory

    def own_groups(self) -> None:
        """Make the groups of all that may be kept, once what only the start needs has left the memory.

        What leaves most out has half the rows.
        """
        for number, channel in self.channels.items():
            if not (channel.inner or channel.never):
                period_ms = self.periods[number]
                due = 2 * (self._max_age // period_ms + 2) if period_ms else 16
                if channel.rule or channel.seldom:
                    due //= 2
                rows = max(_LEAST_ROWS, self._share // (columns.WIDTH[channel.code] + 5))
                channel.group = own(channel.code, min(due, _MOST_ROWS, rows), period_ms)(number)
                self.groups.append(channel.group)
        self.periods.clear()

    def start(self, g: "Any", t: "Any" = None) -> None:
        """As of a sampler."""
        if not isinstance(g, Staged):
            Sampler.start(self, g, t)
            return
        g.tick = ticks_ms() if t is None else t
        g.start(0)

    def finish(self, g: "Any") -> None:
        """As of a sampler: the row goes through the rules."""
        if not isinstance(g, Staged):
            Sampler.finish(self, g)
            return
        if g.rest:
            self._pass_on(g, g.rest)
        sinks = g.sinks
        for column in range(g.columns):
            sink = sinks[column]
            if sink:
                sink.take(g.data, g.offsets[column], g.quality[column])
        for sink in sinks:
            if sink:
                self.feed(sink, g.tick)
        for expression in self.expressions:
            if expression.due:
                expression.work(self, g.tick)

    def missed(self, g: "Any", rows: int) -> None:
        """As of a sampler; inputs that are no channels of their own are not counted."""
        self.missed_readings += rows * (g.counted if isinstance(g, Staged) else g.columns)

    def _pass_on(self, g: Staged, rest: "Rows") -> None:
        """The columns without rules."""
        Sampler.start(self, rest, g.tick)
        column = 0
        for i in range(g.columns):
            if not g.sinks[i]:
                quality = g.quality[i]
                if quality < NO_VALUE:
                    rest.put(column, g.data, g.offsets[i])
                if quality:
                    rest.mark(column, quality)
                column += 1
        Sampler.finish(self, rest)

    def feed(self, channel: "Channel", t: "Any") -> None:
        """A channel has a new sample of the tick t: keep it or not, and let its taps have it."""
        if not channel.inner:
            if channel.rule is None or channel.rule.keeps(channel, t):
                self._keep(channel, t)
            else:
                self.sampled += 1
                self.dropped += 1
                channel.dropped += 1
        for tap in channel.taps:
            tap.take(self, channel, t)

    def _keep(self, channel: "Channel", t: "Any") -> None:
        group = channel.group
        Sampler.start(self, group, t)  # type: ignore[arg-type]
        if channel.given < NO_VALUE:
            group.put(0, channel.value, 0)  # type: ignore[union-attr]
        if channel.given:
            group.mark(0, channel.given)  # type: ignore[union-attr]
        if group.n >= group.rows:  # type: ignore[union-attr]
            channel.kept = 256  # there is no room: the next one is kept, whatever it is
        Sampler.finish(self, group)  # type: ignore[arg-type]

    def urgent(self) -> None:
        """What was sampled so far is to be sent at once."""
        self._full = True

    def told(self, figures: dict) -> list[dict]:
        """The figures of a health frame with what was dropped of each channel; of many in several parts."""
        parts = [dict(figures)]
        for number, channel in self.channels.items():
            if channel.dropped:
                if len(parts[-1]) > _TOLD_MAX:
                    parts.append({})
                parts[-1][_DROPPED_OF + number] = channel.dropped
        return parts


class EdgeBatcher(Batcher):
    """A batcher that tells what rules have dropped: by channel in health frames, and in sum behind each
    batch, so that the sum is as new as the readings that are committed.
    """

    _told = 0

    def collect(self) -> None:
        """As of a batcher. Called when the start is over."""
        if self._sampler.periods:  # type: ignore[attr-defined]
            self._sampler.own_groups()  # type: ignore[attr-defined]
        super().collect()

    async def put(self, kind: int, content: "Any") -> None:
        """As of a batcher."""
        if kind != HEALTH:
            await super().put(kind, content)
            return
        for part in self._sampler.told(content):  # type: ignore[attr-defined]
            await super().put(kind, part)

    def _flush(self) -> None:
        super()._flush()
        sampler: "Any" = self._sampler
        if sampler.dropped != self._told:
            self._told = sampler.dropped
            self._put(HEALTH, {_SAMPLED: sampler.sampled, _DROPPED: sampler.dropped})


def status(figures: "Callable[..., dict]", edge: Edge) -> "Callable[..., dict]":
    """The node's figures with the count of readings that rules have dropped."""

    def with_dropped(*args: "Any") -> dict:
        out = figures(*args)
        out[_DROPPED] = edge.dropped
        return out

    return with_dropped
