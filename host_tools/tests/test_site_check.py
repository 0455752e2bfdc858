"""Site files: a right one becomes a site, a wrong one is told whole, by line, with what to write instead."""

from pathlib import Path

import pytest
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.errors import InputError
from gasan.host.i18n import set_language
from gasan.host.problems import FileError, Severity
from gasan.host.quantities import duration_text
from gasan.host.site import BleBus, RtuBus, Site, TcpBus, load
from gasan.host.site_tables import (
    BatchTable,
    BleBusTable,
    BleDeviceTable,
    ModbusDeviceTable,
    NodeTable,
    RtuBusTable,
    SiteTable,
    SpoolTable,
    TcpBusTable,
)
from gasan.host.starter import starter_site

GOOD = """\
[site]
name = "line-3"

[[node]]
name = "press-1"
board = "rpi_pico_w"
link = "serial:/dev/serial/by-id/usb-1"
[node.batch]
max_age = "30s"

[[node.bus]]
name = "cabinet"
type = "modbus-rtu"
uart = 1
baudrate = 9600
parity = "even"

[[node.bus.device]]
name = "main-meter"
unit = 1
profile = "eastron/sdm120"
period = "2s"
periods = {energy = "1m"}
channels = ["voltage", "current", "import_energy"]

[[node.bus.device]]
name = "oven"
unit = 2
profile = "autonics/tk4"

[[node.bus]]
name = "lan"
type = "modbus-tcp"
host = "192.168.0.20"

[[node.bus.device]]
name = "press-drive"
unit = 1
profile = "ls-electric/s100"
timeout = "200ms"
gap = "5ms"
max_registers = 4

[[node.bus]]
name = "radio"
type = "ble"
scan_interval = "200ms"

[[node.bus.device]]
name = "hall"
address = "a4:c1:38:01:02:03"
profile = "bthome/thermo_hygrometer"
timeout = "2m"

[[node]]
name = "press-2"
board = "virtual"

[[node.bus]]
name = "cabinet"
type = "modbus-rtu"
port = "/dev/ttyUSB7"
baudrate = 19200

[[node.bus.device]]
name = "main-meter"
unit = 1
profile = "eastron/sdm120"
"""
LINES = GOOD.splitlines()


def _load(tmp_path: Path, text: str) -> Site:
    file = tmp_path / "site.toml"
    file.write_text(text, encoding="utf-8")
    return load(file)


def _problems(tmp_path: Path, text: str) -> list[str]:
    """Every problem of a wrong file, without the folder."""
    with pytest.raises(FileError) as caught:
        _load(tmp_path, text)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


def test_what_a_site_says(tmp_path: Path) -> None:
    site = _load(tmp_path, GOOD)
    assert site.name == "line-3"
    assert site.warnings == ()
    first, second = site.nodes
    assert (first.name, first.board.name, first.link) == (
        "press-1",
        "rpi_pico_w",
        "serial:/dev/serial/by-id/usb-1",
    )
    assert (first.batch_max_age_ms, first.batch_max_bytes, first.watchdog) == (30_000, 1600, True)
    rtu, tcp, ble = first.buses
    assert isinstance(rtu, RtuBus)
    assert (rtu.uart, rtu.port, rtu.baudrate, rtu.parity, rtu.stop_bits) == (1, None, 9600, "even", 1)
    assert rtu.bits_per_character == 11
    assert rtu.pins == (4, 5)
    meter, oven = rtu.devices
    assert [(channel.profile.name, channel.period_ms) for channel in meter.channels] == [
        ("voltage", 2000),
        ("current", 2000),
        ("import_energy", 60_000),
    ]
    assert [channel.profile.name for channel in oven.channels] == list(oven.profile.default)
    assert isinstance(tcp, TcpBus)
    assert (tcp.host, tcp.port) == ("192.168.0.20", 502)
    drive = tcp.devices[0]
    assert (drive.timeout_ms, drive.gap_ms, drive.max_registers) == (200, 5, 4)
    assert isinstance(ble, BleBus)
    assert (ble.scan_interval_ms, ble.scan_window_ms) == (200, 50)
    assert (ble.devices[0].address, ble.devices[0].timeout_ms) == (bytes.fromhex("a4c138010203"), 120_000)
    assert second.link is None
    assert second.batch_max_age_ms == 60_000
    bus = second.buses[0]
    assert isinstance(bus, RtuBus)
    assert (bus.uart, bus.port) == (min(second.board.uarts), "/dev/ttyUSB7")


def _line(text: str) -> int:
    """The number of the only line of GOOD that is `text`, or of its first."""
    return LINES.index(text) + 1


# Each: what is replaced (first occurrence), by what, the line to be named, words that must be said.
MISTAKES: dict[str, tuple[str, str, int, str]] = {
    "site missing": ('[site]\nname = "line-3"\n', "", 1, "[site] is missing; write [site]"),
    "site name missing": (
        'name = "line-3"\n',
        "",
        1,
        "'name' is missing; write, for example, name = \"line-3\"",
    ),
    "site name": ('"line-3"', '"Line 3"', 2, '"Line 3" cannot be a name; write, for example, "line-3"'),
    "site name in Hangul": ('"line-3"', '"3번 라인"', 2, 'cannot be a name; write, for example, "3"'),
    "site name number": ('"line-3"', "3", 2, "'name' must be text in quotes"),
    "site key": ('name = "line-3"', 'name = "line-3"\nnme = 1', 3, "unknown key 'nme'; did you mean 'name'?"),
    "top key": ("[site]", "[sites]\n[site]", 1, "unknown key 'sites'; did you mean 'site'?"),
    "node as table": ("[[node]]", "[node]", 55, "write [[name]]"),
    "node name missing": ('name = "press-1"\n', "", 4, "'name' is missing"),
    "node name twice": ('"press-2"', '"press-1"', 56, 'the node name "press-1" is already used in line 5'),
    "board unknown": ('"rpi_pico_w"', '"rpi_pico_v"', 6, "did you mean 'rpi_pico_w'?"),
    "board missing": ('board = "rpi_pico_w"\n', "", 4, "'board' is missing"),
    "board without radio": (
        '"rpi_pico_w"',
        '"rpi_pico"',
        46,
        "the board rpi_pico has no Bluetooth; use a board that has:",
    ),
    "board without network": ('"rpi_pico_w"', '"rpi_pico"', 33, "the board rpi_pico has no network"),
    "link missing": ('link = "serial:/dev/serial/by-id/usb-1"\n', "", 4, "'link' is missing"),
    "link without kind": ('"serial:/dev', '"/dev', 7, "does not say what kind of link"),
    "link tcp": (
        '"serial:/dev/serial/by-id/usb-1"',
        '"tcp:192.168.0.5"',
        7,
        'cannot be used yet; write, for example, link = "serial:/dev/ttyACM0" or link = "ble:NAME"',
    ),
    "link ble": (
        '"serial:/dev/serial/by-id/usb-1"',
        '"ble:press"',
        7,
        'is neither the name of this node nor an address; a node is found by its name: write link = "ble:',
    ),
    "link relative": ('"serial:/dev/serial', '"serial:serial', 7, "not the whole path of a serial port"),
    "link twice": (
        'board = "virtual"',
        'board = "virtual"\nlink = "serial:/dev/serial/by-id/usb-1"',
        58,
        "is already used in line 7",
    ),
    "batch key": ("max_age", "maxage", 9, "unknown key 'maxage'; did you mean 'max_age'?"),
    "batch age as number": ('"30s"', "30", 9, 'write the unit too, for example "30s" or "30ms"'),
    "batch age": ('"30s"', '"half a minute"', 9, "is not a duration; write a whole number and ms, s, m or h"),
    "batch age long": ('"30s"', '"48h"', 9, "longer than a day"),
    "batch age none": ('"30s"', '"0s"', 9, 'a time of 0ms is out of range; write "100ms" to "24h"'),
    "batch age half": ('"30s"', "0.5", 9, "0.5 is not a duration; write a whole number and ms, s, m or h"),
    "batch age below none": (
        '"30s"',
        "-5",
        9,
        "-5 is not a duration; write a whole number and ms, s, m or h",
    ),
    "batch as number": (
        'board = "rpi_pico_w"',
        'board = "rpi_pico_w"\nspool = 5',
        7,
        "'spool' must be a table; write [node.spool] on a line of its own, and its keys below",
    ),
    "batch size": ('max_age = "30s"', "max_bytes = 4000", 9, "out of range; write a number from 256 to 1900"),
    "bus name missing": ('name = "cabinet"\n', "", 11, "'name' is missing"),
    "bus name twice": ('"lan"', '"cabinet"', 32, 'the bus name "cabinet" is already used in line 12'),
    "bus type unknown": ('"modbus-rtu"', '"modbus-rut"', 13, "did you mean 'modbus-rtu'?"),
    "bus type missing": ('type = "modbus-rtu"\n', "", 11, "'type' is missing"),
    "bus as table": ("[[node.bus]]", "[node.bus]", 31, "write [[name]]"),
    "bus key": ("parity", "partiy", 16, "unknown key 'partiy'; did you mean 'parity'?"),
    "uart unknown": ("uart = 1", "uart = 7", 14, "has no UART 7; write one of uart = 0, uart = 1"),
    "uart text": (
        "uart = 1",
        'uart = "1"',
        14,
        "'uart' must be a whole number; write, for example, uart = 1",
    ),
    "uart true": ("uart = 1", "uart = true", 14, "'uart' must be a whole number"),
    "baudrate missing": (
        "baudrate = 9600\n",
        "",
        11,
        "'baudrate' is missing; write, for example, baudrate = 9600",
    ),
    "baudrate odd": ("baudrate = 9600", "baudrate = 9800", 15, "did you mean 9600?"),
    "parity": ('"even"', '"evn"', 16, "parity = \"evn\" is not known; did you mean 'even'?"),
    "stop bits": ('parity = "even"', "stop_bits = 3", 16, "stop_bits = 3 is not known; write one of 1, 2"),
    "stop bits in quotes": (
        'parity = "even"',
        'stop_bits = "1"',
        16,
        'stop_bits = "1" is not known; write one of 1, 2',
    ),
    "turnaround": (
        'parity = "even"',
        'turnaround = "20s"',
        16,
        'a time of 20s is out of range; write "0ms" to "10s"',
    ),
    "pin that is not there": (
        "uart = 1",
        "uart = 1\nde_re_pin = 30",
        15,
        "the board rpi_pico_w has no pin 30; write a number from 0 to 29",
    ),
    "pin twice": ("uart = 1", "uart = 1\nde_re_pin = 4", 15, "one pin is named for two things"),
    "pins alike": ("uart = 1", "uart = 1\ntx_pin = 4\nrx_pin = 4", 15, "one pin is named for two things"),
    "one pin": ("uart = 1", "uart = 1\ntx_pin = 4", 11, "'tx_pin' and 'rx_pin' go together; write both"),
    "port on a real board": ("uart = 1", 'port = "/dev/ttyUSB0"', 14, "'port' is only for a virtual board"),
    "port missing": ('port = "/dev/ttyUSB7"\n', "", 59, "'port' is missing"),
    "device name missing": ('name = "oven"\n', "", 26, "'name' is missing"),
    "device name twice": (
        '"oven"',
        '"main-meter"',
        27,
        'the device name "main-meter" is already used in line 19',
    ),
    "device name twice on two buses": ('"press-drive"', '"oven"', 37, "is already used in line 27"),
    "unit missing": ("unit = 1\n", "", 18, "'unit' is missing"),
    "unit out of range": ("unit = 1", "unit = 300", 20, "out of range; write a number from 0 to 255"),
    "unit broadcast": (
        "unit = 1",
        "unit = 0",
        20,
        "cannot be a device on an RTU line; write a number from 1 to 247",
    ),
    "unit reserved": ("unit = 1", "unit = 250", 20, "cannot be a device on an RTU line"),
    "unit twice": ("unit = 2", "unit = 1", 28, "unit 1 is already used on this bus in line 20"),
    "profile missing": ('profile = "eastron/sdm120"\n', "", 18, "'profile' is missing"),
    "profile unknown": ('"eastron/sdm120"', '"eastron/sdm-120"', 21, "did you mean 'eastron/sdm120'?"),
    "profile of another kind": (
        '"eastron/sdm120"',
        '"bthome/thermo_hygrometer"',
        21,
        "is for bthome, not for a modbus-rtu bus",
    ),
    "own profile missing": ('"eastron/sdm120"', '"./own.toml"', 21, "does not exist; check the name"),
    "period as number": ('"2s"', "2", 22, 'write the unit too, for example "2s" or "2ms"'),
    "period unit": ('"2s"', '"2 sec"', 22, "is not a duration"),
    "period zero": ('"2s"', '"0s"', 22, 'a period of 0 ms is too short; write at least "10ms"'),
    "period group": ("energy =", "enrgy =", 23, "has no group \"enrgy\"; did you mean 'energy'?"),
    "period of a group": ('"1m"', '"1 week"', 23, "is not a duration"),
    "channel unknown": ('"current"', '"curent"', 24, "has no channel \"curent\"; did you mean 'current'?"),
    "channel twice": ('"current"', '"voltage"', 24, 'channel "voltage" is named twice'),
    "channels empty": ('["voltage", "current", "import_energy"]', "[]", 24, "'channels' is empty"),
    "channels text": (
        '["voltage", "current", "import_energy"]',
        '"voltage"',
        24,
        "must be a list in square brackets",
    ),
    "channels numbers": ('"current"', "5", 24, "must be text in quotes"),
    "host missing": ('host = "192.168.0.20"\n', "", 31, "'host' is missing"),
    "host with port": (
        '"192.168.0.20"',
        '"192.168.0.20:502"',
        34,
        'is neither an address nor a name; write, for example, host = "192.168.0.20", and the port below it',
    ),
    "host URL": ('"192.168.0.20"', '"http://drive.local"', 34, "is neither an address nor a name"),
    "host address": ('"192.168.0.20"', '"192.168.0.300"', 34, "is neither an address nor a name"),
    "host in Hangul": ('"192.168.0.20"', '"공장 서버"', 34, "is neither an address nor a name"),
    "TCP port": ('host = "192.168.0.20"', 'host = "a"\nport = 70000', 35, "write a number from 1 to 65535"),
    "TCP timeout none": ('"200ms"', '"0s"', 40, "a timeout of 0 ms leaves no time for an answer"),
    "TCP timeout": ('"200ms"', '"21s"', 40, "longer than the watchdog of a node allows"),
    "TCP gap": ('"5ms"', '"21s"', 41, "longer than a node can keep"),
    "registers": ("max_registers = 4", "max_registers = 0", 42, "out of range"),
    "window": (
        '"200ms"\n\n[[node.bus.device]]\nname = "hall"',
        '"40ms"\n[[node.bus.device]]\nname = "hall"',
        44,
        "scan_window is longer",
    ),
    "scan interval": (
        'scan_interval = "200ms"',
        'scan_interval = "1m"',
        47,
        'a time of 1m is out of range; write "3ms" to "10240ms"',
    ),
    "sensor timeout": ('"2m"', '"0s"', 53, 'a time of 0ms is out of range; write "100ms" to "24h"'),
    "address": ('"a4:c1:38:01:02:03"', '"a4:c1:38:01:02"', 51, "write six bytes"),
    "air on a real board": (
        'scan_interval = "200ms"',
        'air = "127.0.0.1:1"',
        47,
        "'air' is only for a virtual board",
    ),
    "password": ("uart = 1", 'uart = 1\npassword = "x"', 15, "never holds a secret"),
    "wifi key": ('board = "rpi_pico_w"', 'board = "rpi_pico_w"\nwifi_psk = "x"', 7, "never holds a secret"),
    "pasted key": ('"192.168.0.20"', f'"{"0f" * 32}"', 34, "never holds a secret"),
    "certificate": ('"192.168.0.20"', "'''-----BEGIN PRIVATE KEY-----\n'''", 34, "never holds a secret"),
    "store as number": ("[site]", "store = 5\n[site]", 1, "'store' must be a table; write [store]"),
    "profile with NUL": ('"eastron/sdm120"', '"a\\u0000.toml"', 21, "cannot be read"),
    "digits": ("uart = 1", f"uart = {'1' * 5000}", 14, "this number has too many digits"),
    "hexadecimal digits": ("uart = 1", f"uart = 0x{'f' * 5000}", 14, "this number has too many digits"),
    "exponent": ("uart = 1", "uart = 1e99999999999999999999", 14, "this number has too many digits"),
    "key in Hangul": ("uart = 1", "포트 = 1", 14, "this is not a key of TOML"),
    "TOML twice": ("uart = 1", "uart = 1\nuart = 2", 15, "this name is here twice; remove one"),
    "TOML string": ('"cabinet"', '"cabinet', 12, "the text has no end"),
    "TOML bare word": ('"cabinet"', "cabinet", 12, "write text in double quotes"),
    "TOML header": ("[[node.bus]]", "[[node.bus]", 11, "one [ or [[ with its ] or ]]"),
    "TOML equals": ("uart = 1", "uart 1", 14, "write key = value"),
    "TOML list": ('["voltage", "current", "import_energy"]', '["voltage",', 26, "not a value of TOML"),
    "TOML list at the end": (
        GOOD[GOOD.index('port = "/dev/ttyUSB7"') :],
        'a = ["b"\n',
        62,
        "the list has no end",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(tmp_path: Path, name: str) -> None:
    old, new, line, words = MISTAKES[name]
    assert old in GOOD
    told = _problems(tmp_path, GOOD.replace(old, new, 1))
    assert any(text.startswith(f"site.toml:{line}: ") and words in text for text in told), told


def test_one_mistake_is_told_once(tmp_path: Path) -> None:
    for name, (old, new, _line, _words) in MISTAKES.items():
        if name not in ("board without radio", "board without network"):
            told = _problems(tmp_path, GOOD.replace(old, new, 1))
            assert len(told) == 1, (name, told)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = GOOD
    for name in (
        "site name",
        "board unknown",
        "baudrate odd",
        "unit twice",
        "period unit",
        "channel unknown",
        "address",
    ):
        old, new, _line, _words = MISTAKES[name]
        text = text.replace(old, new, 1)
    told = _problems(tmp_path, text)
    assert [int(problem.split(":")[1]) for problem in told] == [2, 6, 15, 22, 24, 28, 51]


def test_the_same_mistake_is_told_each_time(tmp_path: Path) -> None:
    told = _problems(tmp_path, GOOD.replace('"eastron/sdm120"', '"eastron/sdm121"'))
    assert [int(problem.split(":")[1]) for problem in told] == [21, 68]
    own = tmp_path / "own.toml"
    own.write_text("[profile]\n", encoding="utf-8")
    told = _problems(tmp_path, GOOD.replace('"eastron/sdm120"', '"./own.toml"'))
    assert len(told) == len(set(told))
    assert all(problem.startswith("own.toml:") for problem in told)


def test_uart_twice(tmp_path: Path) -> None:
    text = GOOD.replace(
        'type = "modbus-tcp"\nhost = "192.168.0.20"', 'type = "modbus-rtu"\nuart = 1\nbaudrate = 9600'
    )
    told = _problems(tmp_path, text)
    assert told == ["site.toml:34: UART 1 is already used in line 14; write one of uart = 0"]


def test_port_twice(tmp_path: Path) -> None:
    more = '\n[[node]]\nname = "press-3"\nboard = "virtual"\n' + "\n".join(
        LINES[LINES.index('board = "virtual"') + 1 :]
    )
    told = _problems(tmp_path, GOOD + more)
    assert told == [
        "site.toml:77: the port /dev/ttyUSB7 is already used in line 62; "
        "write the port of this bus's own line"
    ]


def test_two_radios(tmp_path: Path) -> None:
    radio = '[[node.bus]]\nname = "radio-2"\ntype = "ble"\n'
    told = _problems(
        tmp_path, GOOD.replace('[[node]]\nname = "press-2"', f'{radio}[[node]]\nname = "press-2"')
    )
    assert any("a node has one radio" in text for text in told)


def test_address_twice(tmp_path: Path) -> None:
    again = '[[node.bus.device]]\nname = "yard"\naddress = "A4-C1-38-01-02-03"\n'
    again += 'profile = "bthome/thermo_hygrometer"\n'
    told = _problems(
        tmp_path, GOOD.replace('[[node]]\nname = "press-2"', f'{again}[[node]]\nname = "press-2"')
    )
    assert told == ["site.toml:57: this address is already used in line 51; write the address of this sensor"]


def test_own_profile(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "press.toml").write_text(
        '[profile]\nmaker = "M"\nmodel = "N"\nkind = "modbus"\nverified = "simulated"\ndefault = ["level"]\n'
        '[profile.source]\ntitle = "T"\nrevision = "1"\npages = "1"\n'
        '[channel.level]\ntable = "input"\naddress = 0\ntype = "u16"\nlabel_en = "L"\nlabel_ko = "엘"\n',
        encoding="utf-8",
    )
    site = _load(tmp_path, GOOD.replace('"autonics/tk4"', '"./own/press.toml"'))
    assert site.nodes[0].buses[0].devices[1].profile.maker == "M"
    (own / "press.toml").write_text("[profile]\n", encoding="utf-8")
    told = _problems(tmp_path, GOOD.replace('"autonics/tk4"', '"./own/press.toml"'))
    assert all(text.startswith("own/press.toml:") for text in told)
    assert any("'maker' is missing" in text for text in told)


def test_warnings(tmp_path: Path) -> None:
    slow = GOOD.replace("baudrate = 9600", "baudrate = 1200").replace('"2s"', '"800ms"')
    site = _load(tmp_path, slow)
    assert [problem.severity for problem in site.warnings] == [Severity.WARNING]
    warning = site.warnings[0]
    assert warning.line == _line('name = "cabinet"') - 1
    assert "the line cabinet is busy for" in warning.what
    assert "set baudrate = 2400" in warning.mend
    assert str(warning).startswith(f"{tmp_path}/site.toml:11: warning: ")


def test_nothing_to_read(tmp_path: Path) -> None:
    site = _load(tmp_path, '[site]\nname = "a"\n[[node]]\nname = "b"\nboard = "virtual"\n')
    assert [problem.what for problem in site.warnings] == ["this node reads nothing"]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_starter_is_right(tmp_path: Path, language: str) -> None:
    set_language(language)
    try:
        site = _load(tmp_path, starter_site("site.toml"))
    finally:
        set_language("en")
    assert site.warnings == ()
    assert [len(bus.devices) for bus in site.nodes[0].buses] == [2, 1, 1]


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_bytes("[site]\n# 라인\n".encode("cp949"))
    with pytest.raises(FileError, match=r"site\.toml:2: this is not UTF-8 text; save the file as UTF-8"):
        load(file)


def test_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(file).name == "line-3"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; check the name"):
        load(tmp_path / "none.toml")
    with pytest.raises(InputError, match="is a folder; name a file"):
        load(tmp_path)


def test_hostile_nesting(tmp_path: Path) -> None:
    told = _problems(tmp_path, "a = " + "[" * 5000)
    assert len(told) == 1


def test_the_documentation_names_every_key_and_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "site-file.md").read_text(encoding="utf-8")
    tables = [SiteTable, NodeTable, BatchTable, SpoolTable, RtuBusTable, TcpBusTable, BleBusTable]
    for table in [*tables, ModbusDeviceTable, BleDeviceTable]:
        for key, field in table.model_fields.items():
            assert f"`{key}`" in text or f"[node.{key}]" in text, key
            if isinstance(field.default, int) and field.default > 1:
                assert str(field.default) in text or duration_text(field.default) in text, key
    for code in ExitCode:
        assert f"| {code.value} | " in text
