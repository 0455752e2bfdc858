"""The rules of a site file: what goes with what. Builds a `Site` and notes every mistake in its own line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gasan.boards import facts
from gasan.boards.facts import Board
from gasan.host.bus_rules import EMULATED, VIRTUAL, BusRules
from gasan.host.device_rules import DeviceRules
from gasan.host.edge_rules import check_derived, made_by
from gasan.host.endurance import YEARS_ENOUGH, endurance, longer_batch
from gasan.host.i18n import _
from gasan.host.problems import instead, one_of
from gasan.host.quantities import duration_text
from gasan.host.rule_parts import Unique, check_secrets, is_secret, note_name, tables, without_secrets
from gasan.host.shape import check
from gasan.host.site import Bus, Node, Site
from gasan.host.site_tables import NodeTable, SiteTable, SpoolTable, StoreTable
from gasan.host.toml_file import Document, read
from gasan.host.toml_lines import Path as Key

__all__ = ["check_site"]

_TABLES = ("site", "store", "node")
_ADDRESS = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_RAM_SPOOL = 16_384
_LINKS = {"serial", "tcp", "ble"}


def check_site(file: Path) -> Site:
    """The site in `file`. Raises InputError when it cannot be read, FileError with every mistake in it."""
    document = read(file)
    site = _Rules(document, file).site()
    document.raise_errors()
    assert site is not None  # no errors were noted
    return site


def _channels(buses: list[Bus]) -> dict[str, tuple[str, str]]:
    """(device, channel) of every channel that the buses have, by "device.channel"."""
    return {
        f"{device.name}.{name}": (device.name, name)
        for bus in buses
        for device in bus.devices
        for channel in device.channels
        if channel.profile.type != "text"
        for name in (channel.profile.name, *made_by(channel.profile.name, channel.rules))
    }


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
            head = check(SiteTable, document, ("site",), without_secrets(data["site"]))
        else:
            document.error((), _("[site] is missing"), _('write [site] and name = "line-3" below it'))
        keep = check(StoreTable, document, ("store",), without_secrets(data.get("store", {})))
        if "node" not in data:
            document.error((), _("there is no node"), _("write [[node]] with name, board and link below it"))
        nodes = [self._node(path, table) for path, table in tables(document, (), data, "node")]
        if head is None or keep is None or document.has_errors:
            return None
        self._buses.check_lines()
        kept = tuple(node for node in nodes if node is not None)
        max_bytes = None if keep.max_megabytes is None else keep.max_megabytes * 1_000_000
        warnings = tuple(document.warnings)
        return Site(self._file, head.name, kept, warnings, keep.keep_days, max_bytes)

    def _node(self, path: Key, data: Any) -> Node | None:
        table = check(NodeTable, self._document, path, data, leave=["bus", "derived"])
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
        derived = check_derived(
            self._document, tables(self._document, path, data, "derived"), _channels(buses)
        )
        if table is None or board is None:
            return None
        node = Node(
            name=table.name,
            board=board,
            link=link,
            emulated=emulated,
            batch_max_age_ms=table.batch.max_age,
            batch_max_bytes=table.batch.max_bytes,
            watchdog=table.watchdog,
            buses=tuple(buses),
            derived=derived,
            spool_bytes=self._spool_bytes(path, table.spool, board),
            spool_in_ram=table.spool.storage == "ram",
            drop_newest=table.spool.drop == "newest",
            backlog_share=table.spool.backlog_share,
        )
        self._note_wear(path, node)
        return node

    def _spool_bytes(self, path: Key, spool: SpoolTable, board: Board) -> int:
        """What the spool may take; a mistake is noted."""
        in_ram = spool.storage == "ram"
        most = board.heap // 4 if in_ram else board.flash.fs_size * 3 // 4
        size = spool.size or (_RAM_SPOOL if in_ram else board.spool_bytes)
        if size > most:
            place = _("memory") if in_ram else _("flash")
            self._document.error(
                (*path, "spool", "size"),
                _("a spool of {size} bytes is too large for the {place} of {board}").format(
                    size=size, place=place, board=board.name
                ),
                _("write at most {most}").format(most=most),
            )
        return size

    def _note_wear(self, path: Key, node: Node) -> None:
        years = endurance(node).years
        if years is None or years >= YEARS_ENOUGH:
            return
        longer = longer_batch(node)
        mend = _('write storage = "ram" in [node.spool]')
        if longer is not None:
            mend = _('write max_age = "{age}" in [node.batch]').format(age=duration_text(longer))
        self._document.warning(
            path,
            _("at this rate the flash of {node} lasts {years} years").format(
                node=node.name, years=f"{years:.1f}"
            ),
            mend,
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
        elif scheme == "ble":
            return self._ble_link(here, link, data.get("name"), board)
        elif scheme != "serial":
            self._document.error(
                here,
                _("links over {scheme}: cannot be used yet").format(scheme=scheme),
                _('write, for example, link = "serial:/dev/ttyACM0" or link = "ble:NAME"'),
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

    def _ble_link(self, here: Key, link: str, name: object, board: Board | None) -> str | None:
        rest = link.partition(":")[2]
        if board is not None and "ble" not in board.capabilities:
            self._document.error(
                here,
                _("the board {board} has no Bluetooth").format(board=board.name),
                _('write, for example, link = "serial:/dev/ttyACM0"'),
            )
        elif rest != name and _ADDRESS.fullmatch(rest) is None:
            self._document.error(
                here,
                _('"{target}" is neither the name of this node nor an address').format(target=rest),
                _('a node is found by its name: write link = "ble:{name}"').format(name=name),
            )
        else:
            what = _("the link {value} is already used in line {line}")
            self._links.add(here, link, what, _("write the address of this node's own radio"))
            return link
        return None
