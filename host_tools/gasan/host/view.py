"""The live picture of a running gateway: a table of the latest values and a line of counters.

Pure: it turns a snapshot and a size into something that rich can print, and does not draw by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gasan.host.compile import CompiledNode
from gasan.host.gateway.live import Counters, LiveRow, NodeState, Snapshot
from gasan.host.i18n import _, language
from gasan.host.wording import (
    age_text,
    bytes_text,
    count_text,
    quality_text,
    span_text,
    sparkline,
    value_text,
)
from gasan.wire import quality
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["Labels", "live_view", "plain_line"]

_STYLES = {"good": "green", "uncertain": "yellow", "bad": "red"}
_LATE_MS = 10_000
_TABLE_LINES = 4  # rules and head
# Widths from which there is room for a column.
_AGE_FROM = 58
_NODE_FROM = 70
_SPARK_FROM = 84
_SPARK_MIN = 8
_SPARK_MAX = 24


@dataclass(frozen=True)
class Labels:
    """What channels and their states are called in the user's language."""

    channels: Mapping[tuple[str, str, str], str]
    words: Mapping[tuple[str, str, str], Mapping[str, str]]

    @classmethod
    def of(cls, nodes: Sequence[CompiledNode]) -> "Labels":
        channels: dict[tuple[str, str, str], str] = {}
        words: dict[tuple[str, str, str], Mapping[str, str]] = {}
        if language() == "ko":
            for node in nodes:
                for channel in node.channels:
                    key = (node.name, channel.device, channel.name)
                    channels[key] = channel.label_ko
                    words[key] = {
                        word: channel.enum_ko.get(number, word) for number, word in channel.enum.items()
                    }
        return cls(channels, words)

    def channel(self, row: LiveRow) -> str:
        return self.channels.get((row.node, row.device, row.channel), row.channel)

    def value(self, row: LiveRow) -> str:
        text = value_text(row.value)
        return self.words.get((row.node, row.device, row.channel), {}).get(text, text)


def live_view(
    title: str,
    snapshot: Snapshot,
    labels: Labels,
    seconds: float,
    width: int,
    height: int,
    hints: Sequence[str],
) -> RenderableType:
    """The picture for a terminal of `width` columns and `height` lines; `hints` stand at the bottom."""
    head = Text(f"gasan · {title} · {span_text(seconds)} · {_states(snapshot.nodes)}", style="bold")
    tail = [_counters(snapshot.counters)]
    if snapshot.trouble:
        tail.append(Text(snapshot.trouble, style="bold red"))
    tail += [Text(hint, style="dim") for hint in hints]
    used = _lines(head, width) + sum(_lines(line, width) for line in tail) + _TABLE_LINES
    shown, more = _fit(snapshot.rows, height - used)
    parts: list[RenderableType] = [head, _table(shown, len(snapshot.nodes), labels, width)]
    if more:
        parts.append(Text(_("… and {n} more channels").format(n=more), style="dim"))
    return Group(*parts, *tail)


def plain_line(snapshot: Snapshot) -> str:
    """The counters as one line of text, for a log."""
    said = [_states(snapshot.nodes), *(text for text, _alarm in _counter_texts(snapshot.counters))]
    if snapshot.trouble:
        said.append(snapshot.trouble)
    return "; ".join(said)


def _states(nodes: Sequence[NodeState]) -> str:
    words = {"starting": _("starting"), "connecting": _("connecting"), "up": _("up")}
    said = []
    for node in nodes:
        state = f"{node.name} {words.get(node.state, node.state)}"
        said.append(f"{state} ({node.detail})" if node.detail else state)
    return ", ".join(said)


def _counter_texts(counters: Counters) -> list[tuple[str, bool]]:
    """Each counter in words, and whether it is an alarm."""
    per_reading = f"{counters.bytes / counters.readings:.1f}" if counters.readings else "-"
    found = [
        (_("{n} frames").format(n=count_text(counters.frames)), False),
        (_("{n} readings").format(n=count_text(counters.readings)), False),
        (_("{n} bytes per reading").format(n=per_reading), False),
        (
            _("spool {n} frames, {size}").format(
                n=count_text(counters.spool_frames), size=bytes_text(counters.spool_bytes)
            ),
            False,
        ),
        (_("lost {n}").format(n=count_text(counters.lost)), counters.lost > 0),
        (_("duplicated {n}").format(n=count_text(counters.duplicated)), counters.duplicated > 0),
    ]
    if counters.conflicts:
        found.append((_("conflicts {n}").format(n=count_text(counters.conflicts)), True))
    if counters.rejected:
        found.append((_("rejected {n}").format(n=count_text(counters.rejected)), True))
    return found


def _counters(counters: Counters) -> Text:
    line = Text()
    for text, alarm in _counter_texts(counters):
        if line:
            line.append(" · ", style="dim")
        line.append(text, style="bold red" if alarm else "")
    return line


def _lines(text: Text, width: int) -> int:
    """Lines that a text takes when it is wrapped; words may cost one line more."""
    whole = -(-text.cell_len // max(1, width))
    return whole if whole <= 1 else whole + 1


def _fit(rows: Sequence[LiveRow], room: int) -> tuple[list[LiveRow], int]:
    """As many rows as fit, in their order, bad ones before good ones; and how many are left out."""
    room = max(1, room)
    if len(rows) <= room:
        return list(rows), 0
    room = max(1, room - 1)  # the line that says how many more
    ranked = sorted(range(len(rows)), key=lambda index: (rows[index].quality == quality.GOOD, index))
    return [rows[index] for index in sorted(ranked[:room])], len(rows) - room


def _table(rows: Sequence[LiveRow], nodes: int, labels: Labels, width: int) -> Table:
    """Columns are left out as the terminal gets narrower: first the trend, then the node, then the age."""
    with_node = width >= (_NODE_FROM if nodes > 1 else _NODE_FROM + 20)
    with_age = width >= _AGE_FROM
    spark = min(_SPARK_MAX, width - _SPARK_FROM)
    table = Table(expand=width < 100, pad_edge=False, header_style="bold")
    if with_node:
        table.add_column(_("node"), no_wrap=True)
    table.add_column(_("device"), no_wrap=True)
    table.add_column(_("channel"), no_wrap=True)
    table.add_column(_("value"), justify="right", no_wrap=True)
    if with_age:
        table.add_column(_("age"), justify="right", no_wrap=True)
    table.add_column(_("quality"), no_wrap=True)
    if spark >= _SPARK_MIN:
        table.add_column(_("trend"), no_wrap=True, min_width=spark)
    above: LiveRow | None = None
    for row in rows:
        same_node = above is not None and above.node == row.node
        same_device = same_node and above is not None and above.device == row.device
        cells: list[RenderableType] = []
        if with_node:
            cells.append("" if same_node else row.node)
        cells += ["" if same_device else row.device, labels.channel(row), _value(row, labels)]
        if with_age:
            late = row.age_ms is not None and row.age_ms > _LATE_MS
            cells.append(Text(age_text(row.age_ms), style="yellow" if late else ""))
        cells.append(_quality(row))
        if spark >= _SPARK_MIN:
            cells.append(Text(sparkline(row.history, spark), style="cyan"))
        table.add_row(*cells)
        above = row
    return table


def _value(row: LiveRow, labels: Labels) -> Text:
    text = Text(labels.value(row))
    if row.unit and row.value is not None:
        text.append(f" {row.unit}", style="dim")
    return text


def _quality(row: LiveRow) -> Text:
    if row.age_ms is None:
        return Text(_("waiting"), style="dim")
    name = quality.name(row.quality)
    return Text(quality_text(name), style=_STYLES.get(name.split("/")[0], ""))
