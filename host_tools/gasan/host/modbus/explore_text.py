"""What stands in a device's registers, as tables and sentences. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from gasan.host.i18n import _
from gasan.host.modbus.blocks import Reading
from gasan.host.modbus.forms import FORMS, bits_of, decode, plausible, text_of
from gasan.host.modbus.seen import Candidate, Fit, Seen, wire_addresses
from gasan.host.modbus.settings import units_text
from gasan.host.wording import aligned

__all__ = ["manual_number", "meanings", "number_text", "register_lines", "seen_lines"]

_DIGIT = {"holding": 4, "input": 3}
_FEW_BITS = 4
_ZEROS_FOLDED = 3
_SHOWN = 5
_TIE_BITS = 2.5


def manual_number(table: str, address: int) -> str:
    """The number that manuals counting from 1 give a register: 40001, or 410000 beyond 49999."""
    number = address + 1
    return f"{_DIGIT[table]}{number:04d}"


def number_text(value: int | float | Fraction) -> str:
    """A number without digits that mean nothing."""
    if isinstance(value, Fraction):
        value = value.numerator if value.denominator == 1 else float(value)
    if isinstance(value, int):
        return str(value)
    return f"{Decimal(f'{value:.7g}'):f}"


def meanings(registers: Mapping[int, int], address: int) -> list[tuple[str, str]]:
    """(form, value) of everything plausible that begins at a register, apart from the plain number."""
    out = []
    for form in FORMS:
        if form.words > 2 or str(form) == "u16":
            continue
        value = decode(form, registers, address)
        if value is not None and plausible(form, value, registers, address):
            out.append((str(form), number_text(value)))
    bits = bits_of(registers[address])
    if 0 < len(bits) <= _FEW_BITS:
        out.append(("bits", ",".join(map(str, bits))))
    text, _words = text_of(registers, address)
    if text:
        out.append(("text", f'"{text}"'))
    return out


def register_lines(reading: Reading) -> list[str]:
    """A table: address on the wire, number in manuals, hexadecimal, number, and what else it may be."""
    if reading.no_table:
        return [_("{table}: the device has no such registers").format(table=reading.table)]
    registers = reading.registers
    rows = [[_("address"), _("manual"), "hex", "u16", _("may also be")]]
    for first, last in _runs(registers):
        word = registers[first]
        address = f"{first}" if first == last else f"{first}-{last}"
        manual = manual_number(reading.table, first)
        if first != last:
            manual += f"-{manual_number(reading.table, last)}"
        also = meanings(registers, first) if first == last else []
        told = "; ".join(f"{form} {value}" for form, value in also)
        rows.append([address, manual, f"{word:04x}", str(word), told])
    lines = [_("{table} registers, addresses as on the wire (from 0):").format(table=reading.table)]
    if len(rows) > 1:
        lines += aligned(rows, right={0, 1, 3})
    if reading.refused:
        lines.append(_("not there: {addresses}").format(addresses=units_text(reading.refused)))
    if reading.silent:
        lines.append(_("no answer: {addresses}").format(addresses=units_text(reading.silent)))
    return lines


def seen_lines(seen: Seen, candidates: Sequence[Candidate]) -> list[str]:
    """What fits a value, best first."""
    if not candidates:
        return [
            _(
                "{value}: nothing fits. Read it again while it stands still, read a larger range, or both."
            ).format(value=seen.text)
        ]
    lines = [_("{value} fits:").format(value=seen.text)]
    shown: list[list[Candidate]] = []
    for one in candidates:
        for group in shown:
            if one.overlaps(group[0]) and one.value == group[0].value:
                group.append(one)
                break
        else:
            if len(shown) < _SHOWN:
                shown.append([one])
    for number, (best, *others) in enumerate(shown, 1):
        lines.append(f"  {number}. {_place(best)}: {_meaning(best)}")
        near = [other for other in others if other.score > best.score - _TIE_BITS]
        if near:
            told = ", ".join(
                f"{other.form}" + (f" @{other.address}" if other.address != best.address else "")
                for other in near
            )
            lines.append("     " + _("or, not to be told apart by this value: {forms}").format(forms=told))
    lines += _counting(seen, candidates[0])
    return lines


def _place(one: Candidate) -> str:
    return _("{table} address {address} (from 0; manuals from 1: {one} or {long})").format(
        table=one.table,
        address=one.address,
        one=one.address + 1,
        long=manual_number(one.table, one.address),
    )


def _meaning(one: Candidate) -> str:
    scale = "" if one.power == 0 else f" x {number_text(one.scale)}"
    return f"{one.form}{scale} = {'~' if one.fit is Fit.NEAR else ''}{number_text(one.value)}"


def _counting(seen: Seen, best: Candidate) -> list[str]:
    """How the manual counts, when its number for the value was given."""
    if seen.register is None:
        return []
    way = wire_addresses(seen.register).get((best.table, best.address))
    number = seen.register
    if way is None:
        return [_("  The manual's {number} does not lead there, however it counts.").format(number=number)]
    if way == "0":
        return [_("  So the manual's {number} counts from 0, as on the wire.").format(number=number)]
    return [
        _("  So the manual's {number} counts from 1: on the wire it is {address}.").format(
            number=number, address=best.address
        )
    ]


def _runs(registers: Mapping[int, int]) -> Iterable[tuple[int, int]]:
    """First and last address of each line: registers of their own, zeros folded."""
    addresses = sorted(registers)
    index = 0
    while index < len(addresses):
        first = last = addresses[index]
        while registers.get(last + 1, 1) == 0 and registers[first] == 0:
            last += 1
        if last - first + 1 < _ZEROS_FOLDED:
            last = first
        yield first, last
        index += last - first + 1
