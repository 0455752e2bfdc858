"""Sets of sequence numbers against Python's own sets."""

import itertools
from random import Random

import pytest
from gasan.host.store.ranges import RangeSet


def filled(numbers: list[int]) -> RangeSet:
    result = RangeSet()
    for number in numbers:
        result.add(number)
    return result


def test_random_sets_behave_like_sets(seed: int) -> None:
    random = Random(seed)
    for _ in range(300):
        ranges, model = RangeSet(), set[int]()
        for _ in range(random.randrange(1, 40)):
            first = random.randrange(60)
            last = first + random.choice((0, 0, 1, random.randrange(12)))
            if first == last:
                ranges.add(first)
            else:
                ranges.add_range(first, last)
            model.update(range(first, last + 1))
            assert {n for a, b in ranges for n in range(a, b + 1)} == model
            pairs = list(ranges)
            assert all(b + 1 < c for (_, b), (c, _) in itertools.pairwise(pairs)), "ranges that touch"
            assert all((n in ranges) == (n in model) for n in range(75))
            assert ranges.last == max(model)
        assert list(RangeSet.parse(str(ranges))) == list(ranges)


def test_union_takes_both_and_changes_neither() -> None:
    a, b = filled([0, 1, 5]), filled([2, 3, 9])
    assert str(a.union(b)) == "0-3,5,9"
    assert (str(a), str(b)) == ("0-1,5", "2-3,9")


@pytest.mark.parametrize(
    ("numbers", "most", "expected"),
    [
        ([], 8, (0, ())),
        ([0, 1, 2], 8, (3, ())),
        ([1, 2], 8, (0, ((1, 2),))),
        ([0, 2, 4, 5], 8, (1, ((2, 2), (4, 5)))),
        ([0, 2, 4, 6], 2, (1, ((2, 2), (4, 4)))),
    ],
)
def test_acknowledgement(numbers: list[int], most: int, expected: object) -> None:
    assert filled(numbers).acknowledgement(most) == expected


@pytest.mark.parametrize("text", ["x", "3-1", "-1", "1-", "1,,2"])
def test_parse_refuses_what_str_does_not_write(text: str) -> None:
    with pytest.raises(ValueError):
        RangeSet.parse(text)
