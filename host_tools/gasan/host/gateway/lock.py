"""One gateway at a time works with a state folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gasan.host.errors import TryAgainError
from gasan.host.i18n import _

__all__ = ["state_lock"]


@contextmanager
def state_lock(state_dir: Path) -> Iterator[None]:
    """Holds the lock of the folder, and makes the folder if it is not there.

    Raises TryAgainError when another process holds it (the sentence names it) or the folder cannot be used.
    """
    path = state_dir / "lock"
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TryAgainError(
            _("the state folder {path} cannot be used: {reason}; give another one with --state").format(
                path=state_dir, reason=error.strerror
            )
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            raise TryAgainError(
                _(
                    "another gateway (process {pid}) works with {path}; stop it, or give this one --state"
                ).format(pid=holder or "?", path=state_dir)
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(lock, 0)
    finally:
        os.close(lock)
