"""Reads the rows of an SQLite file page by page, also where its trees are broken: for recovery only.

Format: sqlite.org/fileformat2.html, sections 1.3 (header), 1.6 (b-tree pages), 1.5 (freelist), 2.1 (records),
4 (write-ahead log). What is not of that form is skipped, never guessed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["Image", "Record", "wal_is_broken"]

Record = tuple[int | None, list[Any]]
"""(rowid, values); in an index, and in a table without rowid, no rowid."""

_INTERIOR_INDEX, _INTERIOR_TABLE, _LEAF_INDEX, _LEAF_TABLE = 2, 5, 10, 13
_PAGE_SIZE: Final = 4096
_SIZES: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
_WAL_HEAD: Final = struct.Struct(">8I")
_WAL_FRAME: Final = struct.Struct(">6I")
_WAL_MAGIC: Final = 0x377F0682
_PAYLOAD_MAX: Final = 1 << 24


class _Malformed(Exception):
    pass


class Image:
    """The pages of a database and of its write-ahead log."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        head = self._file.read(100)
        stated = int.from_bytes(head[16:18], "big")
        self.page_size = stated if stated >= 512 and stated & (stated - 1) == 0 else _PAGE_SIZE
        wal = path.with_name(path.name + "-wal")
        self._wal: dict[int, bytes] = {}
        if wal.exists() and (found := _wal_pages(wal)).page_size == self.page_size:
            self._wal = found.pages
        self.count = max([path.stat().st_size // self.page_size, *self._wal])
        self._free = self._freelist()

    def close(self) -> None:
        self._file.close()

    def use_wal(self, use: bool) -> None:
        """Whether to look into the write-ahead log first, as from the start."""
        if not use:
            self._wal = {}

    def page(self, number: int) -> bytes:
        """A page, counted from 1; empty beyond the end."""
        if number in self._wal:
            return self._wal[number]
        if not 0 < number <= self.count:
            return b""
        self._file.seek((number - 1) * self.page_size)
        return self._file.read(self.page_size)

    def rows(self, number: int) -> Iterator[Record]:
        """The rows of a leaf of a table, or the entries of a page of an index; none of a free page."""
        page = self.page(number)
        start = 100 if number == 1 else 0
        if number in self._free or len(page) < self.page_size:
            return
        kind = page[start]
        if kind not in (_LEAF_TABLE, _LEAF_INDEX, _INTERIOR_INDEX):
            return
        pointers = start + (12 if kind == _INTERIOR_INDEX else 8)
        for cell in range(int.from_bytes(page[start + 3 : start + 5], "big")):
            at = int.from_bytes(page[pointers + 2 * cell : pointers + 2 * cell + 2], "big")
            try:
                yield self._cell(page, at, kind)
            except (_Malformed, IndexError, struct.error, UnicodeDecodeError):
                continue

    def _cell(self, page: bytes, at: int, kind: int) -> Record:
        if kind == _INTERIOR_INDEX:
            at += 4
        size, at = _varint(page, at)
        rowid: int | None = None
        if kind == _LEAF_TABLE:
            rowid, at = _varint(page, at)
            if rowid >= 1 << 63:
                rowid -= 1 << 64
        return rowid, _values(self._payload(page, at, size, kind == _LEAF_TABLE))

    def _payload(self, page: bytes, at: int, size: int, in_table: bool) -> bytes:
        usable = self.page_size
        most = usable - 35 if in_table else (usable - 12) * 64 // 255 - 23
        least = (usable - 12) * 32 // 255 - 23
        if size > _PAYLOAD_MAX:
            raise _Malformed
        here = size
        if size > most:
            here = least + (size - least) % (usable - 4)
            here = here if here <= most else least
        out = page[at : at + here]
        following = int.from_bytes(page[at + here : at + here + 4], "big") if here < size else 0
        seen = 0
        while len(out) < size:
            more = self.page(following)
            seen += 1
            if not more or seen > self.count:
                raise _Malformed
            out += more[4 : 4 + min(usable - 4, size - len(out))]
            following = int.from_bytes(more[:4], "big")
        if len(out) != size:
            raise _Malformed
        return out

    def _freelist(self) -> set[int]:
        head = self.page(1)[32:36]
        free: set[int] = set()
        trunk = int.from_bytes(head, "big")
        while 0 < trunk <= self.count and trunk not in free:
            free.add(trunk)
            page = self.page(trunk)
            leaves = min(int.from_bytes(page[4:8], "big"), self.page_size // 4 - 2)
            free.update(struct.unpack_from(f">{leaves}I", page, 8))
            trunk = int.from_bytes(page[:4], "big")
        return free


def wal_is_broken(path: Path) -> bool:
    """Whether the write-ahead log has lost what was synced, which SQLite takes for its end, without a word.

    That is so when behind a frame that is no good stand two commits (one may be what a power cut has left of
    a transaction), or when the log's head is no good and its pages are not in the database.
    """
    wal = path.with_name(path.name + "-wal")
    if not wal.exists():
        return False
    found = _wal_pages(wal)
    if found.head_is_good or not found.pages:
        return found.commits_behind > 1
    image = Image(path)
    try:
        image.use_wal(False)
        return any(image.page(number) != page for number, page in found.pages.items())
    finally:
        image.close()


@dataclass
class _Wal:
    head_is_good: bool = True
    page_size: int = 0
    pages: dict[int, bytes] = field(default_factory=dict)
    """The last committed content of each page."""
    commits_behind: int = 0
    """Commits behind the first frame that is no good."""


def _wal_pages(path: Path) -> _Wal:
    """What is in a write-ahead log. A frame that is no good does not spoil those behind it."""
    found = _Wal()
    with path.open("rb") as file:
        head = file.read(_WAL_HEAD.size)
        if len(head) < _WAL_HEAD.size:
            return found
        magic, _, size, _, *salts, sum1, sum2 = _WAL_HEAD.unpack(head)
        order = ">" if magic == _WAL_MAGIC | 1 else "<"
        if magic & ~1 != _WAL_MAGIC or _sums(order, head[:24], 0, 0) != (sum1, sum2):
            found.head_is_good = False
            size = _PAGE_SIZE
            salts = list(_WAL_FRAME.unpack(file.read(_WAL_FRAME.size).ljust(_WAL_FRAME.size, b"\0"))[2:4])
            file.seek(_WAL_HEAD.size)
        found.page_size = size
        waiting: dict[int, bytes] = {}
        broken = False
        while len(frame := file.read(_WAL_FRAME.size + size)) == _WAL_FRAME.size + size:
            number, pages_after, *theirs, told1, told2 = _WAL_FRAME.unpack_from(frame)
            if theirs != salts:  # of a former round of the log; or it is no good
                broken = True
                continue
            data = frame[_WAL_FRAME.size :]
            good = _sums(order, data, *_sums(order, frame[:8], sum1, sum2)) == (told1, told2)
            sum1, sum2 = told1, told2
            broken = broken or not good
            if good:
                waiting[number] = data
            if pages_after:
                found.commits_behind += broken
                found.pages.update(waiting)
                waiting.clear()
    return found


def _sums(order: str, data: bytes, one: int, two: int) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9


def _values(record: bytes) -> list[Any]:
    head, at = _varint(record, 0)
    kinds = []
    while at < head:
        kind, at = _varint(record, at)
        kinds.append(kind)
    if at != head:
        raise _Malformed
    values: list[Any] = []
    for kind in kinds:
        if kind in (10, 11):
            raise _Malformed
        size = _SIZES[kind] if kind < 12 else (kind - 12) // 2
        raw = record[at : at + size]
        if len(raw) != size:
            raise _Malformed
        at += size
        if kind >= 12:
            values.append(raw.decode() if kind & 1 else raw)
        elif kind == 7:
            values.append(struct.unpack(">d", raw)[0])
        elif kind == 0:
            values.append(None)
        else:
            values.append(kind - 8 if kind >= 8 else int.from_bytes(raw, "big", signed=True))
    if at != len(record):
        raise _Malformed
    return values
