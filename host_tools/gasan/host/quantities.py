"""Values of site files and profiles that need reading: durations, exact numbers, names, network addresses."""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from gasan.host.exact import exact
from gasan.host.i18n import _
from gasan.host.shape import wrong
from gasan.host.toml_file import toml_text
from pydantic import AfterValidator, BeforeValidator, PlainValidator

__all__ = ["BleAddress", "Duration", "Exact", "Name", "check_quantity", "duration_text", "within"]

_DURATION = re.compile(r"(\d{1,9})\s*(ms|s|m|h)")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION_MAX_MS = 24 * 3_600_000  # far below the 2^30 ms at which a board's tick counter wraps
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_QUANTITY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_QUANTITY_MAX = 40
_BLE = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{12}")


def _duration(value: object) -> int:
    """Milliseconds of "250ms", "1s", "5m" or "1h"."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        what = _("{value} is not a duration").format(value=toml_text(value))
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            raise wrong(
                what, _('write the unit too, for example "{value}s" or "{value}ms"').format(value=value)
            )
        raise wrong(what, _('write a whole number and ms, s, m or h, for example "1s" or "500ms"'))
    milliseconds = int(match[1]) * _UNITS_MS[match[2]]
    if milliseconds > _DURATION_MAX_MS:
        raise wrong(_('"{value}" is longer than a day').format(value=value), _('write at most "24h"'))
    return milliseconds


def duration_text(milliseconds: int) -> str:
    """The shortest way to write a duration in a file; the inverse of what `Duration` reads."""
    for unit in ("h", "m", "s"):
        if milliseconds and milliseconds % _UNITS_MS[unit] == 0:
            return f"{milliseconds // _UNITS_MS[unit]}{unit}"
    return f"{milliseconds}ms"


def _exact(value: object) -> Fraction:
    """An exact number from an integer, a decimal or a fraction in quotes."""
    try:
        if isinstance(value, int | Decimal | str) and not isinstance(value, bool):
            number = exact(value)
            if max(abs(number.numerator), number.denominator) < 1 << 63:
                return number
    except ValueError:
        pass
    raise wrong(
        _("{value} is not a number that can be kept exactly").format(value=toml_text(value)),
        _('write a whole number, a decimal like 0.1 or a fraction like "1/3"'),
    )


def _name(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        better = re.sub(r"[^a-z0-9_-]+", "-", value.lower()).strip("-_")[:32]
        mend = _("use at most 32 lower-case letters, digits, '-' and '_'")
        if _NAME.fullmatch(better):
            mend = _('write, for example, "{name}"').format(name=better)
        raise wrong(_('"{value}" cannot be a name').format(value=value), mend)
    return value


def check_quantity(value: str) -> str:
    """A channel name: lower_snake_case."""
    if _QUANTITY.fullmatch(value) is None or len(value) > _QUANTITY_MAX:
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", value)
        better = re.sub(r"[^a-z0-9]+", "_", snake.lower()).strip("_")[:_QUANTITY_MAX]
        mend = _("use lower_snake_case, for example active_power")
        if _QUANTITY.fullmatch(better):
            mend = _('write, for example, "{name}"').format(name=better)
        raise wrong(_('"{value}" cannot be the name of a channel').format(value=value), mend)
    return value


def _ble_address(value: str) -> bytes:
    if _BLE.fullmatch(value) is None:
        raise wrong(
            _('"{value}" is not a Bluetooth address').format(value=value),
            _('write six bytes, for example "A4:C1:38:01:02:03"'),
        )
    return bytes.fromhex(re.sub("[:-]", "", value))


def within(least_ms: int, most_ms: int) -> AfterValidator:
    """Of a duration: no shorter and no longer than what a node can keep."""

    def check(value: int) -> int:
        if not least_ms <= value <= most_ms:
            raise wrong(
                _("a time of {time} is out of range").format(time=duration_text(value)),
                _('write "{low}" to "{high}"').format(
                    low=duration_text(least_ms), high=duration_text(most_ms)
                ),
            )
        return value

    return AfterValidator(check)


Duration = Annotated[int, BeforeValidator(_duration)]
Exact = Annotated[Fraction, PlainValidator(_exact)]
Name = Annotated[str, AfterValidator(_name)]
BleAddress = Annotated[bytes, PlainValidator(lambda value: _ble_address(_text(value)))]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise wrong(_("a Bluetooth address is text"), _('write six bytes, for example "A4:C1:38:01:02:03"'))
    return value
