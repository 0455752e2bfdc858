"""A channel with rules: its last sample, and bytes that order as its values do."""

from gasan.wire import columns
from gasan.wire.quality import BAD_NO_VALUE, BAD_RANGE, NO_VALUE, STALE
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from gasan.node.sampler import Rows

    Buffer = bytes | bytearray | memoryview

# How the order of values shows in their bytes.
UNSIGNED = const(0)
SIGNED = const(1)
SIGN_FIRST = const(2)  # a sign and a size: floats, sign and magnitude
NUMBER = const(3)  # not at all: the number is worked out, and its 8 bytes are compared


class Channel:
    """One channel with rules: its last sample, and what is done with it.

    value, given: the sample and its quality as they stand in a frame. quality: as the gateway will see it, so
    that a value that means "no value" is bad here too. key: orders as the values do; only while the quality
    is not bad. inner: an input that is neither stored nor counted.
    """

    # What most channels have in common stands here, and takes no memory for each.
    inner = False
    never = False  # kept, whatever it is
    group: "Rows | None" = None
    rule: "Any" = None  # what leaves readings out, shared with others; None: nothing is left out
    # Of the last one that was kept: its quality, when, and keys of what is alike (gasan.node.edge_keep).
    kept = 256  # none yet
    kept_at: "Any" = 0
    low: "Buffer" = b""
    high: "Buffer" = b""
    seldom = False  # made at changes only
    taps: "Sequence[Any]" = ()
    dropped = 0  # readings left out
    given = quality = STALE
    # Bytes that mean "no value", and the bits of them that count; whether floats are looked at for NaN.
    missing: "Sequence[bytes]" = ()
    mask = b""
    float = False
    # value = (number * num + off) / den; see edge_number for the number.
    num = den = 1
    off = form = shift = decimals = 0
    bits = -1

    def __init__(self, number: int, code: int, kind: int) -> None:
        self.number = number
        self.code = code
        self.kind = kind
        self.value = bytearray(columns.width(code))
        self.key = self.value if kind == UNSIGNED else bytearray(8 if kind == NUMBER else len(self.value))

    def tap(self, tap: "Any") -> None:
        """Let something more have each sample."""
        self.taps = tuple(self.taps) + (tap,)

    def take(self, src: "Buffer", pos: int, quality: int) -> None:
        """A new sample."""
        self.given = quality
        if quality < NO_VALUE:
            value = self.value
            for i in range(len(value)):
                value[i] = src[pos + i]
            if quality < BAD_NO_VALUE:
                if self.missing and self._is_missing():
                    quality = BAD_NO_VALUE
                elif self.float and self._is_special():
                    quality = BAD_RANGE if self._is_infinite() else BAD_NO_VALUE
                elif not self._rank():
                    quality = BAD_RANGE
        self.quality = quality

    def fail(self, quality: int) -> None:
        """A new sample without a value."""
        self.given = self.quality = quality

    def _is_missing(self) -> bool:
        value = self.value
        mask = self.mask
        for pattern in self.missing:
            i = 0
            while i < len(value) and value[i] & mask[i] == pattern[i]:
                i += 1
            if i == len(value):
                return True
        return False

    def _is_special(self) -> bool:
        """Whether a float is NaN or infinite: all bits of its exponent are set."""
        value = self.value
        second = 0xF0 if len(value) == 8 else 0x80
        if len(value) == 2:
            return value[0] & 0x7C == 0x7C
        return value[0] & 0x7F == 0x7F and value[1] & second == second

    def _is_infinite(self) -> bool:
        """Whether a float that is NaN or infinite is infinite: no bit of its mantissa is set."""
        value = self.value
        for i in range(2, len(value)):
            if value[i]:
                return False
        return not (value[1] if len(value) == 2 else value[1] & (0x0F if len(value) == 8 else 0x7F)) and (
            len(value) > 2 or not value[0] & 3
        )

    def _rank(self) -> bool:
        """Make the key; False when the bits are no number."""
        kind = self.kind
        if kind == UNSIGNED:
            return True
        if kind == NUMBER:
            from gasan.node.edge_number import number as number_of

            number = number_of(self)
            if number is None:
                return False
            rank(number, self.key)
            return True
        order(self.value, self.key, kind)
        return True


def rank(number: int, key: bytearray) -> None:
    """The key of a number of kind NUMBER: its 64 bits, the sign turned over."""
    number += 1 << 63
    for i in range(7, -1, -1):
        key[i] = number & 0xFF
        number >>= 8


def order(value: "Buffer", key: bytearray, kind: int) -> None:
    """The key of a value of kind SIGNED or SIGN_FIRST."""
    flip = 0
    if kind == SIGN_FIRST and value[0] & 0x80:
        for i in range(len(value)):
            if value[i] & (0xFF if i else 0x7F):
                flip = 0xFF
                break
        else:  # minus zero is zero
            for i in range(len(value)):
                key[i] = 0
            key[0] = 0x80
            return
    for i in range(len(value)):
        key[i] = value[i] ^ flip
    if not flip:
        key[0] ^= 0x80
