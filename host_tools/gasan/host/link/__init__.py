"""The gateway's end of the link to a node: session, serial port, clock."""

from gasan.host.link.clock import ClockEstimator
from gasan.host.link.events import (
    NO_ANSWER,
    SESSION_ENDED,
    CommandResult,
    Event,
    FrameReceived,
    Log,
    PutDone,
    PutProgress,
    SessionDown,
    SessionUp,
    Status,
    Stranger,
    Text,
    TimeSample,
)
from gasan.host.link.session import GatewaySession, KeyLookup, Stored

__all__ = [
    "NO_ANSWER",
    "SESSION_ENDED",
    "ClockEstimator",
    "CommandResult",
    "Event",
    "FrameReceived",
    "GatewaySession",
    "KeyLookup",
    "Log",
    "PutDone",
    "PutProgress",
    "SessionDown",
    "SessionUp",
    "Status",
    "Stored",
    "Stranger",
    "Text",
    "TimeSample",
]
