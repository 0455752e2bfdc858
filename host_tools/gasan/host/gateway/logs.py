"""What a node says: its console's text and its log, in memory for the view and in a bounded file."""

import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

__all__ = ["NodeLog"]

FILE_MAX: Final = 1 << 20
"""Bytes of a log file; then it becomes NODE.log.1, and the one before that goes."""

_KEPT_LINES: Final = 500
_LINE_MAX: Final = 1000

log = logging.getLogger(__name__)


class NodeLog:
    """The log of one node, ``folder/NODE.log``. Call `close` at the end."""

    def __init__(self, folder: Path, node: str) -> None:
        self.node = node
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._path = folder / f"{node}.log"
        self._listeners: list[Callable[[str], None]] = []
        self._failed = False
        folder.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8", buffering=1)
        self._size = self._path.stat().st_size

    def add(self, text: str) -> None:
        """Adds a line, with the time at which it came. Control characters are shown, not obeyed."""
        shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:_LINE_MAX])
        line = f"{datetime.now().astimezone().isoformat(sep=' ', timespec='milliseconds')} {shown}"
        self.lines.append(line)
        for listener in list(self._listeners):
            listener(line)
        try:
            if self._size > FILE_MAX:
                self._rotate()
            self._size += len(line.encode()) + 1
            self._file.write(line + "\n")
        except OSError as error:  # a full disk costs the log, not the readings
            if not self._failed:
                log.error(
                    "the log %s cannot be written: %s; the lines are kept in memory only", self._path, error
                )
            self._failed = True

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Calls `listener` with each further line; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            log.error("the log %s cannot be written: %s", self._path, error)

    def _rotate(self) -> None:
        self._file.close()
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._file = self._path.open("a", encoding="utf-8", buffering=1)
        self._size = 0
