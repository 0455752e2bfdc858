"""What `gasan.wire.cbor` seldom meets, and no message of a node holds: floats, bignums, strings in chunks."""

import struct

from gasan.wire.cbor import BREAK, CBORError, append_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gasan.wire.cbor import Reader


def append_bignum(out: bytearray, value: int) -> None:
    """Append an integer that has more than 64 bits."""
    append_head(out, 6, 2 if value > 0 else 3)
    value = value if value > 0 else -1 - value
    size = 9
    while value >> (8 * size):
        size += 1
    append_head(out, 2, size)
    out.extend(value.to_bytes(size, "big"))


def append_float(out: bytearray, value: float) -> None:
    """Append a float in the shortest form that keeps its value; NaN without its payload."""
    if value != value:
        out.extend(b"\xf9\x7e\x00")
        return
    # A format is tried only inside its range: outside of it, struct wraps, rounds to infinity or raises.
    infinite = value - value != 0
    for head, form, largest in ((0xF9, ">e", 65504.0), (0xFA, ">f", 3.4028234663852886e38)):
        if infinite or -largest <= value <= largest:
            data = struct.pack(form, value)
            if struct.unpack(form, data)[0] == value:
                out.append(head)
                out.extend(data)
                return
    out.append(0xFB)
    out.extend(struct.pack(">d", value))


def read_float(reader: "Reader", info: int) -> float:
    """The float after a head with additional information 25..27."""
    form = ">e" if info == 25 else ">f" if info == 26 else ">d"
    value: float = struct.unpack(form, reader.take(1 << (info - 24)))[0]
    return value


def bignum(tag: int, value: object) -> int:
    """The integer that tag 2 or 3 makes of its content."""
    if not isinstance(value, bytes) or len(value) < 9 or not value[0]:
        raise CBORError("bad bignum")
    number = int.from_bytes(value, "big")
    return number if tag == 2 else -1 - number


def read_chunks(reader: "Reader", major: int) -> bytes:
    """The chunks of a string of indefinite length, joined."""
    out = bytearray()
    while True:
        first = reader.data[reader.pos] if reader.pos < len(reader.data) else 0
        if first != 0xFF and (first >> 5 != major or first & 31 == 31):
            raise CBORError("bad chunk of a string")
        chunk = reader.item(0)
        if chunk is BREAK:
            return bytes(out)
        out.extend(chunk if major == 2 else chunk.encode())
