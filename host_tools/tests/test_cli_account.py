"""The account in words: it answers "did we lose data?" first, in English and in Korean."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gasan.host.account import Account, ChannelAccount, ChannelGap, Disagreement, Loss, NodeAccount
from gasan.host.account_text import account_text, sentence
from gasan.host.cli.times import local_time
from gasan.host.i18n import set_language


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    set_language("en")


def _node(name: str = "press-1", **figures: Any) -> NodeAccount:
    filled = {
        "sampled": 1000,
        "stored": 1000,
        "dropped_by_rule": 0,
        "lost": 0,
        "pending": 0,
        "missed": 0,
        "duplicated": 0,
        "conflicts": 0,
        "received_again": 0,
        "rejected": 0,
        "frames": 20,
        "data_bytes": 2500,
        "boots": 1,
        "boards": 1,
        "losses": (),
        "channels": (),
        "disagreements": (),
    }
    return NodeAccount(node=name, **(filled | figures))


def _account(*nodes: NodeAccount, rejected: int = 0) -> Account:
    return Account(nodes, rejected, 60.0, Path("/data/gasan.sqlite"))


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({}, "press-1 lost nothing: 1,000 of 1,000 readings are stored."),
        (
            {"sampled": 1012, "pending": 12},
            "press-1 lost nothing: 1,000 of 1,012 readings are stored. 12 are still on the node.",
        ),
        ({"sampled": 1007, "lost": 7}, "press-1 lost 7 of 1,007 readings."),
        (
            {"missed": 5},
            "press-1 lost nothing: 1,000 of 1,000 readings are stored. 5 due readings were never attempted.",
        ),
        ({"sampled": 0, "stored": 0}, "press-1: no readings yet."),
        (
            {"sampled": 1004},
            "press-1 lost nothing: 1,000 of 1,004 readings are stored. "
            "The figures contradict each other by 4 readings; please report this.",
        ),
        (
            {"conflicts": 2},
            "press-1 lost nothing: 1,000 of 1,000 readings are stored. "
            "2 frames contradict stored ones and were set aside; look into it.",
        ),
    ],
)
def test_sentences(figures: dict[str, int], said: str) -> None:
    assert sentence(_node(**figures)) == said


def test_the_whole_account() -> None:
    losses = (
        Loss("cut_before_commit", 5, 1790000000000, 1790000002000),
        Loss("spool_overflow", 2, None, None),
        Loss("reason_9", 1, None, None),
    )
    text = account_text(
        _account(_node(sampled=1008, lost=8, losses=losses), _node("press-2", frames=1), rejected=3)
    )
    assert text.splitlines() == [
        "press-1 lost 8 of 1,008 readings.",
        "press-2 lost nothing: 1,000 of 1,000 readings are stored.",
        "",
        "node     sampled  stored  dropped by rule  lost  pending  missed  duplicated  conflicts  frames",
        "press-1    1,008   1,000                0     8        0       0           0          0      20",
        "press-2    1,000   1,000                0     0        0       0           0          0       1",
        "all        2,008   2,000                0     8        0       0           0          0      21",
        "",
        "press-1: 5 readings, not yet saved when the power went"
        f" ({local_time(1790000000000)[:-4]} to {local_time(1790000002000)[:-4]})",
        "press-1: 2 readings, the node's memory was full",
        "press-1: 1 reading, reason_9",
        "",
        "2.50 bytes per reading in 21 frames.",
        "3 frames were not authentic and were refused.",
        "The readings are in /data/gasan.sqlite",
    ]


def test_in_korean() -> None:
    set_language("ko")
    text = account_text(
        _account(_node(sampled=1012, lost=7, pending=5, losses=(Loss("torn", 7, None, None),)))
    )
    lines = text.splitlines()
    assert lines[0] == "press-1: 측정값 1,012개 가운데 7개를 잃었습니다. 5개는 아직 노드에 있습니다."
    assert lines[2].split()[:3] == ["노드", "읽음", "저장"]
    assert lines[5] == "press-1: 측정값 7개, 노드 메모리에서 손상됨"
    assert "측정값당 2.50바이트" in text


MONDAY = 1_790_000_000_000  # a Monday everywhere: 14:13 UTC


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "press-1 lost nothing since Monday {time}: 1,000 of 1,000 readings are stored."),
        (
            "ko",
            "press-1: 월요일 {time}부터 잃은 측정값이 없습니다. 1,000개 가운데 1,000개가 저장되어 있습니다.",
        ),
    ],
)
def test_since_when_is_said_as_people_say_it(language: str, said: str) -> None:
    set_language(language)
    time = local_time(MONDAY)[11:16]
    node = _node(since_ms=MONDAY)
    assert sentence(node, MONDAY + 3 * 86_400_000) == said.format(time=time)
    later = sentence(node, MONDAY + 8 * 86_400_000)
    assert local_time(MONDAY)[:16] in later and "onday" not in later and "월요일" not in later


def test_what_was_lost_since(tmp_path: Path) -> None:
    said = sentence(_node(lost=3, sampled=1003, since_ms=MONDAY), MONDAY + 86_400_000)
    assert said.startswith("press-1 lost 3 of 1,003 readings since Monday ")


@pytest.mark.parametrize("kind", ["overlap", "hole", "end", "rows", "dropped"])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_contradiction_is_said(kind: str, language: str) -> None:
    set_language(language)
    said = sentence(_node(disagreements=(Disagreement(kind, "ab" * 8, 12),)))
    assert "12" in said and "{" not in said
    assert (kind in ("rows", "dropped")) == ("ab" * 8 not in said)


def test_channels_and_gaps() -> None:
    lost = (Loss("spool_overflow", 4, MONDAY, MONDAY + 1000),)
    channels = (
        ChannelAccount("drive", "speed", 500, 3, 2, 0, 7, ()),
        ChannelAccount("meter", "전압", 480, 0, 0, 0, 0, lost),
    )
    gaps = tuple(
        ChannelGap("meter", channel, MONDAY, MONDAY + 60_000, reason)
        for channel in ("a", "b")
        for reason in ("missed", "spool_overflow")
    )
    node = _node(
        sampled=1000,
        stored=980,
        dropped_by_rule=7,
        lost=6,
        pending=7,
        channels=channels,
        gaps=gaps,
        losses=lost,
    )
    lines = account_text(_account(node), details=True).splitlines()
    start, end = local_time(MONDAY)[:-4], local_time(MONDAY + 60_000)[:-4]
    assert lines[5:10] == [
        "press-1",
        "device     channel  sampled  stored  dropped by rule  lost  pending  bad  uncertain",
        "drive      speed        507     500                7     0        0    3          2",
        "meter      전압         484     480                0     4        0    0          0",
        "(unknown)                 9                              2        7",
    ]
    assert lines[-6:-2] == [
        "press-1: no readings",
        f"  meter (a, b): {start} to {end}, nothing was read",
        f"  meter (a, b): {start} to {end}, the node's memory was full",
        "",
    ]


def test_before_the_first_node() -> None:
    assert account_text(_account()).splitlines() == [
        "No node has been heard yet.",
        "",
        "The readings are in /data/gasan.sqlite",
    ]
