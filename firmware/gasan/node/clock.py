"""Node-monotonic time: milliseconds since this start, out of a tick counter that wraps after 12 days."""

from time import ticks_add, ticks_diff, ticks_ms

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

_MOST = ticks_add(0, -1)  # type: ignore[type-var]  # the most that the counter shows, all bits set


class Clock:
    """Extends ``ticks_ms``. ``now`` must be called at least every 12 days (the supervisor always does).

    ``ticks_diff`` tells the order of two ticks within 6.2 days. Here the order is known, since time does not
    go back: so twice as much may pass between two calls, asleep or awake. A counter that a port sets back by
    less than a second, after a sleep, stands still until it has caught up.
    """

    def __init__(self, ticks: "Any" = ticks_ms) -> None:
        self._ticks = ticks
        self._last, self._now = ticks(), 0

    def now(self) -> int:
        """Milliseconds since this clock was made; never goes back."""
        t = self._ticks()
        passed = ticks_diff(t, self._last)
        if not -1000 < passed < 0:
            self._now += passed & _MOST
            self._last = t
        return self._now

    def at(self, ticks: "Any") -> int:
        """The time, in ms as from ``now``, of a ``ticks_ms`` that was read less than 6 days ago."""
        return self.now() - ticks_diff(self._last, ticks)
