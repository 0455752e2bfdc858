"""The event clock: an asyncio event loop whose time goes on only when nothing is left to do at this moment.

Thirty days pass as fast as their events can be worked off, and the same seed gives the same run, since no
thread, no socket and no real clock takes part.
"""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

__all__ = ["EventClock", "VirtualLoop"]


class EventClock:
    """The true time, in seconds since the run began; only the loop moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def ms(self) -> int:
        """Whole milliseconds since the run began."""
        return int(self.seconds * 1000 + 1e-4)


class _NoFiles(selectors.BaseSelector):
    """A selector that waits by moving the clock. It takes the loop's own self-pipe, and never looks at it."""

    def __init__(self, clock: EventClock) -> None:
        self._clock = clock
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("the simulation waits for something that nobody will do")
        if timeout > 0:
            self._clock.seconds += timeout
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on an `EventClock`."""

    def __init__(self, clock: EventClock) -> None:
        super().__init__(_NoFiles(clock))
        self._event_clock = clock
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._event_clock.seconds
