"""The simulation's own log of what happened, which the stores are judged by: it knows every sample and
every frame,
and takes nothing from the code under test but the bytes that it committed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from gasan.wire.frame import FrameError
from gasan.wire.frame_reader import parse, split

__all__ = ["BootLog", "FrameLog", "Sample", "frames_in"]


class Sample(NamedTuple):
    """One reading. raw: None for a bad one. ms: the true time, ms since the run began."""

    raw: int | None
    ms: int


@dataclass(slots=True)
class FrameLog:
    """One frame as it was given to the flash. committed: whether the spool has said that it is kept; a
    frame that
    the power cut met may be kept or not.
    """

    data: bytes
    committed: bool = False


@dataclass(slots=True)
class BootLog:
    """One start of a node. samples: by channel number, in the order in which they were taken. frames: by
    sequence
    number. began_ms, ended_ms: true time; None while it runs.
    """

    node: str
    boot: bytes
    began_ms: int
    ended_ms: int | None = None
    samples: dict[int, list[Sample]] = field(default_factory=dict)
    frames: dict[int, FrameLog] = field(default_factory=dict)
    missed: int = 0

    @property
    def sampled(self) -> int:
        return sum(map(len, self.samples.values()))


def frames_in(files: dict[str, bytes]) -> Iterator[tuple[bytes, int]]:
    """(boot, seq) of all frames in the segments of a flash, read without the spool's code."""
    for path, data in files.items():
        if not path.startswith("/spool/"):
            continue
        at = 0
        while at + 6 <= len(data):
            size = int.from_bytes(data[at : at + 2], "big")
            try:
                frame = parse(split(data[at + 6 : at + 6 + size])[1])
            except FrameError:
                break
            yield frame.boot, frame.seq
            at += 6 + size
