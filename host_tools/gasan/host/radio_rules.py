"""The rules of a site file for a node's radio: how many connections it keeps, and with whom it can pair."""

from collections.abc import Mapping, Sequence
from typing import Any

from gasan.boards import facts
from gasan.boards.facts import Board
from gasan.host.i18n import _
from gasan.host.site import BleDevice
from gasan.host.toml_file import Document
from gasan.host.toml_lines import Path as Key

__all__ = ["check_radio"]

_PAIRED_MAX = 8  # sensors whose keys a node keeps
_PAIRING = "pairing"


def check_radio(
    document: Document,
    found: Sequence[tuple[Key, Mapping[str, Any]]],
    devices: Sequence[BleDevice],
    board: Board,
    link: str | None,
) -> None:
    """found: the tables of the bus's devices. A sensor that notifies stays connected; those that are read
    share a connection by turns; the node's own link by BLE takes one.
    """
    paths = {name: path for path, data in found if isinstance(name := data.get("name"), str)}
    staying = [it for it in devices if any(one.notify for one in it.profile.characteristics)]
    read = [it for it in devices if it.profile.kind == "gatt" and it not in staying]
    own = link is not None and link.startswith("ble:")
    users = [*(["link"] if own else []), *read[:1], *staying]
    if len(users) > board.ble_connections:
        last = (read + staying)[-1]
        document.error(
            paths[last.name],
            _("this node needs {count} Bluetooth connections at a time and {board} keeps {limit}").format(
                count=len(users), board=board.name, limit=board.ble_connections
            ),
            _("let another node read the connected sensors, or link this one by cable")
            if own
            else _("let another node have some of the sensors that notify, or write a profile that reads"),
        )
    paired = [it for it in devices if it.pair]
    if paired and _PAIRING not in board.capabilities:
        able = [name for name in facts.names() if _PAIRING in facts.load(name).capabilities]
        document.error(
            (*paths[paired[0].name], "pair"),
            _("MicroPython on {board} cannot pair").format(board=board.name),
            _("use a board that can: {boards}").format(boards=", ".join(able)),
        )
    if len(paired) > _PAIRED_MAX:
        document.error(
            (*paths[paired[_PAIRED_MAX].name], "pair"),
            _("a node keeps the keys of {limit} sensors that it has paired with").format(limit=_PAIRED_MAX),
            _("let another node have some of them"),
        )
