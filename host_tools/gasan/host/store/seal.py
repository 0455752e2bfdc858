"""A checksum over a frame's row and the rows of its readings: SQLite has none, and to it a page in which only
values have changed is whole. What dates the frame is not in it, since it may change.

Five streams (channels, times, raw values, qualities, own values), each over all readings of the frame in the
order of their ids; so it does not matter how the rows were grouped when they were written.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final
from zlib import crc32

__all__ = ["Seal", "packed", "sealed"]

_HEAD: Final = struct.Struct("<9q5I")


class Seal:
    """Add the readings of one frame by columns, then take `close`."""

    __slots__ = ("_channels", "_qualities", "_raws", "_times", "_values")

    def __init__(self) -> None:
        self._channels = self._times = self._raws = self._qualities = self._values = 0

    def integers(self, channels: bytes, times: Sequence[int], columns: int, raws: Sequence[int]) -> None:
        """Good readings of signed 64 bits without values of their own: `columns` times the `times`.

        channels: `packed` of the channel of each reading.
        """
        self._channels = crc32(channels, self._channels)
        self._times = crc32(packed(times) * columns, self._times)
        self._raws = crc32(packed(raws), self._raws)
        self._qualities = crc32(bytes(len(raws)), self._qualities)

    def column(
        self,
        channels: Sequence[int],
        times: Sequence[int],
        raws: Sequence[Any],
        qualities: Iterable[int],
        values: Iterable[float | None],
    ) -> None:
        """Readings as they stand in the table `sample`."""
        self._channels = crc32(packed(channels), self._channels)
        self._times = crc32(packed(times), self._times)
        self._raws = crc32(b"".join(map(_raw, raws)), self._raws)
        self._qualities = crc32(bytes(qualities), self._qualities)
        own = [value for value in values if value is not None]
        self._values = crc32(_doubles(len(own)).pack(*own), self._values)

    def close(self, head: Sequence[int], tag: bytes) -> int:
        """The checksum; `head` is (boot, seq, kind, count, n, mono, span, revision, size) of the row of
        `frame`.
        """
        sums = self._channels, self._times, self._raws, self._qualities, self._values
        return crc32(_HEAD.pack(*head, *sums), crc32(tag))


def sealed(head: Sequence[int], tag: bytes, rows: Iterable[Sequence[Any]]) -> int:
    """The checksum of a frame from its rows (channel, dt, raw, quality, value), in the order of their ids."""
    seal = Seal()
    if columns := list(zip(*rows, strict=True)):
        seal.column(*columns)
    return seal.close(head, tag)


def packed(numbers: Sequence[int]) -> bytes:
    """Integers of 64 bits as bytes."""
    return _integers(len(numbers)).pack(*numbers)


@cache
def _integers(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}q")


@cache
def _doubles(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}d")


def _raw(raw: Any) -> bytes:
    if isinstance(raw, int):
        return raw.to_bytes(8, "little", signed=True)
    if raw is None:
        return b"\0"
    return raw.encode() if isinstance(raw, str) else bytes(raw)
