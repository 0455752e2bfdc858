"""Batches of samples, kept as the bytes that were read until a frame takes them (`gasan.wire.encoder`)."""

from array import array

from gasan.wire.quality import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Buffer = bytes | bytearray | memoryview

U16 = const(1)
I16 = const(2)
U32 = const(3)
I32 = const(4)
U64 = const(5)
I64 = const(6)
F32 = const(7)
F64 = const(8)
U8 = const(9)
I8 = const(10)

# A text of n registers, 1 to 31, has the code TEXT + n.
TEXT = const(32)

TYPE = ("", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "u8", "i8")
WIDTH = b"\x00\x02\x02\x04\x04\x08\x08\x04\x08\x01\x01" + bytes(21) + bytes(range(0, 64, 2))


def width(code: int) -> int:
    """Bytes of a sample of a type code."""
    return WIDTH[code]


class Group:
    """Samples of channels that are read together: one time per row, one sample per column and row.

    channels: their numbers, at least one. types: one type code each, as bytes or a list.
    capacity: rows it can hold. period_ms: how far apart rows are meant to be, 0 when there is no plan.

    ``n`` is the number of finished rows, ``columns`` the number of channels. All buffers are made here;
    filling them allocates nothing.
    """

    def __init__(
        self, channels: "Sequence[int]", types: "Sequence[int]", capacity: int, period_ms: int = 0
    ) -> None:
        self.channels = tuple(channels)
        self.columns = len(self.channels)
        self.types = bytes(types)
        self.capacity = capacity
        self.period_ms = period_ms
        self.n = 0
        offsets = []
        size = 0
        for code in self.types:
            offsets.append(size)
            size += WIDTH[code] * capacity
        # Column by column; what the encoder reads. Eight zero bytes end the samples.
        self.offsets = tuple(offsets)
        self.data = bytearray(size + 8)
        self.quality = bytearray(self.columns * capacity)
        self.times = array("i", bytes(4 * capacity))
        self.marked = False

    def start(self, t_ms: int) -> None:
        """Begin a row sampled at ``t_ms`` (ms, 0..2**30-1, from any base); all its samples are good.

        Raises IndexError when there is no room.
        """
        self.times[self.n] = t_ms
        at = self.n
        while self.marked and at < len(self.quality):
            self.quality[at] = 0
            at += self.capacity

    def put(self, col: int, src: "Buffer", pos: int) -> None:
        """Copy the big-endian sample of a column from ``src[pos:]``."""
        data = self.data
        size = WIDTH[self.types[col]]
        at = self.offsets[col] + self.n * size
        size += at
        while at < size:
            data[at] = src[pos]
            at += 1
            pos += 1

    def mark(self, col: int, quality: int) -> None:
        """Set the quality of a column's sample; from 64 on it has no value, and nothing need be put."""
        self.quality[col * self.capacity + self.n] = quality
        self.marked = True

    def finish(self) -> None:
        """The row is complete. A row that was started and not finished is as if it had never been."""
        self.n += 1

    def fail(self, t_ms: int, quality: int) -> None:
        """A whole row without values."""
        self.start(t_ms)
        for col in range(self.columns):
            self.mark(col, quality)
        self.finish()

    def clear(self) -> None:
        """Drop all rows."""
        self.n = 0
        if self.marked:
            self.marked = False
            quality = self.quality
            for at in range(len(quality)):
                quality[at] = 0

    def time(self, row: int) -> int:
        """When a row was sampled, as it was given to `start`."""
        return self.times[row]
