"""Modbus reads (functions 3 and 4): what RTU and TCP have in common.

Source: MODBUS Application Protocol V1.1b3 (6.3, 6.4, 7).

Pure: no clock, no line. An answer is judged against the request that it must answer, and the verdict is a
quality code of ``gasan.wire.quality``: bytes from outside never raise. Only a read that no device can answer
raises ``ModbusError``. Nothing here allocates.
"""

from gasan.wire.quality import BAD_ANSWER, EXCEPTION, GOOD


class ModbusError(ValueError):
    """A read that no device can answer: count, register, unit or function is out of the specification."""


def put_read(request: bytearray, pos: int, unit: int, function: int, register: int, count: int) -> None:
    """Write unit, function, first register and count: 6 bytes at ``request[pos]``."""
    if not (function == 3 or function == 4) or not 0 <= unit <= 255:
        raise ModbusError("function must be 3 or 4, unit 0..255")
    if not 1 <= count <= 125 or register < 0 or register + count > 65536:
        raise ModbusError("a read takes 1..125 registers within 0..65535")
    request[pos] = unit
    request[pos + 1] = function
    request[pos + 2] = register >> 8
    request[pos + 3] = register & 0xFF
    request[pos + 4] = 0
    request[pos + 5] = count


def judge(request: "bytes | bytearray", at: int, buf: bytearray, pos: int, size: int) -> int:
    """Quality of ``size`` bytes at ``buf[pos]`` (unit, function, rest; no CRC) as the answer to a read.

    The read is what ``put_read`` wrote to ``request[at]``. ``GOOD``: the registers begin at ``pos + 3``;
    ``EXCEPTION + code``: the device refused; else ``BAD_ANSWER``.
    """
    if size >= 3 and buf[pos] == request[at]:
        n = 2 * request[at + 5]
        if buf[pos + 1] == request[at + 1] and buf[pos + 2] == n and size == n + 3:
            return GOOD
        if buf[pos + 1] == request[at + 1] | 0x80 and size == 3 and 1 <= buf[pos + 2] <= 15:
            return EXCEPTION + buf[pos + 2]
    return BAD_ANSWER


def reorder(buf: bytearray, pos: int, count: int, order: int, out: bytearray) -> None:
    """Copy a value of ``count`` registers from ``buf[pos]`` to ``out`` as big-endian bytes.

    ``order``: 0 ABCD (as the specification has it), 1 CDAB (low word first), 2 BADC (the bytes of each word
    swapped), 3 DCBA (both).
    """
    for i in range(count):
        k = pos + 2 * (count - 1 - i if order & 1 else i)
        out[2 * i] = buf[k + 1 if order & 2 else k]
        out[2 * i + 1] = buf[k if order & 2 else k + 1]
