"""Node-monotonic time: milliseconds since this start, out of a tick counter that wraps after 12 days."""

from time import ticks_diff, ticks_ms

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Clock:
    """Extends ``ticks_ms``. ``now`` must be called at least every 6 days (the supervisor does)."""

    def __init__(self, ticks: "Callable[[], Any]" = ticks_ms) -> None:
        self._ticks = ticks
        self._last = ticks()
        self._now = 0

    def now(self) -> int:
        """Milliseconds since this clock was made; never goes back."""
        t = self._ticks()
        self._now += ticks_diff(t, self._last)
        self._last = t
        return self._now

    def at(self, ticks: "Any") -> int:
        """The time, in ms as from ``now``, of a ``ticks_ms`` that was read less than 6 days ago."""
        return self.now() - ticks_diff(self._last, ticks)
