"""Modbus reads (functions 3 and 4): what RTU and TCP have in common.

Source: MODBUS Application Protocol V1.1b3 (6.3, 6.4, 7).

Pure: no clock, no line. An answer is judged against the request that it must answer, and the verdict is a
quality code of ``gasan.wire.quality``: bytes from outside never raise. Nothing here allocates.
"""

from gasan.wire.quality import BAD_ANSWER, EXCEPTION, GOOD


def judge(request: "bytes | bytearray", at: int, buf: bytearray, pos: int, size: int) -> int:
    """Quality of ``size`` bytes at ``buf[pos]`` (unit, function, rest; no CRC) as the answer to a read.

    The read is what ``modbus_read.read_request`` made, at ``request[at]``. ``GOOD``: the registers begin at
    ``pos + 3``; ``EXCEPTION + code``: the device refused; else ``BAD_ANSWER``.
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
