"""What the node's BLE parts take of a 32-bit heap with 32 sensors, beyond the code."""

import json

import pytest
from gasan.boards.places import STANDINS
from gasan.hil import vmrun

pytestmark = pytest.mark.skipif(bool(vmrun.missing(32)), reason=vmrun.missing(32))

_MOST = 16 * 1024
_SENSORS = 32
_SECRET = 80  # bytes of NimBLE's, about

# Says the bytes of the source, of the link, and of the columns that the sampler keeps for the source.
_NODE = f"""
import gc, json, sys
sys.path.insert(0, {str(STANDINS)!r})
import bluetooth
sys.path.pop(0)
from gasan.node import ble_central, ble_formats, ble_uplink, radio
from gasan.node.sampler import Sampler
from gasan.wire import bthome, cbor, layout

def heard(i):
    items = [[3 * i, 2, 0, 2, 0], [3 * i + 1, 3, 0, 1, 0], [3 * i + 2, 1, 0, 9, 0]]
    return ["s%d" % i, bytes((0xC4, 0, 0, 0, 0, i)), 0, 60000, items]

def visited(i):
    items = [[3 * i, 0, 0, 2, 0], [3 * i + 1, 1, 0, 1, 0], [3 * i + 2, 2, 0, 9, 0]]
    matches = [[bytes((0xE0 + k,)), b"", 0] for k in range(3)]
    table = [matches, [[0, 0, 0x22], [1, 0, 2], [2, 0, 1]], False]
    places = ((b"\\x1a\\x18", b"\\x6e\\x2a"), (b"\\x1a\\x18", b"\\x6f\\x2a"), (b"\\x0f\\x18", b"\\x19\\x2a"))
    wanted = [[service, uuid, False] for service, uuid in places]
    more = [1, i >= {_SENSORS} - paired, 60000, wanted]
    return ["s%d" % i, bytes((0xC4, 0, 0, 0, 0, i)), 5, 60000, items, table, more]

class Columns:
    def group(self, *args):
        return None

def used():
    gc.collect()
    return gc.mem_alloc()

connected = int(sys.argv[1])
paired = int(sys.argv[2])
if paired:
    from gasan.node import ble_bonds
devices = [heard(i) for i in range({_SENSORS} - connected)]
devices += [visited(i) for i in range({_SENSORS} - connected, {_SENSORS})]
bus = [2, "hall", dict([(1, 100), (2, 50)]), devices]
before = used()
source = ble_central.Source(bus, Columns(), None)
for i in range({_SENSORS} - paired, {_SENSORS}):
    for kind in (1, 2):
        secret = (kind, bytes((1, i, 0, 0, 0, 0, 0xC4)), bytes({_SECRET}))
        assert source._gatt.bonds.irq(30, secret)
one = used() - before
stream = ble_uplink.Stream("press-1")
two = used() - before - one
del source, stream
radio._handlers.clear()
before = used()
sampler = Sampler(60000, 2048, 96, 12000)
again = ble_central.Source(bus, sampler, None)
print(json.dumps([one, two, used() - before - one]))
"""


@pytest.mark.parametrize(("connected", "paired"), [(4, 0), (32, 0), (8, 8)])
def test_observer_central_and_link_in_16_kb(connected: int, paired: int) -> None:
    source, link, columns = json.loads(vmrun.run(_NODE, connected, paired, bits=32, heap="512k"))
    text = f"{connected} of {_SENSORS} connected to, {paired} paired with: {source} bytes"
    print(f"{text}, link {link}; columns {columns} more")
    assert source + link <= _MOST
