"""What edge rules take of a board's memory: of each channel, and how many fit where the demo's node does."""

import struct
from pathlib import Path

import cbor2
import pytest
from gasan.hil import vmrun
from gasan.hil.bench.memory import HEAP
from gasan.hil.register_server import serve_registers
from gasan.hil.site_node import site_node
from gasan.host.compile import compile_site
from gasan.host.site import load
from gasan.ota.slots import digest

PROFILE = """\
[profile]
maker = "Edge"
model = "Memory"
kind = "modbus"
verified = "simulated"
default = ["c0"]
[profile.source]
title = "none"
revision = "1"
pages = "1"
[channel]
"""
SITE = """\
[site]
name = "edge"
[[node]]
name = "node"
board = "virtual"
batch = {{max_age = "5s"}}
[[node.bus]]
name = "lan"
type = "modbus-tcp"
host = "127.0.0.1"
port = {port}
[[node.bus.device]]
name = "press"
unit = 1
profile = "./memory.toml"
period = "1s"
channels = [{channels}]
[node.bus.device.rules]
{rules}
"""
DEADBAND = "deadband = 0.5, max_silence = '10m'"


def site(folder: Path, count: int, rule: str, port: int = 502) -> str:
    """Writes a profile of ``count`` u16 channels beside a site file that has the same rule for all."""
    names = [f"c{i}" for i in range(count)]
    keys = 'type = "u16", scale = 0.1, label_en = "C", label_ko = "C"'
    channels = [f"{name} = {{function = 3, address = {i}, {keys}}}\n" for i, name in enumerate(names)]
    (folder / "memory.toml").write_text(PROFILE + "".join(channels), encoding="utf-8")
    return SITE.format(
        port=port,
        channels=", ".join(f'"{name}"' for name in names),
        rules="".join(f"{name} = {{{rule}}}\n" for name in names),
    )


TAKEN = """
import gc, sys
from gasan.node import edge_make, edge_keep, edge_number, edge_taps
from gasan.node.clock import Clock
class Limits:
    max_age_ms, max_bytes = 10000, 2048
class Node:
    status = dict
node, limits, tick = Node(), Limits(), [0]
node.clock = Clock(lambda: tick[0])
limits.rules = bytes.fromhex(sys.stdin.readline().strip())
limits.channels = count = int(sys.argv[1])
gc.collect()
before = gc.mem_alloc()
sampler = edge_make.install(node, limits, 16384)
sampler.own_groups()
gc.collect()
staged = gc.mem_alloc()
group = sampler.group(list(range(count)), b"\\x01" * count, 1000)
gc.collect()
staged = gc.mem_alloc() - staged
value = bytearray(2)
for step in range(40):  # so that all that a channel comes to have is there
    tick[0] += 1000
    sampler.start(group, tick[0])
    for column in range(count):
        value[1] = step * 7 & 63
        group.put(column, value, 0)
        if step == 3:
            group.mark(column, 64)
    sampler.finish(group)
    if step % 4 == 3:
        for one in sampler.groups:
            one.offered = one.n - one.first
            one.take()
gc.collect()
print(gc.mem_alloc() - before - staged)
"""


@pytest.mark.skipif(bool(vmrun.missing(32)), reason=vmrun.missing(32))
@pytest.mark.parametrize(
    ("rule", "most"),
    [
        (DEADBAND, 540),
        ("on_change = true", 520),
        (f"{DEADBAND}, alarm = {{high = 50, low = 20, hysteresis = 5}}", 1200),
        ("rate = {per = '1s'}", 1100),
        ("aggregate = {window = '1m', of = ['min', 'max', 'mean']}", 1520),
    ],
)
def test_what_a_channel_with_a_rule_takes(tmp_path: Path, rule: str, most: int) -> None:
    """And what is made of it, with the rows of 10 s, once all has been in use; of 32 bits."""
    taken = []
    for count in (10, 40):
        file = tmp_path / "site.toml"
        file.write_text(site(tmp_path, count, rule), encoding="utf-8")
        (node,) = compile_site(load(file))
        rules = cbor2.loads(node.config)[5].hex().encode() + b"\n"
        taken.append(int(vmrun.run(TAKEN, count, bits=32, heap="4m", stdin=rules)))
    each = (taken[1] - taken[0]) / 30
    print(rule, round(each), "bytes a channel")
    assert each <= most


@pytest.mark.skipif(bool(vmrun.missing(32)), reason=vmrun.missing(32))
def test_28_channels_with_deadbands_run_in_96_kb(tmp_path: Path) -> None:
    """On a node whose modules are not in flash."""
    count, reads = 28, 0

    def read(address: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        return struct.pack(f">{size}H", *(200 + 10 * (reads % 7) + address + i for i in range(size)))

    with serve_registers(read) as server:
        text = site(tmp_path, count, DEADBAND, server.port)
        with site_node(tmp_path, text, bits=32, heap=HEAP) as node:
            gateway = node.gateway
            gateway.wait(lambda: gateway.readings() >= 10 * count, 60)
            assert node.board.status()["boots"] == 1
            assert gateway.status[20] == 0, "no task was started again"
            print(gateway.low[8], "bytes free at the least")


@pytest.mark.skipif(bool(vmrun.missing(32)), reason=vmrun.missing(32))
def test_a_first_config_with_too_many_rules_can_be_replaced(tmp_path: Path) -> None:
    """There is none to go back to. Three crashes later a start without sources makes no rules either."""
    (tmp_path / "less").mkdir()
    file = tmp_path / "less" / "site.toml"
    file.write_text(site(tmp_path / "less", 10, DEADBAND), encoding="utf-8")
    (less,) = compile_site(load(file))
    text = site(tmp_path, 110, DEADBAND)
    with site_node(tmp_path, text, bits=32, heap=HEAP, more={"/crash": b"3\nMemoryError"}) as node:
        gateway = node.gateway
        gateway.wait(lambda: gateway.status, 30)
        assert gateway.put(1, less.config).ok
        assert gateway.command("activate", digest(less.config)).status == 0
        gateway.wait(lambda: gateway.readings() >= 10, 60)  # nobody answers, which is told
        assert node.board.status()["boots"] == 2
