"""The line's budget as `gasan check` works it out, against the time that the node's master really takes."""

from pathlib import Path

import cbor2
import pytest
from gasan.hil.rs485 import Line, Responder
from gasan.hil.virtual import RtuRun
from gasan.host.compile import compile_node
from gasan.host.line_budget import budget
from gasan.host.site import RtuBus, load

SITE = """\
[site]
name = "line"
[[node]]
name = "n"
board = "virtual"
[[node.bus]]
name = "line"
type = "modbus-rtu"
port = "/dev/null"
baudrate = 9600
[[node.bus.device]]
name = "meter"
unit = 1
profile = "eastron/sdm120"
channels = ["voltage", "current"]
HOLE
period = "100ms"
[[node.bus.device]]
name = "oven"
unit = 2
profile = "autonics/tk4"
channels = ["process_value"]
period = "200ms"
gap = "0ms"
"""


@pytest.mark.parametrize(("hole", "requests"), [("", 3), ("max_hole = 4", 2)])
@pytest.mark.parametrize("turnaround_ms", [5.0, 20.0])
def test_the_budget_is_what_the_node_takes(
    tmp_path: Path, turnaround_ms: float, hole: str, requests: int
) -> None:
    file = tmp_path / "site.toml"
    file.write_text(SITE.replace("HOLE", hole), encoding="utf-8")
    site = load(file)
    bus = site.nodes[0].buses[0]
    assert isinstance(bus, RtuBus)
    expected = budget(bus, turnaround_ms)
    assert sum(len(each.requests) for each in expected.loads) == requests
    _type, _name, _params, devices = cbor2.loads(compile_node(site, site.nodes[0]).config)[3][0]
    line = Line(9600)
    extra_ms = turnaround_ms - line.gap_ns / 1e6
    responder = Responder(units=(1, 2), turnaround_ms={1: extra_ms, 2: extra_ms})
    planned = sum(1000 / request.period_ms for each in expected.loads for request in each.requests)
    served = RtuRun(line, devices, responder).run(round(20 * planned)).responder.served
    # As many requests a second as planned ...
    seconds = (served[-1].time - served[0].time) / 1e9
    assert len(served) / seconds == pytest.approx(planned, rel=0.05)  # 104 % of the line at most

    # ... and each as long as planned: when all are always due, one follows the other.
    for device in devices:
        for item in device[-1]:
            item[5] = 1
    totals = RtuRun(line, devices, responder).run(300).bus.totals
    costs = [cost_ms for each in expected.loads for cost_ms in each.cost_ms]
    assert totals.cycle_ns / totals.cycles / 1e6 == pytest.approx(sum(costs) / len(costs), rel=0.03)
