"""A prompt slave inside the bus: answers at the first moment that the specification allows.

Its registers tell which request they answer: a register with an even address holds ``tag(unit, address)``,
one with an odd address the serial number of the request (16 bits). So a value of another address or of
another time than asked shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gasan.hil.rs485.faults import with_crc
from gasan.wire.modbus_rtu import crc16

__all__ = ["Responder", "Served", "tag"]


class Served(NamedTuple):
    """One request that was answered; ``time`` is when the request had ended, in ns of the bus's clock."""

    time: int
    unit: int
    function: int
    register: int
    registers: int
    serial: int


def tag(unit: int, register: int) -> int:
    """What an even register holds."""
    return (unit * 0x0101 ^ register * 0x9E37 ^ 0x5A5A) & 0xFFFF


@dataclass
class Responder:
    """Answers functions 3 and 4 of ``units``; registers from ``limit`` on are refused as illegal addresses.

    turnaround_ms: extra time that a unit takes before it answers. refuses: unit -> (code, register, n): every
    n-th read that touches this register or one behind it is refused with the exception code.
    """

    units: Sequence[int] = (1,)
    limit: int = 0x8000
    turnaround_ms: Mapping[int, float] = field(default_factory=dict)
    refuses: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    served: list[Served] = field(default_factory=list)
    _touched: int = 0

    def respond(self, frame: bytes, time: int) -> tuple[int, bytes] | None:
        """The ns beyond the silence and the answer to a frame that ended at ``time``; None: not for us."""
        if len(frame) != 8 or frame[0] not in self.units or crc16(frame, 0, 8):
            return None
        unit, function = frame[0], frame[1]
        register, registers = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
        extra = round(self.turnaround_ms.get(unit, 0) * 1_000_000)
        if function not in (3, 4):
            return extra, with_crc(bytes([unit, function | 0x80, 1]))
        if not 1 <= registers <= 125 or register + registers > self.limit:
            return extra, with_crc(bytes([unit, function | 0x80, 2]))
        code, bound, every = self.refuses.get(unit, (0, 0x10000, 1))
        if register + registers > bound:
            self._touched += 1
            if self._touched % every == 0:
                return extra, with_crc(bytes([unit, function | 0x80, code]))
        serial = len(self.served)
        self.served.append(Served(time, unit, function, register, registers, serial))
        words = (serial & 0xFFFF if at & 1 else tag(unit, at) for at in range(register, register + registers))
        data = b"".join(word.to_bytes(2, "big") for word in words)
        return extra, with_crc(bytes([unit, function, 2 * registers]) + data)
