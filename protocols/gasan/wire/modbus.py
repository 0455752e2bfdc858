"""What Modbus RTU and TCP have in common: the size of an answer, and whether it is one.

Source: MODBUS Application Protocol V1.1b3 (6.1 to 6.4, 7); other functions are those of `modbus_write`.

Pure: no clock, no line. An answer is judged against the request that it must answer, and the verdict is a
quality code of ``gasan.wire.quality``: bytes from outside never raise. Nothing here allocates.
"""

from gasan.wire.quality import BAD_ANSWER, EXCEPTION, GOOD


def answer_size(request: "bytes | bytearray", at: int) -> int:
    """Bytes of the answer to the request (unit, function, data) at ``request[at]``; -1: only it tells."""
    if request[at + 1] > 4:
        from gasan.wire import modbus_write

        return modbus_write.answer_size(request, at)
    count = request[at + 4] << 8 | request[at + 5]
    return 3 + (2 * count if request[at + 1] > 2 else (count + 7) // 8)


def judge(request: "bytes | bytearray", at: int, buf: bytearray, pos: int, size: int) -> int:
    """Quality of ``size`` bytes at ``buf[pos]`` (unit, function, rest; no CRC) as the answer to a request.

    The request is at ``request[at]``. ``GOOD``: registers, or bits, begin at ``pos + 3``;
    ``EXCEPTION + code``: the device refused; else ``BAD_ANSWER``.
    """
    if size >= 3 and buf[pos] == request[at]:
        if buf[pos + 1] == request[at + 1] | 0x80 and size == 3 and 1 <= buf[pos + 2] <= 15:
            return EXCEPTION + buf[pos + 2]
        if request[at + 1] > 4:
            from gasan.wire import modbus_write

            return modbus_write.judge(request, at, buf, pos, size)
        if buf[pos + 1] == request[at + 1] and size == answer_size(request, at) == buf[pos + 2] + 3:
            return GOOD
    return BAD_ANSWER


def reorder(buf: bytearray, pos: int, count: int, order: int, out: bytearray) -> None:
    """Copy a value of ``count`` registers from ``buf[pos]`` to ``out`` as big-endian bytes.

    ``order``: 0 ABCD (as the specification has it), 1 CDAB (low word first), 2 BADC (the bytes of each word
    swapped), 3 DCBA (both); + 4: the halves of four registers come the other way round.
    """
    for i in range(count):
        k = count - 1 - i if order & 1 else i
        k = pos + 2 * (k ^ 2 if order & 4 else k)
        out[2 * i] = buf[k + 1 if order & 2 else k]
        out[2 * i + 1] = buf[k if order & 2 else k + 1]
