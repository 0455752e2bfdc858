"""Which registers, types and scales fit a value that somebody has read off a machine's display. Pure.

Every form at every address with every usual scale is compared with the value; what fits is a `Candidate`, and
its score is in bits: how unlikely such a content is by chance, plus how usual its type, order and scale are
(a bit less is half as usual). Several values of one device support each other's type and order.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from fractions import Fraction

from gasan.host import units
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.modbus.forms import FORMS, Form, decode
from gasan.host.quantities import check_quantity

__all__ = ["Candidate", "Fit", "Seen", "parse_seen", "rank", "wire_addresses"]

Snapshot = Mapping[str, Mapping[int, int]]  # table -> address -> register

_SEEN = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<number>[+-]?\d{1,18}(?:\.\d{1,9})?)\s*(?P<unit>[^@\d\s,][^@\s]*)?"
    r"(?:@(?P<register>\d{1,6}))?"
)
_INTEGER_POWERS = range(-4, 4)
_FLOAT_POWERS = (0, -3, 3)
_NEAR = Fraction(1, 200)
_NEAR_STEPS = 2  # of the display's last digit
_APART = 10  # what is further from the display than a tenth does not fit, however coarse it is
_FLOAT_DIGITS = 7  # of a single: the decimal that its maker meant

# Bits. Orders and types as they are met in makers' manuals.
_TYPE_BITS = {"u16": 0, "i16": -1, "f32": 0, "u32": -2, "i32": -3, "bcd16": -4}
_TYPE_OTHER = -5
_ORDER_BITS = {"ABCD": 0, "CDAB": -1, "DCBA": -4, "BADC": -5}
_SIGNED_BITS = 2  # a signed type whose value is negative
_FINER_BITS, _FINER_MORE_BITS, _COARSER_BITS = -1.5, -1.0, -4.0
_FLOAT_SCALE_BITS = {0: 0, -3: -2, 3: -4}
_ASTRAY_BITS = -8  # some reading was far from the display
_MOVES_BITS = {True: 2, False: -6}  # changed, where the display was seen to move
_STAYS_BITS = {True: -6, False: 1}  # changed, where the display stood still
_EXACT_BITS = 3  # one float in eight is exactly what is displayed: a whole number, a set point
_NAMED_BITS = 10  # the manual's number leads there
_FAMILY_BITS, _TABLE_BITS, _CLOSE_BITS = 3, 1, 1
_FAMILY_WITHIN = 6  # bits below the best that still support others
_CLOSE = 64  # registers


class Fit(Enum):
    """How well a value fits the display, best first."""

    EXACT = "exact"
    ROUNDED = "rounded"
    TRUNCATED = "truncated"
    NEAR = "near"


_FIT_BITS = {Fit.EXACT: 0.0, Fit.ROUNDED: 0.0, Fit.TRUNCATED: -1.0, Fit.NEAR: -5.0}


@dataclass(frozen=True)
class Seen:
    """A value as the display shows it. `number` times `factor` is in `unit` (of the SenML registry).

    register: the number that the manual gives it, however that counts.
    """

    text: str
    number: Decimal
    name: str = ""
    unit: str = ""
    factor: Fraction = Fraction(1)
    register: int | None = None

    @property
    def step(self) -> Fraction:
        """One of the display's last digit."""
        exponent = self.number.as_tuple().exponent
        assert isinstance(exponent, int)
        return Fraction(10) ** exponent

    @property
    def places(self) -> int:
        """Digits behind the point."""
        exponent = self.number.as_tuple().exponent
        assert isinstance(exponent, int)
        return -exponent


@dataclass(frozen=True)
class Candidate:
    """A place and a meaning that fit: raw x 10^power is `value`. score: bits, more is more plausible."""

    table: str
    address: int
    form: Form
    power: int
    value: Fraction
    fit: Fit
    score: float

    @property
    def scale(self) -> Fraction:
        return Fraction(10) ** self.power

    @property
    def span(self) -> range:
        """The registers that it takes."""
        return range(self.address, self.address + self.form.words)

    def overlaps(self, other: "Candidate") -> bool:
        return self.table == other.table and bool(set(self.span) & set(other.span))


def parse_seen(text: str) -> Seen:
    """ "23.4", "temperature=23.4", "23.4°C" or "voltage=230.2V@30001". Raises InputError."""
    match = _SEEN.fullmatch(text.strip())
    if match is None:
        what = _('"{text}" is not a value').format(text=text)
        mend = _("write it as it is displayed: 23.4, or voltage=230.2V, or 230.2@30001")
        raise InputError(f"{what}; {mend}")
    if not Decimal(match["number"]):
        what = _('"{text}" says nothing, since zeros stand everywhere').format(text=text)
        mend = _("read off another value")
        raise InputError(f"{what}; {mend}")
    name = match["name"] or ""
    if name:
        try:
            check_quantity(name)
        except ValueError as error:
            context = getattr(error, "context", None) or {}
            raise InputError(f"{context.get('what', error)}; {context.get('mend', '')}") from None
    unit, factor = _unit(match["unit"] or "")
    register = None if match["register"] is None else int(match["register"])
    return Seen(text, Decimal(match["number"]), name, unit, factor, register)


def rank(
    snapshots: Sequence[Snapshot], seens: Sequence[Seen], moves: bool | None = None
) -> list[list[Candidate]]:
    """For each value the candidates, best first.

    snapshots: the registers at several times, the first one nearest to the reading of the display.
    moves: the display was seen to move (True), to stand still (False), or nobody looked.
    """
    found = [_candidates(snapshots, seen, moves) for seen in seens]
    leaders = [_leaders(mine) for mine in found]
    ranked = []
    for index, mine in enumerate(found):
        others = leaders[:index] + leaders[index + 1 :]
        ranked.append(sorted((_supported(one, others) for one in mine), key=_order))
    return ranked


def wire_addresses(register: int) -> dict[tuple[str, int], str]:
    """(table, address on the wire) -> how a manual that writes `register` for it counts."""
    ways: dict[tuple[str, int], str] = {}
    for table, digit in (("holding", 4), ("input", 3)):
        ways[table, register] = "0"
        if register:
            ways[table, register - 1] = "1"
        for base in (digit * 10_000, digit * 100_000):
            if 1 <= register - base <= min(65_536, base // digit):
                ways[table, register - base - 1] = f"{digit}x"
    return ways


def _unit(written: str) -> tuple[str, Fraction]:
    """The registry's symbol and the factor that leads to it. Raises InputError."""
    if not written or written in units.UNITS:
        return written, Fraction(1)
    better = units.mend(written)
    if better is None:
        raise InputError(
            _('unit "{unit}" is not known; leave it out, or write one like V, A, kW, Cel, %RH').format(
                unit=written
            )
        )
    return better[0], Fraction(better[1].strip('"') or 1)


def _order(one: Candidate) -> tuple[float, str, int, Form, int]:
    return (-one.score, one.table, one.address, one.form, abs(one.power))


def _candidates(snapshots: Sequence[Snapshot], seen: Seen, moves: bool | None) -> list[Candidate]:
    number = Fraction(seen.number)
    slack = _slack(seen)
    named = {} if seen.register is None else wire_addresses(seen.register)
    out = []
    for form in FORMS:
        # raw x 10^power lies within `slack` of the display for raw within these bounds
        powers = _FLOAT_POWERS if form.is_float else _INTEGER_POWERS
        bounds = [
            (power, (number - slack) / Fraction(10) ** power, (number + slack) / Fraction(10) ** power)
            for power in powers
        ]
        windows = [(power, float(low), float(high)) for power, low, high in bounds]
        for table, registers in snapshots[0].items():
            for address in registers:
                raws = [decode(form, snapshot.get(table, {}), address) for snapshot in snapshots]
                if raws[0] is None:
                    continue
                for power, low, high in windows:
                    near = [raw for raw in raws if raw is not None and low <= raw <= high]
                    if near:
                        place = (table, address)
                        words = [registers[at] for at in range(address, address + form.words)]
                        one = _candidate(seen, place, form, power, words, near)
                        if one is not None:
                            bonus = _over_time(raws, low, high, moves)
                            bonus += _NAMED_BITS if place in named else 0
                            out.append(replace(one, score=one.score + bonus))
    return out


def _candidate(
    seen: Seen,
    place: tuple[str, int],
    form: Form,
    power: int,
    words: Sequence[int],
    near: Sequence[int | float],
) -> Candidate | None:
    """The best of the readings that are near the display; None when the scale is too coarse for it."""
    scale = Fraction(10) ** power
    fits = [_fit(_value(form, raw, scale), seen) for raw in near]
    best = min(range(len(near)), key=lambda index: list(Fit).index(fits[index]))
    fit = fits[best]
    coarse = not form.is_float and power > -seen.places
    if coarse and fit is not Fit.EXACT:
        return None
    value = _value(form, near[best], scale)
    if fit is Fit.NEAR and abs(value - Fraction(seen.number)) * _APART > abs(Fraction(seen.number)):
        return None
    width = 2 * _slack(seen) if fit is Fit.NEAR else seen.step
    matches = _matches(form, near[best], width / scale)
    if fit is Fit.EXACT:
        # Among all the doubles that show as "15", 15.0 itself is far from being only one of 2^49.
        matches = min(matches, _EXACT_BITS)
    score = (
        sum(map(_rarity, words))
        - matches
        + _usual(form)
        + (_SIGNED_BITS if form.type[0] == "i" and near[best] < 0 else 0)
        + _scale_bits(form, power, seen)
        + _FIT_BITS[fit]
    )
    return Candidate(*place, form, power, value, fit, score)


def _value(form: Form, raw: int | float, scale: Fraction) -> Fraction:
    if form.type == "f32":
        raw = float(f"{raw:.{_FLOAT_DIGITS}g}")
    return Fraction(str(raw)) * scale if form.is_float else Fraction(raw) * scale


def _slack(seen: Seen) -> Fraction:
    """How far from the display a value may be: it may have moved, or the display rounds."""
    return max(_NEAR_STEPS * seen.step, abs(Fraction(seen.number)) * _NEAR)


def _fit(value: Fraction, seen: Seen) -> Fit:
    number = Fraction(seen.number)
    if value == number:
        return Fit.EXACT
    if abs(value - number) <= seen.step / 2:
        return Fit.ROUNDED
    if 0 <= abs(value) - abs(number) < seen.step and (value < 0) == (seen.number.is_signed()):
        return Fit.TRUNCATED
    return Fit.NEAR


def _rarity(word: int) -> float:
    """Bits of a register's content: zero and small numbers are common."""
    if word == 0:
        return 1.5
    chance = 0.2 / 0xFFFF + (0.2 / 256 if word < 256 else 0) + (0.25 / 10_000 if word < 10_000 else 0)
    return -math.log2(chance)


def _matches(form: Form, raw: int | float, width: Fraction) -> float:
    """Bits of how many contents would fit as well: numbers of the type within `width`."""
    if not form.is_float:
        return math.log2(max(1.0, float(width)))
    spacing = math.ulp(raw) * (1 if form.type == "f64" else 2.0**29)
    return math.log2(max(1.0, float(width) / spacing))


def _usual(form: Form) -> int:
    """Bits of a type and an order, below 0: how much rarer than u16 in Modbus' own order."""
    return _TYPE_BITS.get(form.type, _TYPE_OTHER) + _ORDER_BITS[form.order]


def _scale_bits(form: Form, power: int, seen: Seen) -> float:
    if form.is_float:
        return _FLOAT_SCALE_BITS[power]
    finer = -seen.places - power  # digits more than the display shows
    if finer == 0:
        return 0
    return _FINER_BITS + (finer - 1) * _FINER_MORE_BITS if finer > 0 else _COARSER_BITS * -finer


def _over_time(raws: Sequence[int | float | None], low: float, high: float, moves: bool | None) -> float:
    """Bits for how the readings after the first one behave."""
    there = [raw for raw in raws if raw is not None]
    margin = 10 * (high - low)
    bits = 0.0 if all(low - margin <= raw <= high + margin for raw in there) else _ASTRAY_BITS
    if moves is not None and len(there) > 1:
        bits += (_MOVES_BITS if moves else _STAYS_BITS)[len(set(there)) > 1]
    return bits


def _leaders(candidates: Sequence[Candidate]) -> dict[Form, list[Candidate]]:
    """Those that are good enough to support others of their form."""
    best = max((one.score for one in candidates), default=0.0)
    leaders: dict[Form, list[Candidate]] = {}
    for one in candidates:
        if one.score >= best - _FAMILY_WITHIN:
            leaders.setdefault(one.form, []).append(one)
    return leaders


def _supported(one: Candidate, others: Sequence[Mapping[Form, Sequence[Candidate]]]) -> Candidate:
    """With the bits that the other values' candidates of the same form give it.

    A device with an unusual form is met but once, so those who share it share the bits that this costs.
    """
    bits = 0.0
    sharing = 1
    for leaders in others:
        allies = [ally for ally in leaders.get(one.form, ()) if not ally.overlaps(one)]
        if allies:
            same = [ally for ally in allies if ally.table == one.table]
            close = any(abs(ally.address - one.address) <= _CLOSE for ally in same)
            sharing += 1
            bits += _FAMILY_BITS + _TABLE_BITS * bool(same) + _CLOSE_BITS * close
    return replace(one, score=one.score + bits - _usual(one.form) * (1 - 1 / sharing))
