"""Expressions of derived channels: Python's own syntax, a small part of it, made into a bounded stack code.

Nothing is ever evaluated here: `ast` says what was written, and the code is what a node runs (its operators
are described in protocols/rules.md). Numbers are exact: 0.1 is a tenth.
"""

import ast
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from gasan.host.exact import exact
from gasan.host.i18n import _
from gasan.host.problems import instead

__all__ = ["Expression", "ExpressionError", "parse_expression"]

INPUTS_MAX: Final = 16
CONSTANTS_MAX: Final = 16
CODE_MAX: Final = 64
STACK_MAX: Final = 16
TEXT_MAX: Final = 400
_POWER_MAX: Final = 4
_DIGITS_MAX: Final = 1 << 63

_BINARY: Final[dict[type[ast.operator], int]] = {
    ast.Add: 0x20,
    ast.Sub: 0x21,
    ast.Mult: 0x22,
    ast.Div: 0x23,
    ast.FloorDiv: 0x24,
    ast.Mod: 0x25,
}
_NEGATE, _ABS, _MIN, _MAX, _SQRT = 0x26, 0x27, 0x28, 0x29, 0x2A
_LESS, _LESS_EQUAL, _EQUAL, _NOT, _AND, _OR, _SELECT = range(0x30, 0x37)
_FUNCTIONS: Final = ("abs", "max", "min", "sqrt")


class ExpressionError(ValueError):
    """What is wrong with an expression and how to mend it, in the user's language."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}; {mend}")
        self.what = what
        self.mend = mend


@dataclass(frozen=True)
class Expression:
    """The code of an expression, its constants, and the inputs that it uses in the order of their numbers."""

    text: str
    code: bytes
    constants: tuple[Fraction, ...]
    inputs: tuple[str, ...]


def parse_expression(text: str, names: Collection[str]) -> Expression:
    """The expression in `text` over the inputs `names`. Raises ExpressionError."""
    if len(text) > TEXT_MAX:
        raise ExpressionError(_("the expression is too long"), _("make two derived channels of it"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SyntaxWarning)  # such as "0xfor v", which reads as 0xf or v
            warnings.simplefilter("error", DeprecationWarning)  # its name before Python 3.12
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(
            _('"{text}" is not an expression').format(text=text), _('write, for example, "voltage * current"')
        ) from None
    compiler = _Compiler(text, names)
    compiler.emit(tree.body)
    if not compiler.inputs:
        raise ExpressionError(
            _("the expression uses no channel"), _("use one of: {names}").format(names=", ".join(names))
        )
    if len(compiler.code) > CODE_MAX or compiler.deepest > STACK_MAX:
        raise ExpressionError(_("the expression is too long"), _("make two derived channels of it"))
    return Expression(text, bytes(compiler.code), tuple(compiler.constants), tuple(compiler.inputs))


class _Compiler:
    def __init__(self, text: str, names: Collection[str]) -> None:
        self._text = text
        self._names = names
        self.code = bytearray()
        self.constants: list[Fraction] = []
        self.inputs: list[str] = []
        self._depth = 0
        self.deepest = 0

    def emit(self, node: ast.expr) -> None:
        """Append the code of a part of the expression."""
        match node:
            case ast.Constant(value=bool()):
                self._constant(Fraction(1 if node.value else 0))
            case ast.Constant(value=int() | float()):
                self._constant(self._exact(node))
            case ast.Name():
                self._input(node.id)
            case ast.UnaryOp(op=ast.USub()):
                self._operator(_NEGATE, node.operand)
            case ast.UnaryOp(op=ast.UAdd()):
                self.emit(node.operand)
            case ast.UnaryOp(op=ast.Not()):
                self._operator(_NOT, node.operand)
            case ast.BinOp(op=ast.Pow()):
                self._power(node)
            case ast.BinOp() if type(node.op) in _BINARY:
                self._operator(_BINARY[type(node.op)], node.left, node.right)
            case ast.BoolOp():
                self._fold(_AND if isinstance(node.op, ast.And) else _OR, node.values)
            case ast.Compare(ops=[op], comparators=[right]):
                self._compare(op, node.left, right, node)
            case ast.IfExp():
                self._operator(_SELECT, node.test, node.body, node.orelse)
            case ast.Call(func=ast.Name(), keywords=[]):
                self._call(node)
            case _:
                raise self._foreign(node)

    def _exact(self, node: ast.Constant) -> Fraction:
        """A number as it was written, not as a float has it."""
        written = ast.get_source_segment(self._text.strip(), node) or ""
        try:
            number = Fraction(int(written, 0)) if isinstance(node.value, int) else exact(written)
            if max(abs(number.numerator), number.denominator) < _DIGITS_MAX:
                return number
        except ValueError:
            pass
        raise ExpressionError(
            _("{number} has too many digits").format(number=written), _("write fewer digits")
        )

    def _constant(self, number: Fraction) -> None:
        if number not in self.constants:
            self.constants.append(number)
        if len(self.constants) > CONSTANTS_MAX:
            raise ExpressionError(_("the expression is too long"), _("make two derived channels of it"))
        self._push(0x10 + self.constants.index(number), 0)

    def _input(self, name: str) -> None:
        if name not in self._names:
            raise ExpressionError(
                _('there is no input "{name}"').format(name=name), instead(name, [*self._names, *_FUNCTIONS])
            )
        if name not in self.inputs:
            self.inputs.append(name)
        if len(self.inputs) > INPUTS_MAX:
            raise ExpressionError(_("the expression is too long"), _("make two derived channels of it"))
        self._push(self.inputs.index(name), 0)

    def _operator(self, code: int, *operands: ast.expr) -> None:
        for operand in operands:
            self.emit(operand)
        self._push(code, len(operands))

    def _fold(self, code: int, operands: list[ast.expr]) -> None:
        self.emit(operands[0])
        for operand in operands[1:]:
            self.emit(operand)
            self._push(code, 2)

    def _power(self, node: ast.BinOp) -> None:
        power = node.right.value if isinstance(node.right, ast.Constant) else None
        if not isinstance(power, int) or isinstance(power, bool) or not 2 <= power <= _POWER_MAX:
            raise ExpressionError(
                _("a power is a whole number from 2 to {most}").format(most=_POWER_MAX),
                _('write, for example, "current ** 2"'),
            )
        self._fold(_BINARY[ast.Mult], [node.left] * power)

    def _compare(self, op: ast.cmpop, left: ast.expr, right: ast.expr, node: ast.expr) -> None:
        match op:
            case ast.Lt():
                self._operator(_LESS, left, right)
            case ast.LtE():
                self._operator(_LESS_EQUAL, left, right)
            case ast.Gt():
                self._operator(_LESS, right, left)
            case ast.GtE():
                self._operator(_LESS_EQUAL, right, left)
            case ast.Eq():
                self._operator(_EQUAL, left, right)
            case ast.NotEq():
                self._operator(_EQUAL, left, right)
                self._push(_NOT, 1)
            case _:
                raise self._foreign(node)

    def _call(self, node: ast.Call) -> None:
        assert isinstance(node.func, ast.Name)
        name, count = node.func.id, len(node.args)
        if name not in _FUNCTIONS:
            raise ExpressionError(
                _('there is no function "{name}"').format(name=name), instead(name, _FUNCTIONS)
            )
        if (count < 2) if name in ("min", "max") else (count != 1):
            raise ExpressionError(
                _("{name}() takes another number of values").format(name=name),
                _('write, for example, "max(a, b)" or "abs(a)"'),
            )
        if name in ("min", "max"):
            self._fold(_MIN if name == "min" else _MAX, node.args)
        else:
            self._operator(_ABS if name == "abs" else _SQRT, *node.args)

    def _push(self, code: int, takes: int) -> None:
        self.code.append(code)
        self._depth += 1 - takes
        self.deepest = max(self.deepest, self._depth)
        if len(self.code) > CODE_MAX:
            raise ExpressionError(_("the expression is too long"), _("make two derived channels of it"))

    def _foreign(self, node: ast.expr) -> ExpressionError:
        part = ast.get_source_segment(self._text.strip(), node) or self._text
        return ExpressionError(
            _('"{part}" cannot be in an expression').format(part=part),
            _(
                "use numbers, channels, + - * / // % **, comparisons, and, or, not, if else, {functions}"
            ).format(functions=", ".join(f"{name}()" for name in _FUNCTIONS)),
        )
