"""The tables of rules in a site file: their keys and forms. What goes with what is in `edge_rules`."""

import re
from fractions import Fraction
from typing import Annotated, Literal

from gasan.host.i18n import _
from gasan.host.quantities import Duration, Exact, Name
from gasan.host.shape import Table, wrong
from gasan.host.toml_file import toml_text
from pydantic import Field, PlainValidator, TypeAdapter, ValidationError

__all__ = ["AlarmTable", "DerivedTable", "RateTable", "RulesTable", "WindowTable"]

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%")
_EXACT: TypeAdapter[Fraction] = TypeAdapter(Exact)


def _deadband(value: object) -> tuple[Fraction, bool]:
    """(width, whether it is a share of the value) of 0.5 or "1 %"."""
    percent = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    try:
        width = Fraction(percent[1]) / 100 if percent else _EXACT.validate_python(value)
    except ValidationError:
        width = Fraction(0)
    if width > 0 and (percent is None or width < 1):
        return width, percent is not None
    raise wrong(
        _("{value} is not a deadband").format(value=toml_text(value)),
        _('write a number above 0 in the channel\'s unit, or a share like "1 %"'),
    )


Deadband = Annotated[tuple[Fraction, bool], PlainValidator(_deadband)]


class RateTable(Table):
    """rate = {…}: how fast a counter counts."""

    per: Duration = Field(default=1000, examples=["1h"])
    unit: str = Field(default="", examples=["kW"])
    wrap: int | None = Field(default=None, ge=0, le=1 << 64, examples=[1_000_000])
    max: Exact | None = Field(default=None, examples=[100])
    resolution: Exact | None = Field(default=None, examples=["0.001"])


class WindowTable(Table):
    """aggregate = {…}: figures of a channel over windows."""

    window: Duration = Field(examples=["1m"])
    of: list[Literal["min", "max", "mean", "last", "count", "rms"]] = Field(
        min_length=1, examples=[["min", "max", "mean"]]
    )
    keep: bool = Field(default=False, examples=[True])


class AlarmTable(Table):
    """alarm = {…}: limits, a change of which is sent at once."""

    high: Exact | None = Field(default=None, examples=[80])
    low: Exact | None = Field(default=None, examples=[5])
    hysteresis: Exact = Field(default=Fraction(0), examples=[2])
    delay: Duration = Field(default=0, examples=["5s"])
    hold_off: Duration = Field(default=10_000, examples=["1m"])


class RulesTable(Table):
    """[node.bus.device.rules.CHANNEL] and [node.derived.rules]"""

    deadband: Deadband | None = Field(default=None, examples=[0.5])
    on_change: bool = Field(default=False, examples=[True])
    max_silence: Duration = Field(default=900_000, examples=["15m"])
    rate: RateTable | None = Field(default=None, examples=["…"])
    aggregate: WindowTable | None = Field(default=None, examples=["…"])
    alarm: AlarmTable | None = Field(default=None, examples=["…"])


class DerivedTable(Table):
    """[[node.derived]], without its rules."""

    name: str = Field(examples=["apparent_power"])
    device: Name = Field(default="derived", examples=["line"])
    inputs: dict[str, str] = Field(min_length=1, examples=["…"])
    expression: str = Field(min_length=1, examples=["voltage * current"])
    unit: str = Field(default="", examples=["VA"])
    resolution: Exact | None = Field(default=None, examples=["0.01"])
    label_en: str | None = Field(default=None, min_length=1, max_length=60, examples=["Apparent power"])
    label_ko: str | None = Field(default=None, min_length=1, max_length=60, examples=["피상 전력"])
