"""Settings of a serial line, and lists of them and of units as people write them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from gasan.host.errors import InputError
from gasan.host.i18n import _

__all__ = [
    "BAUDRATES",
    "PARITIES",
    "UNITS_MAX",
    "Setting",
    "parse_bauds",
    "parse_parities",
    "parse_stops",
    "parse_units",
    "units_text",
]

BAUDRATES = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
PARITIES = {"none": "N", "even": "E", "odd": "O"}
UNITS_MAX = 247
_BAUD_LIMITS = (300, 1_000_000)
_USB_PAUSE_S = 0.025  # a USB adapter hands bytes over in lumps up to 16 ms apart


@dataclass(frozen=True, order=True)
class Setting:
    """Baud rate, parity (N, E, O) and stop bits; always 8 data bits."""

    baudrate: int
    parity: str
    stop: int = 1

    def __str__(self) -> str:
        return f"{self.baudrate} 8{self.parity}{self.stop}"

    @property
    def parity_name(self) -> str:
        """As a site file has it."""
        return next(name for name, letter in PARITIES.items() if letter == self.parity)

    @property
    def char_s(self) -> float:
        """Seconds of one character."""
        return (9 + (self.parity != "N") + self.stop) / self.baudrate

    @property
    def gap_s(self) -> float:
        """Silence between frames: 3.5 characters, at least 1.75 ms (Serial Line V1.02, 2.5.1.1)."""
        return max(3.5 * self.char_s, 0.00175)

    @property
    def pause_s(self) -> float:
        """Silence after which nothing more of an answer comes."""
        return self.gap_s + _USB_PAUSE_S


def parse_bauds(text: str) -> list[int]:
    """ "9600,19200" in this order. Raises InputError."""
    low, high = _BAUD_LIMITS
    rates = [_number(part, low, high, _("a baud rate")) for part in text.split(",")]
    return list(dict.fromkeys(rates))


def parse_parities(text: str) -> list[str]:
    """ "none,even" (or N,E) as letters. Raises InputError."""
    letters = []
    for part in text.split(","):
        word = part.strip().lower()
        letter = PARITIES.get(word) or (word.upper() if word.upper() in PARITIES.values() else None)
        if letter is None:
            raise InputError(_('"{text}" is not a parity; write none, even or odd').format(text=part))
        letters.append(letter)
    return list(dict.fromkeys(letters))


def parse_stops(text: str) -> list[int]:
    """ "1,2" as numbers. Raises InputError."""
    return list(dict.fromkeys(_number(part, 1, 2, _("a number of stop bits")) for part in text.split(",")))


def parse_units(text: str, most: int = UNITS_MAX) -> list[int]:
    """ "1-10,17" as numbers in this order. Raises InputError; 0 is the broadcast and never a unit."""
    units: list[int] = []
    what = _("a unit")
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low = _number(first, 1, most, what)
        high = _number(last, 1, most, what) if dash else low
        if high < low:
            raise InputError(
                _('"{text}" counts backwards; write the smaller number first').format(text=part.strip())
            )
        units += range(low, high + 1)
    return list(dict.fromkeys(units))


def _number(text: str, low: int, high: int, what: str) -> int:
    digits = text.strip()
    if digits.isascii() and digits.isdigit() and len(digits) < 20 and low <= int(digits) <= high:
        return int(digits)
    raise InputError(
        _('"{text}" is not {what}; write a number from {low} to {high}').format(
            text=text.strip(), what=what, low=low, high=high
        )
    )


def units_text(units: Iterable[int]) -> str:
    """Numbers as "1-3, 17"."""
    runs: list[list[int]] = []
    for unit in sorted(units):
        if runs and unit == runs[-1][-1] + 1:
            runs[-1][1:] = [unit]
        else:
            runs.append([unit])
    return ", ".join("-".join(map(str, run)) for run in runs)
