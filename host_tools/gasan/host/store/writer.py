"""The store's own thread: groups frames into transactions and says when they are on disk.

The event loop stays free while SQLite waits for the disk. Frames and other changes are taken in the order
in which they were given; those that come within a moment share one transaction, since its cost is one wait
for the disk. When the database cannot be written (disk full, read-only, locked), the same group is tried
again until it can be: nothing is acknowledged meanwhile, and the state says why in one sentence. When it
turns out to be damaged, it is mended (store/salvage.py) and the group is written to the new one. Between
groups, one frame after the other is held against its checksum.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from gasan.host.errors import TryAgainError
from gasan.host.i18n import _
from gasan.host.store.check import frames_are_whole
from gasan.host.store.errors import StoreDamagedError, damaged, unavailable
from gasan.host.store.ingest import Ingest, Keys, Outcome, Receipt
from gasan.host.store.open import Store, open_store

__all__ = ["GROUP_MS", "GROUP_SIZE", "StoreWriter"]

log = logging.getLogger(__name__)

GROUP_SIZE: Final = 64
"""Changes in one transaction, at most."""

GROUP_MS: Final = 10
"""How long a change waits for others to share its transaction."""

_RETRY_S: Final = 1.0
_PATROL_S: Final = 1.0
_PATROL_FRAMES: Final = 16
"""Frames looked at each second: a few milliseconds, and all of ten million readings in two hours."""

_MENDED_AGAIN_S: Final = 60.0
"""A database that is damaged again so soon stands on a disk that cannot be trusted with it."""

_T = TypeVar("_T")


@dataclass(slots=True)
class _Change:
    make: Callable[[Ingest], Any]
    done: Callable[[Any], None]
    failed: Callable[[BaseException], None]
    result: Any = field(default=None)


class StoreWriter:
    """Writes the database at `path` in a thread of its own.

    Use it from one event loop: ``await start()``, then `frame` and `call`, then ``await close()``.
    `trouble` is None, or the sentence that says why nothing can be stored just now.
    """

    def __init__(
        self,
        path: Path,
        keys: Keys,
        group_size: int = GROUP_SIZE,
        group_ms: int = GROUP_MS,
        retry_s: float = _RETRY_S,
    ) -> None:
        self._path = path
        self._keys = keys
        self._group_size = group_size
        self._group_ms = group_ms
        self._retry_s = retry_s
        self._changes: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._ended = asyncio.Event()
        self._store: Store
        self._ingest: Ingest
        self._patrolled = 0  # the last frame that was looked at
        self._patrol_at = 0.0
        self._mended_at = -_MENDED_AGAIN_S
        self.trouble: str | None = None
        self.store_id = b""

    async def start(self) -> None:
        """Opens the database. Raises like `open_store`."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[bytes] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="gasan-store", daemon=True)
        self._thread.start()
        self.store_id = await opened

    async def close(self, timeout_s: float = 5.0) -> None:
        """Writes what was given, as far as that works within the time, and closes the database."""
        if self._thread is None:
            return
        self._changes.put(None)
        try:
            await asyncio.wait_for(self._ended.wait(), timeout_s)
        except TimeoutError:
            log.error(
                "the store did not finish in %.0f s; what is not on disk was not acknowledged", timeout_s
            )
        self._stopping.set()
        await self._ended.wait()
        self._thread.join()
        self._thread = None

    async def failure(self) -> BaseException:
        """Waits until the store has failed for good (a damaged database), and returns why."""
        await self._ended.wait()
        return self._failure or TryAgainError("the store was closed")

    def frame(self, data: bytes, done: Callable[[Receipt], None]) -> None:
        """Stores a received frame; `done` is called in the event loop when that is on disk."""

        def failed(error: BaseException) -> None:
            log.error("a frame of %d bytes could not be stored: %r; it is not acknowledged", len(data), error)
            done(Receipt(Outcome.FAILED, len(data)))

        self._changes.put(_Change(lambda ingest: ingest.frame(data), done, failed))

    def post(self, make: Callable[[Ingest], _T], done: Callable[[_T | None], None]) -> None:
        """Calls `make` within a transaction, and `done` in the event loop when that is on disk: with its
        result, or with None when it has failed.
        """

        def failed(error: BaseException) -> None:
            log.error("a change could not be stored: %r", error)
            done(None)

        self._changes.put(_Change(make, done, failed))

    async def call(self, make: Callable[[Ingest], _T]) -> _T:
        """Calls `make` within a transaction; returns its result when that is on disk, or raises what it
        raised.
        """
        assert self._loop is not None
        result: asyncio.Future[_T] = self._loop.create_future()

        def done(value: _T) -> None:
            if not result.done():
                result.set_result(value)

        def failed(error: BaseException) -> None:
            if not result.done():
                result.set_exception(error)

        self._changes.put(_Change(make, done, failed))
        return await result

    # -- in the thread

    def _run(self, opened: "asyncio.Future[bytes]") -> None:
        assert self._loop is not None
        try:
            self._store = open_store(self._path)
        except BaseException as error:
            self._tell(_set_exception, opened, error)
            self._tell(self._ended.set)
            return
        self._tell(_set_result, opened, self._store.id)
        try:
            self._ingest = Ingest(self._store, self._keys)
            self._work()
        except BaseException as error:
            self._failure = error
            log.exception("the store failed")
        finally:
            self._store.close()
            self._tell(self._ended.set)

    def _work(self) -> None:
        open_for_more = True
        while open_for_more:
            group, open_for_more = self._gather()
            if group and not self._commit(group):
                return
            if self._ingest.decodable and not self._persist(Ingest.decode):
                return
            if time.monotonic() >= self._patrol_at and not self._patrol():
                return

    def _gather(self) -> tuple[list[_Change], bool]:
        """The next group, and whether more may follow; waits for the first change until there is something
        else to do.
        """
        group: list[_Change] = []
        wait_s = 0.0 if self._ingest.decodable else max(0.0, self._patrol_at - time.monotonic())
        deadline = 0.0
        while len(group) < self._group_size:
            try:
                if not group:
                    change = self._changes.get(timeout=wait_s)
                    deadline = time.monotonic() + self._group_ms / 1000
                else:
                    change = self._changes.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if change is None:
                return group, False
            group.append(change)
        return group, True

    def _commit(self, group: list[_Change]) -> bool:
        """Makes the changes of a group and reports them. False: gave up, since the store is closing."""

        def make_all(ingest: Ingest) -> None:
            for change in group:
                change.result = change.make(ingest)

        try:
            if not self._persist(make_all):
                return False
        except StoreDamagedError:
            raise
        except Exception as error:  # one change is at fault: find it, and let the others pass
            if len(group) == 1:
                self._tell(group[0].failed, error)
                return True
            return all(self._commit([change]) for change in group)
        self._tell(_report, group)
        return True

    def _persist(self, make: Callable[[Ingest], None]) -> bool:
        """Runs `make` in a transaction, again and again while the database cannot be written. False: gave
        up, since the store is closing.
        """
        while True:
            try:
                with self._ingest.transaction():
                    make(self._ingest)
            except StoreDamagedError as error:
                if not self._mend(error):
                    return False
            except TryAgainError as error:
                self._note(error)
                if self._stopping.wait(self._retry_s):
                    return False
            else:
                if self.trouble is not None:
                    self.trouble = None
                    log.warning("the database %s can be written again", self._path)
                return True

    def _note(self, error: Exception) -> None:
        if self.trouble != str(error):
            self.trouble = str(error)
            said = _("nothing is stored or acknowledged: {reason}; the nodes keep their readings meanwhile")
            log.error(said.format(reason=error))

    def _patrol(self) -> bool:
        """Looks at some frames, whether they are as they were written. False: the store is closing."""
        self._patrol_at = time.monotonic() + _PATROL_S
        try:
            self._patrolled, broken = frames_are_whole(
                self._store.connection, self._patrolled, _PATROL_FRAMES
            )
        except sqlite3.Error as error:
            said = unavailable(self._path, error)
            return not isinstance(said, StoreDamagedError) or self._mend(said)
        return not broken or self._mend(damaged(self._path, _("checksums are wrong")))

    def _mend(self, error: StoreDamagedError) -> bool:
        """Puts the damaged database aside, and goes on with what can be read of it. False: gave up, since the
        store is closing. Raises `error` when nothing can be read, or nothing holds.
        """
        if time.monotonic() < self._mended_at + _MENDED_AGAIN_S:
            raise error
        self._note(error)
        self._store.close()
        while True:
            try:
                self._store = open_store(self._path, suspect=True)
                break
            except TryAgainError as failed:
                self._note(failed)
                if self._stopping.wait(self._retry_s):
                    return False
        self._mended_at = time.monotonic()
        self._patrolled = 0
        self.store_id = self._store.id
        self._ingest = Ingest(self._store, self._keys)
        return True

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._stopping.set()


def _report(group: list[_Change]) -> None:
    for change in group:
        change.done(change.result)


def _set_result(future: "asyncio.Future[bytes]", value: bytes) -> None:
    if not future.done():
        future.set_result(value)


def _set_exception(future: "asyncio.Future[bytes]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
