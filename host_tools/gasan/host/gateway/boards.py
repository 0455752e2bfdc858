"""The virtual boards of a site: made once, with firmware, key and config, and run as processes of their
own.
"""

import hashlib
import logging
from pathlib import Path
from typing import Final

from gasan.boards.emulated import EmulatedBoard
from gasan.boards.image import ImageError, ManifestError, firmware_files, list_files, remove_file, write_files
from gasan.boards.virtual import BoardError, VirtualBoard
from gasan.boards.vm import VmMissing
from gasan.host.compile import CompiledNode
from gasan.host.errors import TryAgainError
from gasan.host.keys import NodeKey
from gasan.ota.slots import pack

__all__ = ["VirtualNode"]

_KEY_FILE: Final = "/secret/key"
_CONFIG_FILE: Final = "/cfg/a"

log = logging.getLogger(__name__)


class VirtualNode:
    """A virtual or emulated board in `folder`, which keeps its flash from run to run.

    `start` and `stop` block.
    """

    def __init__(self, node: CompiledNode, key: NodeKey, folder: Path) -> None:
        self._node = node
        self._key = key
        self._folder = folder
        self._board: VirtualBoard | None = None

    @property
    def port(self) -> Path:
        """The name of the console's terminal, also before the board runs."""
        return self._folder / "console"

    def start(self) -> None:
        """Makes the board's flash, or brings its firmware and key up to date, and starts it.

        Raises TryAgainError.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            board = self._make()
            self._fill(board)
            board.start()
        except (BoardError, ImageError, ManifestError, VmMissing, OSError) as error:
            raise TryAgainError(f"{self._node.name}: {error}") from error
        self._board = board

    def _make(self) -> VirtualBoard:
        node = self._node
        if node.emulated:
            return EmulatedBoard(self._folder, node.board, uarts=node.uarts)
        return VirtualBoard(self._folder, node.board, uarts=node.uarts, air=node.air)

    def stop(self) -> None:
        """Takes its power; what it had not committed is lost, as with any board."""
        board, self._board = self._board, None
        if board is not None:
            board.stop()

    def _fill(self, board: VirtualBoard) -> None:
        files = firmware_files() | {_KEY_FILE: self._key.encode()}
        digest = hashlib.sha256()
        for name in sorted(files):
            digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
        stamp = self._folder / "installed"
        if not board.image.exists():
            log.info("node %s: a new virtual board in %s", self._node.name, self._folder)
            board.install(files | {_CONFIG_FILE: pack(self._node.config)})
        elif not stamp.exists() or stamp.read_text() != digest.hexdigest():
            log.info("node %s: new firmware on the virtual board", self._node.name)
            facts = board.settings.facts
            for name in list_files(board.image, facts):
                if name.startswith("/lib/") and name not in files:
                    remove_file(board.image, name, facts)
            write_files(board.image, files, facts)
        stamp.write_text(digest.hexdigest())
