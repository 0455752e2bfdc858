"""Exact arithmetic for edge rules: fractions of integers, and floats only as their bytes.

A board's own floats are singles, the virtual board's are doubles: here neither is used, so that a rule gives
the same bits everywhere. A fraction is (numerator, denominator), not reduced, the denominator above 0. Loaded
by a node only when its config has rules that need it.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview

    def const(value: int) -> int:
        return value
else:
    try:
        from micropython import const
    except ImportError:

        def const(value):
            return value


BITS_MAX = const(4096)  # of a numerator or denominator; what takes more is undefined
_REDUCED = const(256)
_SQRT_BITS = const(80)  # of a square root, with one more for what is beyond

NEAREST = const(0)
DOWN = const(-1)
UP = const(1)

# By bytes: digits of the mantissa, the hidden one included, and bias of the exponent (IEEE 754).
_FORMATS = {2: (11, 15), 4: (24, 127), 8: (53, 1023)}


def bits(n: int) -> int:
    """Binary digits of n >= 0."""
    text = "%x" % n
    first = int(text[0], 16)
    return 4 * len(text) - (0 if first >= 8 else 1 if first >= 4 else 2 if first >= 2 else 3 if first else 4)


def from_float(data: "Buffer", size: int) -> "tuple[int, int] | None":
    """(m, e) with value = m * 2**e of a big-endian float of 2, 4 or 8 bytes; None when it is no number."""
    digits, bias = _FORMATS[size]
    n = int.from_bytes(data[:size], "big")
    negative = n >> (8 * size - 1)
    exponent = (n >> (digits - 1)) & (2 * bias + 1)
    m = n & ((1 << (digits - 1)) - 1)
    if exponent == 2 * bias + 1:
        return None
    if exponent:
        m |= 1 << (digits - 1)
    else:
        exponent = 1
    return (-m if negative else m), exponent - bias - digits + 1


def to_float(num: int, den: int, size: int, way: int = NEAREST) -> "bytes | None":
    """The float of 2, 4 or 8 bytes next to num / den: nearest (ties to even), or not above, or not below it.

    None when it is beyond all finite ones; the one not above a number that is too large is the largest.
    """
    digits, bias = _FORMATS[size]
    n = abs(num)
    if not n:
        return bytes(size)
    s = digits - bits(n) + bits(den)
    while True:
        s = min(s, bias + digits - 2)
        q, r = divmod(n << s, den) if s >= 0 else divmod(n, den << -s)
        if not q >> digits:
            break
        s -= 1
    if way == NEAREST:
        twice = 2 * r - (den if s >= 0 else den << -s)
        up = twice > 0 or (twice == 0 and q & 1)
    else:
        up = r > 0 and (way > 0) == (num > 0)
    if up:
        q += 1
        if q >> digits:
            q >>= 1
            s -= 1
    exponent = bias + digits - 1 - s if q >> (digits - 1) else 0
    if exponent > 2 * bias:
        if way == NEAREST or (way > 0) == (num > 0):
            return None
        exponent, q = 2 * bias, (1 << digits) - 1
    q = q & ((1 << (digits - 1)) - 1) | exponent << (digits - 1)
    if num < 0:
        q |= 1 << (8 * size - 1)
    return q.to_bytes(size, "big")


def nearest(num: int, den: int) -> int:
    """The integer nearest to num / den, ties to even."""
    q, r = divmod(num, den)
    r = 2 * r - den
    return q + 1 if r > 0 or (r == 0 and q & 1) else q


def sqrt(num: int, den: int) -> "tuple[int, int]":
    """The square root of num / den >= 0, so close that rounding it gives what rounding the root itself gives.

    It is exact, or has at least 80 binary digits, of which the last says that there is more.
    """
    k = max(2, _SQRT_BITS - (bits(num) - bits(den)) // 2)
    q, r = divmod(num << (2 * k), den)
    root = _isqrt(q)
    more = 1 if r or root * root != q else 0
    return root << 1 | more, 1 << (k + 1)


def _isqrt(n: int) -> int:
    if not n:
        return 0
    x = 1 << ((bits(n) + 1) >> 1)
    while True:
        y = (x + n // x) >> 1
        if y >= x:
            return x
        x = y


def bounded(num: int, den: int) -> "tuple[int, int] | None":
    """The fraction, reduced when it has grown long; None when it is too long to go on with."""
    if bits(den) > _REDUCED:
        a, b = abs(num), den
        while b:
            a, b = b, a % b
        num //= a
        den //= a
    if bits(abs(num)) > BITS_MAX or bits(den) > BITS_MAX:
        return None
    return num, den
