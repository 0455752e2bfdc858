"""What the gateway may have a node do: take another config, restart. Loaded when the first order comes.

Whether a config is one is found out by its trial: to parse it beside a node at work would take too much
memory.
"""

from gasan.node import log
from gasan.ota import slots
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.app import Node

_CONFIG = const(1)  # kind of a PUT


class Orders:
    """The orders to one node; keeps what is being received between them."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._slots = slots.Slots("/cfg")
        self._slots.resume(node.rev if any(node.rev) else b"", node.slots_state)

    async def command(self, name: str, args: list) -> tuple[int, str]:
        """Do a command: (0 done, 1 refused or 2 unknown; text)."""
        node = self._node
        if name == "status":
            return 0, str(node.status())
        if name == "flush":
            node.stop_sources()
            await node.batcher.flush()
            return 0, "sampling has stopped"
        if name == "maintenance" or name == "reboot":
            node.due = name
            return 0, "restarting"
        if name != "activate" or len(args) != 1:
            return 2, "no such command"
        if self._slots.in_use(args[0]):
            return 0, "in use already"
        if not await node.batcher.quietly(self._slots.activate, args[0]):
            return 1, "no such config here, or another one is on trial"
        node.due = "config"
        return 0, "restarting"

    async def put(self, kind: int, name: bytes, total: int, offset: int, data: bytes) -> tuple[int, int]:
        """Take a piece of a new config: (offset wanted next; 0 more, 1 complete or 2 refused)."""
        if kind != _CONFIG:
            return 0, slots.REFUSED
        return await self._node.batcher.quietly(self._put, name, total, offset, data)

    def _put(self, name: bytes, total: int, offset: int, data: bytes) -> tuple[int, int]:
        try:
            return self._slots.receive(name, total, offset, data)
        except OSError as e:
            log.error("config: %s" % e)
            self._slots.abandon()
            return 0, slots.REFUSED

    def confirm(self) -> None:
        """The config on trial has proved itself; writes to flash."""
        self._slots.confirm()
        self._node.slots_state = self._slots.state
