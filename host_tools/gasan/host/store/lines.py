"""What became of the requests to each Modbus device, drawn from what is stored."""

import json
import sqlite3
from collections.abc import Callable
from typing import Any, Final

from gasan.host.line_diagnosis import Block, DeviceHealth
from gasan.host.store import counters
from gasan.host.store.schema import FRAME_SHIFT, time_sql
from gasan.wire import columns
from gasan.wire.frame import HEALTH
from gasan.wire.quality import BAD_ANSWER, BAD_CRC, DISCONNECTED, EXCEPTION, NO_VALUE, TIMEOUT

__all__ = ["line_health"]

_FIELDS: Final = {TIMEOUT: "timeouts", BAD_CRC: "crc", BAD_ANSWER: "misfits", DISCONNECTED: "disconnected"}

# Which frames have something of which span of time: found once, for there may be millions that have nothing.
_NEAR: Final = """
CREATE TEMP TABLE IF NOT EXISTS near (span INTEGER, frame INTEGER, PRIMARY KEY (span, frame)) WITHOUT ROWID"""
_FRAMES: Final = f"""
SELECT frame.id, {time_sql("frame.mono")} AS begins, {time_sql("(frame.mono + frame.span)")} AS ends
FROM node
CROSS JOIN boot ON boot.node = node.id
CROSS JOIN frame ON frame.boot = boot.id
CROSS JOIN node_clock ON node_clock.id = frame.clock
CROSS JOIN gateway_clock ON gateway_clock.id = node_clock.gateway
WHERE node.name = ? AND frame.n > 0 AND ends >= ? AND begins < ?"""

# One row for each request: what was read together has one time.
_REQUESTS: Final = f"""
SELECT revision, device, first, n, quality, (time_ms - :since) / :step AS span, count(*)
FROM (
    SELECT channel.revision AS revision, channel.device AS device, min(channel.number) AS first,
        count(*) AS n, sample.quality AS quality, {time_sql("frame.mono + sample.dt")} AS time_ms
    FROM near
    CROSS JOIN frame ON frame.id = near.frame
    CROSS JOIN node_clock ON node_clock.id = frame.clock
    CROSS JOIN gateway_clock ON gateway_clock.id = node_clock.gateway
    CROSS JOIN sample
        ON sample.id >= (frame.id << {FRAME_SHIFT}) AND sample.id < ((frame.id + 1) << {FRAME_SHIFT})
    CROSS JOIN channel ON channel.id = sample.channel
    CROSS JOIN modbus_device ON modbus_device.revision = channel.revision
        AND modbus_device.device = channel.device
    WHERE near.span = :at
    GROUP BY frame.id, channel.device, sample.dt, sample.quality
)
WHERE time_ms >= :from AND time_ms < :until
GROUP BY revision, device, first, n, quality, span"""

# The last figures of each device and boot before a time; a bare column is of the row with the maximum.
_LATEST: Final = f"""
SELECT boot.id, frame.revision, event.body, max(frame.id)
FROM event
CROSS JOIN frame ON frame.id = event.frame
CROSS JOIN boot ON boot.id = frame.boot
CROSS JOIN node ON node.id = boot.node
CROSS JOIN node_clock ON node_clock.id = frame.clock
CROSS JOIN gateway_clock ON gateway_clock.id = node_clock.gateway
WHERE node.name = ? AND frame.kind = {HEALTH} AND {time_sql("frame.mono")} < ?
GROUP BY boot.id, frame.revision, json_extract(event.body, '$."{counters.DEVICE}"')
ORDER BY max(frame.id)"""


def line_health(
    connection: sqlite3.Connection,
    node: str,
    since_ms: int,
    until_ms: int,
    spans: int,
    watch: Callable[[int], None] = lambda _done: None,
) -> list[DeviceHealth]:
    """The Modbus devices of a node in the order of the site file, over `spans` equal spans of time.

    watch: called with the number of spans that are done.
    """
    step = max(1, -(-(until_ms - since_ms) // spans))
    devices: dict[str, DeviceHealth] = {}
    for name, line, kind, unit, setting in connection.execute(
        "SELECT modbus_device.device, line, kind, unit, setting FROM modbus_device"
        " JOIN revision ON revision.id = modbus_device.revision JOIN node ON node.id = revision.node"
        " WHERE node.name = ? ORDER BY modbus_device.revision DESC, first",
        (node,),
    ):
        if name not in devices:
            device = devices[name] = DeviceHealth(name, line, kind == 1, unit, setting)
            device.timeline = [(0, 0)] * spans
    blocks: dict[tuple[int, int, int], Block] = {}
    meanings = _channels(connection, node)
    _find_frames(connection, node, since_ms, until_ms, step)
    for at in range(spans):
        bounds = {"since": since_ms, "step": step, "from": since_ms + at * step}
        until = min(until_ms, since_ms + (at + 1) * step)
        for revision, name, first, n, quality, span, count in connection.execute(
            _REQUESTS, {"at": at, **bounds, "until": until}
        ):
            device = devices[name]
            key = revision, first, n
            if key not in blocks:
                own = [meanings.get((revision, number), ("?", 1)) for number in range(first, first + n)]
                blocks[key] = Block(sum(words for _, words in own), tuple(name for name, _ in own))
                device.blocks.append(blocks[key])
            lost = _note(blocks[key], quality, count)
            if lost is not None:
                asked, before = device.timeline[span]
                device.timeline[span] = asked + count, before + (count if lost else 0)
        watch(at + 1)
    _tallies(connection, node, devices, since_ms, until_ms)
    return list(devices.values())


def _find_frames(connection: sqlite3.Connection, node: str, since_ms: int, until_ms: int, step: int) -> None:
    connection.execute(_NEAR)
    connection.execute("BEGIN")
    connection.execute("DELETE FROM near")
    connection.executemany(
        "INSERT INTO near VALUES (?, ?)",
        (
            (span, frame)
            for frame, begins, ends in connection.execute(_FRAMES, (node, since_ms, until_ms))
            for span in range(
                (max(begins, since_ms) - since_ms) // step, (min(ends, until_ms - 1) - since_ms) // step + 1
            )
        ),
    )
    connection.execute("COMMIT")


def _note(block: Block, quality: int, count: int) -> bool | None:
    """Count requests of an outcome; whether they were lost, None for what is no outcome of a request."""
    if quality < NO_VALUE:
        block.good += count
        return False
    if quality in _FIELDS:
        setattr(block, _FIELDS[quality], getattr(block, _FIELDS[quality]) + count)
        return True
    if EXCEPTION <= quality < EXCEPTION + 16:
        code = quality - EXCEPTION
        block.exceptions[code] = block.exceptions.get(code, 0) + count
        return False
    return None


def _channels(connection: sqlite3.Connection, node: str) -> dict[tuple[int, int], tuple[str, int]]:
    """(name, registers) by (revision, number)."""
    return {
        (revision, number): (name, max(1, columns.width(code) // 2))
        for revision, number, name, code in connection.execute(
            "SELECT channel.revision, number, channel.name, type FROM channel"
            " JOIN revision ON revision.id = channel.revision JOIN node ON node.id = revision.node"
            " WHERE node.name = ?",
            (node,),
        )
    }


def _tallies(
    connection: sqlite3.Connection, node: str, devices: dict[str, DeviceHealth], since_ms: int, until_ms: int
) -> None:
    """Add what health frames say: of each boot, the last figures less those before the time."""
    firsts = {
        (revision, first): name
        for revision, first, name in connection.execute("SELECT revision, first, device FROM modbus_device")
    }
    before, latest = (
        {
            (boot, firsts[revision, figures[counters.DEVICE]]): figures
            for boot, revision, body, _ in connection.execute(_LATEST, (node, time_ms))
            if (revision, (figures := _figures(json.loads(body))).get(counters.DEVICE)) in firsts
        }
        for time_ms in (since_ms, until_ms)
    )
    for (boot, name), figures in latest.items():
        device = devices.get(name)
        if device is None:
            continue
        old = before.get((boot, name), {})
        for slot in range(len(counters.TURNAROUNDS)):
            key = counters.FIRST_TURNAROUND + slot
            device.turnaround[slot] += max(0, figures.get(key, 0) - old.get(key, 0))
        foreign = figures.get(counters.FOREIGN, 0) - old.get(counters.FOREIGN, 0)
        device.foreign += max(0, foreign)
        timeouts, damaged = (
            max(0, figures.get(key, 0) - old.get(key, 0))
            for key in (counters.DEVICE_TIMEOUTS, counters.DEVICE_CRC_ERRORS)
        )
        device.sent = device.sent[0] + timeouts, device.sent[1] + damaged
        strays = figures.get(counters.STRAYS, 0) - old.get(counters.STRAYS, 0)
        device.strays += max(0, strays)


def _figures(body: dict[str, Any]) -> dict[int, int]:
    return {int(key): value for key, value in body.items() if isinstance(value, int)}
