"""What a channel number of a compiled config means, as it stands in a birth frame."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Channel"]


@dataclass(frozen=True)
class Channel:
    """The meaning of a channel number. value = (raw * num + off) / den, after shift and mask."""

    index: int
    device: str
    name: str
    unit: str
    type: int
    num: int
    den: int
    off: int
    period_ms: int
    shift: int | None
    mask: int | None
    enum: Mapping[int, str]
    enum_ko: Mapping[int, str]
    label_en: str
    label_ko: str
    form: int = 0
    missing: tuple[int, ...] = ()
    decimals: int = 0

    def meaning(self) -> list[Any]:
        """The channel as it stands in a birth frame."""
        extra: dict[int, Any] = {}
        if self.shift is not None:
            extra[1] = self.shift
        if self.mask is not None:
            extra[2] = self.mask
        if self.enum:
            extra[3] = dict(self.enum)
        if self.form:
            extra[5] = self.form
        if self.missing:
            extra[6] = list(self.missing)
        if self.decimals:
            extra[7] = self.decimals
        return [
            self.device,
            self.name,
            self.unit,
            self.type,
            self.num,
            self.den,
            self.off,
            self.period_ms,
            extra,
        ]
