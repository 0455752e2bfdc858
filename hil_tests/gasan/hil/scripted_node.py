"""A node that is only a script: it makes authentic frames, one boot after the other, without a board or a
link.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from gasan.wire import cbor, columns
from gasan.wire.columns import Group
from gasan.wire.frame import BIRTH, BOOT, CRASH, DATA, HEALTH, TOMBSTONE, FrameWriter, frame_key

__all__ = ["Column", "ScriptedKeys", "ScriptedNode", "channel"]

Column = tuple[int, Sequence[int | float | bytes | None]]
"""A type code of `gasan.wire.columns`, and a value for each row: None is a timeout, bytes are taken as they
are.
"""

_TIMEOUT = 64


def channel(
    device: str,
    name: str,
    type_code: int,
    *,
    unit: str = "V",
    num: int = 1,
    den: int = 1,
    off: int = 0,
    period_ms: int = 1000,
    more: Mapping[int, Any] | None = None,
) -> list[Any]:
    """A channel as it stands in a birth frame."""
    return [device, name, unit, type_code, num, den, off, period_ms, dict(more or {})]


class ScriptedNode:
    """Makes a node's frames. `seq` and `count` go on by themselves within a boot; `start` begins the next
    one.
    """

    def __init__(self, random: Random, name: str = "press-1", generation: int = 0) -> None:
        self.name = name
        self.generation = generation
        self.node_id = random.randbytes(8)
        self.key = random.randbytes(32)
        self.revision = hashlib.sha256(random.randbytes(8)).digest()[:8]
        self.boot = b""
        self.seq = 0
        self.count = 0
        self._random = random
        self._ordinal = 0
        self._before: tuple[bytes, int, int] | None = None
        self._writer = FrameWriter(self.node_id, generation, frame_key(self.key))

    def start(self, *, tell_end: bool = True, state: int = 0) -> bytes:
        """Begins a boot; returns its boot frame. Without `tell_end` it holds nothing of the boot before."""
        before = (self.boot, self.seq - 1, self.count) if self.boot else None
        self.boot, self.seq, self.count = self._random.randbytes(8), 0, 0
        self._ordinal += 1
        boot, last, count = before if before is not None else (None, None, None)
        content = {
            1: self._ordinal,
            2: boot,
            3: last if tell_end else None,
            4: count if tell_end else None,
            5: 1,
            6: "0.1.0",
            7: "virtual",
            8: state,
        }
        return self._content(BOOT, 0, content)

    def flash_anew(self) -> None:
        """Nothing is left in flash but the key: the next `start` is the first one."""
        self.boot, self._ordinal = b"", 0

    def birth(self, channels: Sequence[list[Any]], *, first: int = 0, part: int = 0, parts: int = 1) -> bytes:
        """A birth frame of the current revision."""
        return self._content(BIRTH, 0, [part, parts, first, list(channels)])

    def data(
        self,
        data_columns: Sequence[Column],
        *,
        mono: int = 1000,
        period_ms: int = 1000,
        first_channel: int = 0,
        marks: Mapping[tuple[int, int], int] | None = None,
    ) -> bytes:
        """A data frame with one group; `marks` gives (column, row) another quality."""
        types = [type_code for type_code, _ in data_columns]
        rows = len(data_columns[0][1])
        group = Group(range(first_channel, first_channel + len(types)), types, rows, period_ms)
        for row in range(rows):
            group.start(row * period_ms)
            for col, (type_code, values) in enumerate(data_columns):
                value = values[row]
                if value is None:
                    group.mark(col, _TIMEOUT)
                else:
                    group.put(col, _packed(type_code, value), 0)
                if marks and (col, row) in marks:
                    group.mark(col, marks[col, row])
            group.finish()
        self._begin(DATA, mono)
        if not self._writer.add(group):
            raise ValueError("the data does not fit into a frame")
        return self._seal(rows * len(types))

    def health(self, values: Mapping[int, int], mono: int = 60_000) -> bytes:
        return self._content(HEALTH, mono, dict(values))

    def crash(self, text: str) -> bytes:
        return self._content(CRASH, 0, text)

    def tombstone(
        self,
        first: int,
        last: int,
        count: int,
        *,
        boot: bytes | None = None,
        reason: int = 1,
        mono_from: int = 0,
        mono_to: int = 0,
        channels: Sequence[int] = (),
    ) -> bytes:
        """Gives up frames; `channels` is flat: channel, readings, ..."""
        content = [reason, boot or self.boot, first, last, count, mono_from, mono_to, list(channels)]
        return self._content(TOMBSTONE, mono_to, content)

    def _content(self, kind: int, mono: int, content: Any) -> bytes:
        self._begin(kind, mono)
        self._writer.raw(cbor.dumps(content))
        return self._seal(0)

    def _begin(self, kind: int, mono: int) -> None:
        self._writer.begin(kind, self.boot, self.seq, self.count, mono, self.revision)

    def _seal(self, readings: int) -> bytes:
        self.seq += 1
        self.count += readings
        return bytes(self._writer.seal())


class ScriptedKeys:
    """The keys of scripted nodes, as the store asks for them."""

    def __init__(self, *nodes: ScriptedNode) -> None:
        self._nodes = {node.node_id: node for node in nodes}

    def key(self, node_id: bytes, generation: int) -> bytes | None:
        node = self._nodes.get(node_id)
        return node.key if node is not None and node.generation == generation else None

    def name(self, node_id: bytes) -> str:
        return self._nodes[node_id].name


def _packed(type_code: int, value: int | float | bytes) -> bytes:
    """A value as the big-endian bytes of its type."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, float):
        return struct.pack(">f" if type_code == columns.F32 else ">d", value)
    return value.to_bytes(columns.width(type_code), "big", signed=value < 0)
