"""Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999), in place: a packet without a zero byte.

Every zero of the packet is replaced by the distance to the next one, so nothing moves, unless a run of
254 or more bytes other than zero needs a code byte of its own. Both functions work on one caller's
bytearray; `bytearray.find` does the searching in C.
"""


class CobsError(ValueError):
    """The bytes are not one COBS packet: empty, a zero inside, or a run that leaves the packet."""


def encode(buf: bytearray, start: int, end: int) -> int:
    """Encode the packet `buf[start:end]`; the encoded packet is `buf[start - 1:result]`.

    `buf` has the byte before `start`, and `(end - start) // 254` bytes after `end`, to spare.
    """
    code = start - 1
    while True:
        zero = buf.find(b"\x00", code + 1, end)
        if zero < 0:
            zero = end
        while zero - code > 254:  # 254 bytes or more without a zero
            buf[code] = 255
            code += 255
            if code == end:
                return end
            view = memoryview(buf)
            view[code + 1 : end + 1] = view[code:end]
            zero += 1
            end += 1
        buf[code] = zero - code
        if zero == end:
            return end
        code = zero


def decode(buf: bytearray, start: int, end: int) -> int:
    """Decode the packet `buf[start:end]`; the decoded packet is `buf[start + 1:result]`.

    Raises `CobsError`; the bytes may be half decoded then.
    """
    if start >= end or buf.find(b"\x00", start, end) >= 0:
        raise CobsError("empty, or a zero inside")
    at = start
    run = buf[start]
    while True:
        at += run
        if at > end:
            raise CobsError("a run leaves the packet")
        if at == end:
            return end
        full = run == 255
        run = buf[at]
        if full:  # no zero stands between the two runs: take the code byte out
            view = memoryview(buf)
            view[at : end - 1] = view[at + 1 : end]
            end -= 1
            at -= 1
        else:
            buf[at] = 0
