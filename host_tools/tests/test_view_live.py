"""The live view: fits into any terminal, says what is wrong, and speaks Korean with its wide letters."""

import itertools
from collections.abc import Iterator
from decimal import Decimal

import pytest
from gasan.host.compile import CompiledNode, compile_site
from gasan.host.gateway.live import Counters, LiveRow, NodeState, Shown, Snapshot
from gasan.host.i18n import set_language
from gasan.host.site import load
from gasan.host.starter import starter_site
from gasan.host.view import Labels, live_view, plain_line
from gasan.host.wording import age_text, aligned, bytes_text, span_text, sparkline, unit_text, value_text
from gasan.wire import quality
from rich.cells import cell_len
from rich.console import Console


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    set_language("en")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> list[CompiledNode]:
    file = tmp_path_factory.mktemp("site") / "site.toml"
    file.write_text(starter_site("site.toml"), encoding="utf-8")
    return compile_site(load(file))


def _snapshot(
    nodes: list[CompiledNode],
    bad: frozenset[str] = frozenset(),
    lost: int = 0,
    trouble: str | None = None,
) -> Snapshot:
    values: itertools.cycle[Shown] = itertools.cycle([Decimal("230.2"), 12.345678, "running"])
    rows = tuple(
        LiveRow(
            node=node.name,
            device=channel.device,
            channel=channel.name,
            value=None if channel.name in bad else next(values),
            unit=channel.unit,
            quality=quality.TIMEOUT if channel.name in bad else quality.GOOD,
            age_ms=250 * channel.index,
            history=[float(index * channel.index % 7) for index in range(60)],
        )
        for node in nodes
        for channel in node.channels
    )
    states = tuple(NodeState(node.name, "up", "") for node in nodes)
    return Snapshot(rows, Counters(1234, 56789, 120_000, 2, 512, lost, 0, 0, 0), states, trouble)


def _lines(snapshot: Snapshot, nodes: list[CompiledNode], width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(live_view("line-1", snapshot, Labels.of(nodes), 83.0, width, height, ["Ctrl-C ends"]))
    return captured.get().splitlines()


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("width", [40, 50, 60, 72, 80, 100, 132, 200])
@pytest.mark.parametrize("height", [12, 15, 24, 50])
def test_fits_into_the_terminal(nodes: list[CompiledNode], language: str, width: int, height: int) -> None:
    set_language(language)
    lines = _lines(_snapshot(nodes), nodes, width, height)
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)


def test_wide_terminals_show_everything(nodes: list[CompiledNode]) -> None:
    text = "\n".join(_lines(_snapshot(nodes), nodes, 132, 50))
    for channel in nodes[0].channels:
        assert channel.name in text
    for words in ("press-1", "trend", "230.2 V", "°C", "1,234 frames", "2.1 bytes per reading", "0:01:23"):
        assert words in text
    assert "more channels" not in text


def test_bad_channels_stay_visible(nodes: list[CompiledNode]) -> None:
    last = nodes[0].channels[-1].name
    text = "\n".join(_lines(_snapshot(nodes, bad=frozenset({last})), nodes, 80, 14))
    assert last in text
    assert "no answer" in text
    assert "more channels" in text


def test_korean_names(nodes: list[CompiledNode]) -> None:
    set_language("ko")
    text = "\n".join(_lines(_snapshot(nodes, bad=frozenset({"voltage"})), nodes, 100, 50))
    for words in ("기기", "전압", "응답 없음", "정상", "측정값당 2.1바이트"):
        assert words in text


def test_korean_words_of_states(nodes: list[CompiledNode]) -> None:
    set_language("ko")
    channel = next(channel for channel in nodes[0].channels if channel.enum)
    number, word = next(iter(channel.enum.items()))
    row = LiveRow(nodes[0].name, channel.device, channel.name, word, "", quality.GOOD, 0, [])
    assert Labels.of(nodes).value(row) == channel.enum_ko[number]


def test_trouble_and_alarms(nodes: list[CompiledNode]) -> None:
    snapshot = _snapshot(nodes, lost=3, trouble="the disk is full")
    text = "\n".join(_lines(snapshot, nodes, 100, 50))
    assert "the disk is full" in text
    assert "lost 3" in text
    line = plain_line(snapshot)
    assert "the disk is full" in line
    assert "\n" not in line


def test_before_the_first_reading() -> None:
    row = LiveRow("press-1", "meter", "voltage", None, "V", quality.GOOD, None, [])
    waiting = NodeState("press-1", "connecting", "waiting for the node to answer")
    snapshot = Snapshot((row,), Counters(0, 0, 0, 0, 0, 0, 0, 0, 0), (waiting,), None)
    text = "\n".join(_lines(snapshot, [], 100, 20))
    assert "waiting" in text
    assert "connecting (waiting for the node to answer)" in text
    assert "- bytes per reading" in text
    assert _lines(Snapshot((), snapshot.counters, (), None), [], 80, 20)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (Decimal("230.2"), "230.2"),
        (230.1999969482422, "230.2"),
        (0.0, "0"),
        (1234567.0, "1234567"),
        (123456789012.0, "123456789012"),
        (0.00001234, "0.00001234"),
        (1e-12, "1e-12"),
        (1e30, "1e+30"),
        (7, "7"),
        ("running", "running"),
    ],
)
def test_values(value: int | float | Decimal | str | None, text: str) -> None:
    assert value_text(value) == text


def test_ages() -> None:
    ages = [age_text(age) for age in (None, 0, 1250, 9949, 9950, 90_000, 600_000, 8_000_000, 300_000_000)]
    assert ages == ["-", "0.0 s", "1.2 s", "9.9 s", "10 s", "90 s", "10 min", "2 h", "3 d"]
    assert age_text(-5) == "0.0 s"


def test_sizes_and_spans() -> None:
    assert [bytes_text(size) for size in (0, 9999, 10_000, 9_999_999, 25_000_000)] == [
        "0 B",
        "9999 B",
        "10 KB",
        "10000 KB",
        "25 MB",
    ]
    assert [span_text(span) for span in (0, 59.9, 3661, 360_000)] == [
        "0:00:00",
        "0:00:59",
        "1:01:01",
        "100:00:00",
    ]
    assert (unit_text("Cel"), unit_text("V"), unit_text("/")) == ("°C", "V", "")


def test_sparklines() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5, None, 5], 10) == "▄▄ ▄"
    assert sparkline([1, 2, 3, 4], 2) == "▁█"
    assert sparkline([None, None], 8) == sparkline([], 8) == sparkline([1, 2], 0) == ""
    assert sparkline([1.0, float("nan"), 2.0], 8) == "▁ █"


def test_aligned_counts_hangul_twice() -> None:
    assert aligned([["a", "값"], ["노드", "1"]], right={1}) == ["a     값", "노드   1"]
