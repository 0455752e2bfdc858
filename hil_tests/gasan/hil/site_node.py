"""A node of a site file on the virtual board, its frames gathered and brought into a store."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gasan.boards.image import firmware_files
from gasan.boards.virtual import VirtualBoard
from gasan.hil.bare_gateway import BareGateway
from gasan.host.compile import CompiledNode, compile_site
from gasan.host.site import load
from gasan.host.store import open_reader, open_store, readings
from gasan.host.store.ingest import Ingest, Receipt
from gasan.host.store.query import Reading
from gasan.ota.slots import pack
from gasan.wire import cbor

__all__ = ["KEYS", "NODE_ID", "SiteNode", "site_node"]

NODE_ID = b"sitenode"
_KEY = bytes(range(32))
_HEAP = 400_000


class _Keys:
    def key(self, node_id: bytes, generation: int) -> bytes | None:
        return _KEY if (node_id, generation) == (NODE_ID, 1) else None

    def name(self, node_id: bytes) -> str:
        return "node"


KEYS = _Keys()
"""As a store asks for them."""


@dataclass
class SiteNode:
    """A running node; `db` is where `store` puts what it sent."""

    board: VirtualBoard
    gateway: BareGateway
    compiled: CompiledNode
    db: Path
    _stored: int = field(default=0)

    def store(self) -> list[Receipt]:
        """Store the frames that have come since the last call, and the node's last status."""
        frames = self.gateway.data[self._stored :]
        self._stored += len(frames)
        with open_store(self.db) as store:
            ingest = Ingest(store, KEYS)
            receipts = ingest.store(frames)
            with ingest.transaction():
                boot = self.gateway.frames[-1].boot
                ingest.session(NODE_ID, boot)
                ingest.figures(NODE_ID, boot, self.gateway.status)
            return receipts

    def readings(self, channel: str | None = None) -> list[Reading]:
        """What is stored, of one channel or of all, in the order of sampling."""
        with contextlib.closing(open_reader(self.db)) as reader:
            return list(readings(reader, channel=channel))


@contextlib.contextmanager
def site_node(
    folder: Path, site: str, *, bits: int = 64, heap: int = _HEAP, more: Mapping[str, bytes] | None = None
) -> Iterator[SiteNode]:
    """Start the one node of a site file, given as text, in ``folder``; it ends with the context.

    more: files that are on its flash besides.
    """
    file = folder / "site.toml"
    file.write_text(site, encoding="utf-8")
    (node,) = compile_site(load(file))
    board = VirtualBoard(folder / "board", bits=bits, heap=heap, uarts=node.uarts, air=node.air)
    files = firmware_files()
    files["/secret/key"] = cbor.dumps([NODE_ID, 1, _KEY])
    files["/cfg/a"] = pack(node.config)
    board.install({**files, **(more or {})})
    with board, BareGateway(board.console_path, NODE_ID, 1, _KEY) as gateway:
        yield SiteNode(board, gateway, node, folder / "readings.sqlite")
