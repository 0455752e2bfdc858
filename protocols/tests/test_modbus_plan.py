"""The plan of requests against every other one there could be."""

import random
from collections.abc import Iterator, Sequence

import pytest
from gasan.wire.modbus_plan import cut, rtu_costs, tcp_costs

Item = tuple[int, int]
Costs = tuple[int, int]
NONE = 1 << 40


def cost_of(block: Sequence[Item], most: int, costs: Costs, walls: Sequence[int], own: set[int]) -> int:
    """What reading these items with one request costs; NONE if that may not be."""
    first, end = min(start for start, _ in block), max(end for _, end in block)
    holes = set(range(first, end)) - own
    if len(block) > 1 and end - first > most:
        return NONE
    if any(walls[w] <= at < walls[w + 1] for w in range(0, len(walls), 2) for at in holes):
        return NONE
    return costs[0] + costs[1] * (end - first)


def partitions(items: list[Item]) -> Iterator[list[list[Item]]]:
    """All ways to share items among requests, neighbours or not."""
    if not items:
        yield []
        return
    head, *rest = items
    for parts in partitions(rest):
        yield [[head], *parts]
        for i, part in enumerate(parts):
            yield [*parts[:i], [head, *part], *parts[i + 1 :]]


def planned(items: list[Item], most: int, costs: Costs, walls: Sequence[int] = ()) -> list[list[Item]]:
    items = sorted(items)
    ends = cut([start for start, _ in items], [end for _, end in items], most, costs, 125, walls)
    return [items[first:end] for first, end in zip([0, *ends], ends, strict=False)]


def total(blocks: list[list[Item]], most: int, costs: Costs, walls: Sequence[int]) -> int:
    own = {at for block in blocks for start, end in block for at in range(start, end)}
    return sum(cost_of(block, most, costs, walls, own) for block in blocks)


def test_no_way_to_read_up_to_six_items_costs_less(seed: int) -> None:
    rng = random.Random(seed)
    print("seed", seed)
    compared = crossed = 0
    for _ in range(400):
        items = []
        for _ in range(rng.randrange(1, 7)):
            start = rng.randrange(40)
            items.append((start, start + rng.choice((1, 1, 2, 4))))
        most = rng.choice((4, 6, 10, 20, 125))
        costs = (rng.randrange(1, 60), rng.randrange(1, 8))
        walls = []
        for _ in range(rng.choice((0, 0, 1, 2))):
            start = rng.randrange(40)
            walls += [start, start + rng.randrange(1, 5)]
        mine = total(planned(items, most, costs, walls), most, costs, walls)
        every = [total(blocks, most, costs, walls) for blocks in partitions(sorted(items))]
        assert mine == min(every), (sorted(items), most, costs, walls)
        compared += len(every)
        crossed += len(set(every)) > 1
    print(compared, "plans compared")
    assert compared > 10_000 and crossed > 200


def test_every_plan_of_up_to_five_registers_within_ten_is_the_best() -> None:
    """Exhaustive: every set of registers, every limit, holes that pay and holes that do not."""
    count = 0
    for mask in range(1, 1 << 10):
        items = [(at, at + 1) for at in range(10) if mask >> at & 1]
        if len(items) > 5:
            continue
        for costs in ((1, 1), (3, 1), (5, 2)):
            for most in (2, 5, 10):
                blocks = planned(items, most, costs)
                best = min(total(parts, most, costs, ()) for parts in partitions(items))
                assert total(blocks, most, costs, ()) == best, (items, most, costs)
                count += 1
    assert count == 637 * 9


@pytest.mark.parametrize(("baudrate", "hole"), [(1200, 10), (9600, 10), (19200, 13), (115200, 47)])
def test_the_hole_that_pays_grows_with_the_baud_rate(baudrate: int, hole: int) -> None:
    """The silences and the turnaround, unlike bytes, hardly shrink with it."""
    char_us = -(-10_000_000 // baudrate)
    costs = rtu_costs(char_us, 1750 if baudrate > 19200 else char_us * 7 // 2)
    for n, requests in ((hole, 1), (hole + 1, 2)):
        assert len(cut([0, n + 1], [1, n + 2], 125, costs)) == requests


def test_an_item_that_is_longer_than_a_request_may_be_is_read_alone() -> None:
    assert cut([0, 4, 8], [4, 8, 9], 2, (1000, 1)) == [1, 2, 3]


def test_no_request_has_more_items_than_a_group() -> None:
    assert cut(range(125), range(1, 126), 125, tcp_costs())[-1] == 125
    assert len(cut(range(125), range(1, 126), 125, tcp_costs())) == 2
