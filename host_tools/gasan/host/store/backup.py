"""Copies of a database: made beside a gateway that writes it, and put back in its place."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.store.check import Report, examine
from gasan.host.store.errors import StoreDamagedError, unavailable, unwritable
from gasan.host.store.open import open_reader
from gasan.host.store.place import REPLACED, put_in_place, sync_folder, writer_lock
from gasan.host.store.ranges import RangeSet
from gasan.host.store.rows import install
from gasan.host.store.schema import LOSS_RESTORED

__all__ = ["Progress", "backup", "restore"]

Progress = Callable[[int, int], None]
"""Called with what is done and how much there is."""

_STEP_PAGES: Final = 2048


def backup(source: Path, target: Path, progress: Progress) -> Report:
    """Copies the database at `source` as it is at this moment to a new file, looks at all of the copy, and
    only then gives it its name. A gateway may go on writing meanwhile.

    Raises InputError when `target` is there already or there is no database, StoreUnavailableError when one
    cannot be read or written, StoreDamagedError when the copy, and so the database, is not whole.
    """
    if target.exists():
        raise InputError(_("{path} is there already; name a new file").format(path=target))
    unfinished = target.with_name(target.name + ".part")
    with closing(open_reader(source)) as connection:
        try:
            connection.execute("BEGIN")  # all of one moment: else it begins anew with every change
            connection.execute("SELECT count(*) FROM store").fetchone()
            _copy(connection, unfinished, progress)
        except sqlite3.Error as error:
            unfinished.unlink(missing_ok=True)
            raise unavailable(unfinished, error) from error
        except OSError as error:
            raise unwritable(unfinished, error) from error
    report = _look(unfinished, progress)
    if not report.sound:
        unfinished.unlink()
        said = _("{path} is damaged ({problem}); restart the gateway, and it mends what can be mended")
        raise StoreDamagedError(said.format(path=source, problem=report.problems[0]))
    try:
        unfinished.rename(target)
        sync_folder(target)
    except OSError as error:
        raise unwritable(target, error) from error
    return report


def restore(source: Path, path: Path, progress: Progress) -> tuple[Report, Path | None]:
    """Puts the backup `source` in the place of the database at `path`, which is kept beside it.

    What was stored after the backup was made is written down as lost: nodes have forgotten it, unless they
    were not told yet that it is stored. Returns (what the backup holds, where the former database is).

    Raises TryAgainError while a gateway writes the database, InputError when `source` is no whole backup.
    """
    lock = writer_lock(path)
    try:
        unfinished = path.with_name(path.name + ".restoring")
        with closing(open_reader(source)) as connection:
            try:
                unfinished.unlink(missing_ok=True)
                _copy(connection, unfinished, progress)
            except sqlite3.Error as error:
                unfinished.unlink(missing_ok=True)
                raise unavailable(unfinished, error) from error
        report = _look(unfinished, progress)
        if not report.sound:
            unfinished.unlink()
            said = _("{path} is damaged ({problem}); take another backup")
            raise StoreDamagedError(said.format(path=source, problem=report.problems[0]))
        try:
            with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
                _note(connection)
        except sqlite3.Error as error:
            raise unavailable(unfinished, error) from error
        return report, put_in_place(path, unfinished, REPLACED)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        os.close(lock)


def _copy(connection: sqlite3.Connection, target: Path, progress: Progress) -> None:
    def step(_status: int, remaining: int, total: int) -> None:
        progress(total - remaining, total)

    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy, pages=_STEP_PAGES, progress=step)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it


def _look(path: Path, progress: Progress) -> Report:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return examine(connection, progress=progress)


def _note(connection: sqlite3.Connection) -> None:
    """Writes down that what was stored of each start beside the frames that are here is not any more."""
    noted_ms = time.time_ns() // 1_000_000
    connection.execute("BEGIN IMMEDIATE")
    install(connection)
    for boot, told in connection.execute("SELECT id, stored FROM boot").fetchall():
        stored = RangeSet.parse(told)
        spans: list[tuple[int, int | None]] = [*stored.holes(), (stored.last + 1, None)]
        connection.executemany(
            "INSERT OR REPLACE INTO gateway_loss (boot, first_seq, last_seq, reason, noted_ms)"
            " VALUES (?, ?, ?, ?, ?)",
            [(boot, first, last, LOSS_RESTORED, noted_ms) for first, last in spans],
        )
    connection.execute("COMMIT")
