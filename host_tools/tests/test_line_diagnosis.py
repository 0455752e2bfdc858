"""What is told of a line, from requests and what became of them: one table, rule by rule."""

from typing import Any

import pytest
from gasan.host import i18n
from gasan.host.line_diagnosis import Block, Cause, DeviceHealth, Finding, diagnose
from gasan.host.line_health_text import device_line, finding_text


def device(name: str, *blocks: Block, timeline: Any = (), **more: Any) -> DeviceHealth:
    return DeviceHealth(name, "cabinet", blocks=list(blocks), timeline=list(timeline), **more)


def fine(name: str = "meter", **more: Any) -> DeviceHealth:
    return device(name, Block(10, good=1000), **more)


def silent(name: str) -> DeviceHealth:
    return device(name, Block(10, timeouts=400))


CALM, HIT, DEAD = (100, 0), (100, 90), (100, 100)

TABLE: list[tuple[str, list[DeviceHealth], list[tuple[Cause, tuple[str, ...]]]]] = [
    ("nothing is wrong", [fine(), fine("oven")], [(Cause.HEALTHY, ())]),
    ("nothing was asked", [device("meter")], [(Cause.NOT_ASKED, ())]),
    (
        "a spark is not worth a sentence",
        [device("meter", Block(10, good=5000, crc=2))],
        [(Cause.HEALTHY, ())],
    ),
    ("all are silent", [silent("meter"), silent("oven")], [(Cause.ALL_SILENT, ("meter", "oven"))]),
    ("all there is is silent", [silent("meter")], [(Cause.ALL_SILENT, ("meter",))]),
    (
        "all is damaged",
        [device("meter", Block(10, crc=300, timeouts=40)), device("oven", Block(4, crc=200, misfits=60))],
        [(Cause.ALL_GARBLED, ("meter", "oven"))],
    ),
    (
        "only the echo",
        [device("meter", Block(10, misfits=300, timeouts=9))],
        [(Cause.ECHO_ALONE, ("meter",))],
    ),
    (
        "no connection",
        [device("plc", Block(10, disconnected=300), tcp=True)],
        [(Cause.NO_CONNECTION, ("plc",))],
    ),
    ("one is silent", [fine(), silent("oven")], [(Cause.SILENT, ("oven",))]),
    (
        "one was alive",
        [
            fine(timeline=[CALM] * 6),
            device("oven", Block(10, good=300, timeouts=300), timeline=[CALM] * 3 + [DEAD] * 3),
        ],
        [(Cause.SILENT_SINCE, ("oven",))],
    ),
    (
        "one that fails often, and did so five times in a row just now",
        [
            fine(timeline=[CALM] * 6),
            device("oven", Block(10, good=50, timeouts=45), timeline=[(30, 15), (60, 25), (5, 5)]),
        ],
        [(Cause.INTERMITTENT, ("oven",))],
    ),
    (
        "one that fails often, rests after it, and does so now",
        [
            fine(timeline=[CALM] * 8),
            device(
                "oven",
                Block(10, good=90, timeouts=38),
                timeline=[(30, 0), (5, 5), (30, 0), (4, 4), (20, 0), (9, 9), (10, 0), (20, 20)],
            ),
        ],
        [(Cause.INTERMITTENT, ("oven",))],
    ),
    ("one is damaged whole", [fine(), device("oven", Block(10, crc=300))], [(Cause.GARBLED, ("oven",))]),
    (
        "one, in its long answers",
        [fine(), device("oven", Block(2, good=1000), Block(60, good=900, crc=100))],
        [(Cause.CRC_LONG, ("oven",))],
    ),
    (
        "one, as its lengths explain",
        [fine(), device("oven", Block(10, good=950, crc=50), Block(40, good=800, crc=200))],
        [(Cause.CRC_ONE, ("oven",))],
    ),
    (
        "all, now and then",
        [device("meter", Block(10, good=970, crc=30)), device("oven", Block(10, good=960, crc=40))],
        [(Cause.NOISE, ("meter", "oven"))],
    ),
    (
        "all, now and then, and some are rested for",
        [
            device("meter", Block(10, good=970, crc=30)),
            device("oven", Block(10, good=920, crc=40, timeouts=60), sent=(6, 40)),
        ],
        [(Cause.NOISE, ("meter", "oven"))],
    ),
    (
        "all, now and then, and one more often not at all",
        [
            device("meter", Block(10, good=970, crc=30)),
            device("oven", Block(10, good=920, crc=20, timeouts=60), sent=(45, 20)),
        ],
        [(Cause.NOISE, ("meter", "oven")), (Cause.INTERMITTENT, ("oven",))],
    ),
    (
        "all at one time",
        [
            device("meter", Block(10, good=610, crc=90), timeline=[CALM] * 3 + [HIT] + [CALM] * 3),
            device("oven", Block(10, good=610, timeouts=90), timeline=[CALM] * 3 + [HIT] + [CALM] * 3),
        ],
        [(Cause.TOGETHER, ("meter", "oven"))],
    ),
    (
        "all at one time, with a dead one among them",
        [
            device("meter", Block(10, good=610, crc=90), timeline=[CALM] * 3 + [HIT] + [CALM] * 3),
            device("oven", Block(10, good=610, crc=90), timeline=[CALM] * 3 + [HIT] + [CALM] * 3),
            device("drive", Block(10, timeouts=700), timeline=[DEAD] * 7),
        ],
        [(Cause.TOGETHER, ("meter", "oven")), (Cause.SILENT, ("drive",))],
    ),
    (
        "all at one time, of which there are only a few requests",
        [
            device("meter", Block(10, good=300, crc=2), timeline=[CALM] * 3 + [(2, 2)] + [CALM] * 3),
            device("oven", Block(10, good=300, crc=2), timeline=[CALM] * 3 + [(2, 2)] + [CALM] * 3),
        ],
        [(Cause.HEALTHY, ())],
    ),
    (
        "all since a moment, after which the node is off",
        [
            device("meter", Block(10, good=300, timeouts=60), timeline=[CALM] * 3 + [HIT, DEAD, (0, 0)]),
            device("oven", Block(10, good=300, timeouts=90), timeline=[CALM] * 3 + [DEAD, DEAD, (0, 0)]),
        ],
        [(Cause.TOGETHER_SINCE, ("meter", "oven"))],
    ),
    (
        "all at one time, the first asked rarely meanwhile, and the second longer",
        [
            device(
                "meter",
                Block(10, good=300, crc=20),
                timeline=[(20, 0)] * 6 + [(4, 4), (0, 0), (3, 3), (0, 0), (2, 2)] + [(20, 0)] * 9,
            ),
            device(
                "oven",
                Block(10, good=240, crc=9, timeouts=70),
                timeline=[(20, 0)] * 6 + [(3, 3), (4, 4), (0, 0), (2, 2)] + [(9, 9)] * 6 + [(20, 0)] * 4,
            ),
        ],
        [(Cause.TOGETHER, ("meter", "oven"))],
    ),
    (
        "one for a while, the other asked only before and after",
        [
            device("meter", Block(10, good=90), timeline=[(10, 0)] * 3 + [(0, 0)] * 3 + [(10, 0)] * 3),
            device(
                "oven",
                Block(10, good=90, timeouts=30),
                timeline=[(10, 0)] * 3 + [(10, 10)] * 3 + [(10, 0)] * 6,
            ),
        ],
        [(Cause.INTERMITTENT, ("oven",))],
    ),
    (
        "one sometimes",
        [fine(), device("oven", Block(10, good=950, timeouts=50), turnaround=[950, 0, 0, 0, 0, 0, 0])],
        [(Cause.INTERMITTENT, ("oven",))],
    ),
    (
        "one is slow",
        [fine(), device("oven", Block(10, good=950, timeouts=50), turnaround=[0, 0, 0, 0, 0, 500, 450])],
        [(Cause.LATE, ("oven",))],
    ),
    (
        "a register is refused",
        [device("oven", Block(4, good=900), Block(2, ("mode",), exceptions={2: 900}))],
        [(Cause.REFUSED, ("oven",))],
    ),
    ("it has failed", [device("oven", Block(4, good=900, exceptions={4: 90}))], [(Cause.FAILURE, ("oven",))]),
    ("it is busy", [device("oven", Block(4, good=900, exceptions={6: 90}))], [(Cause.BUSY, ("oven",))]),
    ("a gateway's", [device("oven", Block(4, good=90, exceptions={11: 90}))], [(Cause.GATEWAY, ("oven",))]),
    (
        "two of one unit",
        [fine(), device("oven", Block(4, good=900, misfits=90))],
        [(Cause.MISFIT, ("oven",))],
    ),
    ("an echo", [fine(turnaround=[1000] + [0] * 6, strays=998)], [(Cause.ECHO, ())]),
    ("noise between frames", [fine(turnaround=[1000] + [0] * 6, strays=80)], [(Cause.STRAYS, ())]),
    (
        "a foreign master, and what it spoils",
        [
            fine(turnaround=[1000] + [0] * 6, strays=80, foreign=60),
            device("oven", Block(4, good=900, timeouts=90, crc=20, misfits=9), foreign=60),
        ],
        [(Cause.FOREIGN_MASTER, ())],
    ),
    (
        "a laptop for a moment, and a bad termination all day",
        [
            fine(turnaround=[1000] + [0] * 6, foreign=5),
            device("oven", Block(2, good=1000), Block(60, good=900, crc=100), foreign=5),
        ],
        [(Cause.CRC_LONG, ("oven",)), (Cause.FOREIGN_MASTER, ())],
    ),
    (
        "late answers, which are heard as strays, and whom they hit",
        [
            device("meter", Block(4, good=900, timeouts=90), turnaround=[900] + [0] * 6, strays=50),
            device("oven", Block(4, good=600, timeouts=300)),
        ],
        [(Cause.LATE, ("oven",))],
    ),
    (
        "late answers, which once spoilt others as well",
        [
            fine(
                turnaround=[900] + [0] * 6,
                strays=9,
                timeline=[(10, 0)] * 5 + [(4, 4), (1, 1)] + [(10, 0)] * 20,
            ),
            device(
                "oven",
                Block(4, good=12, timeouts=45),
                timeline=[(4, 0)] * 5 + [(2, 2), (0, 0)] + [(2, 2)] * 19 + [(2, 0)],
            ),
        ],
        [(Cause.LATE, ("oven",))],
    ),
    (
        "late answers, and many in a row now, as before",
        [
            fine(turnaround=[900] + [0] * 6, strays=50),
            device(
                "oven",
                Block(4, good=12, timeouts=90),
                timeline=[(5, 5), (20, 5), (40, 40), (5, 3), (20, 20), (3, 2), (90, 90)],
            ),
        ],
        [(Cause.LATE, ("oven",))],
    ),
    (
        "late answers, and none any more",
        [
            fine(turnaround=[900] + [0] * 6, strays=50),
            device(
                "oven",
                Block(4, good=12, timeouts=130),
                timeline=[(5, 5), (20, 5), (40, 40), (5, 3), (20, 20), (3, 2), (400, 400)],
            ),
        ],
        [(Cause.SILENT_SINCE, ("oven",))],
    ),
]


@pytest.mark.parametrize(("devices", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_line_is_told_what_is_probably_wrong(
    devices: list[DeviceHealth], expected: list[tuple[Cause, tuple[str, ...]]], language: str
) -> None:
    found = diagnose(devices)
    assert [(one.cause, one.devices) for one in found] == expected
    i18n.set_language(language)
    try:
        for one in found:
            text = finding_text(one, lambda span: f"0{span}:00")
            assert (
                text.startswith("cabinet: ")
                and "{" not in text
                and all(name in text for name in one.channels)
            )
        assert all(one.name in device_line(one) for one in devices)
    finally:
        i18n.set_language("en")


def test_every_cause_is_in_the_table() -> None:
    assert {cause for row in TABLE for cause, _ in row[2]} == set(Cause)


def test_lines_are_judged_apart() -> None:
    other = silent("drive")
    other.line = "hall"
    found = diagnose([fine(), other])
    assert [(one.cause, one.line) for one in found] == [
        (Cause.HEALTHY, "cabinet"),
        (Cause.ALL_SILENT, "hall"),
    ]


def test_the_sentences_of_the_issue() -> None:
    def said(finding: Finding) -> str:
        return finding_text(finding, lambda span: f"{9 + span // 6:02}:{span % 6}0")

    [devices] = [row[1] for row in TABLE if row[0] == "one, in its long answers"]
    assert said(diagnose(devices)[0]) == (
        "cabinet: only oven fails, and only with CRC errors in its long answers (100 of 2000): "
        "check its termination."
    )
    together = Finding(Cause.TOGETHER, "cabinet", ("a", "b"), 20, 100, ((0, 0),))
    assert said(together) == "cabinet: all units fail together at 09:00-09:10: look for what starts then."
    assert device_line(devices[1]) == "oven: 2000 requests, 100 CRC errors"
