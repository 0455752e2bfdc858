"""Decode what data frames hold: groups of columns (`group` of protocols/frame.cddl), checked throughout."""

from gasan.wire.frame import MAX_READINGS, FrameError
from gasan.wire.quality import NO_VALUE
from gasan.wire.strict import array, byte_string, head, uint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Value = int | bytes | None
    GroupData = tuple[list[int], list[int], list[list[Value]], list[list[int]]]

_MAX_CHANNEL = 65535
MAX_TIME = (1 << 63) - 1
_MIN_VALUE = -(1 << 63)
_MAX_VALUE = (1 << 64) - 1

# The integer that a single byte is in CBOR.
_SMALL = [byte if byte < 24 else 31 - byte if 0x20 <= byte < 0x38 else None for byte in range(256)]


def read_groups(p: bytes, pos: int, mono: int) -> "tuple[list[GroupData], int]":
    """The groups at ``p[pos:]``, which is all they may take, and how many readings they hold."""
    count, pos = array(p, pos)
    if not count:
        raise FrameError("a data frame without groups")
    groups = []
    readings = 0
    for _ in range(count):
        group, pos = _group(p, pos, mono, MAX_READINGS - readings)
        groups.append(group)
        readings += len(group[0]) * len(group[1])
    if pos != len(p):
        raise FrameError("bytes after the content")
    return groups, readings


def _group(p: bytes, pos: int, mono: int, room: int) -> "tuple[GroupData, int]":
    parts = p[pos]
    if parts != 0x85 and parts != 0x86:
        raise FrameError("a group is a list of five or six")
    channels, pos = _channels(p, pos + 1)
    n, pos = uint(p, pos)
    if not 0 < n <= room:
        raise FrameError("no or too many samples")
    start, pos = uint(p, pos)
    step, pos = _step(p, pos, n)
    columns, pos = array(p, pos)
    if not channels[1:]:
        channels = list(range(channels[0], channels[0] + columns))
    if not columns or columns != len(channels) or channels[-1] > _MAX_CHANNEL:
        raise FrameError("channels and columns that do not match")
    if n * columns > room:
        raise FrameError("too many samples")
    raw = []
    for _ in range(columns):
        column, pos = _column(p, pos, n)
        raw.append(column)
    marks: "dict[int, list[int]]" = {}
    if parts == 0x86:
        marks, pos = _marks(p, pos, n, columns)
    times = _times(mono + start, step, n)
    good = [0] * n
    qualities = [marks.get(col, good) for col in range(columns)]
    values = [_placed(raw[col], qualities[col], col in marks, n) for col in range(columns)]
    return (channels, times, values, qualities), pos


def _channels(p: bytes, pos: int) -> "tuple[list[int], int]":
    """The channels; of those that follow each other, only the first."""
    if p[pos] >> 5 != 4:
        channel, pos = uint(p, pos)
        if channel > _MAX_CHANNEL:
            raise FrameError("a channel out of range")
        return [channel], pos
    count, pos = array(p, pos)
    channels = []
    for _ in range(count):
        channel, pos = uint(p, pos)
        if channel > _MAX_CHANNEL:
            raise FrameError("a channel out of range")
        channels.append(channel)
    if count < 2:
        raise FrameError("a list of one channel")
    return channels, pos


def _step(p: bytes, pos: int, n: int) -> "tuple[int | list[int], int]":
    """How far apart the samples are: all alike, or each from the one before."""
    if p[pos] >> 5 != 4:
        step, pos = uint(p, pos)
        if n == 1 and step:
            raise FrameError("a period of one sample")
        return step, pos
    count, pos = array(p, pos)
    if count != n or n == 1:
        raise FrameError("times and samples that do not match")
    period, pos = uint(p, pos)
    steps = []
    for _ in range(n - 1):
        major, argument, pos = head(p, pos)
        if major > 1:
            raise FrameError("something else where an integer belongs")
        steps.append(period + (-1 - argument if major else argument))
    return steps, pos


def _times(t: int, step: "int | list[int]", n: int) -> "list[int]":
    if isinstance(step, int):
        times = [t + i * step for i in range(n)]
    else:
        times = [t]
        for apart in step:
            t += apart
            times.append(t)
    if min(times) < 0 or max(times) > MAX_TIME:
        raise FrameError("a time out of range")
    return times


def _column(p: bytes, pos: int, n: int) -> "tuple[Any, int]":
    """A column as it stands: one int for all, None, a list, or (prefix, rest) of floats or texts."""
    first = p[pos]
    if first == 0xF6:
        return None, pos + 1
    major = first >> 5
    if major < 2:
        _, value, pos = head(p, pos)
        value = -1 - value if major else value
        if value < _MIN_VALUE:
            raise FrameError("a value out of range")
        return value, pos
    if major != 4:
        raise FrameError("a column of unknown form")
    if first == 0x82 and p[pos + 1] >> 5 == 2:
        prefix, pos = byte_string(p, pos + 1)
        rest, pos = byte_string(p, pos)
        return (prefix, rest), pos
    return _integers(p, pos, n)


def _integers(p: bytes, pos: int, n: int) -> "tuple[list[int | None], int]":
    count, pos = array(p, pos)
    if count != n:
        raise FrameError("a column of another length than its group")
    out: "list[int | None]" = []
    value = 0
    wide = False
    for _ in range(n):
        byte = p[pos]
        pos += 1
        delta = _SMALL[byte]
        if delta is None:
            if byte == 0xF6:
                out.append(None)
                continue
            if byte == 0x18 and p[pos] >= 24:
                delta = p[pos]
                pos += 1
            elif byte == 0x38 and p[pos] >= 24:
                delta = -1 - p[pos]
                pos += 1
            elif byte == 0x19 and p[pos]:
                delta = p[pos] << 8 | p[pos + 1]
                pos += 2
            else:
                major, delta, pos = head(p, pos - 1)
                if major > 1:
                    raise FrameError("something else where an integer belongs")
                wide = wide or delta >> 32 > 0
                if major:
                    delta = -1 - delta
        value += delta
        out.append(value)
    if wide:
        present = [value for value in out if value is not None]
        if min(present) < _MIN_VALUE or max(present) > _MAX_VALUE:
            raise FrameError("a value out of range")
    return out, pos


def _marks(p: bytes, pos: int, n: int, columns: int) -> "tuple[dict[int, list[int]], int]":
    """The qualities of the columns that have any but good ones."""
    count, pos = array(p, pos)
    if not count or count % 5:
        raise FrameError("marks are lists of five")
    marks: "dict[int, list[int]]" = {}
    for _ in range(count // 5):
        column, pos = uint(p, pos)
        width, pos = uint(p, pos)
        sample, pos = uint(p, pos)
        samples, pos = uint(p, pos)
        quality, pos = uint(p, pos)
        if not (width and samples and column + width <= columns and sample + samples <= n):
            raise FrameError("marks outside of their group")
        if not 0 < quality < 256:
            raise FrameError("a quality out of range")
        for col in range(column, column + width):
            qualities = marks.get(col)
            if qualities is None:
                qualities = marks[col] = [0] * n
            for i in range(sample, sample + samples):
                if qualities[i]:
                    raise FrameError("marks that overlap")
                qualities[i] = quality
    return marks, pos


def _placed(column: "Any", qualities: "list[int]", marked: bool, n: int) -> "list[Value]":
    """The values of a column, None exactly where the quality says that there is none."""
    if isinstance(column, list):
        if not marked:
            if None in column:
                raise FrameError("a missing value that is not marked")
            return column
        for i in range(n):
            if (column[i] is None) != (qualities[i] >= NO_VALUE):
                raise FrameError("marks and missing values that do not match")
        return column
    present = n
    if marked:
        present = 0
        for quality in qualities:
            if quality < NO_VALUE:
                present += 1
    if column is None:
        if present:
            raise FrameError("a missing value that is not marked")
        return [None] * n
    if isinstance(column, int):
        if present != n:
            raise FrameError("marks and missing values that do not match")
        return [column] * n
    return _floats(column, qualities, present, n)


def _floats(column: "tuple[bytes, bytes]", qualities: "list[int]", present: int, n: int) -> "list[Value]":
    """The floats or texts of a column, of which ``present`` have a value."""
    prefix, rest = column
    if not present:
        raise FrameError("floats where all values are missing")
    own = len(rest) // present
    if own * present != len(rest) or not 0 < len(prefix) + own < 64 or len(prefix) + own & 1:
        raise FrameError("floats and samples that do not match")
    if present == n:
        return [prefix + rest[i : i + own] for i in range(0, n * own, own)] if own else [prefix] * n
    out: "list[Value]" = []
    at = 0
    for quality in qualities:
        if quality >= NO_VALUE:
            out.append(None)
        else:
            out.append(prefix + rest[at : at + own])
            at += own
    return out
