"""Opening the database: what a writer and a reader may do, and one sentence for whatever is in the way."""

import logging
import os
import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.store.check import examine
from gasan.host.store.errors import (
    StoreDamagedError,
    StoreUnavailableError,
    damaged,
    logless,
    unavailable,
    unwritable,
)
from gasan.host.store.pages import wal_is_broken
from gasan.host.store.place import DAMAGED, finish, put_in_place, sync_folder, writer_lock
from gasan.host.store.rows import install, seal_all
from gasan.host.store.salvage import salvage
from gasan.host.store.schema import APPLICATION_ID, MIGRATIONS, SCHEMA, VERSION, VIEWS, quality_names

__all__ = ["Store", "StoreDamagedError", "StoreUnavailableError", "open_reader", "open_store", "unavailable"]

_BUSY_S: Final = 2.0
_WAL_LIMIT: Final = 64 << 20
_LOOK_S: Final = 2.0
_UNFINISHED: Final = ".recovering"
_SPANS_SAID: Final = 20

log = logging.getLogger(__name__)


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
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(path: Path, *, suspect: bool = False) -> Store:
    """Opens the database at `path` for writing, and makes it if it is not there.

    It is looked over, for two seconds at most. One that is damaged (with `suspect`, in any case) is put
    aside, what is readable of it goes into a new one, and what is not is named in `gateway_loss` and the log.

    Raises InputError when the file is no database of this version of gasan, TryAgainError when another
    process writes it, and StoreUnavailableError when the file system does not let it be written.
    """
    lock = writer_lock(path)
    try:
        finish(path)
        try:
            if suspect or wal_is_broken(path):
                raise damaged(path, _("checksums are wrong"))
            connection = _connect(path)
        except StoreDamagedError as error:
            _recover(path, error)
            connection = _connect(path)
        return Store(path, connection, lock)
    except OSError as error:
        os.close(lock)
        raise unwritable(path, error) from error
    except BaseException:
        os.close(lock)
        raise


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    except sqlite3.Error as error:
        raise unavailable(path, error) from error
    try:
        # What stands in the way of a log is not raised by SQLite: it stays in another mode, which syncs less.
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise logless(path)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # where fsync alone does not reach the disk (macOS)
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
        _prepare(path, connection)
        sync_folder(
            path
        )  # SQLite does it too, once, and goes on where that failed: the log's name is not safe
        report = examine(connection, _LOOK_S)
        if not report.sound:
            raise damaged(path, report.problems[0])
    except sqlite3.Error as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", 1) == sqlite3.SQLITE_ERROR:  # tables are not as they have to be
            raise damaged(path, error) from error
        raise unavailable(path, error) from error
    except UnicodeDecodeError as error:  # of a text, or of what SQLite says of it
        connection.close()
        raise damaged(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens the database at `path` for reading only, also while a gateway writes it.

    One of an earlier version is first brought to this one.

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
            old = _check(path, connection) < VERSION
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise unavailable(path, error) from error
    if old:
        connection.close()
        open_store(path).close()
        return open_reader(path)
    return connection


_COLUMNS: Final = (
    "SELECT made.name, held.name FROM sqlite_schema AS made, pragma_table_info(made.name) AS held"
    " WHERE made.type = 'table'"
)


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            _create(connection)
            install(connection)
            connection.execute(
                "INSERT INTO store (one, store_id, created_ms) VALUES (1, ?, ?)",
                (secrets.token_bytes(8), time.time_ns() // 1_000_000),
            )
        elif (old := _check(path, connection)) < VERSION:
            for version in range(old, VERSION):
                _run_script(connection, MIGRATIONS[version])
            _finish(connection)
            install(connection)
            seal_all(connection)
            log.warning("%s was of version %d, and is brought to version %d", path, old, VERSION)
        else:
            _renew(path, connection)
            install(connection)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _create(connection: sqlite3.Connection) -> None:
    _run_script(connection, SCHEMA)
    connection.executemany("INSERT INTO quality VALUES (?, ?)", quality_names())
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _finish(connection)


def _renew(path: Path, connection: sqlite3.Connection) -> None:
    """Makes anew what this gasan knows by itself, where it is not so.

    Raises StoreDamagedError where a table lacks a column: a byte of the schema may have changed.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as sound:
        _run_script(sound, SCHEMA)
        missing = set(sound.execute(_COLUMNS)) - set(connection.execute(_COLUMNS))
    if missing:
        raise damaged(path, "no column {}.{}".format(*min(missing)))
    views = dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'view'").fetchall())
    if views != {name: _view(name) for name in VIEWS}:
        log.warning("%s: the views are not this gasan's, and are made anew", path)
        for name in views.keys() - VIEWS.keys():
            connection.execute(f'DROP VIEW "{name}"')
        _finish(connection)
    if connection.execute("SELECT code, name FROM quality ORDER BY code").fetchall() != quality_names():
        log.warning("%s: the names of qualities are not this gasan's, and are written anew", path)
        connection.execute("DELETE FROM quality")
        connection.executemany("INSERT INTO quality VALUES (?, ?)", quality_names())


def _view(name: str) -> str:
    return f"CREATE VIEW {name} AS {VIEWS[name]}"


def _recover(path: Path, error: StoreDamagedError) -> None:
    """Makes a new database of what is readable in the one at `path`, and puts that one aside.

    Raises `error` when nothing is.
    """
    log.error("%s; what can be read of it goes into a new one", error)
    new = path.with_name(path.name + _UNFINISHED)
    new.unlink(missing_ok=True)
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")  # nobody misses an unfinished one
        connection.execute("PRAGMA synchronous = OFF")
        _create(connection)
        found = salvage(path, connection)
    except ValueError:
        connection.close()
        new.unlink(missing_ok=True)
        raise error from None
    except sqlite3.Error as failed:
        connection.close()
        new.unlink(missing_ok=True)
        raise unavailable(new, failed) from failed
    connection.close()
    aside = put_in_place(path, new, DAMAGED)
    spans = [f"{span.node} {span.boot.hex()} {span.first}-{span.last}" for span in found.lost]
    log.error(
        "the damaged database is %s now; %d frames with %d readings of it are kept, %d spans of frames are"
        " lost: %s",
        aside, found.frames, found.readings, len(spans), ", ".join(spans[:_SPANS_SAID]) or "-",
    )  # fmt: skip


def _run_script(connection: sqlite3.Connection, script: str) -> None:
    """Runs statements within the open transaction, which `executescript` would end."""
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def _finish(connection: sqlite3.Connection) -> None:
    for name in VIEWS:
        connection.execute(f"DROP VIEW IF EXISTS {name}")
        connection.execute(_view(name))
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _check(path: Path, connection: sqlite3.Connection) -> int:
    """The version of the database. Raises InputError when it is none of ours, or a newer one."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        said = _("{path} is a database of another program; name another file")
        raise InputError(said.format(path=path))
    if not 0 < version <= VERSION:
        said = _(
            "{path} has database version {version}, this gasan knows {known}; use the gasan that wrote it"
        )
        raise InputError(said.format(path=path, version=version, known=VERSION))
    return int(version)
