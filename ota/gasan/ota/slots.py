"""Two slots for a file that must never be half new: a node's config, later its software.

A slot file is the first 8 bytes of its content's SHA-256, then the content. The state file, replaced whole by
a rename, names the slot in use. New content is written to the other slot, activated, tried, and confirmed:

    STABLE --activate--> ARMED --start--> TRIAL --confirm--> STABLE
                                            '---a start before the confirm---> ROLLED_BACK

Whatever is cut, at any moment, a start finds the old or the new content, whole. A slot that rots is noticed
by its hash, and the other one is used. Plain files and no clock: the same code runs on a node and on CPython.
"""

import hashlib
import os

from gasan.wire import cbor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    def const(value: int) -> int:
        return value
else:
    try:
        from micropython import const
    except ImportError:

        def const(value):
            return value


# States, as a boot frame tells them (ARMED is never seen there).
STABLE = const(0)
TRIAL = const(1)
ROLLED_BACK = const(2)
ARMED = const(3)

# Answers to a received piece, as on the link.
MORE = const(0)
COMPLETE = const(1)
REFUSED = const(2)

MAX_SIZE = const(16384)
_HASH = const(8)


def digest(content: bytes) -> bytes:
    """The 8 bytes that name a content: a config's revision."""
    return hashlib.sha256(content).digest()[:_HASH]


def pack(content: bytes) -> bytes:
    """A slot file that holds ``content``."""
    return digest(content) + content


class Slots:
    """The slots ``a`` and ``b`` and the file ``state`` in ``folder``. OSError where the file system fails."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._active: int | None = None  # slot in use; None: no content yet
        self._name = b""  # hash of what is in use
        self.state = STABLE
        self._incoming = b""  # hash of what is being received
        self._size = 0  # bytes of it received
        self._file: Any = None
        self._sha = hashlib.sha256()

    def start(self) -> bytes | None:
        """Choose the content of this start, or None. Once per boot, since it ends a trial."""
        kept = active, name, state = self._load()
        if state == TRIAL:
            # The start that tried it ended before it was confirmed.
            active, name, state = 1 - active, None, ROLLED_BACK
        elif state == ARMED:
            state = TRIAL
        content = self._read(active, name)
        if content is None:
            active = 1 - active
            content = self._read(active, None)
            # A failed trial has nothing whole to go back to, or the slot in use has rotted.
            state = STABLE if kept[2] == TRIAL else ROLLED_BACK
            if content is None:
                return None
        self._active, self._name, self.state = active, digest(content), state
        if state != STABLE and kept != (active, self._name, state):
            try:
                self._save(active, self._name, state)
            except OSError:
                pass  # the next start decides the same way again
        return content

    def resume(self, name: bytes, state: int) -> None:
        """Know again, later in the boot, that ``start`` chose the content called ``name`` (b"": none)."""
        self.state = state
        for slot in (0, 1):
            if name and self._read(slot, name) is not None:
                self._active, self._name = slot, name

    def in_use(self, name: bytes) -> bool:
        """True when ``name`` runs now, and not on trial."""
        return self._active is not None and self._name == name and self.state != TRIAL

    def receive(self, name: bytes, total: int, offset: int, data: bytes) -> tuple[int, int]:
        """Take a piece of the content whose hash is ``name``; returns (offset wanted next, answer).

        Pieces may come twice or out of order: only the one that is wanted is written.
        """
        if self.state == TRIAL or self.state == ARMED or not 0 < total <= MAX_SIZE:
            return 0, REFUSED  # the other slot holds what a trial goes back to
        if self.in_use(name):
            return total, COMPLETE
        if name != self._incoming:
            self.abandon()
            self._incoming = name
        if self._size == total:
            return total, COMPLETE
        if offset != self._size or not data:
            return self._size, MORE
        if self._file is None:
            mkdir(self._folder)
            self._sha = hashlib.sha256()
            self._file = open(self._path(self._other()), "wb")
            self._file.write(name)
        self._file.write(data)
        self._sha.update(data)
        self._size += len(data)
        if self._size < total:
            return self._size, MORE
        self._file.close()
        self._file = None
        if self._size > total or self._sha.digest()[:_HASH] != name:
            self.discard()
            return 0, REFUSED
        return total, COMPLETE

    def received(self, name: bytes) -> bytes | None:
        """The content called ``name`` that waits, whole, in the other slot."""
        return self._read(self._other(), name)

    def abandon(self) -> None:
        """Forget what is being received."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._incoming = b""
        self._size = 0

    def discard(self) -> None:
        """Remove what was received: it is not wanted."""
        self.abandon()
        os.remove(self._path(self._other()))

    def activate(self, name: bytes) -> bool:
        """Let the next start try the content called ``name``; False when it is not there, whole."""
        if self.state == TRIAL or self.received(name) is None:
            return False
        # The first content of all has nothing to go back to, hence no trial.
        self._save(self._other(), name, STABLE if self._active is None else ARMED)
        self.state = ARMED
        return True

    def confirm(self) -> None:
        """The content on trial has proved itself."""
        if self.state == TRIAL and self._active is not None:
            self._save(self._active, self._name, STABLE)
            self.state = STABLE

    def _other(self) -> int:
        return 0 if self._active is None else 1 - self._active

    def _path(self, slot: int) -> str:
        return self._folder + ("/b" if slot else "/a")

    def _read(self, slot: int, name: bytes | None) -> bytes | None:
        path = self._path(slot)
        try:
            size = os.stat(path)[6] - _HASH
            if not 0 < size <= MAX_SIZE:
                return None
            with open(path, "rb") as f:
                stored = f.read(_HASH)
                content = f.read(size)
        except OSError:
            return None
        if stored != digest(content) or (name is not None and stored != name):
            return None
        return content

    def _load(self) -> tuple[int, bytes | None, int]:
        try:
            with open(self._folder + "/state", "rb") as f:
                active, name, state = cbor.loads(f.read())
            if active in (0, 1) and state in (STABLE, TRIAL, ROLLED_BACK, ARMED):
                return active, name, state
        except (OSError, ValueError, TypeError):
            pass  # missing or rotten: a whole slot a, if there is one, is what the image was made with
        return 0, None, STABLE

    def _save(self, active: int, name: bytes, state: int) -> None:
        mkdir(self._folder)
        replace(self._folder + "/state", cbor.dumps([active, name, state]))


def mkdir(folder: str) -> None:
    """Make ``folder`` unless it is there."""
    try:
        os.mkdir(folder)
    except OSError:
        pass


def replace(path: str, content: bytes) -> None:
    """Replace a small file whole: after a cut it holds the old content or the new, never a part."""
    with open(path + ".new", "wb") as f:
        f.write(content)
    os.rename(path + ".new", path)
