"""Lines for people, like ``12345 I spool: 3 frames``: to the console, or to a small ring when a link carries
them.

Every line is bounded. When the ring is full its oldest line goes, and the next one taken tells how many went.
"""

import io
import sys
from time import ticks_ms

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LINE = const(200)  # characters of a line
_RING = const(16)  # lines kept for the link

sink = print  # called with a line; the link puts its own in place while it shares the console
now: "Callable[[], Any]" = ticks_ms  # the time in front of a line, ms; the app puts its clock in place
_ring: list[str] | None = None
_lost = 0


def info(text: str) -> None:
    """What went as it should."""
    _line("I", text)


def warn(text: str) -> None:
    """What went wrong and was dealt with."""
    _line("W", text)


def error(text: str) -> None:
    """What somebody should look at."""
    _line("E", text)


def trace(exc: BaseException, limit: int = 900) -> str:
    """The traceback of ``exc``, at most its last ``limit`` characters."""
    try:
        out = io.StringIO()
        sys.print_exception(exc, out)
        return out.getvalue()[-limit:]
    except MemoryError:
        return type(exc).__name__


def ring(on: bool) -> None:
    """Keep lines for ``take`` (True) instead of giving them to the sink (False)."""
    global _ring
    _ring = [] if on else None


def take() -> str | None:
    """The oldest line of the ring, or None."""
    global _lost
    if not _ring:
        return None
    if _lost:
        line, _lost = "%d lines lost" % _lost, 0
        return line
    return _ring.pop(0)


def _line(level: str, text: str) -> None:
    global _lost
    try:
        for part in text.split("\n"):
            line = "%d %s %s" % (now(), level, part[:_LINE])
            if _ring is None:
                sink(line)
            else:
                if len(_ring) >= _RING:
                    _ring.pop(0)
                    _lost += 1
                _ring.append(line)
    except Exception:  # noqa: S110 - whatever the sink does, a log line is never worth a failure
        pass
