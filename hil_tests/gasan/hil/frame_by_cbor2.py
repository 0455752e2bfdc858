"""A second decoder of data frames, on cbor2: written from protocols/frame.md with no line of `gasan.wire`.

Slow, plain and trusting; tests compare with it. It runs on cbor2 5 and 6.
"""

from collections.abc import Iterator
from typing import Any

import cbor2

__all__ = ["Reading", "readings_by_cbor2"]

#: (channel, ms since the boot, int or the raw bytes of a float or None, quality)
Reading = tuple[int, int, int | bytes | None, int]


def readings_by_cbor2(payload: bytes) -> Iterator[Reading]:
    """The readings of a data frame, in the order in which they are numbered."""
    _kind, _boot, _seq, _count, mono, _rev, groups = cbor2.loads(payload)
    for channels, n, start, step, columns, *rest in groups:
        if isinstance(channels, int):
            channels = range(channels, channels + len(columns))
        times = [mono + start]
        for i in range(n - 1):
            times.append(times[-1] + (step if isinstance(step, int) else step[0] + step[i + 1]))
        qualities = [[0] * n for _ in columns]
        runs = rest[0] if rest else []
        for column, width, sample, height, quality in zip(*[iter(runs)] * 5, strict=True):
            for c in range(column, column + width):
                qualities[c][sample : sample + height] = [quality] * height
        for c, channel in enumerate(channels):
            values = _values(columns[c], n, qualities[c])
            yield from zip([channel] * n, times, values, qualities[c], strict=True)


def _values(column: Any, n: int, qualities: list[int]) -> list[int | bytes | None]:
    if column is None or isinstance(column, int):
        return [column] * n
    if isinstance(column, list) and not isinstance(column[0], bytes):
        values: list[int | bytes | None] = []
        last = 0
        for delta in column:
            last += delta or 0
            values.append(None if delta is None else last)
        return values
    prefix, rest = column
    present = sum(quality < 64 for quality in qualities)
    size = len(rest) // present
    parts = iter([prefix + rest[i * size : (i + 1) * size] for i in range(present)])
    return [next(parts) if quality < 64 else None for quality in qualities]
