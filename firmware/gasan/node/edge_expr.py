"""Derived channels: a small stack code over the values of other channels, in exact fractions.

The gateway made the code from an expression (`gasan.host.expression`). It has no jumps, so it ends after as
many steps as it has bytes, and the depth of its stack is known before it runs.

    0x00 + k   push input k                  0x10 + k   push constant k
    0x20 a + b    0x21 a - b    0x22 a * b   0x23 a / b    0x24 a // b (floor)    0x25 a - b * (a // b)
    0x26 -a       0x27 abs a    0x28 min     0x29 max      0x2A square root
    0x30 a < b    0x31 a <= b   0x32 a == b  0x33 not a    0x34 a and b    0x35 a or b
    0x36 c, a, b: a if c else b

What is not defined (a division by zero, a root of less than 0, a number of more than 4096 bits) makes all
that uses it undefined, but for a branch that is not taken. True is 1, and anything but 0 is true.
"""

from gasan.node import edge_number
from gasan.wire import rational
from gasan.wire.quality import BAD_INPUT, BAD_NO_VALUE, UNCERTAIN, UNDEFINED
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from gasan.node.edge import Edge
    from gasan.node.edge_channel import Channel

    Fraction = tuple[int, int]

INPUTS_MAX = const(16)
CODE_MAX = const(64)
STACK_MAX = const(16)

_INPUT = const(0x00)
_CONSTANT = const(0x10)
_OPERATORS = const(0x20)

# What each operator takes off the stack; it leaves one.
_TAKES = {k: 2 for k in (0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x28, 0x29, 0x30, 0x31, 0x32, 0x34, 0x35)}
_TAKES.update({0x26: 1, 0x27: 1, 0x2A: 1, 0x33: 1, 0x36: 3})


def check(code: bytes, inputs: int, constants: int) -> None:
    """Raise ValueError for a code that is too long or that would not leave one value."""
    if not (0 < len(code) <= CODE_MAX and 0 < inputs <= INPUTS_MAX and constants <= 16):
        raise ValueError("an expression that is too long")
    depth = 0
    for op in code:
        if op < _OPERATORS:
            if (op >= inputs) if op < _CONSTANT else (op - _CONSTANT >= constants):
                raise ValueError("an expression with an operand that it has not")
        elif op not in _TAKES or depth < _TAKES[op]:
            raise ValueError("an expression with an operator that is none")
        else:
            depth -= _TAKES[op]
        depth += 1
        if depth > STACK_MAX:
            raise ValueError("an expression that is too deep")
    if depth != 1:
        raise ValueError("an expression that leaves more than one value")


class Expression:
    """Makes a channel of others. due: its trigger has a new sample. Raises ValueError as `check` does."""

    def __init__(
        self, out: "Channel", inputs: "Sequence[Channel]", code: bytes, constants: "Sequence[Fraction]"
    ) -> None:
        check(code, len(inputs), len(constants))
        for num, den in constants:
            if den <= 0 or rational.bounded(num, den) is None:
                raise ValueError("a constant that is none")
        self._out = out
        self._inputs = inputs
        self._code = code
        self._constants = constants
        self.due = False

    def take(self, edge: "Edge", channel: "Channel", t: "Any") -> None:
        """The trigger has a new sample; the others of its row may still come."""
        self.due = True

    def work(self, edge: "Edge", t: "Any") -> None:
        """Work the value out and hand it on."""
        self.due = False
        out = self._out
        quality = 0
        for channel in self._inputs:
            if channel.quality >= BAD_NO_VALUE:
                quality = BAD_INPUT
                break
            if channel.quality:
                quality = UNCERTAIN
        if quality != BAD_INPUT:
            try:
                value = self._value()
                if value is None or not edge_number.put(out, value[0], value[1]):
                    quality = UNDEFINED
            except MemoryError:
                quality = UNDEFINED
        if quality >= BAD_NO_VALUE:
            out.fail(quality)
        elif quality and out.quality < BAD_NO_VALUE:
            out.given = out.quality = quality
        edge.feed(out, t)

    def _value(self) -> "Fraction | None":
        stack: "list[Fraction | None]" = []
        for op in self._code:
            if op < _CONSTANT:
                stack.append(edge_number.value(self._inputs[op]))
            elif op < _OPERATORS:
                stack.append(self._constants[op - _CONSTANT])
            elif op == 0x36:
                b, a, c = stack.pop(), stack.pop(), stack.pop()
                stack.append(None if c is None else a if c[0] else b)
            elif op == 0x34 or op == 0x35:
                stack.append(_logic(op, stack.pop(), stack.pop()))
            else:
                b = stack.pop()
                a = stack.pop() if _TAKES[op] == 2 else (0, 1)
                result = None if a is None or b is None else _apply(op, a[0], a[1], b[0], b[1])
                stack.append(result and rational.bounded(result[0], result[1]))
        return stack[0]


def _logic(op: int, b: "Fraction | None", a: "Fraction | None") -> "Fraction | None":
    """a and b, a or b: what decides needs no other."""
    decides = 0 if op == 0x34 else 1
    for x in (a, b):
        if x is None:
            return None
        if bool(x[0]) == bool(decides):
            return decides, 1
    return 1 - decides, 1


def _apply(op: int, a: int, c: int, b: int, d: int) -> "Fraction | None":
    """a / c (operator) b / d; operators of one operand take b / d."""
    if op == 0x20:
        return a * d + b * c, c * d
    if op == 0x21:
        return a * d - b * c, c * d
    if op == 0x22:
        return a * b, c * d
    if op <= 0x25:
        if not b:
            return None
        if op == 0x23:
            return (a * d, c * b) if b > 0 else (-a * d, -c * b)
        whole = (a * d) // (c * b)
        return (whole, 1) if op == 0x24 else (a * d - whole * b * c, c * d)
    if op == 0x26:
        return -b, d
    if op == 0x27:
        return abs(b), d
    if op == 0x2A:
        return None if b < 0 else rational.sqrt(b, d)
    if op == 0x33:
        return (0 if b else 1), 1
    less = a * d - b * c
    if op <= 0x29:
        return (a, c) if (less <= 0) == (op == 0x28) else (b, d)
    true = less < 0 or (op == 0x31 and less == 0) if op < 0x32 else less == 0
    return (1 if true else 0), 1
