"""What the bits of a channel with rules are as numbers, and the bits of numbers; exact (gasan.wire.rational).

The number of a channel is what its value is made of: value = (number * num + off) / den. Of a float it is
(m, e), the number m * 2**e; of a channel with decimals beside its digits it is digits * 10**(9 - decimals).
"""

from gasan.node.edge_channel import NUMBER, SIGN_FIRST, SIGNED, UNSIGNED, Channel, order, rank
from gasan.wire import rational
from gasan.wire.columns import F32, F64
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview

# Forms of a number, as in a birth frame.
F16 = const(1)
BCD = const(2)
MAGNITUDE = const(3)
COMPLEMENT = const(4)

DECIMALS_MAX = const(9)


def is_float(channel: Channel) -> bool:
    """Whether the number is m * 2**e."""
    return channel.code == F32 or channel.code == F64 or channel.form == F16


def number(channel: Channel) -> "int | None":
    """The number of a channel that is no float; None when its bits are none of its form."""
    value = channel.value
    n = int.from_bytes(value, "big")
    if channel.form == 0 and channel.bits < 0 and not channel.decimals:
        if channel.kind == SIGNED and value[0] & 0x80:
            n -= 1 << (8 * len(value))
        return n
    places = 0
    if channel.decimals:
        places = n >> channel.decimals
        n &= (1 << channel.decimals) - 1
        if places > DECIMALS_MAX:
            return None
    n >>= channel.shift
    if channel.bits >= 0:
        n &= channel.bits
    if channel.form == BCD:
        n = _digits(n)
        if n < 0:
            return None
    elif channel.form:
        top = (channel.bits + 1) >> 1
        if n & top:
            n = top - n if channel.form == MAGNITUDE else n - 2 * top
    return n * 10 ** (DECIMALS_MAX - places) if channel.decimals else n


def _digits(n: int) -> int:
    """The number that binary-coded decimals are; -1 when they are none."""
    out = 0
    unit = 1
    while n:
        if n & 15 > 9:
            return -1
        out += (n & 15) * unit
        unit *= 10
        n >>= 4
    return out


def value(channel: Channel) -> "tuple[int, int]":
    """The value of a channel that is not bad, as a fraction."""
    if is_float(channel):
        m, e = rational.from_float(channel.value, len(channel.value))  # type: ignore[misc]
        if e < 0:
            return m * channel.num + (channel.off << -e), channel.den << -e
        return (m << e) * channel.num + channel.off, channel.den
    return number(channel) * channel.num + channel.off, channel.den  # type: ignore[operator]


def put(channel: Channel, num: int, den: int) -> bool:
    """Make the value of a channel num / den, rounded to what it can hold; False when that is beyond it."""
    size = len(channel.value)
    if is_float(channel):
        data = rational.to_float(num, den, size)
        if data is None:
            return False
    else:
        n = num * channel.den - channel.off * den
        n = rational.nearest(n if channel.num > 0 else -n, den * abs(channel.num))
        signed = channel.kind == SIGNED
        if not (-(1 << (8 * size - 1)) if signed else 0) <= n < 1 << (8 * size - signed):
            return False
        data = (n & ((1 << (8 * size)) - 1)).to_bytes(size, "big")
    channel.take(data, 0, 0)
    return True


def around(channel: Channel, num: int, den: int, percent: bool) -> "tuple[Buffer, Buffer]":
    """Keys of the least and the greatest number whose value is not further from the channel's than num / den.

    percent: than that share of the value's size.
    """
    a, b = num * channel.den, den * abs(channel.num)  # in numbers, not values
    if percent:
        top, bottom = value(channel)
        a, b = a * abs(top), b * bottom
    if is_float(channel):
        m, e = rational.from_float(channel.value, len(channel.value))  # type: ignore[misc]
        if e < 0:
            bottom = 1 << -e
        else:
            m, bottom = m << e, 1
        m *= b
        a *= bottom
        bottom *= b
        return _float_key(m - a, bottom, channel, rational.UP), _float_key(
            m + a, bottom, channel, rational.DOWN
        )
    n = number(channel)
    a //= b
    return _key(n - a, channel), _key(n + a, channel)  # type: ignore[operator]


def _float_key(num: int, den: int, channel: Channel, way: int) -> bytearray:
    size = len(channel.value)
    key = bytearray(size)
    data = rational.to_float(num, den, size, way)
    if data is None:  # infinite
        data = bytes((0xFF if num < 0 else 0x7F,)) + b"\xff" * (size - 1)
    order(data, key, SIGN_FIRST)
    return key


def _key(n: int, channel: Channel) -> bytearray:
    """The key of a number, or of the nearest that there is."""
    key = bytearray(len(channel.key))
    bits = 8 * len(key)
    if channel.kind == NUMBER:
        rank(max(-(1 << 63), min(n, (1 << 63) - 1)), key)
    elif channel.kind == UNSIGNED:
        n = max(0, min(n, (1 << bits) - 1))
        key[:] = n.to_bytes(len(key), "big")
    else:
        top = 1 << (bits - 1)
        if channel.kind == SIGNED:
            n = max(-top, min(n, top - 1)) & (2 * top - 1)
        else:
            n = min(n, top - 1) if n >= 0 else top + min(-n, top - 1)
        order(n.to_bytes(len(key), "big"), key, channel.kind)
    return key
