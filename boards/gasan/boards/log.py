"""Log files that stay bounded: when one is full it becomes FILE.1 and a new one is begun."""

import json
import time
from pathlib import Path
from typing import IO, Any

__all__ = ["EventLog", "TextLog"]


class TextLog:
    """Bytes as they come; at most two files of ``limit`` bytes."""

    def __init__(self, path: Path, limit: int = 1 << 19) -> None:
        self._path = path
        self._limit = limit
        self._file: IO[bytes] = path.open("ab")
        self._size = self._file.tell()

    def write(self, data: bytes) -> None:
        if self._size + len(data) > self._limit and self._size:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("wb")
            self._size = 0
        self._file.write(data[: self._limit])
        self._file.flush()
        self._size += len(data)

    def close(self) -> None:
        self._file.close()


class EventLog(TextLog):
    """Events as JSON lines with Unix time and monotonic time in seconds."""

    def event(self, name: str, data: dict[str, Any]) -> None:
        line = {"time": round(time.time(), 3), "monotonic": round(time.monotonic(), 3), "event": name, **data}
        self.write(json.dumps(line).encode() + b"\n")
