"""The place of the database: who may write it, and how another one takes it."""

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gasan.host.errors import TryAgainError
from gasan.host.i18n import _
from gasan.host.store.errors import StoreUnavailableError

__all__ = ["DAMAGED", "REPLACED", "finish", "put_in_place", "sync_folder", "writer_lock"]

DAMAGED: Final = "damaged"
REPLACED: Final = "replaced"
"""What is said of a database that had to leave its place: gasan.sqlite.damaged-20260301-120000."""


def writer_lock(path: Path) -> int:
    """The lock of whoever writes the database; closing the descriptor gives it back.

    Raises TryAgainError when another process holds it, StoreUnavailableError when it cannot be had.
    """
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


def put_in_place(path: Path, new: Path, why: str) -> Path | None:
    """Has a finished database, in the folder of `path`, take that name. Returns where the former one is now.

    why: DAMAGED or REPLACED. The power may go at any moment: `finish` goes on from there.
    """
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.rename(_finished(path, why))
    return finish(path)


def finish(path: Path) -> Path | None:
    """Ends a `put_in_place` that a power cut has ended. Returns where the former database is, if there is."""
    former = None
    for why in (DAMAGED, REPLACED):
        finished = _finished(path, why)
        if not finished.exists():
            continue
        sync_folder(path)  # it has its name for good before the other loses it
        when = datetime.fromtimestamp(finished.stat().st_mtime, UTC)
        aside = path.with_name(f"{path.name}.{why}-{when:%Y%m%d-%H%M%S}")
        for suffix in ("", "-wal"):
            old = path.with_name(path.name + suffix)
            if old.exists():
                old.rename(aside.with_name(aside.name + suffix))
                former = aside
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        sync_folder(path)  # no log of the old one may be found beside the new one
        finished.rename(path)
        sync_folder(path)
    return former


def sync_folder(path: Path) -> None:
    """Makes the names in the folder of `path` safe."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _finished(path: Path, why: str) -> Path:
    return path.with_name(f"{path.name}.{why}.new")
