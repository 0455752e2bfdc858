"""Opening the database: what a writer and a reader may do, and one sentence for whatever is in the way."""

import fcntl
import os
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gasan.host.errors import InputError, TryAgainError
from gasan.host.i18n import _
from gasan.host.store.schema import APPLICATION_ID, SCHEMA, VERSION, quality_names

__all__ = ["Store", "StoreDamagedError", "StoreUnavailableError", "open_reader", "open_store", "unavailable"]

_BUSY_S: Final = 2.0
_WAL_LIMIT: Final = 64 << 20


class StoreUnavailableError(TryAgainError):
    """The database cannot be written or read just now: disk full, read-only, locked, unreadable."""


class StoreDamagedError(InputError):
    """The file is no database, or a damaged one: no retry helps."""


class Store:
    """The one connection that writes a database. Use it in the thread that opened it, and `close` it.

    `id` are the 8 random bytes by which nodes know this store.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.path = path
        self.connection = connection
        self._lock = lock
        self.id: bytes = connection.execute("SELECT store_id FROM store").fetchone()[0]

    def close(self) -> None:
        self.connection.close()
        os.close(self._lock)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(path: Path) -> Store:
    """Opens the database at `path` for writing, and makes it if it is not there.

    Raises InputError when the file is no database of this version of gasan, TryAgainError when another
    process writes it, and StoreUnavailableError when the file system does not let it be written.
    """
    lock = _lock(path)
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    except sqlite3.Error as error:
        os.close(lock)
        raise unavailable(path, error) from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # where fsync alone does not reach the disk (macOS)
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
        _prepare(path, connection)
        return Store(path, connection, lock)
    except sqlite3.Error as error:
        connection.close()
        os.close(lock)
        raise unavailable(path, error) from error
    except BaseException:
        connection.close()
        os.close(lock)
        raise


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens the database at `path` for reading only, also while a gateway writes it.

    Raises InputError when there is none or it is of another version, StoreUnavailableError when it cannot
    be read.
    """
    if not path.exists():
        said = _("there is no database at {path}; name the right one with --db or --state")
        raise InputError(said.format(path=path))
    try:
        uri = f"file:{quote(str(path))}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
        try:
            _check(path, connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise unavailable(path, error) from error
    return connection


def unavailable(path: Path, error: sqlite3.Error) -> StoreUnavailableError | StoreDamagedError:
    """The error to raise for what SQLite said about the database at `path`."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        said = _("{path} is damaged or is no database ({error}); put it aside and restore a backup")
        return StoreDamagedError(said.format(path=path, error=error))
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


def _lock(path: Path) -> int:
    # A file of its own: closing any descriptor of the database itself would drop SQLite's locks on it.
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        said = _("{path} cannot be opened ({reason}); name a database that may be written with --db")
        raise StoreUnavailableError(said.format(path=lock_path, reason=error.strerror)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        said = _("another gateway writes {path}; stop it first, or give this one another --db")
        raise TryAgainError(said.format(path=path)) from error
    return lock


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            for statement in SCHEMA.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(
                "INSERT INTO store VALUES (1, ?, ?)", (secrets.token_bytes(8), time.time_ns() // 1_000_000)
            )
            connection.executemany("INSERT INTO quality VALUES (?, ?)", quality_names())
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        _check(path, connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _check(path: Path, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        said = _("{path} is a database of another program; name another file")
        raise InputError(said.format(path=path))
    if version != VERSION:
        said = _(
            "{path} has database version {version}, this gasan knows {known}; use the gasan that wrote it"
        )
        raise InputError(said.format(path=path, version=version, known=VERSION))
