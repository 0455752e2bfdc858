"""The rules of a site file: what goes with what. Builds a `Site` and notes every mistake in its own line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gasan.boards import facts
from gasan.boards.facts import Board
from gasan.host.bus_rules import EMULATED, VIRTUAL, BusRules
from gasan.host.device_rules import DeviceRules
from gasan.host.i18n import _
from gasan.host.problems import instead, one_of
from gasan.host.rule_parts import Unique, check_secrets, is_secret, note_name, tables, without_secrets
from gasan.host.shape import check
from gasan.host.site import Node, Site
from gasan.host.site_tables import NodeTable, SiteTable
from gasan.host.toml_file import Document, read
from gasan.host.toml_lines import Path as Key

__all__ = ["check_site"]

_TABLES = ("site", "node")
_LINKS = {"serial", "tcp", "ble"}


def check_site(file: Path) -> Site:
    """The site in `file`. Raises InputError when it cannot be read, FileError with every mistake in it."""
    document = read(file)
    site = _Rules(document, file).site()
    document.raise_errors()
    assert site is not None  # no errors were noted
    return site


class _Rules:
    def __init__(self, document: Document, file: Path) -> None:
        self._document = document
        self._file = file
        self._boards = facts.names()
        self._buses = BusRules(document, DeviceRules(document, file.parent))
        self._node_names = Unique(document)
        self._links = Unique(document)

    def site(self) -> Site | None:
        document, data = self._document, self._document.data
        check_secrets(document)
        for key in data.keys() - _TABLES:
            if not is_secret(key):
                document.error((key,), _("unknown key '{key}'").format(key=key), instead(key, _TABLES))
        head = None
        if "site" in data:
            table = data["site"]
            head = check(
                SiteTable, document, ("site",), without_secrets(table) if isinstance(table, dict) else table
            )
        else:
            document.error((), _("[site] is missing"), _('write [site] and name = "line-3" below it'))
        if "node" not in data:
            document.error((), _("there is no node"), _("write [[node]] with name, board and link below it"))
        nodes = [self._node(path, table) for path, table in tables(document, (), data, "node")]
        if head is None or document.has_errors:
            return None
        self._buses.warn_of_busy_lines()
        kept = tuple(node for node in nodes if node is not None)
        return Site(self._file, head.name, kept, tuple(document.warnings))

    def _node(self, path: Key, data: Any) -> Node | None:
        table = check(NodeTable, self._document, path, data, leave=["bus"])
        note_name(self._document, self._node_names, path, data, _("node"))
        board = self._board(path, data)
        emulated = self._emulated(path, data, board)
        link = self._link(path, data, board, emulated)
        buses = []
        if "bus" not in data:
            self._document.warning(
                path, _("this node reads nothing"), _("write [[node.bus]] with a bus, or leave it for later")
            )
        bus_names, device_names, uarts = (
            Unique(self._document),
            Unique(self._document),
            Unique(self._document),
        )
        radios = 0
        for bus_path, bus_data in tables(self._document, path, data, "bus"):
            note_name(self._document, bus_names, bus_path, bus_data, _("bus"))
            bus = self._buses.bus(bus_path, bus_data, board, link, emulated, device_names, uarts)
            radios += bus_data.get("type") == "ble"
            if radios > 1 and bus_data.get("type") == "ble":
                self._document.error(
                    bus_path,
                    _("a node has one radio, and this is its second ble bus"),
                    _("put its devices on the first"),
                )
            if bus is not None:
                buses.append(bus)
        if table is None or board is None:
            return None
        return Node(
            name=table.name,
            board=board,
            link=link,
            emulated=emulated,
            batch_max_age_ms=table.batch.max_age,
            batch_max_bytes=table.batch.max_bytes,
            watchdog=table.watchdog,
            buses=tuple(buses),
        )

    def _board(self, path: Key, data: Mapping[str, Any]) -> Board | None:
        name = data.get("board")
        if not isinstance(name, str):
            return None
        if name in self._boards:
            return facts.load(name)
        what = _('there is no board "{name}"').format(name=name)
        self._document.error((*path, "board"), what, instead(name, self._boards))
        return None

    def _emulated(self, path: Key, data: Mapping[str, Any], board: Board | None) -> bool:
        if data.get("emulated") is not True:
            return False
        here = (*path, "emulated")
        if board is not None and board.name not in EMULATED:
            self._document.error(
                here,
                _("the board {board} cannot be emulated").format(board=board.name),
                one_of(f'board = "{name}"' for name in EMULATED),
            )
        if "link" in data:
            self._document.error(
                here,
                _("an emulated node is started by the gateway itself and has no 'link'"),
                _("remove one of the two"),
            )
        return True

    def _link(self, path: Key, data: Mapping[str, Any], board: Board | None, emulated: bool) -> str | None:
        link = data.get("link")
        if link is None:
            if board is not None and board.name != VIRTUAL and not emulated:
                self._document.error(
                    path,
                    _("'link' is missing: only a virtual board is started by the gateway itself"),
                    _('write, for example, link = "serial:/dev/ttyACM0"'),
                )
            return None
        if not isinstance(link, str):
            return None
        here = (*path, "link")
        scheme, colon, rest = link.partition(":")
        if not colon or scheme not in _LINKS:
            self._document.error(
                here,
                _('link = "{link}" does not say what kind of link it is').format(link=link),
                _('write, for example, link = "serial:/dev/ttyACM0"'),
            )
        elif scheme != "serial":
            self._document.error(
                here,
                _("links over {scheme}: cannot be used yet").format(scheme=scheme),
                _('connect the node by USB and write link = "serial:/dev/ttyACM0"'),
            )
        elif not rest.startswith("/"):
            self._document.error(
                here,
                _('"{port}" is not the whole path of a serial port').format(port=rest),
                _('write, for example, link = "serial:/dev/ttyACM0"'),
            )
        else:
            what = _("the link {value} is already used in line {line}")
            self._links.add(here, link, what, _("write the port of this node's own cable"))
            return link
        return None
