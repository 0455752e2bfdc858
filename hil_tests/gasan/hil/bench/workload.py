"""Workload files: samples of some channels as JSON, to measure frames with.

    {"name": "W1", "period_ms": 5000, "columns": [{"channel": "voltage", "values": [2302, null, 2305]}]}

Times are a period, or ``offsets_ms`` (one for each value) in a column or for all. Integers get the smallest
integer type that holds the column; a column with decimals is float32, the decimals meaning the nearest one,
unless one of its numbers is too large or one of its integers too long for that: then it is float64.
null is a sample that did not come.
"""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Column", "Workload", "WorkloadError", "load"]

_MAX_BYTES = 64 * 1024 * 1024
_MAX_MS = 1 << 53
_INTEGERS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i8": 1, "i16": 2, "i32": 4, "i64": 8}  # and their bytes
_FLOATS = {"f32": struct.Struct(">f"), "f64": struct.Struct(">d")}


class WorkloadError(ValueError):
    """The file is no workload; the message is a sentence that names it and says what is wrong."""


@dataclass(frozen=True)
class Column:
    """The samples of one channel: type as in `columns.TYPE`, raw big-endian bytes or None, times in ms."""

    channel: str
    type: str
    samples: Sequence[bytes | None]
    times: Sequence[int]


@dataclass(frozen=True)
class Workload:
    """What a file holds; period_ms is 0 for columns that have offsets."""

    name: str
    period_ms: int
    columns: Sequence[Column]

    @property
    def readings(self) -> int:
        return sum(len(column.samples) for column in self.columns)


def load(path: Path) -> Workload:
    """Read a workload file. Raises WorkloadError."""
    try:
        return _workload(_parsed(path), path.stem)
    except _Wrong as wrong:
        raise WorkloadError(f"{path}: {wrong}.") from None


class _Wrong(Exception):
    """What is wrong, as the rest of a sentence."""


def _parsed(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _Wrong(f"the file cannot be read ({error.strerror})") from None
    if len(data) > _MAX_BYTES:
        raise _Wrong("the file is longer than 64 MB")
    try:
        return json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise _Wrong("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise _Wrong("it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise _Wrong(f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except ValueError:
        raise _Wrong("it holds an integer of thousands of digits") from None


def _no_constant(name: str) -> Any:
    raise _Wrong(f"{name} is not a number of JSON")


def _workload(top: Any, stem: str) -> Workload:
    if not isinstance(top, dict):
        raise _Wrong("a workload is a JSON object with a list `columns`")
    entries = top.get("columns")
    if not isinstance(entries, list) or not entries:
        raise _Wrong("`columns` must be a list of at least one column")
    if len(entries) > 65536:
        raise _Wrong("it has more than 65,536 columns")
    name = top.get("name", stem)
    if not isinstance(name, str):
        raise _Wrong("`name` must be text")
    columns = [_column(entry, number, top) for number, entry in enumerate(entries, 1)]
    period = _period(top, "the workload") or 0
    return Workload(name, period, columns)


def _period(table: dict[str, Any], where: str) -> int | None:
    period = table.get("period_ms")
    if period is None:
        return None
    if not _is_int(period) or not 0 <= period < 1 << 30:
        raise _Wrong(f"`period_ms` of {where} must be whole milliseconds from 0 to {(1 << 30) - 1}")
    return int(period)


def _column(entry: Any, number: int, top: dict[str, Any]) -> Column:
    if not isinstance(entry, dict):
        raise _Wrong(f"column {number} must be an object with `channel` and `values`")
    channel = entry.get("channel", f"column {number}")
    if not isinstance(channel, str):
        raise _Wrong(f"`channel` of column {number} must be text")
    where = f"column {number} ({channel[:40]!r})"
    values = entry.get("values")
    if not isinstance(values, list) or not values:
        raise _Wrong(f"`values` of {where} must be a list of at least one sample")
    times = _times(entry, top, where, len(values))
    kind, samples = _samples(values, where)
    return Column(channel, kind, samples, times)


def _times(entry: dict[str, Any], top: dict[str, Any], where: str, n: int) -> list[int]:
    for table in (entry, top):
        offsets = table.get("offsets_ms")
        if offsets is not None:
            if not isinstance(offsets, list) or not all(map(_is_int, offsets)):
                raise _Wrong(f"`offsets_ms` of {where} must be a list of whole milliseconds")
            if len(offsets) != n:
                raise _Wrong(f"{where} has {n} values and {len(offsets)} offsets")
            if min(offsets) < -_MAX_MS or max(offsets) > _MAX_MS:
                raise _Wrong(f"an offset of {where} is beyond 2**53 ms")
            return offsets
        period = _period(table, where if table is entry else "the workload")
        if period is not None:
            return [i * period for i in range(n)]
    raise _Wrong(f"{where} has no times: give `period_ms`, or `offsets_ms` with one offset for each value")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _samples(values: list[Any], where: str) -> tuple[str, list[bytes | None]]:
    for number, value in enumerate(values, 1):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            shown = json.dumps(value)[:40]
            raise _Wrong(f"sample {number} of {where} is {shown}; a sample is a number or null")
        if isinstance(value, float) and math.isinf(value):
            raise _Wrong(f"sample {number} of {where} is too large for a 64-bit float")
    present = [value for value in values if value is not None]
    if any(isinstance(value, float) for value in present):
        kind = _float_type(present, where)
        return kind, [None if value is None else _FLOATS[kind].pack(value) for value in values]
    kind = _integer_type(present, where)
    width, signed = _INTEGERS[kind], kind[0] == "i"
    return kind, [None if value is None else value.to_bytes(width, "big", signed=signed) for value in values]


def _integer_type(present: list[int], where: str) -> str:
    low, high = min(present, default=0), max(present, default=0)
    for name, width in _INTEGERS.items():
        end = 1 << (8 * width - (name[0] == "i"))
        if (0 if name[0] == "u" else -end) <= low and high < end:
            return name
    raise _Wrong(f"no 64-bit integer type holds all of {where}, from {_short(low)} to {_short(high)}")


def _short(number: int) -> str:
    text = str(number) if abs(number) < 10**40 else hex(number)
    return text if len(text) <= 40 else text[:20] + "..."


def _float_type(present: list[int | float], where: str) -> str:
    if all(_is_single(value) for value in present):
        return "f32"
    for value in present:
        if isinstance(value, int) and (abs(value) >= 1 << 64 or int(float(value)) != value):
            raise _Wrong(f"{where} mixes decimals with {_short(value)}, which no 64-bit float holds exactly")
    return "f64"


def _is_single(value: int | float) -> bool:
    """Whether float32 will do: any decimal in its range, but an integer only if it is exact."""
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return False
    try:
        nearest: float = _FLOATS["f32"].unpack(_FLOATS["f32"].pack(value))[0]
    except OverflowError:
        return False
    return isinstance(value, float) or int(nearest) == value
