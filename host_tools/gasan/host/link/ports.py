"""What a link asks of a port, whatever it runs over."""

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

__all__ = ["MakePort", "Port", "PortState"]


class PortState(Enum):
    """What a port is up to."""

    OPEN = auto()
    MISSING = auto()
    BUSY = auto()
    FORBIDDEN = auto()
    LOST = auto()
    FAILED = auto()
    CLOSED = auto()


class Port(Protocol):
    """Bytes both ways, kept open."""

    async def run(self) -> None:
        """Open it, and open it again whenever it has gone; ends only by cancellation."""

    def write(self, data: bytes) -> bool:
        """Write all of it, at once or soon; False, and it is dropped, while that cannot be."""


MakePort = Callable[[Callable[[bytes], None], Callable[[PortState, str], None]], Port]
"""Makes a port that calls the first with the bytes that come, the second with each state and its sentence."""
