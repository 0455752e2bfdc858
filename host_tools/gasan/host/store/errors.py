"""What can be wrong with the database, each in one sentence."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gasan.host.errors import InputError, TryAgainError
from gasan.host.i18n import _

__all__ = [
    "StoreDamagedError",
    "StoreUnavailableError",
    "damaged",
    "logless",
    "reading",
    "unavailable",
    "unwritable",
]


class StoreUnavailableError(TryAgainError):
    """The database cannot be written or read just now: disk full, read-only, locked, unreadable."""


class StoreDamagedError(InputError):
    """The file is no database, or a damaged one: no retry helps."""


def unavailable(path: Path, error: sqlite3.Error) -> StoreUnavailableError | StoreDamagedError:
    """The error to raise for what SQLite said about the database at `path`."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, error)
    if code == sqlite3.SQLITE_FULL:
        said = _("the disk is full, so {path} cannot be written; free some space under {folder}")
    elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        said = _("{path} is locked by another program; close it there")
    elif code == sqlite3.SQLITE_READONLY:
        said = _("{path} is read-only, or its file system is; make it writable")
    elif code == sqlite3.SQLITE_CANTOPEN:
        said = _("{path} cannot be opened; check that {folder} exists and may be written")
    elif code == sqlite3.SQLITE_IOERR:
        said = _("the disk reports an error for {path} ({error}); check the disk")
    else:
        said = _("{path} cannot be used just now: {error}")
    return StoreUnavailableError(said.format(path=path, folder=path.parent, error=error))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around what reads the database at `path`: a rotten page shows only when it is reached."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise unavailable(path, error) from error


def damaged(path: Path, reason: object) -> StoreDamagedError:
    """The error to raise for a database of which something shows that it is not whole."""
    said = _("{path} is damaged or is no database ({error}); put it aside and restore a backup")
    return StoreDamagedError(said.format(path=path, error=reason))


def logless(path: Path) -> StoreUnavailableError:
    """The error to raise where SQLite could not change to write-ahead logging."""
    said = _("{path} cannot have a write-ahead log just now; if that stays, put it on a local disk with --db")
    return StoreUnavailableError(said.format(path=path))


def unwritable(path: Path, error: OSError) -> StoreUnavailableError:
    """The error to raise for what the system said about a file of the store."""
    if error.errno == errno.ENOSPC:
        said = _("the disk is full, so {path} cannot be written; free some space under {folder}")
    else:
        said = _("{path} cannot be used just now: {error}")
    return StoreUnavailableError(said.format(path=path, folder=path.parent, error=error.strerror))
