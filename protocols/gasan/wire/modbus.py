"""Modbus reads (functions 3 and 4): what RTU and TCP have in common.

Source: MODBUS Application Protocol V1.1b3 (6.3, 6.4, 7).

Pure: no clock, no line. An answer is judged against the request that it must answer, and the verdict is a
quality code of ``gasan.wire.quality``: bytes from outside never raise. Only a read that no device can answer
raises ``ModbusError``. Nothing here allocates.
"""

from gasan.wire.quality import BAD_ANSWER, EXCEPTION, GOOD

MAX_REGISTERS = 125  # of one read, by the specification
DONE = -1  # returned by a waiting answer's step: there is a verdict


class ModbusError(ValueError):
    """A read that no device can answer: count, register, unit or function is out of the specification."""


def put_read(buf: bytearray, pos: int, unit: int, function: int, register: int, count: int) -> None:
    """Write unit, function, first register and count: 6 bytes at ``buf[pos]``."""
    if not (function == 3 or function == 4) or not 0 <= unit <= 255:
        raise ModbusError("function must be 3 or 4, unit 0..255")
    if not 1 <= count <= MAX_REGISTERS or register < 0 or register + count > 65536:
        raise ModbusError("a read takes 1..125 registers within 0..65535")
    buf[pos] = unit
    buf[pos + 1] = function
    buf[pos + 2] = register >> 8
    buf[pos + 3] = register & 0xFF
    buf[pos + 4] = 0
    buf[pos + 5] = count


def judge(buf: bytearray, pos: int, size: int, unit: int, function: int, count: int) -> int:
    """Quality of ``size`` bytes at ``buf[pos]`` (unit, function, rest; no CRC) as the answer to that read.

    ``GOOD``: the registers begin at ``pos + 3``; ``EXCEPTION + code``: the device refused; ``BAD_ANSWER``.
    """
    if size >= 3 and buf[pos] == unit:
        if buf[pos + 1] == function and buf[pos + 2] == 2 * count and size == 3 + 2 * count:
            return GOOD
        if buf[pos + 1] == function | 0x80 and size == 3 and 1 <= buf[pos + 2] <= 15:
            return EXCEPTION + buf[pos + 2]
    return BAD_ANSWER


def reorder(src: bytearray, pos: int, registers: int, order: int, out: bytearray) -> None:
    """Copy a value of ``registers`` registers from ``src[pos]`` to ``out`` as big-endian bytes.

    ``order``: 0 ABCD (as the specification has it), 1 CDAB (low word first), 2 BADC (the bytes of each word
    swapped), 3 DCBA (both).
    """
    for i in range(registers):
        k = pos + 2 * (registers - 1 - i if order & 1 else i)
        out[2 * i] = src[k + 1 if order & 2 else k]
        out[2 * i + 1] = src[k if order & 2 else k + 1]
