"""Modbus requests that are no plain read, and the judging of their answers; loaded when one is to be made.

Source: MODBUS Application Protocol V1.1b3 (6.5, 6.6, 6.11, 6.12, 6.16, 6.17, 6.21).

A request is unit, function and data, without CRC or head. Unit 0 is everybody on a serial line: it takes
writes only and nobody answers. Pure, as ``gasan.wire.modbus``.
"""

from gasan.wire.modbus_read import ModbusError
from gasan.wire.quality import BAD_ANSWER, EXCEPTION, GOOD, const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COIL = const(5)
REGISTER = const(6)
COILS = const(15)
REGISTERS = const(16)
MASK = const(22)
READ_WRITE = const(23)
IDENTIFY = const(43)
_KIND = const(14)  # of function 43: read device identification


def write_coil(unit: int, address: int, on: bool) -> bytes:
    """Function 5: one coil on or off."""
    return _head(unit, COIL, address, 1) + (b"\xff\x00" if on else b"\x00\x00")


def write_register(unit: int, address: int, value: int) -> bytes:
    """Function 6: one register, 0..65535."""
    return _head(unit, REGISTER, address, 1) + _word(value)


def write_coils(unit: int, address: int, values: "Sequence[int]") -> bytes:
    """Function 15: 1 to 1968 coils, each true or false, from ``address`` on."""
    count = len(values)
    head = _head(unit, COILS, address, count, 1968)
    bits = bytearray((count + 7) // 8)
    for i in range(count):
        if values[i]:
            bits[i >> 3] |= 1 << (i & 7)
    return head + _word(count) + bytes((len(bits),)) + bytes(bits)


def write_registers(unit: int, address: int, data: "bytes | bytearray") -> bytes:
    """Function 16: 1 to 123 registers; ``data`` holds two bytes of each, the high one first."""
    count = _registers(data)
    return _head(unit, REGISTERS, address, count, 123) + _word(count) + bytes((len(data),)) + bytes(data)


def mask_register(unit: int, address: int, and_mask: int, or_mask: int) -> bytes:
    """Function 22: the register becomes (register AND and_mask) OR (or_mask AND NOT and_mask)."""
    return _head(unit, MASK, address, 1) + _word(and_mask) + _word(or_mask)


def read_write(unit: int, first: int, count: int, address: int, data: "bytes | bytearray") -> bytes:
    """Function 23: write the registers ``data`` (1 to 121) at ``address``, then read ``count`` (1 to 125)."""
    written = _registers(data)
    if unit == 0:
        raise ModbusError("unit 0 cannot be read")
    head = _head(unit, READ_WRITE, first, count, 125)
    target = _head(unit, READ_WRITE, address, written, 121)[2:]
    return head + _word(count) + target + _word(written) + bytes((len(data),)) + bytes(data)


def identify(unit: int, category: int = 1, first: int = 0) -> bytes:
    """Function 43/14: who are you. ``category``: 1 basic, 2 regular, 3 extended, 4 object ``first`` alone."""
    if not 1 <= unit <= 255 or not 1 <= category <= 4 or not 0 <= first <= 255:
        raise ModbusError("unit must be 1..255, category 1..4, object 0..255")
    return bytes((unit, IDENTIFY, _KIND, category, first))


def answer_size(request: "bytes | bytearray", at: int = 0) -> int:
    """Bytes of the answer to ``request[at:]``, from the unit on; -1: only the answer itself tells."""
    function = request[at + 1]
    if function == IDENTIFY:
        return -1
    if function == READ_WRITE:
        return 3 + 2 * request[at + 5]
    return 8 if function == MASK else 6


def judge(request: "bytes | bytearray", at: int, buf: "bytes | bytearray", pos: int, size: int) -> int:
    """Quality of ``size`` bytes at ``buf[pos]`` (unit, function, rest) as the answer to ``request[at:]``.

    ``GOOD``, ``EXCEPTION + code`` (the device refused) or ``BAD_ANSWER``. The values read by function 23
    begin at ``pos + 3``; for function 43 see ``objects``.
    """
    if size < 3 or buf[pos] != request[at]:
        return BAD_ANSWER
    function = request[at + 1]
    if buf[pos + 1] == function | 0x80 and size == 3 and 1 <= buf[pos + 2] <= 15:
        return EXCEPTION + buf[pos + 2]
    if buf[pos + 1] != function:
        return BAD_ANSWER
    if function == IDENTIFY:
        return GOOD if objects(buf, pos, size) is not None else BAD_ANSWER
    if size != answer_size(request, at):
        return BAD_ANSWER
    if function == READ_WRITE:
        return GOOD if buf[pos + 2] == size - 3 else BAD_ANSWER
    for i in range(2, size):  # the others repeat what was asked
        if buf[pos + i] != request[at + i]:
            return BAD_ANSWER
    return GOOD


def objects(buf: "bytes | bytearray", pos: int, size: int) -> "tuple[dict[int, bytes], int] | None":
    """The objects of an answer to ``identify`` and the number of the next one (0: that was all).

    None when the bytes are no whole answer. Objects: 0 maker, 1 product code, 2 revision, 3 URL, 4 product
    name, 5 model, 6 application.
    """
    if size < 8 or buf[pos + 2] != _KIND or not 1 <= buf[pos + 3] <= 4:
        return None
    end = pos + size
    found: "dict[int, bytes]" = {}
    i = pos + 8
    for _ in range(buf[pos + 7]):
        if i + 2 > end or i + 2 + buf[i + 1] > end:
            return None
        found[buf[i]] = bytes(buf[i + 2 : i + 2 + buf[i + 1]])
        i += 2 + buf[i + 1]
    return (found, buf[pos + 6] if buf[pos + 5] else 0) if i == end else None


def _head(unit: int, function: int, address: int, count: int, most: int = 1) -> bytes:
    if not 0 <= unit <= 255:
        raise ModbusError("unit must be 0..255")
    if not 1 <= count <= most or address < 0 or address + count > 65536:
        raise ModbusError("function %d takes 1..%d within 0..65535" % (function, most))
    return bytes((unit, function)) + _word(address)


def _word(value: int) -> bytes:
    if not 0 <= value <= 0xFFFF:
        raise ModbusError("a register holds 0..65535")
    return bytes((value >> 8, value & 0xFF))


def _registers(data: "bytes | bytearray") -> int:
    if len(data) & 1:
        raise ModbusError("registers have two bytes each")
    return len(data) // 2
