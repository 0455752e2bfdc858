"""The rules of a site file for what may be written, and what a compiled config says of it."""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.profiles import TYPES, ModbusPlace, Profile, ProfileChannel
from gasan.host.site_tables import WriteTable
from gasan.host.toml_file import Document
from gasan.host.toml_lines import Path as Key
from gasan.host.writes import FLOAT, READ_BACK, SIGNED, TO_ALL, UNSIGNED

__all__ = ["Writable", "check_writes", "compiled_write"]

_COIL, _REGISTER, _COILS, _REGISTERS, _MASK, _READ_WRITE = 5, 6, 15, 16, 22, 23
_FORMS = {"f32": ">f", "f64": ">d"}


@dataclass(frozen=True)
class Writable:
    """What the site file allows for one channel; least, most and step as in the registers."""

    function: int
    kind: int
    least: int | bytes
    most: int | bytes
    step: int
    pause_ms: int
    read_back: bool
    who: tuple[str, ...]
    broadcast: bool


def check_writes(
    document: Document,
    path: Key,
    profile: Profile,
    tables: dict[str, WriteTable],
    names: list[str],
    *,
    line: bool,
    forced: int | None,
) -> dict[str, Writable]:
    """Of each channel under 'write'; notes every mistake. names: the channels that the device reads.

    line: it is on a serial line, where there are broadcasts. forced: its 'write_function'.
    """
    found: dict[str, Writable] = {}
    for name, table in tables.items():
        here = (*path, "write", name)
        channel = profile.channels.get(name)
        if channel is None or name not in names:
            document.error(
                here,
                _('"{name}" is not among the channels that this device reads').format(name=name),
                instead(name, names),
            )
            continue
        if why := _cannot(channel):
            document.error(
                here,
                _('"{name}" of profile {profile} cannot be written: {why}').format(
                    name=name, profile=profile.name, why=why
                ),
                _(
                    "remove it; a register is written only where the maker's manual says so, and the "
                    'profile has access = "read-write"'
                ),
            )
            continue
        if table.broadcast and not line:
            document.error(
                (*here, "broadcast"),
                _("Modbus TCP knows no broadcasts: each server is one connection"),
                _("remove it"),
            )
        made = _writable(document, here, channel, table, forced)
        if made is not None:
            found[name] = made
    return found


def _cannot(channel: ProfileChannel) -> str:
    place = channel.place
    if not channel.writable:
        return _("the profile says that it is read only")
    if not isinstance(place, ModbusPlace) or place.function not in (1, 3):
        return _("it is no holding register and no coil")
    if TYPES.get(channel.type, 0) < 2 and place.function == 3:
        return _("its type takes part of a register, or is text")
    if getattr(channel, "form", 0) or getattr(channel, "decimals", None):
        return _("its form cannot be written yet")
    if channel.mask is not None and channel.words != 1:
        return _("only bits of a single register can be written")
    return ""


def _writable(
    document: Document, path: Key, channel: ProfileChannel, table: WriteTable, forced: int | None
) -> Writable | None:
    assert isinstance(channel.place, ModbusPlace)
    words = 0 if channel.place.function == 1 else channel.words
    kind = FLOAT if channel.type in _FORMS else SIGNED if channel.type.startswith("i") else UNSIGNED
    numbers = sorted(channel.enum)
    low, high = table.min, table.max
    if (low is None or high is None) and not numbers and words:
        document.error(
            path,
            _("'min' and 'max' are missing"),
            _("write the least and the greatest value that may ever be written, in {unit}").format(
                unit=channel.unit or "1"
            ),
        )
        return None
    if low is not None and high is not None and low > high:
        document.error((*path, "min"), _("'min' is above 'max'"), _("exchange them"))
        return None

    def raw(value: Fraction) -> Fraction:
        return (value * channel.den - channel.off) / channel.num

    ends = [
        Fraction((numbers or [0])[0]) if low is None else raw(low),
        Fraction((numbers or [1])[-1]) if high is None else raw(high),
    ]
    ends.sort()
    bits = 16 * words if words else 1
    if channel.mask is not None:
        bits = channel.mask.bit_length()
    step = table.step * abs(Fraction(channel.den, channel.num)) if table.step is not None else Fraction(0)
    function = _function(document, path, channel, table, words, forced)
    if table.broadcast and function == _READ_WRITE:
        document.error(
            (*path, "broadcast"),
            _("a broadcast reads nothing, so function 23 cannot be one"),
            _("write another function, or remove it"),
        )
    if table.broadcast and channel.mask is not None and function != _MASK:
        document.error(
            (*path, "broadcast"),
            _(
                "bits of a register are sent to all devices by function 22 only: with another the rest of it "
                "would be this device's"
            ),
            _("remove it"),
        )
    if not table.read_back and channel.mask is not None and function != _MASK:
        document.error(
            (*path, "read_back"),
            _(
                "bits of a register are written without a read by function 22 only: with another the rest of "
                "it has to be read first"
            ),
            _("remove it, or write function = 22"),
        )
    limits: tuple[int | bytes, int | bytes]
    if kind == FLOAT:
        form = _FORMS[channel.type]
        try:
            limits = struct.pack(form, float(ends[0])), struct.pack(form, float(ends[1]))
        except OverflowError:
            document.error(
                path, _("'min' and 'max' do not fit into {type}").format(type=channel.type), _("write others")
            )
            return None
        if step:
            document.error(
                (*path, "step"),
                _("'step' does not go with type {type}").format(type=channel.type),
                _("remove it"),
            )
    else:
        least, most = math.ceil(ends[0]), math.floor(ends[1])
        room = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind == SIGNED else (0, (1 << bits) - 1)
        if not room[0] <= least <= most <= room[1]:
            document.error(
                path,
                _("'min' and 'max' do not fit into {type}").format(type=channel.type),
                _("write values from {low} to {high}").format(
                    low=_shown(room[0], channel), high=_shown(room[1], channel)
                ),
            )
            return None
        limits = least, most
        if step.denominator != 1 or step < 0:
            document.error(
                (*path, "step"),
                _("'step' is no multiple of what the register can hold, {least}").format(
                    least=_shown(1, channel, offset=False)
                ),
                _("write a multiple of it"),
            )
            return None
    coarse = int(step) if step > 1 else 0
    return Writable(
        function,
        kind,
        limits[0],
        limits[1],
        coarse,
        table.rate,
        table.read_back,
        tuple(table.who),
        table.broadcast,
    )


def _function(
    document: Document,
    path: Key,
    channel: ProfileChannel,
    table: WriteTable,
    words: int,
    forced: int | None,
) -> int:
    """By type: a coil, one register, several, or bits of one; 'function' has another do it that can, and
    'write_function' of the device does so for all its registers.
    """
    others: tuple[int, ...]
    if not words:
        usual, others = _COIL, (_COIL, _COILS)
    elif channel.mask is not None:
        usual, others = _MASK, (_MASK, _REGISTER, _REGISTERS)
    elif words == 1:
        usual, others = _REGISTER, (_REGISTER, _REGISTERS, _READ_WRITE)
    else:
        usual, others = _REGISTERS, (_REGISTERS, _READ_WRITE)
    if table.function is None and words and forced is not None:
        if forced in others:
            return forced
        document.error(
            path,
            _("write_function = {function} cannot write this channel, which has {count} registers").format(
                function=forced, count=words
            ),
            _("remove the channel's table, or write 'function' in it"),
        )
        return usual
    if table.function is None or table.function in others:
        return table.function or usual
    document.error(
        (*path, "function"),
        _("function {function} cannot write this channel").format(function=table.function),
        _("write one of {functions}, or remove it").format(functions=", ".join(map(str, others))),
    )
    return usual


def _shown(raw: int, channel: ProfileChannel, offset: bool = True) -> str:
    value = Fraction(raw * channel.num + (channel.off if offset else 0), channel.den)
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.10g}"


def compiled_write(number: int, channel: ProfileChannel, rule: Writable) -> list[Any]:
    """The rule as a node has it (key 30 of a device)."""
    place = channel.place
    assert isinstance(place, ModbusPlace)
    words = 0 if place.function == 1 else channel.words
    entry: list[Any] = [
        number, rule.function, place.address, words, place.order, rule.kind, rule.least, rule.most, rule.step,
        rule.pause_ms, (READ_BACK if rule.read_back else 0) | (TO_ALL if rule.broadcast else 0),
    ]  # fmt: skip
    if channel.mask is not None:
        entry.append([channel.shift or 0, channel.mask])
    return entry
