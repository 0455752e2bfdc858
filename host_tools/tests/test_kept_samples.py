"""Configs and status messages of earlier versions mean what they meant (protocols/vectors/config.json).

Frames, packets, spools and databases have samples of their own, beside their tests.
"""

import json

import pytest
from gasan.boards.places import ROOT
from gasan.hil import vmrun
from gasan.host.store.counters import NAMES
from gasan.host.store.meaning import config_meanings
from gasan.wire import cbor

KEPT = json.loads((ROOT / "protocols" / "vectors" / "config.json").read_text(encoding="utf-8"))
READ = """
import sys
from gasan.node import config
data = bytes.fromhex(sys.stdin.read())
read = config.Config(data)
print(read.name)
print([bus[:2] for bus in read.buses])
print(read.channels, read.watchdog)
for birth in config.births(data):
    print(birth.hex())
"""


@pytest.mark.parametrize("version", KEPT["config"])
def test_the_gateway_knows_what_the_channels_of_an_old_config_mean(version: str) -> None:
    kept = KEPT["config"][version]
    found = config_meanings(bytes.fromhex(kept["hex"]))
    fields = [
        [
            *(m.number, m.device, m.name, m.unit, m.type, m.num, m.den, m.off, m.period_ms, m.shift, m.mask),
            {str(value): text for value, text in m.labels.items()},
            m.label,
        ]
        for m in found
    ]
    assert fields == kept["channels"]


@pytest.mark.parametrize("version", KEPT["config"])
def test_a_node_takes_an_old_config(version: str, bits: int) -> None:
    kept = KEPT["config"][version]
    out = vmrun.run(READ, bits=bits, heap="1500wk", stdin=kept["hex"].encode()).splitlines()
    assert out[:2] == [kept["node"], str(kept["buses"])]
    assert out[2] == f"{len(kept['channels'])} True"
    births = [cbor.loads(bytes.fromhex(line)) for line in out[3:]]
    assert sum(len(birth[3]) for birth in births) == len(kept["channels"])


def test_status_keys_mean_what_they_meant() -> None:
    kept = KEPT["status"]
    assert {key: NAMES.get(int(key)) for key in kept["names"]} == kept["names"]
    told = cbor.loads(bytes.fromhex(kept["hex"]))
    assert told == {key: 1000 * key for key in range(1, 22)}
