"""The log of a running gateway: a file in the state folder, and what a person has to hear of it."""

import contextlib
import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from gasan.host.i18n import ngettext

__all__ = ["RunLog"]

_FILE_BYTES = 1 << 20


class RunLog:
    """Writes what `gasan` logs to `file`, until `close`.

    Warnings are also said on stderr, line by line, or, where that would spoil a picture, by their number at
    the end (`report`).
    """

    def __init__(self, file: Path, also_stderr: bool) -> None:
        self._file = file
        self._warnings = 0
        self._logger = logging.getLogger("gasan")
        self._before = self._logger.level, self._logger.propagate
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._handlers: list[logging.Handler] = [_Counting(self)]
        with contextlib.suppress(OSError):  # the gateway itself says that the folder cannot be used
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            to_file = _File(file, maxBytes=_FILE_BYTES, backupCount=1, encoding="utf-8")
            to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            self._handlers.append(to_file)
        if also_stderr:
            to_stderr = logging.StreamHandler(sys.stderr)
            to_stderr.setLevel(logging.WARNING)
            to_stderr.setFormatter(_OneLine("gasan: %(message)s"))
            self._handlers.append(to_stderr)
        self._reported = also_stderr
        for handler in self._handlers:
            self._logger.addHandler(handler)

    def count(self) -> None:
        self._warnings += 1

    def close(self) -> None:
        for handler in self._handlers:
            self._logger.removeHandler(handler)
            handler.close()
        level, propagate = self._before
        self._logger.setLevel(level)
        self._logger.propagate = propagate

    def report(self) -> None:
        """Says how many warnings there were, if they have not been said one by one."""
        if self._warnings and not self._reported:
            said = ngettext("{n} warning, see {file}", "{n} warnings, see {file}", self._warnings)
            print(f"gasan: {said.format(n=self._warnings, file=self._file)}", file=sys.stderr)


class _File(RotatingFileHandler):
    """A full disk costs the log, and is told by the store; a traceback for each line would help nobody."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _Counting(logging.Handler):
    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.count()


class _OneLine(logging.Formatter):
    """Leaves tracebacks to the file."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).splitlines()[0]
