"""The demo's node in the heap that it is promised to run in."""

from pathlib import Path

import pytest
from gasan.hil import vmrun
from gasan.hil.bench.memory import COLLECTED_MS, HEAP, LINES_MAX, code_lines
from gasan.hil.demo_node import demo_node
from gasan.wire import cbor

_CONFIG = 1  # kind of a put


def test_the_demo_node_works_and_takes_a_config_in_96_kb(tmp_path: Path) -> None:
    if missing := vmrun.missing(32):
        pytest.skip(missing)
    with demo_node(tmp_path, bits=32, heap=HEAP) as node:
        gateway = node.gateway
        gateway.wait(lambda: gateway.readings() >= 100, 30)
        other = cbor.loads(node.config)
        other[1] = "another"
        done = gateway.put(_CONFIG, cbor.dumps(other), 30)
        assert done.ok, (done.reason, gateway.text[-5:], gateway.low)
        since = gateway.status[11]
        gateway.wait(lambda: gateway.status[11] > since + COLLECTED_MS, 30)
        modules = set(node.modules())
        gateway.status = {}
        gateway.wait(lambda: gateway.status.get(5) == 0)
        assert gateway.status[1] == gateway.status[2] == gateway.readings()
        assert node.board.status()["boots"] == 1
        assert gateway.status[20] == 0, "no task was started again"
        assert gateway.low[8] > 2048, "what is free after a collection"
        assert modules >= {"gasan.node.modbus_rtu", "gasan.node.modbus_tcp", "gasan.node.ble"}
        assert not modules & {"gasan.node.begin", "gasan.node.config", "gasan.node.recover"}
        # Only for a config that comes; only where an answer was late, as on a busy machine.
        modules -= {"gasan.ota.slots", "gasan.wire.modbus_resync"}
        assert code_lines(list(modules)) <= LINES_MAX
