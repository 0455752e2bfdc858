"""Compiled configs: the same bytes for the same site, and what each of them means."""

import hashlib
from pathlib import Path

import cbor2
import pytest
from gasan.host import compile as compiler
from gasan.host import profiles
from gasan.host.compile import CONFIG_MAX, MEANING_MAX, CompiledNode, compile_site
from gasan.host.config_diff import describe, difference
from gasan.host.errors import InputError
from gasan.host.profiles import TYPES
from gasan.host.site import load
from gasan.wire import columns

METER = """\
[profile]
maker = "M"
model = "Meter"
kind = "modbus"
verified = "simulated"
default = ["energy", "voltage", "state", "alarm", "current"]
max_registers = 60
gap = "5ms"
[profile.source]
title = "T"
revision = "1"
pages = "1"
[group.slow]
period = "10s"
[channel.voltage]
table = "input"
address = 0
type = "f32"
unit = "V"
label_en = "Voltage"
label_ko = "전압"
[channel.current]
table = "input"
address = 2
type = "u16"
order = "BADC"
scale = 0.001
offset = -1
unit = "A"
label_en = "Current"
label_ko = "전류"
[channel.state]
table = "holding"
address = 7
type = "u16"
bits = {shift = 4, mask = 3}
enum = {0 = "stopped", 1 = "running"}
enum_ko = {0 = "정지", 1 = "운전"}
label_en = "State"
label_ko = "상태"
[channel.alarm]
table = "holding"
address = 7
type = "u16"
bits = {mask = 1}
label_en = "Alarm"
label_ko = "경보"
[channel.energy]
table = "input"
address = 1
type = "u32"
order = "CDAB"
unit = "kWh"
group = "slow"
label_en = "Energy"
label_ko = "전력량"
"""

SENSOR = """\
[profile]
maker = "M"
model = "Sensor"
kind = "bthome"
verified = "simulated"
default = ["temperature", "temperature_2"]
[profile.source]
title = "T"
revision = "1"
pages = "1"
[channel.temperature]
object = 0x02
type = "i16"
scale = 0.01
unit = "Cel"
label_en = "Temperature"
label_ko = "온도"
[channel.temperature_2]
object = 0x02
index = 1
type = "i16"
scale = 0.01
unit = "Cel"
label_en = "Second temperature"
label_ko = "둘째 온도"
"""

SITE = """\
[site]
name = "test"
[[node]]
name = "press-1"
board = "virtual"
watchdog = false
[node.batch]
max_age = "2s"
max_bytes = 1000
[[node.bus]]
name = "cabinet"
type = "modbus-rtu"
uart = 2
port = "/dev/pts/7"
baudrate = 19200
parity = "even"
de_re_pin = 3
[[node.bus.device]]
name = "meter"
unit = 9
profile = "./meter.toml"
[[node.bus]]
name = "lan"
type = "modbus-tcp"
host = "PLC.local"
port = 1502
[[node.bus.device]]
name = "other"
unit = 1
profile = "./meter.toml"
period = "500ms"
channels = ["current"]
timeout = "100ms"
gap = "1ms"
max_registers = 8
[[node.bus]]
name = "radio"
type = "ble"
air = "127.0.0.1:7300"
[[node.bus.device]]
name = "hall"
address = "A4:C1:38:01:02:03"
profile = "./sensor.toml"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "meter.toml").write_text(METER, encoding="utf-8")
    (tmp_path / "sensor.toml").write_text(SENSOR, encoding="utf-8")
    return tmp_path


def _compile(folder: Path, text: str = SITE) -> CompiledNode:
    file = folder / "site.toml"
    file.write_text(text, encoding="utf-8")
    (node,) = compile_site(load(file))
    return node


def test_the_config_byte_for_byte(folder: Path) -> None:
    node = _compile(folder)
    meanings = [
        ["meter", "state", "", columns.U16, 1, 1, 0, 1000, {1: 4, 2: 3, 3: {0: "stopped", 1: "running"}}],
        ["meter", "alarm", "", columns.U16, 1, 1, 0, 1000, {1: 0, 2: 1}],
        ["meter", "voltage", "V", columns.F32, 1, 1, 0, 1000, {}],
        ["meter", "current", "A", columns.U16, 1, 1000, -1000, 1000, {}],
        ["meter", "energy", "kWh", columns.U32, 1, 1, 0, 10000, {}],
        ["other", "current", "A", columns.U16, 1, 1000, -1000, 500, {}],
        ["hall", "temperature", "Cel", columns.I16, 1, 100, 0, 0, {}],
        ["hall", "temperature_2", "Cel", columns.I16, 1, 100, 0, 0, {}],
    ]
    meter = [
        # channel, function, address, type, order, period: by function, period and address
        [0, 3, 7, columns.U16, 0, 1000],
        [1, 3, 7, columns.U16, 0, 1000],
        [2, 4, 0, columns.F32, 0, 1000],
        [3, 4, 2, columns.U16, 2, 1000],
        [4, 4, 1, columns.U32, 1, 10000],
    ]
    hall = [[6, 2, 0, columns.I16, 0], [7, 2, 1, columns.I16, 0]]
    address = bytes.fromhex("a4c138010203")
    expected = [
        2,
        "press-1",
        {1: 2000, 2: 1000, 3: 262144, 4: 0},
        [
            [0, "cabinet", {1: 2, 2: 19200, 3: 1, 4: 1, 5: 3}, [["meter", 9, 500, 5, 60, meter]]],
            [
                1,
                "lan",
                {1: "plc.local", 2: 1502},
                [["other", 1, 100, 1, 8, [[5, 4, 2, columns.U16, 2, 500]]]],
            ],
            [2, "radio", {1: 100, 2: 50}, [["hall", address, 0, 60000, hall]]],
        ],
        [cbor2.dumps([0, meanings], canonical=True)],
    ]
    assert cbor2.loads(node.config) == expected
    assert node.config == cbor2.dumps(expected, canonical=True)
    assert node.revision == hashlib.sha256(node.config).digest()[:8]
    assert node.revision.hex() == "5774121255167a06"
    assert (node.name, node.board, node.link, node.air) == ("press-1", "virtual", None, "127.0.0.1:7300")
    assert node.uarts == {2: "/dev/pts/7"}
    assert [(channel.index, channel.device, channel.name) for channel in node.channels] == [
        (index, meaning[0], meaning[1]) for index, meaning in enumerate(meanings)
    ]
    assert node.channels[0].enum_ko == {0: "정지", 1: "운전"}


def test_comments_and_order_of_keys_change_nothing(folder: Path) -> None:
    before = _compile(folder)
    after = _compile(
        folder, SITE.replace('uart = 2\nport = "/dev/pts/7"', '# x\nport = "/dev/pts/7"\nuart = 2')
    )
    assert after.config == before.config
    other_port = _compile(folder, SITE.replace("/dev/pts/7", "/dev/pts/8"))
    assert other_port.config == before.config, "where a virtual UART is connected is no matter of the node"


def test_pins_of_a_real_board(folder: Path) -> None:
    real = SITE.replace('board = "virtual"', 'board = "esp32_generic"\nlink = "serial:/dev/ttyUSB0"')
    real = real.replace('port = "/dev/pts/7"\n', "").replace('air = "127.0.0.1:7300"\n', "")
    usual = cbor2.loads(_compile(folder, real).config)[3][0][2]
    assert usual == {1: 2, 2: 19200, 3: 1, 4: 1, 5: 3, 6: 17, 7: 16}
    own = real.replace("uart = 2", "uart = 2\ntx_pin = 18\nrx_pin = 19")
    assert cbor2.loads(_compile(folder, own).config)[3][0][2] == usual | {6: 18, 7: 19}


@pytest.mark.parametrize(
    ("old", "new"), [("unit = 9", "unit = 8"), ('"2s"', '"3s"'), ('parity = "even"', 'parity = "odd"')]
)
def test_what_matters_changes_the_revision(folder: Path, old: str, new: str) -> None:
    assert _compile(folder).revision != _compile(folder, SITE.replace(old, new)).revision


def test_meanings_are_parts_that_fit_into_a_frame(folder: Path) -> None:
    many = "".join(
        f'[[node.bus.device]]\nname = "meter-{unit}"\nunit = {unit}\nprofile = "./meter.toml"\n'
        for unit in range(10, 30)
    )
    node = _compile(folder, SITE.replace('[[node.bus]]\nname = "lan"', f'{many}[[node.bus]]\nname = "lan"'))
    parts = cbor2.loads(node.config)[4]
    assert len(parts) > 2
    expected = 0
    for part in parts:
        assert len(part) <= MEANING_MAX
        first, channels = cbor2.loads(part)
        assert first == expected
        expected += len(channels)
    assert expected == len(node.channels) == 5 * 21 + 3
    # As full as can be: the next channel would not have fitted.
    first, channels = cbor2.loads(parts[0])
    following = cbor2.loads(parts[1])[1][0]
    assert len(cbor2.dumps([first, [*channels, following]], canonical=True)) > MEANING_MAX


def test_a_config_too_large_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "CONFIG_MAX", 400)
    with pytest.raises(InputError, match=r"the config of press-1 has .* bytes and 400 are possible"):
        _compile(folder)
    assert CONFIG_MAX > 400


def test_profile_types_are_those_of_the_wire() -> None:
    for name, width in TYPES.items():
        assert columns.width(getattr(columns, name.upper())) == width


def test_the_widest_channel_of_every_profile_fits_into_a_part() -> None:
    for name in profiles.names():
        for channel in profiles.load(name).channels.values():
            words = cbor2.dumps(dict(channel.enum))
            assert len(words) < MEANING_MAX - 200


def test_differences_in_the_words_of_the_site_file(folder: Path) -> None:
    before = _compile(folder)
    text = SITE.replace("baudrate = 19200", "baudrate = 9600").replace('"2s"', '"1m"')
    text = text.replace('channels = ["current"]', 'channels = ["current", "voltage"]').replace(
        '"hall"', '"yard"'
    )
    after = _compile(folder, text)
    assert [str(change) for change in difference(before.config, after.config)] == [
        "~ batch.max_age: 2s -> 1m",
        "~ bus cabinet: modbus-rtu, uart 2, 19200 baud, even, 1 stop, de_re_pin 3"
        " -> modbus-rtu, uart 2, 9600 baud, even, 1 stop, de_re_pin 3",
        "+ channel other/voltage: input 0, every 500ms, f32, V",
        "+ device yard: a4:c1:38:01:02:03 on radio, timeout 1m",
        "+ channel yard/temperature: object 0x02, i16, Cel, x 1/100",
        "+ channel yard/temperature_2: object 0x02 number 2, i16, Cel, x 1/100",
        "- device hall: a4:c1:38:01:02:03 on radio, timeout 1m",
        "- channel hall/temperature: object 0x02, i16, Cel, x 1/100",
        "- channel hall/temperature_2: object 0x02 number 2, i16, Cel, x 1/100",
    ]
    assert difference(before.config, before.config) == []
    assert describe(before.config)["channel meter/state"] == (
        "holding 7, every 1s, u16, bits >> 4 & 0x3, stopped/running"
    )


@pytest.mark.parametrize("junk", [b"", b"\xff", b"\x80", cbor2.dumps([2, "x", {}, [], []])])
def test_junk_is_no_config(junk: bytes) -> None:
    with pytest.raises(InputError, match="not a node's config"):
        describe(junk)


def test_an_rtu_line_over_tcp_is_told_too(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        '[site]\nname = "t"\n[[node]]\nname = "n"\nboard = "virtual"\n[[node.bus]]\nname = "far"\n'
        'type = "modbus-rtu-over-tcp"\nhost = "10.0.0.9"\nport = 4001\n[[node.bus.device]]\nname = "m"\n'
        'unit = 3\nprofile = "eastron/sdm120"\n'
    )
    told = describe(compile_site(load(file))[0].config)
    assert told["bus far"] == "modbus-rtu-over-tcp, 10.0.0.9, port 4001"
    assert told["device m"].startswith("unit 3 on far")
