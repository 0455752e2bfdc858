"""Runs a process and records what it does to the files of one folder, in order (record.c, preloaded)."""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gasan.boards.places import CACHE

__all__ = ["Fail", "Operation", "missing", "operations", "preload"]

_SOURCE: Final = Path(__file__).parent / "record.c"
_HEAD: Final = struct.Struct("<c3xIQQ")
WRITES: Final = 1
SYNCS: Final = 2


@dataclass(frozen=True, slots=True)
class Fail:
    """The calls numbered from `first`, so many, fail with `errno`; `kinds`: 1 writes, 2 syncs, 3 both."""

    first: int
    count: int
    errno: int
    kinds: int = WRITES | SYNCS


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing done. `kind`: C create, O open, W write, T truncate, S sync, F sync that failed, U unlink,
    R rename.

    file: number of the opening, 1 the folder itself. data: what was written, or a name ("old/new" of R).
    """

    kind: str
    file: int
    offset: int
    data: bytes


def missing() -> str:
    """Why nothing can be recorded here; empty when it can."""
    if os.uname().sysname != "Linux":
        return "file operations are recorded on Linux only"
    return "" if shutil.which("cc") else "no C compiler (cc) for the recorder of file operations"


def preload(folder: Path, log: Path, fail: Fail | None = None) -> Mapping[str, str]:
    """The environment of a process whose doings in `folder` are to be recorded in `log`."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(_library()),
        "GASAN_DISK_FOLDER": str(folder),
        "GASAN_DISK_LOG": str(log),
    }
    if fail is not None:
        environment["GASAN_DISK_FAIL"] = f"{fail.first}:{fail.count}:{fail.errno}:{fail.kinds}"
    return environment


def operations(log: Path) -> Iterator[Operation]:
    """What was recorded; an incomplete one at the end, of a process that was killed, is left out."""
    data = log.read_bytes()
    at = 0
    while at + _HEAD.size <= len(data):
        kind, file, offset, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + size > len(data):
            return
        yield Operation(kind.decode(), file, offset, data[at : at + size])
        at += size


def _library() -> Path:
    library = CACHE / "disk" / f"record-{_SOURCE.stat().st_mtime_ns}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        new = library.with_suffix(f".{os.getpid()}")
        command: Sequence[str] = ("cc", "-O1", "-shared", "-fPIC", "-o", str(new), str(_SOURCE), "-ldl")
        subprocess.run(command, check=True)
        new.replace(library)
    return library
