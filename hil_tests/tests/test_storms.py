"""All of a line's faults at once, through the VM and a pty or sockets: no wrong value is stored as good.

The same faults as in virtual time (test_virtual_rtu.py, test_virtual_tcp.py), where there are many more
requests; here are the operating system, real drivers and a node that is sometimes late itself.
"""

from collections import Counter
from typing import Any

import pytest
from gasan.hil.polling import block, good_and_wrong, poll_rtu, poll_tcp
from gasan.hil.rs485 import Fault, Kind, Line, Relay, Responder
from gasan.hil.tcp import TcpProxy

_TIMEOUT_MS = 40
_READS = {10 * i: (1 + i % 2, 20 * i, 10) for i in range(6)}
_DELAY = Fault(Kind.DELAY, 0.02, low=0.5 * _TIMEOUT_MS, high=3 * _TIMEOUT_MS)
_LINE = [
    Fault(Kind.FLIP, 1e-4, "both"),
    Fault(Kind.DROP, 1e-3, "both"),
    Fault(Kind.DOUBLE, 1e-3, "both"),
    *(Fault(kind, 0.02) for kind in (Kind.NOISE, Kind.TRUNCATE, Kind.SPLIT, Kind.WRONG_UNIT, Kind.MERGE)),
    *(Fault(kind, 0.02, "both") for kind in (Kind.ECHO, Kind.BETWEEN, Kind.BROADCAST, Kind.FOREIGN)),
    Fault(Kind.INTRUDER, 0.01, "both"),
    _DELAY,
]
_STREAM = [
    *(Fault(kind, 0.02, low=1, high=10) for kind in (Kind.SPLIT, Kind.WRONG_UNIT, Kind.DROP)),
    *(Fault(kind, 0.002) for kind in (Kind.NOISE, Kind.TRUNCATE, Kind.CLOSE, Kind.HALF_OPEN)),
    _DELAY,
]
_IDS = [Fault(kind, 0.02, low=1, high=10) for kind in (Kind.WRONG_ID, Kind.STRAY, Kind.REORDER, Kind.DOUBLE)]


def devices() -> list[list[Any]]:
    """Two units, each with three reads of one shape."""
    return [
        [
            f"unit-{unit}",
            unit,
            _TIMEOUT_MS,
            0,
            125,
            {1: 0},
            [
                item
                for channel, (at, register, count) in _READS.items()
                if at == unit
                for item in block(channel, 3, register, count, 30)
            ],
        ]
        for unit in (1, 2)
    ]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["rtu", "tcp", "rtu-over-tcp"])
def test_a_storm_of_all_faults_brings_no_wrong_value(
    kind: str, seed: int, soak: bool, record_property: Any
) -> None:
    requests, ms = (5_000, 10_000) if soak else (300, 4_000)
    asked = good = 0
    injected: Counter[str] = Counter()
    for round_ in range(200):
        responder = Responder(units=(1, 2))
        if kind == "rtu":
            with Relay(Line(115200), responder=responder, faults=_LINE, seed=seed + round_) as relay:
                outcome = poll_rtu(relay.master, relay.line, devices(), ms)
                served, faults = relay.served(), relay.injected()
                asked += relay.stats().totals.requests
        else:
            rtu = kind != "tcp"
            planned = _STREAM if rtu else _STREAM + _IDS
            with TcpProxy(responder=responder, faults=planned, seed=seed + round_, rtu=rtu) as proxy:
                outcome = poll_tcp("127.0.0.1", proxy.port, devices(), ms, rtu=rtu)
                served, faults = proxy.served(), proxy.injected()
                asked += len(served)
        right, wrong = good_and_wrong(outcome, served, _READS)
        assert not wrong, (round_, wrong[0])
        good += right
        injected.update(one.kind for one in faults)
        if asked >= requests:
            break
    figure = f"{kind}, VM: {asked} requests, {good} good, {sum(injected.values())} faults, 0 wrong"
    record_property("figure", figure)
    assert asked >= requests and good > asked // 4
    if soak:
        expected = _LINE if kind == "rtu" else _STREAM if kind != "tcp" else _STREAM + _IDS
        assert set(injected) == {fault.kind for fault in expected}
