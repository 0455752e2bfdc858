"""Advertisements in which every value has a fixed place, described by a table: no code for a new sensor.

An advertisement is a row of AD structures: length, type, data. A match is [identity, prefix, size]: a
structure is the one when its type and data begin with `identity` (the type, and a company or service UUID as
sent) and then `prefix`, and `size` bytes (0: any number) follow the identity, the prefix among them. Offsets
of fields count from behind the identity, as makers' descriptions do. See gasan.wire.fields for the fields.

Nothing here allocates once a `Layout` is made.
"""

from gasan.wire import fields as _fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Buffer = bytes | bytearray | memoryview

    def const(value: int) -> int:
        return value
else:
    try:
        from micropython import const
    except ImportError:

        def const(value):
            return value


# What Layout.open says, as gasan.wire.bthome has it.
FOREIGN = const(0)
READABLE = const(1)


class Layout(_fields.Fields):
    """Decodes the advertisements of one kind of sensor.

    matches, fields: as above, fields only of those channels that are wanted. counted: whether the last field
    counts measurements, so that the same content is the same measurement.
    Raises FieldError for a table that makes no sense.
    """

    def __init__(
        self, matches: "Sequence[Sequence[Any]]", fields: "Sequence[Sequence[Any]]", counted: bool
    ) -> None:
        super().__init__(fields)
        for match in matches:
            if len(match) != 3 or not match[0]:
                raise _fields.FieldError("no match")
        for field in fields:
            if not 0 <= field[0] < len(matches):
                raise _fields.FieldError("a field of no match")
        self._matches = matches
        self._counted = counted

    def open(self, buf: "Buffer", start: int, end: int) -> int:
        """Look at the AD structures in buf[start:end]: FOREIGN or READABLE."""
        self.clear()
        while start + 1 < end:
            stop = start + 1 + buf[start]
            if stop > end:
                break
            for k in range(len(self._matches)):
                behind = self._behind(k, buf, start + 1, stop)
                if behind:
                    self.take(k, buf, behind, stop)
            start = stop
        if not self.pack():
            return FOREIGN
        self.packet_id = -1
        if self._counted and self.find(len(self.fields) - 1, 0) >= 0:
            self.packet_id = 0
        return READABLE

    def _behind(self, k: int, buf: "Buffer", start: int, stop: int) -> int:
        """Where the data behind the identity begins when match k fits buf[start:stop], else 0."""
        match = self._matches[k]
        identity, prefix = match[0], match[1]
        behind = start + len(identity)
        if behind + len(prefix) > stop or (match[2] and stop - behind != match[2]):
            return 0
        for i in range(len(identity)):
            if buf[start + i] != identity[i]:
                return 0
        for i in range(len(prefix)):
            if buf[behind + i] != prefix[i]:
                return 0
        return behind
