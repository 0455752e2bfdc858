"""A Modbus device made from a profile: it serves values from where the profile says, in its types and orders.

A mistake in the profile is a mistake of this device as well: what it serves has to be judged by figures that
are not from the profile, as in hil_tests/tests/profiles_by_hand.txt.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from gasan.hil.served import ServedLog
from gasan.host.profiles import COMPLEMENT, MAGNITUDE, ModbusPlace, Profile, ProfileChannel
from gasan.wire.modbus import reorder
from pymodbus.constants import ExcCodes
from pymodbus.simulator import DataType, SimData, SimDevice

__all__ = ["ProfileDevice", "Value"]

Value = Decimal | int | str | None

_FORMS = {
    "u8": ">B",
    "i8": ">b",
    "u16": ">H",
    "i16": ">h",
    "u32": ">I",
    "i32": ">i",
    "u64": ">Q",
    "i64": ">q",
}
_FLOATS = {"f32": ">f", "f64": ">d"}
_NAN16 = 0x7E00
_F16, _BCD = 1, 2  # forms, as in `gasan.host.store.meaning`
_DISCRETE = 2  # the functions up to this one read bits
_SWAPPED = 2  # in an order: the bytes of each register


class ProfileDevice:
    """A device that has the registers of a Modbus profile and no others.

    Every register is 0 until a channel that stands there is `set`. registers: by function and address; of
    functions 1 and 2 bits.
    """

    def __init__(self, profile: Profile, values: Mapping[str, Value] | None = None) -> None:
        if profile.kind != "modbus":
            raise ValueError(f"{profile.name} is not a Modbus profile")
        self.profile = profile
        self.registers: dict[int, dict[int, int]] = {}  # function -> address -> register
        for channel in profile.channels.values():
            place = _place(channel)
            there = self.registers.setdefault(place.function, {})
            there.update((place.address + word, 0) for word in range(channel.words))
        for name, value in (values or {}).items():
            self.set(name, value)

    def set(self, name: str, value: Value) -> None:
        """Make a channel mean `value`: a number, a word of the channel's enumeration, or a text.

        None is its "no value": the least of its numbers for that, or NaN. A floating-point register takes the
        nearest figure that it can hold. Raises ValueError when no integer register means `value`. A channel
        of some bits leaves the other bits of its registers as they are; one whose decimals stand in another
        register takes as many as stand there now.
        """
        channel = self.profile.channels[name]
        place = _place(channel)
        if place.function <= _DISCRETE:
            self.registers[place.function][place.address] = int(bool(_whole(channel, value, 0)))
        elif channel.type == "text":
            self._put(channel, _text(channel, value))
        elif channel.type in _FLOATS:
            self._put(channel, _float(channel, value))
        elif channel.type in ("u8", "i8"):
            (byte,) = struct.pack(_FORMS["u8"], self._raw(channel, value) & 0xFF)
            there = self.registers[place.function]
            kept = there[place.address]
            high = place.order & _SWAPPED
            there[place.address] = kept & 0x00FF | byte << 8 if high else kept & 0xFF00 | byte
        else:
            raw = self._raw(channel, value)
            try:
                self._put(channel, struct.pack(_FORMS[channel.type], raw))
            except struct.error:
                raise ValueError(f"{name} = {value} is beyond a {channel.type}") from None

    def _raw(self, channel: ProfileChannel, value: Value) -> int:
        """The integer to pack, with the bits around it as they are."""
        places = 0
        if channel.decimals is not None:
            other = _place(self.profile.channels[channel.decimals])
            places = self.registers[other.function][other.address]
        number = _whole(channel, value, places)
        if channel.type == "i8" and not -128 <= number <= 127 and value is not None:
            raise ValueError(f"{channel.name} = {value} is beyond a i8")
        if value is not None:
            number = _formed(channel, number, value)
        if channel.mask is None:
            return number if value is not None else _signed(channel, number)
        shift = channel.shift or 0
        if number & ~channel.mask:
            raise ValueError(f"{channel.name} = {value} does not fit into its bits")
        kept = int.from_bytes(self._bytes(channel), "big") & ~(channel.mask << shift)
        return kept | number << shift

    def _put(self, channel: ProfileChannel, value: bytes) -> None:
        """Put the bytes of a value, the most significant first, where and how the channel has them."""
        place = _place(channel)
        there = self.registers[place.function]
        out = bytearray(len(value))
        reorder(bytearray(value), 0, channel.words, place.order, out)  # its own inverse
        for word in range(channel.words):
            there[place.address + word] = int.from_bytes(out[2 * word : 2 * word + 2], "big")

    def _bytes(self, channel: ProfileChannel) -> bytes:
        """What stands in a channel's registers, the most significant byte first."""
        place = _place(channel)
        there = self.registers[place.function]
        raw = b"".join(there[place.address + word].to_bytes(2, "big") for word in range(channel.words))
        out = bytearray(len(raw))
        reorder(bytearray(raw), 0, channel.words, place.order, out)
        return bytes(out)

    def at(self, bus: str, unit: int, log: ServedLog) -> SimDevice:
        """This device as a unit of a bus; every answer is logged before it leaves."""

        async def action(
            function: int,
            first: int,
            address: int,
            count: int,
            registers: list[int],
            values: list[int] | list[bool] | None,
        ) -> ExcCodes | None:
            there = self.registers.get(function)
            if values is not None or there is None:
                return ExcCodes.ILLEGAL_FUNCTION
            if function <= _DISCRETE:  # `count` is of the registers that the bits are kept in
                bits = range(address, address - address % 16 + 16 * count)
                if not any(at in there for at in bits):
                    return ExcCodes.ILLEGAL_ADDRESS
                at = address // 16 - first
                served = [
                    sum(there.get(16 * (at + word) + bit, 0) << bit for bit in range(16))
                    for word in range(count)
                ]
                registers[at : at + count] = served
                log.request(bus, self.profile.name, unit, function, address, served)
                return None
            if count > self.profile.max_registers:
                return ExcCodes.ILLEGAL_VALUE
            if any(at not in there for at in range(address, address + count)):
                return ExcCodes.ILLEGAL_ADDRESS
            served = [there[at] for at in range(address, address + count)]
            registers[address - first : address - first + count] = served
            log.request(bus, self.profile.name, unit, function, address, served)
            return None

        # `action` says which of all these are there.
        everywhere = SimData(0, count=65536, values=0, datatype=DataType.REGISTERS)
        return SimDevice(unit, simdata=[everywhere], action=action, use_bit_addressing=True)


def _place(channel: ProfileChannel) -> ModbusPlace:
    assert isinstance(channel.place, ModbusPlace)  # a Modbus profile has only such channels
    return channel.place


def _unscaled(channel: ProfileChannel, value: Decimal | int | str) -> Fraction:
    return (Fraction(value) * channel.den - channel.off) / channel.num


def _whole(channel: ProfileChannel, value: Value, places: int) -> int:
    """The number that means `value`, before its form and before it is shifted to its bits."""
    if value is None:
        if channel.form == _F16 and not channel.missing:
            return _NAN16
        if not channel.missing:
            raise ValueError(f'{channel.name} has no number for "no value"')
        return channel.missing[0]
    if channel.enum:
        for number, word in channel.enum.items():
            if word == value:
                return number
        raise ValueError(f'{channel.name} has no "{value}"')
    raw: Fraction = _unscaled(channel, value) * 10**places
    if channel.form == _F16:
        return int.from_bytes(struct.pack(">e", float(raw)), "big")
    if raw.denominator != 1:
        raise ValueError(f"{channel.name} = {value} is between two registers' values")
    return raw.numerator


def _formed(channel: ProfileChannel, number: int, value: Value) -> int:
    """The bits of a number."""
    mask = channel.mask or 0
    top = mask + 1 >> 1
    if channel.form == _BCD:
        digits = str(number)
        if not digits.isdecimal() or int(digits, 16) > mask:
            raise ValueError(f"{channel.name} = {value} has too many digits, or a sign")
        return int(digits, 16)
    if channel.form == MAGNITUDE:
        if abs(number) >= top:
            raise ValueError(f"{channel.name} = {value} is beyond its bits")
        return top - number if number < 0 else number
    if channel.form == COMPLEMENT:
        if not -top <= number < top:
            raise ValueError(f"{channel.name} = {value} is beyond its bits")
        return number & mask
    return number


def _signed(channel: ProfileChannel, number: int) -> int:
    """A number for "no value" as its type packs it: 0x8000 is -32768 of an i16."""
    bits = 8 * struct.calcsize(_FORMS[channel.type])
    return number - (1 << bits) if channel.type.startswith("i") and number >> (bits - 1) == 1 else number


def _float(channel: ProfileChannel, value: Value) -> bytes:
    """The bytes of a float."""
    form = _FLOATS[channel.type]
    if value is not None:
        return struct.pack(form, float(_unscaled(channel, value)))
    size = struct.calcsize(form)
    return channel.missing[0].to_bytes(size, "big") if channel.missing else struct.pack(form, math.nan)


def _text(channel: ProfileChannel, value: Value) -> bytes:
    """The bytes of a text, with zeros behind it."""
    data = str("" if value is None else value).encode("ascii")
    if len(data) > 2 * channel.length:
        raise ValueError(f"{channel.name} has room for {2 * channel.length} characters")
    return data.ljust(2 * channel.length, b"\0")
