"""A node with edge rules, from the registers of a device to the account: every sample is somewhere."""

import struct
import time
from collections import Counter
from pathlib import Path

from gasan.hil.register_server import serve_registers
from gasan.hil.site_node import SiteNode, site_node
from gasan.host.account import account
from gasan.wire.frame import BOOT, DATA, HEALTH

PROFILE = """\
[profile]
maker = "Edge"
model = "Run"
kind = "modbus"
verified = "simulated"
default = ["level", "state", "pulses", "power", "pressure"]
[profile.source]
title = "none"
revision = "1"
pages = "1"
[channel]
level = {function = 3, address = 0, type = "i16", scale = 0.1, unit = "Cel", label_en = "L", label_ko = "L"}
state = {function = 3, address = 1, type = "u16", label_en = "S", label_ko = "S"}
pulses = {function = 3, address = 2, type = "u16", unit = "l", label_en = "P", label_ko = "P"}
power = {function = 3, address = 3, type = "f32", unit = "W", label_en = "W", label_ko = "W"}
pressure = {function = 3, address = 5, type = "u16", decimals = "places", label_en = "D", label_ko = "D"}
places = {function = 3, address = 6, type = "u16", label_en = "N", label_ko = "N"}
"""
SITE = """\
[site]
name = "edge"
[[node]]
name = "node"
board = "virtual"
batch = {{max_age = "1s"}}
[[node.bus]]
name = "lan"
type = "modbus-tcp"
host = "127.0.0.1"
port = {port}
[[node.bus.device]]
name = "press"
unit = 1
profile = "./run.toml"
period = "50ms"
[node.bus.device.rules]
level = {{deadband = 0.5, max_silence = "2s", alarm = {{high = 80, hysteresis = 5, hold_off = "0s"}}}}
state = {{on_change = true}}
pulses = {{rate = {{per = "1s", unit = "l/s"}}}}
power = {{aggregate = {{window = "500ms", of = ["min", "max", "mean", "count"]}}}}
[[node.derived]]
name = "twice"
inputs = {{w = "press.power", p = "press.pressure"}}
expression = "2 * w + p"
rules = {{deadband = "1 %", max_silence = "10s"}}
"""


class Press:
    """Registers that move: a level in steps of 0.1, a state, pulses, a power and a pressure with decimals."""

    def __init__(self) -> None:
        self.reads = 0
        self.hot = False

    def read(self, address: int, count: int) -> bytes:
        self.reads += 1
        n = self.reads
        level = 900 + n % 3 if self.hot else 200 + n % 4
        data = struct.pack(
            ">hHHfHH", level, n // 20 % 2, n * 7 & 0xFFFF, 100.0 + n % 10, 12345, 2 if n < 30 else 1
        )
        return data[2 * address : 2 * (address + count)]


def counted(node: SiteNode, boot: str) -> Counter[str]:
    return Counter(reading.channel for reading in node.readings() if reading.boot == boot)


def test_every_sample_is_stored_or_dropped_by_rule(tmp_path: Path, bits: int) -> None:
    (tmp_path / "run.toml").write_text(PROFILE, encoding="utf-8")
    press = Press()
    with (
        serve_registers(press.read) as server,
        site_node(tmp_path, SITE.format(port=server.port), bits=bits) as node,
    ):
        gateway = node.gateway
        gateway.wait(lambda: press.reads >= 70, 30)
        press.hot = True
        hot = time.monotonic()
        gateway.wait(lambda: alarmed(node), 10)
        assert time.monotonic() - hot < 1.0, "an alarm does not wait for its batch"
        press.hot = False
        gateway.wait(lambda: press.reads >= 120, 30)
        gateway.command("flush")
        served = len(server.served)
        gateway.command("reboot")
        boot = gateway.of(BOOT)[0].boot
        gateway.wait(lambda: len({f.boot for f in gateway.of(BOOT)}) == 2 and gateway.of(HEALTH, boot), 20)
        node.store()
        told: dict[int, int] = {}
        for frame in gateway.of(HEALTH, boot):
            told |= frame.content
    names = {channel.index: channel.name for channel in node.compiled.channels}
    dropped = {names[key - 65536]: n for key, n in told.items() if key >= 65536}
    stored = counted(node, boot.hex())
    # When sampling is stopped one answer may be on its way.
    assert served - 1 <= stored["pulses"] <= served
    served = stored["pulses"]
    # All registers are read by one request, so each channel has as many samples as there were answers.
    for name in ("level", "state", "pulses", "power", "pressure", "places"):
        assert stored[name] + dropped.get(name, 0) == served, (name, stored, dropped, served)
    assert stored["twice"] + dropped["twice"] == served
    assert served - 5 < stored["pulses_rate"] < served  # two answers of one millisecond make no rate
    assert stored["power"] == 0 and stored["pulses"] == stored["pressure"] == served
    assert stored["state"] == 1 + served // 20
    assert 2 <= stored["level"] < served / 5
    assert sum(dropped.values()) == told[4]
    assert told[1] == told[2] + told[4] == sum(stored.values()) + sum(dropped.values())

    pressure = [reading.value for reading in node.readings("pressure") if reading.boot == boot.hex()]
    assert pressure == [123.45] * 29 + [1234.5] * (served - 29)
    states = [r.text for r in node.readings("level_alarm") if r.boot == boot.hex()]
    assert states == ["normal", "high", "normal"]
    counts = [r.value for r in node.readings("power_count") if r.boot == boot.hex()]
    assert sum(value for value in counts if value is not None) <= served
    drawn = account(node.db)
    (books,) = drawn.nodes
    assert books.unexplained == 0
    assert books.dropped_by_rule >= told[4]
    assert books.lost == 0
    by_name = {(channel.device, channel.channel): channel for channel in books.channels}
    assert by_name["press", "level"].dropped_by_rule == dropped["level"]
    assert by_name["derived", "twice"].dropped_by_rule == dropped["twice"]


def alarmed(node: SiteNode) -> bool:
    """Whether a frame with the alarm is here."""
    number = next(channel.index for channel in node.compiled.channels if channel.name == "level_alarm")
    return any(
        number in channels and any(value == 1 for value in values[channels.index(number)] if value)
        for frame in node.gateway.of(0)
        for channels, _times, values, _marks in frame.content
    )


def test_a_power_cut_leaves_the_account_whole(tmp_path: Path, bits: int) -> None:
    (tmp_path / "run.toml").write_text(PROFILE, encoding="utf-8")
    press = Press()
    with (
        serve_registers(press.read) as server,
        site_node(tmp_path, SITE.format(port=server.port), bits=bits) as node,
    ):
        gateway = node.gateway
        gateway.wait(lambda: press.reads >= 60 and len(gateway.of(HEALTH)) >= 2, 30)
        boot = gateway.frames[0].boot
        node.board.off()
        node.board.on()
        gateway.wait(lambda: any(frame.boot != boot for frame in gateway.of(BOOT)), 20)
        node.store()
    # What a batch tells of the dropped is exact for the readings that are committed with it.
    batches = gateway.of(HEALTH, boot)
    for frame in batches:
        before = sum(f.n_readings for f in gateway.of(DATA, boot) if f.seq < frame.seq)
        assert frame.content[1] == before + frame.content[4]
    (books,) = account(node.db).nodes
    assert books.unexplained == 0
    assert books.dropped_by_rule >= batches[-1].content[4] > 0
    assert {loss.reason for loss in books.losses} <= {"cut_before_commit"}
