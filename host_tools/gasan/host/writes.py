"""What may be written to a machine, and what a value is in its registers. Pure.

The rules come out of a compiled config, so that gateway and node hold the same ones: a Modbus device carries
them under key 30 as gasan.node.writing has them, and under key 31 ``{channel: [* who]}``, which only the
gateway looks at.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final

import cbor2
from gasan.host.errors import InputError
from gasan.host.exact import exact
from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.store.meaning import Meaning, config_meanings

__all__ = [
    "FLOAT",
    "READ_BACK",
    "SIGNED",
    "TO_ALL",
    "UNSIGNED",
    "WHO",
    "WRITES",
    "Outcome",
    "WriteRule",
    "outcome_of",
    "rules",
]

WRITES: Final = 30
WHO: Final = 31
"""Keys of what a Modbus device carries before its items."""

UNSIGNED, SIGNED, FLOAT = range(3)
READ_BACK: Final = 1
TO_ALL: Final = 2
"""Flags: the register can be read, so that a write can be confirmed; it goes to all devices of the line."""

_FLOATS: Final = {2: struct.Struct(">f"), 4: struct.Struct(">d")}


class Outcome(StrEnum):
    """What became of a write."""

    READ_BACK = "read_back"  # done, and the device shows the new value
    WRITTEN = "written"  # the device says that it is done; not read back
    DIFFERS = "differs"  # the device says that it is done, and shows another value
    REFUSED = "refused"  # by a rule; nothing was sent to the machine
    EXCEPTION = "exception"  # the device refused it
    NOT_SENT = "not_sent"  # nothing was sent to the machine
    UNKNOWN = "unknown"  # it may have been done or not

    @property
    def done(self) -> bool:
        return self in (Outcome.READ_BACK, Outcome.WRITTEN)


_CODES: Final = {
    0: Outcome.READ_BACK,
    10: Outcome.WRITTEN,
    11: Outcome.DIFFERS,
    12: Outcome.REFUSED,
    13: Outcome.EXCEPTION,
    14: Outcome.UNKNOWN,
    15: Outcome.NOT_SENT,
    1: Outcome.REFUSED,
    2: Outcome.REFUSED,  # a firmware that knows no writes
}


def outcome_of(status: int) -> Outcome:
    """Of the code of a node's answer; what says nothing (no answer, a crash) leaves it unknown."""
    return _CODES.get(status, Outcome.UNKNOWN)


@dataclass(frozen=True)
class WriteRule:
    """What may be written to one channel. least, most, step: as in the registers; of a float its bytes.

    unit: 0 when it goes to all devices of the line.
    """

    meaning: Meaning
    unit: int
    function: int
    address: int
    words: int
    kind: int
    least: int | bytes
    most: int | bytes
    step: int
    pause_ms: int
    read_back: bool
    who: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of a value."""
        return max(1, 2 * self.words)

    def encode(self, text: str) -> bytes:
        """The value as bytes, the most significant first. Raises InputError for what is not allowed."""
        value = self._number(text)
        data = b""
        if self.kind == FLOAT:  # the limits are floats too: what is compared is what would be written
            data = self._float(value)
            value = self._value(data) if data else value
        low, high = sorted((self._value(self.least), self._value(self.most)))
        if not low <= value <= high or (self.kind == FLOAT and not data):
            raise InputError(
                _("{value} is out of range for {channel}: {low} to {high} {unit}")
                .format(
                    value=text,
                    channel=self.meaning.name,
                    low=_text(low),
                    high=_text(high),
                    unit=self.meaning.unit,
                )
                .rstrip()
            )
        if self.kind == FLOAT:
            return data
        raw = (value * self.meaning.den - self.meaning.off) / self.meaning.num
        assert isinstance(self.least, int)
        step = max(1, self.step)
        if raw.denominator != 1 or (raw.numerator - self.least) % step:
            each = abs(Fraction(step * self.meaning.num, self.meaning.den))
            raise InputError(
                _(
                    "{value} is between two steps of {channel}; write a multiple of {step}, from {low} on"
                ).format(value=text, channel=self.meaning.name, step=_text(each), low=_text(low))
            )
        return raw.numerator.to_bytes(self.size, "big", signed=self.kind == SIGNED)

    def shown(self, data: bytes) -> str:
        """The value of bytes, as one writes it: a label, or a number in the channel's unit."""
        raw = _raw(self, data)
        if isinstance(raw, int) and raw in self.meaning.labels:
            return self.meaning.labels[raw]
        if raw is None:
            return "?"
        return _text(self._scaled(raw))

    def _number(self, text: str) -> Fraction:
        for number, label in self.meaning.labels.items():
            if text.strip() == label:
                return self._scaled(Fraction(number))
        try:
            if "/" in text or len(text) > 40:
                raise ValueError(text)
            value = exact(text.strip())
        except ValueError:
            if self.meaning.labels:
                labels = list(self.meaning.labels.values())
                what = _('"{value}" is no value of {channel}').format(value=text, channel=self.meaning.name)
                raise InputError(f"{what}; {instead(text, labels)}") from None
            raise InputError(_('"{value}" is not a number').format(value=text)) from None
        raw = (value * self.meaning.den - self.meaning.off) / self.meaning.num
        if self.meaning.labels and raw not in self.meaning.labels:
            raise InputError(
                _('"{value}" is no value of {channel}').format(value=text, channel=self.meaning.name)
            )
        return value

    def _float(self, value: Fraction) -> bytes:
        """The float that is nearest; empty where there is none."""
        raw = (value * self.meaning.den - self.meaning.off) / self.meaning.num
        try:
            return _FLOATS[self.words].pack(float(raw))
        except OverflowError:
            return b""

    def _value(self, limit: int | bytes) -> Fraction:
        number: Any = _FLOATS[self.words].unpack(limit)[0] if isinstance(limit, bytes) else limit
        return self._scaled(Fraction(number))

    def _scaled(self, raw: int | Fraction) -> Fraction:
        return (Fraction(raw) * self.meaning.num + self.meaning.off) / self.meaning.den


def rules(config: bytes) -> dict[tuple[str, str], WriteRule]:
    """By (device, channel), what a config allows to be written. Raises ValueError for what is no config."""
    meanings = {meaning.number: meaning for meaning in config_meanings(config)}
    found: dict[tuple[str, str], WriteRule] = {}
    for kind, _name, _params, devices in cbor2.loads(config)[3]:
        if kind not in (0, 1, 3):  # Modbus RTU, TCP, RTU over TCP
            continue
        for device in devices:
            more: Mapping[int, Any] = device[5] if len(device) > 6 else {}
            who = more.get(WHO, {})
            for number, function, address, words, _order, form, *rest in more.get(WRITES, ()):
                least, most, step, pause_ms, flags = rest[:5]
                meaning = meanings.get(number)
                if meaning is None:  # what a rule of the node makes something else of
                    continue
                found[meaning.device, meaning.name] = WriteRule(
                    meaning, 0 if flags & TO_ALL else device[1], function, address, words, form, least, most,
                    step, pause_ms, bool(flags & READ_BACK), tuple(who.get(number, ())),
                )  # fmt: skip
    return found


def _raw(rule: WriteRule, data: bytes) -> int | Fraction | None:
    if len(data) != rule.size:
        return None
    if rule.kind == FLOAT:
        (number,) = _FLOATS[rule.words].unpack(data)
        return Fraction(number) if number - number == 0 else None
    return int.from_bytes(data, "big", signed=rule.kind == SIGNED)


def _text(value: Fraction) -> str:
    """A decimal, exact where it has an end."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.10g}"
