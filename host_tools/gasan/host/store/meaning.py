"""What a channel's raw values mean: unit, scale, bits, labels; from a birth frame or the compiled config."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from gasan.wire import cbor, columns

__all__ = ["Meaning", "Raw", "config_meanings", "parse_birth"]

Raw = int | bytes

_I64_MIN: Final = -(1 << 63)
_I64_MAX: Final = (1 << 63) - 1
_EXACT: Final = 1 << 53
_FLOATS: Final = {columns.F32: struct.Struct(">f"), columns.F64: struct.Struct(">d")}
_SHIFT, _MASK, _LABELS, _LABEL = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Meaning:
    """One channel of one config revision: value = ((raw >> shift & mask) * num + off) / den."""

    number: int
    device: str
    name: str
    unit: str
    type: int
    num: int
    den: int
    off: int
    period_ms: int
    shift: int
    mask: int
    labels: dict[int, str]
    label: str

    def bounds(self) -> tuple[int, int]:
        """(low, high): for an integer raw value within, the view's own arithmetic is exact; none if low >
        high.

        SQLite counts in signed 64 bits, and its one division is of doubles: it is correctly rounded, and so
        equal to a division of the exact integers, while the dividend is within 2**53.
        """
        room = _EXACT - abs(self.off)
        if self.type in _FLOATS or room < 0 or self.den > _EXACT:
            return 0, -1
        if self.mask != -1:  # a negative mask is one with bit 63
            return (_I64_MIN, _I64_MAX) if 0 <= self.mask * abs(self.num) <= room else (0, -1)
        most = room // abs(self.num) if self.num else _I64_MAX
        return max(_I64_MIN, -most << self.shift), min(
            _I64_MAX, (most << self.shift) | ((1 << self.shift) - 1)
        )

    def value(self, raw: Raw | None) -> float | None:
        """The scaled value: the double nearest to the exact quotient; None for no number (NaN, infinite)."""
        if isinstance(raw, int):
            return (((raw >> self.shift) & self.mask) * self.num + self.off) / self.den
        form = _FLOATS.get(self.type)
        if raw is None or form is None or len(raw) != form.size:
            return None
        (number,) = form.unpack(raw)
        if number - number != 0:  # NaN or infinite
            return None
        if self.num == self.den and not self.off:
            return float(number)
        try:
            return float((Fraction(number) * self.num + self.off) / self.den)
        except OverflowError:
            return None

    def text(self, raw: Raw | None) -> str | None:
        """The label of an enumerated value."""
        return self.labels.get((raw >> self.shift) & self.mask) if isinstance(raw, int) else None


def parse_birth(content: Any) -> list[Meaning]:
    """The channels of a birth frame's content ``[part, parts, first channel, [+ channel]]``.

    Raises ValueError for anything that is not of that form.
    """
    if not isinstance(content, list) or len(content) != 4:
        raise ValueError("a birth is [part, parts, first channel, channels]")
    part, parts, first, channels = content
    if not (_is_uint(part) and _is_uint(parts) and part < parts):
        raise ValueError(f"a birth cannot be part {part!r} of {parts!r}")
    return _meanings(first, channels)


def config_meanings(config: bytes) -> list[Meaning]:
    """The channels that a compiled config describes, as the births of its node will.

    Raises ValueError when `config` is not a compiled config.
    """
    loaded = cbor.loads(config)
    if not isinstance(loaded, list) or len(loaded) < 5 or not isinstance(loaded[4], list):
        raise ValueError("this is not a compiled config")
    result: list[Meaning] = []
    for packed in loaded[4]:
        if not isinstance(packed, bytes):
            raise ValueError("a meaning is packed")
        part = cbor.loads(packed)
        if not isinstance(part, list) or len(part) != 2:
            raise ValueError("a meaning is [first channel, channels]")
        result += _meanings(*part)
    return result


def _meanings(first: Any, channels: Any) -> list[Meaning]:
    if not _is_uint(first) or not isinstance(channels, list) or not channels:
        raise ValueError("channels are a number and a list")
    return [_meaning(first + index, channel) for index, channel in enumerate(channels)]


def _meaning(number: int, channel: Any) -> Meaning:
    if not isinstance(channel, list) or len(channel) != 9:
        raise ValueError(f"channel {number} is not a list of nine")
    device, name, unit, type_code, num, den, off, period_ms, more = channel
    if not (isinstance(device, str) and isinstance(name, str) and isinstance(unit, str)):
        raise ValueError(f"channel {number} has no proper names")
    if not (_is_uint(type_code) and _is_uint(period_ms) and all(map(_is_i64, (num, den, off))) and den > 0):
        raise ValueError(f"channel {number} has no proper scale")
    if not isinstance(more, dict):
        raise ValueError(f"channel {number} ends in no map")
    shift, mask = more.get(_SHIFT, 0), more.get(_MASK, -1)
    labels, label = more.get(_LABELS, {}), more.get(_LABEL, "")
    if not (_is_uint(shift) and shift < 64 and isinstance(mask, int) and -1 <= mask < 1 << 64):
        raise ValueError(f"channel {number} has no proper bits")
    if not (isinstance(labels, dict) and all(_is_i64(k) and isinstance(v, str) for k, v in labels.items())):
        raise ValueError(f"channel {number} has no proper labels")
    if not isinstance(label, str):
        raise ValueError(f"channel {number} has no proper label")
    if mask > _I64_MAX:
        mask -= 1 << 64  # the same bits of a 64-bit value, in SQLite's signed integers
    return Meaning(
        number, device, name, unit, type_code, num, den, off, period_ms, shift, mask, dict(labels), label
    )


def _is_uint(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _I64_MAX


def _is_i64(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and _I64_MIN <= value <= _I64_MAX
