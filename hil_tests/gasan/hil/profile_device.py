"""A Modbus device made from a profile: it serves values from where the profile says, in its types and orders.

A mistake in the profile is a mistake of this device as well: what it serves has to be judged by figures that
are not from the profile, as in hil_tests/tests/profiles_by_hand.txt.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from gasan.hil.served import ServedLog
from gasan.host.profiles import ModbusPlace, Profile, ProfileChannel
from gasan.wire.modbus import reorder
from pymodbus.constants import ExcCodes
from pymodbus.simulator import DataType, SimData, SimDevice

__all__ = ["ProfileDevice", "Value"]

Value = Decimal | int | str

_FORMS = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "u64": ">Q", "i64": ">q"}
_FLOATS = {"f32": ">f", "f64": ">d"}


class ProfileDevice:
    """A device that has the registers of a Modbus profile and no others.

    Every register is 0 until a channel that stands there is `set`. Each function has its own registers.
    """

    def __init__(self, profile: Profile, values: Mapping[str, Value] | None = None) -> None:
        if profile.kind != "modbus":
            raise ValueError(f"{profile.name} is not a Modbus profile")
        self.profile = profile
        self._registers: dict[int, dict[int, int]] = {}  # function -> address -> register
        for channel in profile.channels.values():
            place = _place(channel)
            there = self._registers.setdefault(place.function, {})
            there.update((place.address + word, 0) for word in range(channel.words))
        for name, value in (values or {}).items():
            self.set(name, value)

    def set(self, name: str, value: Value) -> None:
        """Make a channel mean `value`: a number, or a word of the channel's enumeration.

        A floating-point register takes the nearest figure that it can hold. Raises ValueError when no integer
        register means `value`. A channel of some bits leaves the other bits of its registers as they are.
        """
        channel = self.profile.channels[name]
        place = _place(channel)
        there = self._registers[place.function]
        if channel.type in _FLOATS:
            words = struct.pack(_FLOATS[channel.type], float(_unscaled(channel, value)))
        else:
            raw = _whole(channel, value)
            if channel.mask is not None:
                shift = channel.shift or 0
                if raw & ~channel.mask:
                    raise ValueError(f"{name} = {value} does not fit into its bits")
                kept = int.from_bytes(self._bytes(channel), "big") & ~(channel.mask << shift)
                raw = kept | raw << shift
            try:
                words = struct.pack(_FORMS[channel.type], raw)
            except struct.error:
                raise ValueError(f"{name} = {value} is beyond a {channel.type}") from None
        out = bytearray(len(words))
        reorder(bytearray(words), 0, channel.words, place.order, out)  # its own inverse
        for word in range(channel.words):
            there[place.address + word] = int.from_bytes(out[2 * word : 2 * word + 2], "big")

    def _bytes(self, channel: ProfileChannel) -> bytes:
        """What stands in a channel's registers, the most significant byte first."""
        place = _place(channel)
        there = self._registers[place.function]
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
            there = self._registers.get(function)
            if values is not None or there is None:
                return ExcCodes.ILLEGAL_FUNCTION
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
        return SimDevice(unit, simdata=[everywhere], action=action)


def _place(channel: ProfileChannel) -> ModbusPlace:
    assert isinstance(channel.place, ModbusPlace)  # a Modbus profile has only such channels
    return channel.place


def _unscaled(channel: ProfileChannel, value: Value) -> Fraction:
    return (Fraction(value) * channel.den - channel.off) / channel.num


def _whole(channel: ProfileChannel, value: Value) -> int:
    """The integer that means `value`, before it is shifted to its bits."""
    if channel.enum:
        for number, word in channel.enum.items():
            if word == value:
                return number
        raise ValueError(f'{channel.name} has no "{value}"')
    raw = _unscaled(channel, value)
    if raw.denominator != 1:
        raise ValueError(f"{channel.name} = {value} is between two registers' values")
    return raw.numerator
