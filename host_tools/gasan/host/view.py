"""The live picture of a running gateway: a table of the latest values and a line of counters.

Pure: it turns a snapshot and a size into something that rich can print, and does not draw by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gasan.host.compile import CompiledNode
from gasan.host.gateway.live import Counters, LiveRow, NodeState, Snapshot
from gasan.host.i18n import _, language, ngettext
from gasan.host.wording import (
    age_text,
    bytes_text,
    count_text,
    quality_text,
    span_text,
    sparkline,
    unit_text,
    value_text,
)
from gasan.wire import quality
from rich import box
from rich.cells import cell_len
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["Labels", "live_view", "plain_line"]

_STYLES = {"good": "green", "uncertain": "yellow", "bad": "red"}
_LATE_MS = 10_000
_TABLE_LINES = 4  # an empty one, the head, a rule, and an empty one
_PADDING = 2  # columns between two columns
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
    words = {
        "starting": _("starting"),
        "connecting": _("connecting"),
        "up": _("up"),
        "maintenance": _("in maintenance"),
    }
    said = []
    for node in nodes:
        state = f"{node.name} {words.get(node.state, node.state)}"
        said.append(f"{state} ({node.detail})" if node.detail else state)
    return ", ".join(said)


def _counter_texts(counters: Counters) -> list[tuple[str, bool]]:
    """Each counter in words, and whether it is an alarm."""
    per_reading = f"{counters.bytes / counters.readings:.1f}" if counters.readings else "-"
    found = [
        (ngettext("{n} frame", "{n} frames", counters.frames).format(n=count_text(counters.frames)), False),
        (
            ngettext("{n} reading", "{n} readings", counters.readings).format(
                n=count_text(counters.readings)
            ),
            False,
        ),
        (_("{n} bytes per reading").format(n=per_reading), False),
        (_spool_text(counters), False),
        (_("lost {n}").format(n=count_text(counters.lost)), counters.lost > 0),
        (_("duplicated {n}").format(n=count_text(counters.duplicated)), counters.duplicated > 0),
    ]
    if counters.conflicts:
        found.append((_("conflicts {n}").format(n=count_text(counters.conflicts)), True))
    if counters.rejected:
        found.append((_("rejected {n}").format(n=count_text(counters.rejected)), True))
    return found


def _spool_text(counters: Counters) -> str:
    """What nodes still hold; an empty spool takes some bytes too, which interest nobody."""
    if not counters.spool_frames:
        return _("spool empty")
    said = ngettext("spool {n} frame, {size}", "spool {n} frames, {size}", counters.spool_frames)
    return said.format(n=count_text(counters.spool_frames), size=bytes_text(counters.spool_bytes))


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
    columns = {
        "node": [Text(row.node) for row in rows],
        "device": [Text(row.device) for row in rows],
        "channel": [Text(labels.channel(row)) for row in rows],
        "value": [_value(row, labels) for row in rows],
        "age": [_age(row) for row in rows],
        "quality": [_quality(row) for row in rows],
    }
    titles = {
        "node": _("node"),
        "device": _("device"),
        "channel": _("channel"),
        "value": _("value"),
        "age": _("age"),
        "quality": _("quality"),
        "trend": _("trend"),
    }
    widths = {
        name: max(cell_len(titles[name]), *(cell.cell_len for cell in cells)) if cells else 0
        for name, cells in columns.items()
    }
    shown, spark = _choose(widths, nodes, width)
    columns["trend"] = [Text(sparkline(row.history, spark), style="cyan") for row in rows]
    _leave_out_repeats(rows, columns)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for name in shown:
        justify: JustifyMethod = "right" if name in ("value", "age") else "left"
        table.add_column(
            titles[name], justify=justify, no_wrap=True, min_width=spark if name == "trend" else None
        )
    for cells in zip(*(columns[name] for name in shown), strict=True):
        table.add_row(*cells)
    return table


def _choose(widths: Mapping[str, int], nodes: int, width: int) -> tuple[list[str], int]:
    """The columns that fit into `width`, and how wide the trend is."""
    every = [*widths, "trend"]
    leave_out: list[set[str]] = [
        set(),
        {"node"},
        {"node", "age"},
        {"trend", "node"},
        {"trend", "node", "age"},
    ]
    if nodes > 1:
        leave_out = [set(), {"trend"}, {"trend", "age"}, {"trend", "node"}, {"trend", "node", "age"}]
    for left in leave_out:
        shown = [name for name in every if name not in left]
        room = width - sum(widths.get(name, 0) for name in shown) - _PADDING * len(shown) - 1
        if room >= (_SPARK_MIN if "trend" in shown else 0):
            break
    return shown, max(0, min(_SPARK_MAX, room))


def _leave_out_repeats(rows: Sequence[LiveRow], columns: Mapping[str, list[Text]]) -> None:
    """Names a node and a device only in the first of their rows."""
    for index in range(len(rows) - 1, 0, -1):
        if rows[index].node == rows[index - 1].node:
            columns["node"][index] = Text()
            if rows[index].device == rows[index - 1].device:
                columns["device"][index] = Text()


def _age(row: LiveRow) -> Text:
    late = row.age_ms is not None and row.age_ms > _LATE_MS
    return Text(age_text(row.age_ms), style="yellow" if late else "")


def _value(row: LiveRow, labels: Labels) -> Text:
    text = Text(labels.value(row))
    unit = unit_text(row.unit)
    if unit and row.value is not None:
        text.append(f" {unit}", style="dim")
    return text


def _quality(row: LiveRow) -> Text:
    if row.age_ms is None:
        return Text(_("waiting"), style="dim")
    name = quality.name(row.quality)
    return Text(quality_text(name), style=_STYLES.get(name.split("/")[0], ""))
