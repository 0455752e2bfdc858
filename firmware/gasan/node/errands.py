"""Commands that come seldom, each with what it needs. Loaded when there is one, gone from memory after it."""

import sys

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.app import Node


async def errand(node: "Node", name: str, args: list) -> "tuple[int, str]":
    """Do a command: (0 done, 1 refused or 2 unknown; text). Writes and questions have codes of their own."""
    _drop("gasan.node", "errands")
    if name == "status":
        return 0, str(node.status())
    if name == "flush":
        node.stop_sources()
        await node.batcher.flush()
        return 0, "sampling has stopped"
    if name == "write":
        from gasan.node.writing import write

        try:
            return await write(node, args)
        finally:
            _drop("gasan.node", "writing", "general", "urgent")
            _drop("gasan.wire", "modbus_write")
    if name == "ask":
        from gasan.node.asking import ask

        try:
            return await ask(node, args)
        finally:
            _drop("gasan.node", "asking", "general", "urgent")
            _drop("gasan.wire", "modbus_write")
    if name == "hear":
        from gasan.node.ble_hear import hear

        return await hear(node, args)
    return 2, "no such command"


def _drop(package: str, *names: str) -> None:
    """Have the memory of modules back; the next command loads them again."""
    for name in names:
        if sys.modules.pop(package + "." + name, None):
            delattr(sys.modules[package], name)
