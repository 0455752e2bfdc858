"""Moments as people write them on a command line."""

import re
import time
from datetime import datetime

from gasan.host.errors import InputError
from gasan.host.i18n import _

__all__ = ["local_time", "parse_moment"]

_AGO = re.compile(r"(\d{1,6})\s*(s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_moment(text: str, now_ms: int | None = None) -> int:
    """Unix milliseconds of "2h" (that long ago), "2026-03-01", "2026-03-01T06:00" (local) or "…Z", "…+09:00".

    Raises InputError for anything else.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now_ms - int(ago[1]) * _SECONDS[ago[2]] * 1000
    try:
        moment = datetime.fromisoformat(text.strip())
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise InputError(
            _('"{text}" is not a time; write for example 2h, 2026-03-01 or 2026-03-01T06:00').format(
                text=text
            )
        ) from None


def local_time(time_ms: int | None) -> str:
    """A moment in this machine's time zone, to the millisecond; "?" while unknown."""
    if time_ms is None:
        return "?"
    moment = datetime.fromtimestamp(time_ms // 1000).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time_ms % 1000:03d}"
