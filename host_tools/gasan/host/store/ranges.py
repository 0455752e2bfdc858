"""Sets of sequence numbers as inclusive ranges: what a store has of one boot, in a few bytes."""

from bisect import bisect_right
from collections.abc import Iterator

__all__ = ["Acknowledgement", "RangeSet", "Ranges"]

Ranges = tuple[tuple[int, int], ...]
"""(first, last), both included, ascending."""

Acknowledgement = tuple[int, Ranges]
"""(next, ranges): everything below `next`, and the ranges above it."""


class RangeSet:
    """A set of integers >= 0, kept as sorted, disjoint, non-adjacent ranges."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    @classmethod
    def parse(cls, text: str) -> "RangeSet":
        """The set that `str` wrote: ``0-57,60``. Raises ValueError for anything else."""
        result = cls()
        for part in text.split(",") if text else ():
            first, dash, last = part.partition("-")
            result.add_range(int(first), int(last if dash else first))
        return result

    def __str__(self) -> str:
        return ",".join(
            str(first) if first == last else f"{first}-{last}"
            for first, last in zip(self._firsts, self._lasts, strict=True)
        )

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._firsts, number) - 1
        return index >= 0 and number <= self._lasts[index]

    def covers(self, first: int, last: int) -> bool:
        """Whether all of `first` to `last`, both included, is in the set."""
        index = bisect_right(self._firsts, first) - 1
        return index >= 0 and last <= self._lasts[index]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges as (first, last), in order."""
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._firsts)

    def holes(self) -> Iterator[tuple[int, int]]:
        """What is missing from 0 to the last number, in order."""
        start = 0
        for first, last in self:
            if first > start:
                yield start, first - 1
            start = last + 1

    def add(self, number: int) -> None:
        if self._lasts and number == self._lasts[-1] + 1:  # in order, as nearly always
            self._lasts[-1] = number
        else:
            self.add_range(number, number)

    def add_range(self, first: int, last: int) -> None:
        """Adds `first` to `last`, both included. Raises ValueError when they are not in order."""
        if not 0 <= first <= last:
            raise ValueError(f"no range of sequence numbers: {first}-{last}")
        # Everything from the range that touches `first` to the one that touches `last` melts into one.
        begin = bisect_right(self._firsts, first)
        if begin and self._lasts[begin - 1] >= first - 1:
            begin -= 1
            first = self._firsts[begin]
        end = bisect_right(self._firsts, last + 1)
        if end > begin:
            last = max(last, self._lasts[end - 1])
        self._firsts[begin:end] = [first]
        self._lasts[begin:end] = [last]

    def union(self, other: "RangeSet") -> "RangeSet":
        result = RangeSet()
        result._firsts, result._lasts = self._firsts.copy(), self._lasts.copy()
        for first, last in other:
            result.add_range(first, last)
        return result

    @property
    def last(self) -> int:
        """The highest number in the set, -1 if it is empty."""
        return self._lasts[-1] if self._lasts else -1

    def acknowledgement(self, most: int) -> Acknowledgement:
        """(next, ranges): everything below `next` is in the set, and then at most `most` ranges, the lowest
        ones.
        """
        start = 1 if self._firsts and self._firsts[0] == 0 else 0
        following = self._lasts[0] + 1 if start else 0
        if len(self._firsts) == start:  # no gaps, as nearly always
            return following, ()
        stop = start + most
        return following, tuple(zip(self._firsts[start:stop], self._lasts[start:stop], strict=True))
