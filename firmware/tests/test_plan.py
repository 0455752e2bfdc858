"""Blocks out of a compiled config, as the node itself plans them."""

import json
from typing import Any

import pytest
from gasan.hil import vmrun
from gasan.wire.columns import F32, I16, U8, U16, U32, U64

PROGRAM = """
import json, sys
from gasan.node.plan import plan
groups = []
def make_group(channels, types, period_ms):
    groups.append([list(channels), list(types), period_ms])
    return groups[-1]
class Line:  # 9600 8N1
    char_us, gap_us = 1042, 3647
out = []
for devices in json.loads(sys.stdin.read()):
    for d in devices:
        if len(d) > 6:
            d[5] = {int(key): value for key, value in d[5].items()}
    try:
        out.append([
            [b.request[0], b.request[1], b.request[2] << 8 | b.request[3], b.request[5]] + b.group[2:]
            + [b.group[0]]
            + [list(b.layout)]
            for b in plan([0, "line", {}, devices], make_group, Line())
        ])
    except ValueError as error:
        out.append(str(error))
print(json.dumps(out))
"""


def plan(*buses: list[list[Any]]) -> list[Any]:
    """[unit, function, register, count, period, channels, (offset, order)...] of each block, or the error."""
    answer: list[Any] = json.loads(vmrun.run(PROGRAM, stdin=json.dumps(buses).encode()))
    return answer


def device(*items: list[int], most: int = 125, unit: int = 1, timeout: int = 500) -> list[Any]:
    return ["d", unit, timeout, 0, most, list(items)]


def item(channel: int, register: int, code: int = U16, function: int = 3, period: int = 1000) -> list[int]:
    return [channel, function, register, code, 0, period]


def test_neighbours_of_one_period_and_function_are_one_read() -> None:
    items = [item(0, 0, F32), item(1, 2, U16), item(2, 3, U64), item(3, 7, U8)]
    assert plan([device(*items)]) == [[[1, 3, 0, 8, 1000, [0, 1, 2, 3], [0, 0, 4, 0, 6, 0, 15, 0]]]]


def test_a_hole_another_function_or_another_period_begins_a_new_read() -> None:
    items = [item(0, 0), item(1, 15), item(2, 3, function=4), item(3, 4, function=4, period=500)]
    assert [(b[1], b[2], b[3], b[4]) for b in plan([device(*items)])[0]] == [
        (3, 0, 1, 1000),
        (3, 15, 1, 1000),
        (4, 4, 1, 500),
        (4, 3, 1, 1000),
    ]


def test_a_read_is_no_longer_than_the_device_takes() -> None:
    items = [item(i, 2 * i, U32) for i in range(5)]
    assert [(b[2], b[3]) for b in plan([device(*items, most=5)])[0]] == [(0, 4), (4, 4), (8, 2)]


def test_a_hole_is_read_when_that_costs_less_than_a_request() -> None:
    """Ten registers in between take 20.8 ms, eleven 22.9, a request 22.5."""
    found = plan([device(item(0, 0), item(1, 11))], [device(item(0, 0), item(1, 12))])
    assert [[block[3] for block in one] for one in found] == [[12], [1, 1]]
    unread = device(item(0, 0), item(1, 11))
    unread.insert(5, {"1": 9})
    assert [block[3] for block in plan([unread])[0]] == [1, 1]


def test_a_gap_counts_when_nobody_else_is_on_the_line() -> None:
    lonely = device(item(0, 0), item(1, 40))
    lonely[3] = 100
    blocks, others = plan([lonely], [lonely, device(item(2, 0), unit=2)])
    assert [block[3] for block in blocks] == [41] and [block[3] for block in others] == [1, 1, 1]


def test_items_may_share_registers_and_come_in_any_order() -> None:
    items = [item(2, 1, U16), item(0, 0, U32), item(1, 0, I16), item(3, 2, U16)]
    assert plan([device(*items)]) == [[[1, 3, 0, 3, 1000, [0, 1, 2, 3], [0, 0, 0, 0, 2, 0, 4, 0]]]]


def test_each_device_has_blocks_of_its_own() -> None:
    blocks = plan([device(item(0, 0)), device(item(1, 1), unit=2)])[0]
    assert [(b[0], b[2]) for b in blocks] == [(1, 0), (2, 1)]


def test_two_devices_of_one_unit_share_its_silence() -> None:
    out = vmrun.run(
        PROGRAM.replace("b.request[0]", "id(b.device)"),
        stdin=json.dumps([[device(item(0, 0)), device(item(1, 0)), device(item(2, 0), unit=2)]]).encode(),
    )
    first, second, other = (block[0] for block in json.loads(out)[0])
    assert first == second != other


@pytest.mark.parametrize(
    "bad",
    [
        device(item(0, 65535, U32)),
        device(item(0, 0, function=6)),
        device(item(0, 0, period=0)),
        device(item(0, 0, period=1 << 29)),
        device([0, 3, 0, U16, 8, 1000]),
        device(item(0, 0), timeout=0),
        device(item(0, 0), timeout=20001),
        device(),
    ],
)
def test_what_no_device_can_answer_is_refused(bad: list[Any]) -> None:
    assert isinstance(plan([bad])[0], str)
