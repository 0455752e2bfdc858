"""The time of an RTU line against numbers worked out by hand."""

import json
from pathlib import Path

import pytest
from gasan.host import cli
from gasan.host.i18n import set_language
from gasan.host.line_budget import Budget, budget
from gasan.host.problems import FileError
from gasan.host.site import RtuBus, load

HEAD = """\
[site]
name = "line-3"
[[node]]
name = "press-1"
board = "rpi_pico_w"
link = "serial:/dev/ttyACM0"
[[node.bus]]
name = "cabinet"
type = "modbus-rtu"
baudrate = {baudrate}
"""
METER = """\
[[node.bus.device]]
name = "meter"
unit = 1
profile = "eastron/sdm120"
channels = ["voltage"]
period = "{period}"
"""
OVEN = """\
[[node.bus.device]]
name = "oven"
unit = 2
profile = "autonics/tk4"
channels = ["process_value"]
period = "{period}"
"""


def _site(folder: Path, text: str, baudrate: int = 9600) -> Path:
    file = folder / "site.toml"
    ram = '[node.spool]\nstorage = "ram"\n'  # or a warning tells of the flash that short periods wear out
    file.write_text(HEAD.format(baudrate=baudrate) + text + ram, encoding="utf-8")
    return file


def _budget(folder: Path, text: str, baudrate: int = 9600) -> Budget:
    bus = load(_site(folder, text, baudrate)).nodes[0].buses[0]
    assert isinstance(bus, RtuBus)
    return budget(bus)


def _refusal(folder: Path, text: str, baudrate: int = 9600) -> list[str]:
    with pytest.raises(FileError) as caught:
        load(_site(folder, text, baudrate))
    return [str(problem).partition("site.toml:")[2] for problem in caught.value.problems]


def test_a_request_by_hand(tmp_path: Path) -> None:
    # 8 + 5 + 2 * 2 bytes of 10 bits at 9600 baud: 17.708 ms; 3.5 characters: 3.646 ms before the request;
    # 5 ms of turnaround, which is more than 3.5 characters; 0.3 ms of the node: 26.654 ms, each 100 ms.
    line = _budget(tmp_path, METER.format(period="100ms"))
    assert line.loads[0].cost_ms == pytest.approx([26.654], abs=0.001)
    assert line.share == pytest.approx(0.26654, abs=1e-5)


def test_a_slow_line_waits_for_its_silence(tmp_path: Path) -> None:
    # At 1200 baud 3.5 characters are 29.167 ms, longer than any turnaround: 17 * 8.333 + 2 * 29.167 + 0.3.
    line = _budget(tmp_path, METER.format(period="1s"), 1200)
    assert line.loads[0].cost_ms == pytest.approx([200.3], abs=0.001)


def test_a_fast_line_has_a_fixed_silence(tmp_path: Path) -> None:
    # 17 * 0.0868 = 1.476 ms of bytes, 1.75 ms of silence, 5 ms of turnaround, 0.3 ms.
    line = _budget(tmp_path, METER.format(period="1s"), 115200)
    assert line.loads[0].cost_ms == pytest.approx([8.526], abs=0.001)


def test_the_time_that_de_is_given_is_time_of_the_line(tmp_path: Path) -> None:
    text = METER.format(period="1s").replace(
        "[[node.bus.device]]", "de_re_pin = 2\nde_delay = 2000\n[[node.bus.device]]"
    )
    line = _budget(tmp_path, text, 115200)
    assert line.loads[0].cost_ms == pytest.approx([10.526], abs=0.001)  # 8.526 without
    assert line.loads[0].probe_ms == pytest.approx(8 * 0.0868 + 1.75 + 2 + 500, abs=0.01)


def test_the_share_of_each_device_and_a_dead_one(tmp_path: Path) -> None:
    line = _budget(tmp_path, METER.format(period="100ms") + OVEN.format(period="1s"))
    # The oven: 15 * 1.0417 + 3.646 + 5 + 0.3 = 24.571 ms each second. Dead, it takes 4 % and so more than
    # alive: 26.654 % + 4 %.
    assert [load.share for load in line.loads] == pytest.approx([0.26654, 0.02457], abs=1e-5)
    assert line.one_dead is not None
    share, load = line.one_dead
    assert (share, load.device.name) == (pytest.approx(0.30654, abs=1e-5), "oven")
    # A dead device that is asked seldom costs less: 8 bytes, 3.5 characters and 500 ms each minute.
    line = _budget(tmp_path, METER.format(period="100ms") + OVEN.format(period="1m"))
    assert line.loads[1].dead_share == pytest.approx((8.333 + 3.646 + 500) / 60_000, abs=1e-6)


def test_a_hole_is_read_where_it_may_be(tmp_path: Path) -> None:
    """The profile says that holes of this meter are not read; the site file knows better."""
    text = METER.replace('["voltage"]', '["voltage", "current", "frequency"]').format(period="1s")
    for more, reads in (("", [(0, 2), (6, 2), (70, 2)]), ("max_hole = 9\n", [(0, 8), (70, 2)])):
        planned = _budget(tmp_path, text + more).loads[0].requests
        assert [(one.first, one.count) for one in planned] == reads


def test_bits_are_eight_to_a_byte(tmp_path: Path) -> None:
    (tmp_path / "plc.toml").write_text(
        '[profile]\nmaker = "a"\nmodel = "b"\nkind = "modbus"\nverified = "simulated"\n'
        f"default = {[f'c{n}' for n in range(200)]}\n"
        '[profile.source]\ntitle = "t"\nrevision = "1"\npages = "1"\n'
        + "".join(
            f'[channel.c{n}]\ntable = "coil"\naddress = {n}\ntype = "bool"\nlabel_en = "c"\nlabel_ko = "c"\n'
            for n in range(200)
        )
    )
    text = (
        METER.format(period="1s").replace("eastron/sdm120", "plc.toml").replace('channels = ["voltage"]', "")
    )
    load_ = _budget(tmp_path, text).loads[0]
    # 100 items to a request, as a group of the node has. 8 + 5 + 13 bytes, 3.646 + 5 + 0.3 ms.
    assert [(one.first, one.count) for one in load_.requests] == [(0, 100), (100, 100)]
    assert load_.cost_ms == pytest.approx([36.029] * 2, abs=0.001)
    # The node's limit of bits is 16 times that of registers.
    assert len(_budget(tmp_path, text + "max_registers = 7\n").loads[0].requests) == 2


@pytest.mark.parametrize("kind", ["modbus-tcp", "modbus-rtu-over-tcp"])
@pytest.mark.parametrize(
    ("key", "told"),
    [
        ('timeout = "25s"', "15: a timeout of 25s is longer than the watchdog of a node allows"),
        ('timeout = "0s"', "15: a timeout of 0 ms leaves no time for an answer"),
        ('gap = "1m"', "15: a gap of 1m is longer than a node can keep"),
        ("max_registers = 1", "15: the channel voltage has 2 registers, more than a request may ask for"),
    ],
)
def test_a_connection_has_times_that_a_node_keeps(tmp_path: Path, kind: str, key: str, told: str) -> None:
    file = tmp_path / "site.toml"
    head = HEAD.replace('"modbus-rtu"', f'"{kind}"').replace("rpi_pico_w", "virtual")
    head = head.replace("baudrate = {baudrate}", 'host = "h"\nport = 502').replace("link = ", "# ")
    file.write_text(
        head + METER.format(period="1s").replace("unit = 1", f"unit = 1\n{key}"), encoding="utf-8"
    )
    with pytest.raises(FileError) as caught:
        load(file)
    assert [
        str(problem).partition("site.toml:")[2].partition("; ")[0] for problem in caught.value.problems
    ] == [told]


def test_what_cannot_work_is_refused_with_changes_that_mend_it(tmp_path: Path) -> None:
    both = METER.format(period="40ms") + OVEN.format(period="50ms")
    # 26.654 / 40 + 24.571 / 50 = 66.6 % + 49.1 %
    assert _refusal(tmp_path, both) == [
        "7: the line cabinet would need 116 % of its time; read meter every 100ms only or set baudrate = "
        "19200 here and on all its devices"
    ]
    # Each of the two is taken at its word.
    assert _budget(tmp_path, METER.format(period="100ms") + OVEN.format(period="50ms")).share <= 0.8
    assert _budget(tmp_path, both, 19200).share <= 0.8


def test_a_busy_line_is_a_warning(tmp_path: Path) -> None:
    text = METER.replace('["voltage"]', '["voltage", "current", "active_power"]').format(period="90ms")
    site = load(_site(tmp_path, text))  # 3 * 26.654 / 90
    assert [problem.what for problem in site.warnings] == ["the line cabinet is busy for 89 % of its time"]
    assert site.warnings[0].mend == (
        "read meter every 100ms only or set baudrate = 14400 here and on all its devices "
        "or leave voltage of meter out"
    )
    kept = METER.replace('["voltage"]', '["voltage", "current"]').format(period="90ms")
    assert load(_site(tmp_path, kept)).warnings == ()


def test_a_period_shorter_than_its_request(tmp_path: Path) -> None:
    told = _refusal(tmp_path, METER.format(period="20ms"))
    assert told == [
        "11: 2 registers of meter take 27 ms of the line, and are due every 20ms; read meter every 50ms only "
        "or set baudrate = 19200 here and on all its devices"
    ]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (
            'timeout = "25s"',
            '17: a timeout of 25s is longer than the watchdog of a node allows; write at most "20s"',
        ),
        ('gap = "1m"\nperiod = "2m"', '17: a gap of 1m is longer than a node can keep; write at most "20s"'),
        (
            'timeout = "3ms"',
            "17: at 9600 baud a device may only answer after 4 ms, and the timeout is 3ms; "
            'write at least "54ms"',
        ),
        (
            'gap = "980ms"',
            "11: with a gap of 980ms the requests to meter would take 101 % of its time; "
            "write longer periods, a shorter gap or fewer channels",
        ),
    ],
)
def test_times_that_a_node_or_a_line_cannot_keep(tmp_path: Path, key: str, told: str) -> None:
    text = METER if "period" not in key else METER.replace('period = "{period}"\n', "# its period is below\n")
    assert _refusal(tmp_path, text.format(period="1s") + key + "\n") == [told]


def test_check_tells_the_occupation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = _site(tmp_path, METER.format(period="100ms") + OVEN.format(period="1s"))
    assert cli.run(["check", str(site)]) == 0
    told = capsys.readouterr().out
    assert (
        "press-1/cabinet: 29 % of the line's time at 9600 8N1\n"
        "  meter 27 %, 1 request\n"
        "  oven 2.5 %, 1 request\n"
        "  with one dead device at worst 31 % (oven: 500ms for each try)\n"
    ) in told
    assert cli.run(["check", "--json", str(site)]) == 0
    (line,) = json.loads(capsys.readouterr().out)["lines"]
    assert (line["occupation"], line["one_dead"]) == (0.291, {"device": "oven", "occupation": 0.307})
    assert line["devices"][0]["requests"] == [
        {"function": 4, "first": 0, "count": 2, "period_ms": 100, "line_ms": 26.65}
    ]


def test_a_refusal_in_korean(tmp_path: Path) -> None:
    set_language("ko")
    try:
        told = _refusal(tmp_path, METER.format(period="20ms"))
    finally:
        set_language("en")
    assert "meter의 레지스터 2개" in told[0]
