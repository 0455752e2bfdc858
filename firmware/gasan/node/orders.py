"""What the gateway may have a node do: take another config or sensors' keys, stop, restart. Loaded when
the first order comes.

Whether a config is one is found out by its trial: to parse it beside a node at work would take too much
memory.
"""

from gasan.node import app, log
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.app import Node
    from gasan.node.secrets import Incoming
    from gasan.ota.slots import Slots

_CONFIG = const(1)  # kinds of a put
_SENSOR_KEYS = const(2)
_REFUSED = const(2)  # answer to a put


class Orders:
    """The orders to one node; keeps what is being received between them."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._slots: "Slots | None" = None
        self._keys: "Incoming | None" = None

    async def command(self, name: str, args: list) -> tuple[int, str]:
        """Do a command: (0 done, 1 refused or 2 unknown; text)."""
        node = self._node
        if name == "maintenance" or name == "reboot":
            node.due = name
            return 0, "restarting"
        if name != "activate" or len(args) != 1:
            from gasan.node.errands import errand

            return await errand(node, name, args)
        store = self._store()
        if store.in_use(args[0]):
            return 0, "in use already"
        if not await node.batcher.quietly(store.activate, args[0]):
            return 1, "no such config here, or another one is on trial"
        node.due = "config"
        return 0, "restarting"

    async def put(self, kind: int, name: bytes, total: int, offset: int, data: bytes) -> tuple[int, int]:
        """Take a piece of a config or of keys: (offset wanted next; 0 more, 1 complete or 2 refused)."""
        if kind == _SENSOR_KEYS:
            if not self._keys:
                from gasan.node.secrets import Incoming

                self._keys = Incoming(self._node)
            return await self._keys.put(name, total, offset, data)
        if kind != _CONFIG:
            return 0, _REFUSED
        app.spare.clear()  # for the file's buffer, where memory is in small pieces by now
        try:
            return await self._node.batcher.quietly(self._store().receive, name, total, offset, data)
        except OSError as e:
            log.error("config: %s" % e)
            self._store().abandon()
            return 0, _REFUSED

    def confirm(self) -> None:
        """The config on trial has proved itself; writes to flash."""
        store = self._store()
        store.confirm()
        self._node.slots_state = store.state

    def _store(self) -> "Slots":
        if not self._slots:
            from gasan.ota.slots import Slots

            self._slots = Slots("/cfg")
            self._slots.resume(self._node.rev if any(self._node.rev) else b"", self._node.slots_state)
        return self._slots
