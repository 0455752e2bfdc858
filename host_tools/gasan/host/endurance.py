"""What a node writes to its flash: frames and bytes a day, how long its spool lasts, how long its flash does.

Each committed frame costs an erase, since littlefs copies the last block of a file that grows, and some more
for its metadata and for blocks that are filled. These were measured on the stand-in flash with the firmware's
files resident (`make bench`, bench ``spool``); a test compares this arithmetic with it. littlefs levels the
blocks that are free: what is resident is never moved. One block is ahead of the mean by some hundred erases
at most, since littlefs moves a directory after 100, which is nothing against 100,000.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gasan.boards.facts import Board
from gasan.host.site import Node

__all__ = ["RESIDENT_BLOCKS", "YEARS_ENOUGH", "Endurance", "endurance", "longer_batch", "work_out"]

YEARS_ENOUGH: Final = 5.0
"""Below so many years a site is warned about."""

RESIDENT_BLOCKS: Final = 97
"""Blocks of the firmware's files, config, keys and folders, and some to grow."""

_DAY_MS: Final = 86_400_000
_DAYS_A_YEAR: Final = 365.25
_FRAME_BYTES: Final = 71  # envelope, head and record
_GROUP_BYTES: Final = 10
_READING_BYTES: Final[Mapping[str, float]] = MappingProxyType({"f32": 4.5, "f64": 8.5})
_INTEGER_BYTES: Final = 1.3  # differences of neighbours, as in workload W1; the floats as in W2
_HEALTH_BYTES: Final = 196
_HEALTH_MS: Final = 60_000
_HEALTH_OUTAGE_MS: Final = 600_000  # without a gateway
_UNASKED_MS: Final = 10_000  # a channel that is read when it is heard is taken to be heard so often
_COMMIT_ERASES: Final[Mapping[int, float]] = MappingProxyType({32: 1.12, 256: 1.05})  # by bytes of a program
_RAM_OVERHEAD: Final = 4096  # bytes of a spool in memory that its file system takes
_BATCH_AGES_MS: Final = (10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000)


@dataclass(frozen=True)
class Endurance:
    """frames, size: of data and health a day, in bytes as they stand in flash. outage_hours: without a
    gateway, until the first frame is dropped. erases: a day. years: of flash life; None when the flash is not
    written.
    """

    frames: float
    size: float
    outage_hours: float
    erases: float
    years: float | None


def endurance(node: Node) -> Endurance:
    """What the node will write."""
    return work_out(
        node.board,
        list(_groups(node)),
        node.batch_max_age_ms,
        node.batch_max_bytes,
        node.spool_bytes,
        node.spool_in_ram,
    )


def longer_batch(node: Node) -> int | None:
    """The shortest usual `max_age`, in ms, with which the node's flash lasts long enough; None if none is."""
    for age_ms in _BATCH_AGES_MS:
        if age_ms > node.batch_max_age_ms:
            years = work_out(
                node.board, list(_groups(node)), age_ms, node.batch_max_bytes, node.spool_bytes
            ).years
            if years is not None and years >= YEARS_ENOUGH:
                return age_ms
    return None


def work_out(
    board: Board,
    groups: Sequence[tuple[int, Sequence[str]]],
    max_age_ms: int,
    max_bytes: int,
    spool_bytes: int,
    in_ram: bool = False,
) -> Endurance:
    """The same for groups of channels that are read together: (period in ms, their types)."""
    rate = 0.0  # bytes of readings per ms
    for period_ms, types in groups:
        rate += sum(_READING_BYTES.get(kind, _INTEGER_BYTES) for kind in types) / period_ms
    fixed = _FRAME_BYTES + _GROUP_BYTES * len(groups)
    frames = 0.0
    if rate:
        slowest = min(period_ms for period_ms, _ in groups)
        batch_ms = max(min(max_age_ms, max(max_bytes - fixed, 1) / rate), slowest, 100)
        frames = _DAY_MS / batch_ms
    data = frames * fixed + rate * _DAY_MS
    health = _DAY_MS / _HEALTH_MS
    size = data + health * _HEALTH_BYTES
    outage_rate = (data + _DAY_MS / _HEALTH_OUTAGE_MS * _HEALTH_BYTES) / 24
    usable = spool_bytes - (_RAM_OVERHEAD if in_ram else 2 * board.flash.block)
    hours = max(0.0, usable / outage_rate)
    if in_ram:
        return Endurance(frames + health, size, hours, 0.0, None)
    erases = (frames + health) * _COMMIT_ERASES.get(board.flash.program, 1.12) + size / board.flash.block
    free = board.flash.blocks - RESIDENT_BLOCKS
    years = board.flash.endurance * free / erases / _DAYS_A_YEAR
    return Endurance(frames + health, size, hours, erases, years)


def _groups(node: Node) -> Iterator[tuple[int, list[str]]]:
    """The channels of each device by period: what is read together."""
    for bus in node.buses:
        for device in bus.devices:
            by_period: dict[int, list[str]] = {}
            for channel in device.channels:
                period_ms = channel.period_ms or _UNASKED_MS
                by_period.setdefault(period_ms, []).append(channel.profile.type)
            yield from by_period.items()
