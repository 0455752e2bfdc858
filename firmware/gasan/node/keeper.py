"""The file /learned: what is known of how devices take reads, over restarts. Loaded with what learns.

/learned: CRC-32 (big-endian) of the rest, then CBOR {bus name: [* [unit, function, longest read that passed,
shortest refused, [* wall], [* retired]]]}; a wall and what is retired are two numbers each, the first
register and the one behind the last. It is written whole, seldom, and between transactions; one that is
damaged is as if it were not there. Facts belong to a unit of a bus, so a new config keeps them; what is not
true of a new device there is probed away.
"""

import os
from binascii import crc32
from time import ticks_diff, ticks_ms

from gasan.node import log
from gasan.wire import cbor
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.facts import Facts
    from gasan.node.poll import Poller

_FILE = "/learned"
_MOST = const(4096)  # bytes of the file
_BUSES = const(8)
_CALM_MS = const(30000)  # so long nothing new was learned before it is written
_SELDOM_MS = const(900000)  # between two writes


class Keeper:
    """Keeps the facts of one line over restarts."""

    def __init__(self, poller: "Poller") -> None:
        # The name of the bus, and what calls a function that writes to flash; neither on a bench.
        keep: "Any" = getattr(poller, "keep", ("", None))
        self._name, self._quietly = keep
        self._known = load(self._name) if self._name else []
        self._facts: "list[Facts]" = []
        self._changed = False
        self._since = self._written = ticks_ms()
        self._first = True

    def restore(self, facts: "Facts") -> None:
        """Fill in what was known before the restart."""
        for unit, function, accepted, refused, walls, _ in self._known:
            if (unit, function) == (facts.unit, facts.function):
                now = ticks_ms()
                facts.accepted, facts.refused = accepted, refused
                facts.walls = [[walls[i], walls[i + 1], 0, now] for i in range(0, len(walls), 2)]

    def retired(self, facts: "Facts", first: int) -> bool:
        """Whether the register was retired before the restart."""
        for unit, function, _, _, _, shelf in self._known:
            if (unit, function) == (facts.unit, facts.function):
                return any(shelf[i] == first for i in range(0, len(shelf), 2))
        return False

    def changed(self, now: "Any") -> None:
        """Something was learned, or proved wrong."""
        self._changed = True
        self._since = now

    def tick(self, facts: "list[Facts]", now: "Any") -> None:
        """Write what is new when it is time."""
        if (
            self._changed
            and self._quietly
            and ticks_diff(now, self._since) > _CALM_MS
            and (self._first or not 0 <= ticks_diff(now, self._written) <= _SELDOM_MS)  # less: long ago
        ):
            import asyncio

            self._changed = self._first = False
            self._written = now
            self._facts = facts
            asyncio.create_task(self._quietly(self.save))

    def save(self) -> None:
        """Write the file."""
        rows = [
            [f.unit, f.function, f.accepted, f.refused, _flat(f.walls), _flat(f.shelf)] for f in self._facts
        ]
        kept = _read()
        kept.pop(self._name, None)
        while len(kept) >= _BUSES:
            kept.pop(next(iter(kept)))
        kept[self._name] = rows
        data = cbor.dumps(kept)
        try:
            if len(data) > _MOST:
                raise OSError("too much was learned to be kept")
            with open(_FILE + ".new", "wb") as f:
                f.write(crc32(data).to_bytes(4, "big"))
                f.write(data)
            os.rename(_FILE + ".new", _FILE)  # whole, whenever power goes
        except OSError as e:
            log.warn("%s: %s" % (_FILE, e))


def load(name: str) -> "list[list[Any]]":
    """The rows of one bus; none when there is nothing, or nothing that makes sense."""
    rows = _read().get(name, [])
    try:
        for unit, function, accepted, refused, walls, shelf in rows:
            numbers = [unit, function, accepted, refused] + walls + shelf
            if len(walls) & 1 or len(shelf) & 1 or not all(0 <= n <= 65536 for n in numbers):
                return []
        return rows
    except (ValueError, TypeError):
        return []


def _flat(ranges: "list[list[Any]]") -> "list[int]":
    return [n for one in ranges for n in one[:2]]


def _read() -> "dict[str, Any]":
    try:
        with open(_FILE, "rb") as f:
            data = f.read(_MOST + 4)
        if int.from_bytes(data[:4], "big") == crc32(data[4:]):
            kept = cbor.loads(data[4:])
            if isinstance(kept, dict):
                return kept
    except (OSError, ValueError):
        pass
    return {}
