"""What a link tells its owner."""

from dataclasses import dataclass

__all__ = [
    "NO_ANSWER",
    "SESSION_ENDED",
    "CommandResult",
    "Event",
    "FrameReceived",
    "Log",
    "PutDone",
    "PutProgress",
    "SessionDown",
    "SessionUp",
    "Status",
    "Stranger",
    "Text",
    "TimeSample",
]

NO_ANSWER = -1  # status of a CommandResult: the node did not answer within 30 s
SESSION_ENDED = -2  # the node has started again since, or it is another one: whether it was done is unknown


@dataclass(frozen=True, slots=True)
class SessionUp:
    """A node has proved its key and has taken the WELCOME."""

    node_id: bytes
    generation: int
    boot: bytes


@dataclass(frozen=True, slots=True)
class SessionDown:
    """The session is over. reason: "silent", "bye", "replaced" or "port closed"."""

    node_id: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """A node announces itself for which there is no session key (told once per node and generation)."""

    node_id: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """One frame as the node has made it; its own MAC is still to be verified."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Status:
    """The node's figures, by the keys of a health frame."""

    values: dict[int, int]


@dataclass(frozen=True, slots=True)
class TimeSample:
    """One exchange, ms: asked t1, answered t4 by our clock; taken t2, sent t3 by the node's."""

    t1: int
    t2: int
    t3: int
    t4: int


@dataclass(frozen=True, slots=True)
class Text:
    """A line that somebody printed on the console; it is not authenticated."""

    line: str


@dataclass(frozen=True, slots=True)
class Log:
    """A line of the node's log, inside the session."""

    text: str


@dataclass(frozen=True, slots=True)
class PutProgress:
    """The node holds `offset` of `total` bytes."""

    kind: int
    hash: bytes
    offset: int
    total: int


@dataclass(frozen=True, slots=True)
class PutDone:
    """The node holds it all (ok), or it will not: reason says why."""

    kind: int
    hash: bytes
    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The end of a command. status: 0 done; positive: the node's own; NO_ANSWER or SESSION_ENDED."""

    id: int
    status: int
    text: str


Event = (
    SessionUp
    | SessionDown
    | Stranger
    | FrameReceived
    | Status
    | TimeSample
    | Text
    | Log
    | PutProgress
    | PutDone
    | CommandResult
)
