"""Numbers that people write, exactly."""

from decimal import Decimal
from fractions import Fraction
from typing import Final

__all__ = ["exact"]

_DIGITS_MAX: Final = 400  # before or behind the point: more than any register holds


def exact(written: str | int | Decimal) -> Fraction:
    """The number. Raises ValueError for what is none, and for 1e999999999, whose digits would take hours."""
    number = written
    try:
        if isinstance(number, str) and "/" not in number:
            number = Decimal(number)
        if isinstance(number, Decimal) and not -_DIGITS_MAX <= number.adjusted() <= _DIGITS_MAX:
            raise ValueError(written)
        return Fraction(number)
    except ArithmeticError as error:  # not finite, no number at all, or a part of nothing
        raise ValueError(written) from error
