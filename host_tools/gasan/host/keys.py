"""The keys of a site's nodes: one file for each, readable by nobody but its owner.

``keys/NODE.key`` is the CBOR array [node id: 8 bytes, key generation, key: 32 bytes], the same bytes that a
node has as ``/secret/key``. A node's name is the file's name; its id and key are random and never shown.

A key that was renewed, or whose board was replaced, goes to ``keys/retired/NODE.ID.GENERATION.key``. No
session is opened with it; it verifies the frames that were spooled under it.
"""

import os
import secrets
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gasan.host.errors import InputError, TryAgainError, UntrustedError
from gasan.host.i18n import _
from gasan.wire import cbor

__all__ = ["KEY_SIZE", "KeyStore", "NodeKey", "read_secret", "write_secret"]

NODE_ID_SIZE: Final = 8
KEY_SIZE: Final = 32
_SUFFIX: Final = ".key"
_RETIRED: Final = "retired"
_GENERATION_MAX: Final = 255


@dataclass(frozen=True, slots=True, repr=False)
class NodeKey:
    """Who a node is, and the key that proves it."""

    name: str
    node_id: bytes
    generation: int
    key: bytes

    def __repr__(self) -> str:
        return f"NodeKey({self.name!r}, {self.node_id.hex()}, generation {self.generation})"

    def encode(self) -> bytes:
        """The bytes of the key file, here and on the node."""
        return cbor.dumps([self.node_id, self.generation, self.key])


class KeyStore:
    """The key files in one folder, read once.

    Raises UntrustedError for a key file that others may read, InputError for one that is damaged,
    TryAgainError when the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_name: dict[str, NodeKey] = {}
        self._by_id: dict[bytes, NodeKey] = {}
        self._retired: dict[tuple[bytes, int], NodeKey] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in sorted(folder.glob(f"*{_SUFFIX}")):
                self._add(_read(path))
            for path in sorted((folder / _RETIRED).glob(f"*{_SUFFIX}")):
                key = _read(path)
                name = path.name.removesuffix(_SUFFIX).rsplit(".", 2)[0]
                self._retired[key.node_id, key.generation] = replace(key, name=name)
        except OSError as error:
            raise TryAgainError(
                _("the keys in {folder} cannot be read: {reason}; check who owns them").format(
                    folder=folder, reason=error.strerror
                )
            ) from error

    def get(self, name: str) -> NodeKey | None:
        """The key of the node of that name, None if it has none yet."""
        return self._by_name.get(name)

    def obtain(self, name: str) -> NodeKey:
        """The key of the node of that name; a new one if it has none, on disk before it is returned."""
        known = self._by_name.get(name)
        if known is not None:
            return known
        key = NodeKey(name, secrets.token_bytes(NODE_ID_SIZE), 0, secrets.token_bytes(KEY_SIZE))
        self._write(self.folder / f"{name}{_SUFFIX}", key)
        self._add(key)
        return key

    def renew(self, name: str) -> NodeKey:
        """The next key of the node of that name, which has one: for the same board, which keeps its id.

        The old one is retired. Both are on disk before this returns.
        """
        old = self._by_name[name]
        if old.generation == _GENERATION_MAX:
            raise InputError(
                _("{node} has had all {n} keys; replace it").format(node=name, n=_GENERATION_MAX + 1)
            )
        key = NodeKey(name, old.node_id, old.generation + 1, secrets.token_bytes(KEY_SIZE))
        return self._succeed(old, key)

    def replace(self, name: str) -> NodeKey:
        """A key for the board that takes the place of the one of that name; the old one's is retired."""
        key = NodeKey(name, secrets.token_bytes(NODE_ID_SIZE), 0, secrets.token_bytes(KEY_SIZE))
        return self._succeed(self._by_name[name], key)

    def key(self, node_id: bytes, generation: int) -> bytes | None:
        """The 32-byte key of that node and generation, also a retired one; None if there is none."""
        known = self._by_id.get(node_id)
        if known is None or known.generation != generation:
            known = self._retired.get((node_id, generation))
        return known.key if known is not None else None

    def name(self, node_id: bytes) -> str:
        """The name of a node that has or had a key here; its id in hex for any other."""
        known = self._by_id.get(node_id)
        if known is None:
            known = next((key for (owner, _), key in self._retired.items() if owner == node_id), None)
        return known.name if known is not None else node_id.hex()

    def _succeed(self, old: NodeKey, key: NodeKey) -> NodeKey:
        folder = self.folder / _RETIRED
        try:
            folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._write(folder / f"{old.name}.{old.node_id.hex()}.{old.generation}{_SUFFIX}", old)
        self._write(self.folder / f"{key.name}{_SUFFIX}", key)
        self._retired[old.node_id, old.generation] = old
        del self._by_id[old.node_id]
        self._add(key)
        return key

    def _write(self, path: Path, key: NodeKey) -> None:
        try:
            write_secret(path, key.encode())
        except OSError as error:
            raise _unwritable(path, error) from error

    def _add(self, key: NodeKey) -> None:
        other = self._by_id.get(key.node_id)
        if other is not None:
            raise InputError(
                _("{folder} has one node's key twice, as {one} and {two}; remove the wrong file").format(
                    folder=self.folder, one=other.name, two=key.name
                )
            )
        self._by_name[key.name] = self._by_id[key.node_id] = key


def _unwritable(path: Path, error: OSError) -> TryAgainError:
    return TryAgainError(
        _("the key {path} cannot be written: {reason}; check the folder").format(
            path=path, reason=error.strerror
        )
    )


def _read(path: Path) -> NodeKey:
    data = read_secret(path)
    try:
        node_id, generation, key = cbor.loads(data)
        if not (isinstance(node_id, bytes) and isinstance(key, bytes) and isinstance(generation, int)):
            raise ValueError
        if len(node_id) != NODE_ID_SIZE or len(key) != KEY_SIZE or not 0 <= generation <= _GENERATION_MAX:
            raise ValueError
    except (ValueError, TypeError) as error:
        raise InputError(
            _(
                "{path} is no key file; restore it from a backup, or remove it and provision the node again"
            ).format(path=path)
        ) from error
    return NodeKey(path.name.removesuffix(_SUFFIX), node_id, generation, key)


def read_secret(path: Path) -> bytes:
    """The bytes of a file that nobody else may read. Raises UntrustedError when others may, and OSError."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UntrustedError(
                _("others may read {path}; if nobody has copied it, run: chmod 600 {path}").format(path=path)
            )
        return file.read()


def write_secret(path: Path, data: bytes) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
