"""What may be on a disk after a power cut: by what was synced, and a choice of what else got through.

The model is stricter than common file systems. A file's bytes are safe once the file was synced; a name,
made or removed, once the folder was. Whatever came after may be there or not, in any order, by sectors of
512 bytes, and a sector may be half new. A drive that says "synced" and has not is outside of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from gasan.hil.disk.recorder import Operation

__all__ = ["ALL", "NONE", "TORN", "Disk"]

NONE: Final = "none"
"""Nothing that was not synced got through."""

ALL: Final = "all"
"""All of it did, as with kill -9."""

TORN: Final = "torn"
"""Any of it did, as the dice say."""

_SECTOR: Final = 512
_FOLDER: Final = 1


@dataclass
class _File:
    safe: bytes = b""
    later: list[Operation] = field(default_factory=list)
    """Writes and truncations since the last sync."""

    def now(self) -> bytes:
        return _applied(self.safe, self.later)


class Disk:
    """Follows the operations; `after_cut` tells what would be left now.

    before: files that are there, by name.
    """

    def __init__(self, before: dict[str, bytes]) -> None:
        self._safe = {name: _File(data) for name, data in before.items()}
        self._names = dict(self._safe)
        self._changes: list[dict[str, _File | None]] = []  # names given (None: taken) since the last sync
        self._open: dict[int, _File] = {}

    def do(self, operation: Operation) -> None:
        match operation.kind:
            case "C" | "O":
                name = operation.data.decode()
                if operation.kind == "C" or name not in self._names:
                    self._name({name: _File()})
                self._open[operation.file] = self._names[name]
            case "W" | "T":
                self._open[operation.file].later.append(operation)
            case "S" if operation.file == _FOLDER:
                for change in self._changes:
                    _rename(self._safe, change)
                self._changes.clear()
            case "F" if operation.file == _FOLDER:
                pass  # what it holds is not forgotten: a file system that cannot write names goes read-only
            case "F":  # the system may have forgotten what it could not write, and says so only once
                self._open[operation.file].later.clear()
            case "S":
                file = self._open[operation.file]
                file.safe = file.now()
                file.later.clear()
            case "U":
                self._name({operation.data.decode(): None})
            case "R":
                old, new = operation.data.decode().split("/")
                self._name({new: self._names[old], old: None})

    def _name(self, change: dict[str, _File | None]) -> None:
        """Names are given and taken at once, or not at all: a rename is atomic."""
        _rename(self._names, change)
        self._changes.append(change)

    def after_cut(self, way: str, random: Random) -> dict[str, bytes]:
        """The files that are found when the power comes back."""
        if way == ALL:
            return {name: file.now() for name, file in self._names.items()}
        names = dict(self._safe)
        if way == NONE:
            return {name: file.safe for name, file in names.items()}
        for change in self._changes[: random.randint(0, len(self._changes))]:
            _rename(names, change)
        return {name: _torn(file, random) for name, file in names.items()}


def _rename(names: dict[str, _File], change: dict[str, _File | None]) -> None:
    for name, file in change.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def _applied(data: bytes, operations: Iterable[Operation]) -> bytes:
    out = bytearray(data)
    for operation in operations:
        if operation.kind == "T":
            _resize(out, operation.offset)
        else:
            end = operation.offset + len(operation.data)
            if end > len(out):
                _resize(out, end)
            out[operation.offset : end] = operation.data
    return bytes(out)


def _resize(data: bytearray, size: int) -> None:
    del data[size:]
    data.extend(bytes(size - len(data)))


def _torn(file: _File, random: Random) -> bytes:
    """Each sector of each write got through or not; of one in eight that did, only the first bytes."""
    share = random.choice((0.1, 0.5, 0.9))
    done = []
    for operation in file.later:
        if operation.kind == "T":
            if random.random() < share:
                done.append(operation)
            continue
        at = 0
        while at < len(operation.data):
            step = min(len(operation.data) - at, _SECTOR - (operation.offset + at) % _SECTOR)
            if random.random() < share:
                kept = random.randint(1, step) if random.random() < 0.125 else step
                piece = operation.data[at : at + kept]
                done.append(Operation("W", operation.file, operation.offset + at, piece))
            at += step
    return _applied(file.safe, done)


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Makes `folder` hold exactly these files."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
