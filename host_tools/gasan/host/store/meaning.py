"""What a channel's raw values mean: unit, scale, bits, labels; from a birth frame or the compiled config."""

import json
import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from gasan.wire import cbor, columns, quality

__all__ = ["Meaning", "Raw", "config_meanings", "parse_birth", "unpacked"]

Raw = int | bytes

_I64_MIN: Final = -(1 << 63)
_I64_MAX: Final = (1 << 63) - 1
_EXACT: Final = 1 << 53
_FLOATS: Final = {columns.F32: struct.Struct(">f"), columns.F64: struct.Struct(">d")}
_SHIFT, _MASK, _LABELS, _LABEL, _FORM, _MISSING, _DECIMALS = range(1, 8)
_F16, _BCD, _MAGNITUDE, _COMPLEMENT, _MEDICAL = range(1, 6)
_MEDICAL_BITS: Final = {0xFFFF: 12, 0xFFFFFFFF: 24}  # of the mantissa, by the mask
_DECIMALS_MAX: Final = 9
_HALF: Final = struct.Struct(">e")


@dataclass(frozen=True, slots=True)
class Meaning:
    """One channel of one config revision: value = (number * num + off) / den, where number = raw >> shift &
    mask, read in a form of its own if it has one.

    form: 0 none; 1 float16, 2 BCD, 3 sign and magnitude, 4 two's complement, of the mask's width, 5 a float
    of IEEE 11073-20601, of 16 or 32 bits (GATT Specification Supplement, 2.3 medfloat). missing:
    numbers, before the form, that mean "no value". decimals: the low bits of raw that are the number, 0 when
    all are; above them stands how many decimals it has.
    """

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
    form: int = 0
    missing: tuple[int, ...] = ()
    decimals: int = 0

    def packed(self) -> str:
        """What no column of the database has; `unpacked` is its inverse."""
        if not (self.form or self.missing or self.decimals):
            return ""
        return json.dumps({"form": self.form, "missing": self.missing, "decimals": self.decimals})

    def bounds(self) -> tuple[int, int]:
        """(low, high): for an integer raw value within, the view's own arithmetic is exact; none if low >
        high.

        SQLite counts in signed 64 bits, and its one division is of doubles: it is correctly rounded, and so
        equal to a division of the exact integers, while the dividend is within 2**53.
        """
        room = _EXACT - abs(self.off)
        if self.type in _FLOATS or room < 0 or self.den > _EXACT or self.form or self.decimals:
            return 0, -1
        if self.mask != -1:  # a negative mask is one with bit 63
            return (_I64_MIN, _I64_MAX) if 0 <= self.mask * abs(self.num) <= room else (0, -1)
        most = room // abs(self.num) if self.num else _I64_MAX
        return max(_I64_MIN, -most << self.shift), min(
            _I64_MAX, (most << self.shift) | ((1 << self.shift) - 1)
        )

    @property
    def judged(self) -> bool:
        """Whether a value that was read may turn out to be none."""
        return bool(self.form or self.missing or self.decimals or self.type in _FLOATS)

    @property
    def plain_float(self) -> bool:
        """Whether only NaN and infinities are no values."""
        return self.type in _FLOATS and self.num == self.den and not (self.off or self.missing)

    def verdict(self, raw: Raw) -> int:
        """The quality of a good reading, judged by what was read: good, or bad with the raw value kept."""
        if isinstance(raw, int):
            if self.missing and self._bits(raw) in self.missing:
                return quality.BAD_NO_VALUE
            if self.exact(raw) is not None:
                return quality.GOOD
            nan = self.form == _MEDICAL or (self.form == _F16 and self._bits(raw) & 0x7FFF > 0x7C00)
            return quality.BAD_NO_VALUE if nan else quality.BAD_RANGE
        if self.missing and int.from_bytes(raw) in self.missing:
            return quality.BAD_NO_VALUE
        if self.type not in _FLOATS or self.value(raw) is not None:
            return quality.GOOD
        form = _FLOATS[self.type]
        number = form.unpack(raw)[0] if len(raw) == form.size else math.nan
        return quality.BAD_NO_VALUE if math.isnan(number) else quality.BAD_RANGE

    def _bits(self, raw: int) -> int:
        if self.decimals:
            raw &= (1 << self.decimals) - 1
        return (raw >> self.shift) & self.mask

    def exact(self, raw: int) -> Fraction | None:
        """The scaled value of an integer without rounding; None when its bits are none of its form."""
        bits = self._bits(raw)
        number = _formed(self.form, bits, self.mask) if self.form else bits
        places = raw >> self.decimals if self.decimals else 0
        if number is None or not 0 <= places <= _DECIMALS_MAX:
            return None
        return (Fraction(number, 10**places) * self.num + self.off) / self.den

    def value(self, raw: Raw | None) -> float | None:
        """The scaled value: the double nearest to the exact quotient; None for no number (NaN, infinite)."""
        if isinstance(raw, int):
            if self.form or self.decimals:
                exact = self.exact(raw)
                return None if exact is None else float(exact)
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
        """The label of an enumerated value, or the text that was read."""
        if isinstance(raw, bytes) and self.type > columns.TEXT:
            text = raw.split(b"\0")[0].rstrip(b" ")
            return text.decode("ascii") if text.isascii() and text.decode("ascii").isprintable() else None
        return self.labels.get((raw >> self.shift) & self.mask) if isinstance(raw, int) else None


def _formed(form: int, bits: int, mask: int) -> int | Fraction | None:
    """What bits are in a form; None when they are nothing."""
    if form == _F16:
        (number,) = _HALF.unpack(bits.to_bytes(2))
        return Fraction(number) if math.isfinite(number) else None
    if form == _BCD:
        digits = f"{bits:x}"
        return int(digits) if digits.isdecimal() else None
    if form == _MEDICAL:
        return _medical(bits, _MEDICAL_BITS[mask], mask.bit_length())
    top = (mask + 1) >> 1 if mask >= 0 else 1 << 63
    if form == _MAGNITUDE:
        return top - bits if bits & top else bits
    return bits - 2 * top if bits & top else bits


def _medical(bits: int, size: int, whole: int) -> Fraction | None:
    """mantissa * 10 ** exponent, both in two's complement; None for the five that are no numbers."""
    mantissa, exponent = bits & ((1 << size) - 1), bits >> size
    top = 1 << (size - 1)
    if top - 2 <= mantissa <= top + 2:  # infinite, not a number, not at this resolution, reserved
        return None
    mantissa -= 2 * top if mantissa & top else 0
    width = whole - size
    exponent -= 1 << width if exponent >> (width - 1) else 0
    return Fraction(mantissa) * Fraction(10) ** exponent


def unpacked(more: str) -> dict[str, Any]:
    """Fields of `Meaning` from what `Meaning.packed` made."""
    found = json.loads(more) if more else {}
    return found | {"missing": tuple(found["missing"])} if found else {}


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
    form, missing, decimals = more.get(_FORM, 0), more.get(_MISSING, []), more.get(_DECIMALS, 0)
    if not (_is_uint(form) and form <= _MEDICAL and _is_uint(decimals) and decimals < 64):
        raise ValueError(f"channel {number} has no proper form")
    if form and (
        mask < 0 or (form == _F16 and mask != 0xFFFF) or (form == _MEDICAL and mask not in _MEDICAL_BITS)
    ):
        raise ValueError(f"channel {number} has a form of no width")
    if not (isinstance(missing, list) and all(map(_is_integer, missing))):
        raise ValueError(f"channel {number} has no proper numbers for no value")
    if mask > _I64_MAX:
        mask -= 1 << 64  # the same bits of a 64-bit value, in SQLite's signed integers
    return Meaning(
        number, device, name, unit, type_code, num, den, off, period_ms, shift, mask, dict(labels), label,
        form, tuple(missing), decimals,
    )  # fmt: skip


def _is_uint(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _I64_MAX


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_i64(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and _I64_MIN <= value <= _I64_MAX
