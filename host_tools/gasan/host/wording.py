"""How values, ages, sizes and qualities are said to a person."""

from collections.abc import Container, Sequence
from decimal import Decimal

from gasan.host.i18n import N_, _
from rich.cells import cell_len

__all__ = [
    "age_text",
    "aligned",
    "bytes_text",
    "count_text",
    "quality_text",
    "span_text",
    "sparkline",
    "unit_text",
    "value_text",
]

_BARS = "▁▂▃▄▅▆▇█"
_FLOAT_DIGITS = 6

# SenML's symbols are for programs; these are for people.
_UNITS = {
    "/": "",
    "%EL": "%",
    "%RH": "%",
    "/100": "%",
    "1/min": "rpm",
    "Cel": "°C",
    "Ohm": "Ω",
    "count": "",
    "deg": "°",
    "kg/m3": "kg/m³",
    "l": "L",
    "l/s": "L/s",
    "m2": "m²",
    "m3": "m³",
    "m3/s": "m³/s",
    "m/s2": "m/s²",
    "ug/m3": "µg/m³",
    "W/m2": "W/m²",
}

# Names of qualities as the wire's quality table gives them; what is not here is shown as it is.
_QUALITIES = {
    "good": N_("good"),
    "uncertain": N_("uncertain"),
    "uncertain/time": N_("time uncertain"),
    "uncertain/suspect": N_("suspect"),
    "bad/no-value": N_("no value"),
    "bad/range": N_("out of range"),
    "bad/timeout": N_("no answer"),
    "bad/crc": N_("disturbed (CRC)"),
    "bad/answer": N_("wrong answer"),
    "bad/disconnected": N_("not connected"),
    "bad/stale": N_("silent"),
    "bad/not-configured": N_("not configured"),
    "bad/input": N_("made of bad values"),
    "bad/undefined": N_("not defined"),
    "bad/exception": N_("refused"),
    "bad/illegal-function": N_("refused: function"),
    "bad/illegal-data-address": N_("refused: address"),
    "bad/illegal-data-value": N_("refused: value"),
    "bad/device-failure": N_("device failure"),
    "bad/device-busy": N_("device busy"),
}


def value_text(value: int | float | Decimal | str | None) -> str:
    """A value as a person wants to read it: floats to six significant digits, exponents only for extremes."""
    if value is None:
        return "-"
    if isinstance(value, float):
        text = f"{value:.{_FLOAT_DIGITS}g}"
        if "e" in text and 1e-6 < abs(value) < 1e15:
            text = f"{value:.0f}" if abs(value) >= 1 else f"{value:.9f}".rstrip("0")
        return text
    return str(value)


def unit_text(unit: str) -> str:
    """A SenML unit the way that it is written on a machine."""
    return _UNITS.get(unit, unit)


def quality_text(name: str) -> str:
    """A quality's name in the user's language."""
    return _(_QUALITIES[name]) if name in _QUALITIES else name


def age_text(milliseconds: int | None) -> str:
    """How old something is, in one number."""
    if milliseconds is None:
        return "-"
    seconds = max(0, milliseconds) / 1000
    if seconds < 9.95:
        return _("{n} s").format(n=f"{seconds:.1f}")
    if seconds < 120:
        return _("{n} s").format(n=round(seconds))
    if seconds < 7200:
        return _("{n} min").format(n=round(seconds / 60))
    if seconds < 172_800:
        return _("{n} h").format(n=round(seconds / 3600))
    return _("{n} d").format(n=round(seconds / 86_400))


def span_text(seconds: float) -> str:
    """A running time as hours, minutes and seconds."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def bytes_text(count: int) -> str:
    """A size in bytes, KB or MB (powers of 1,000)."""
    if count < 10_000:
        return f"{count} B"
    if count < 10_000_000:
        return f"{count / 1000:.0f} KB"
    return f"{count / 1_000_000:.0f} MB"


def count_text(count: int) -> str:
    """A count with its thousands set apart."""
    return f"{count:,}"


def sparkline(history: Sequence[float | None], width: int) -> str:
    """The last `width` values as bars between their least and greatest; a gap where there was no value."""
    shown = history[-width:] if width > 0 else []
    values = [value for value in shown if value is not None and value == value]
    if not values:
        return ""
    low, high = min(values), max(values)
    bars = []
    for value in shown:
        if value is None or value != value:
            bars.append(" ")
        elif high == low:
            bars.append(_BARS[3])
        else:
            bars.append(_BARS[min(7, int((value - low) / (high - low) * 8))])
    return "".join(bars)


def aligned(lines: Sequence[Sequence[str]], right: Container[int] = ()) -> list[str]:
    """Lines of text from rows of cells, the columns in `right` to the right; Hangul is two cells wide."""
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = []
    for line in lines:
        cells = []
        for column, (cell, width) in enumerate(zip(line, widths, strict=True)):
            blank = " " * (width - cell_len(cell))
            cells.append(blank + cell if column in right else cell + blank)
        texts.append("  ".join(cells).rstrip())
    return texts
