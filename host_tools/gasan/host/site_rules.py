"""What goes with what in a site file. Builds a `Site` and notes every mistake, each in its own line."""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gasan.boards import facts
from gasan.boards.facts import Board
from gasan.host import profiles
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.line_budget import occupation
from gasan.host.problems import FileError, instead, one_of
from gasan.host.profiles import Profile
from gasan.host.shape import check
from gasan.host.site import BleBus, BleDevice, Bus, ModbusDevice, Node, RtuBus, Site, SiteChannel, TcpBus
from gasan.host.site_tables import (
    BAUDRATES,
    BUS_TABLES,
    BleBusTable,
    BleDeviceTable,
    BusTable,
    ModbusDeviceTable,
    NodeTable,
    RtuBusTable,
    SiteTable,
    TcpBusTable,
)
from gasan.host.toml_file import Document, read
from gasan.host.toml_lines import Path as Key

__all__ = ["check_site"]

_BUSY = 0.8  # of a line's time: above it a single retry makes others late
_VIRTUAL = "virtual"
_PERIOD_MIN_MS = 10
_SECRET_KEY = re.compile(
    r"(?i)pass(word|wd|phrase)|secret|psk|bindkey|api_?key|token|private|credential|^key$|_key$"
)
_SECRET_VALUE = re.compile(r"-----BEGIN |^[0-9A-Fa-f]{64}$")
_LINKS = {"serial", "tcp", "ble"}
_ENDPOINT = re.compile(r"[^:\s]+:\d{1,5}")
_KIND_OF_BUS = {"modbus-rtu": "modbus", "modbus-tcp": "modbus", "ble": "bthome"}

_T = TypeVar("_T")


def check_site(file: Path) -> Site:
    """The site in `file`. Raises InputError when it cannot be read, FileError with every mistake in it."""
    document = read(file)
    site = _Rules(document, file).site()
    document.raise_errors()
    assert site is not None  # no errors were noted
    return site


class _Names:
    """Values that must be different from each other, and where each was first seen."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._seen: dict[object, int] = {}

    def add(self, path: Key, value: object, what: str, mend: str) -> None:
        """Notes an error if `value` was added before; `{line}` in `what` becomes that line."""
        if value in self._seen:
            self._document.error(path, what.format(value=value, line=self._seen[value]), mend)
        else:
            self._seen[value] = self._document.line(path)


class _Rules:
    def __init__(self, document: Document, file: Path) -> None:
        self._document = document
        self._file = file
        self._boards = facts.names()
        self._profiles: dict[str, Profile | None] = {}
        self._error = document.error
        names = partial(_Names, document)
        self._node_names = names()
        self._links = names()
        self._ports = names()
        self._new_names = names
        self._rtu_lines: list[tuple[Key, RtuBus]] = []

    def site(self) -> Site | None:
        data = self._document.data
        self._secrets()
        for key in data.keys() - {"site", "node"}:
            if not _SECRET_KEY.search(key):
                known = ["site", "node"]
                self._error((key,), _("unknown key '{key}'").format(key=key), instead(key, known))
        if "site" not in data:
            self._error((), _("[site] is missing"), _('write [site] and name = "line-3" below it'))
            head = None
        else:
            head = check(SiteTable, self._document, ("site",), self._without_secrets(data["site"]))
        if "node" not in data:
            self._error((), _("there is no node"), _("write [[node]] with name, board and link below it"))
        nodes = [self._node(path, table) for path, table in self._list((), data, "node")]
        if head is None or self._document.has_errors:
            return None
        for path, bus in self._rtu_lines:
            self._line_time(path, bus)
        kept = tuple(node for node in nodes if node is not None)
        return Site(self._file, head.name, kept, tuple(self._document.warnings))

    # Nodes

    def _node(self, path: Key, data: Any) -> Node | None:
        table = check(NodeTable, self._document, path, data, leave=["bus"])
        self._add_name(self._node_names, path, data, _("node"))
        board = self._board(path, data)
        link = self._link(path, data, board)
        buses = []
        if "bus" not in data:
            self._document.warning(
                path, _("this node reads nothing"), _("write [[node.bus]] with a bus, or leave it for later")
            )
        bus_names, device_names, uarts = self._new_names(), self._new_names(), self._new_names()
        radios = 0
        for bus_path, bus_data in self._list(path, data, "bus"):
            self._add_name(bus_names, bus_path, bus_data, _("bus"))
            bus = self._bus(bus_path, bus_data, board, link, device_names, uarts)
            radios += bus_data.get("type") == "ble"
            if radios > 1 and bus_data.get("type") == "ble":
                self._error(
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
        self._error((*path, "board"), what, instead(name, self._boards))
        return None

    def _link(self, path: Key, data: Mapping[str, Any], board: Board | None) -> str | None:
        link = data.get("link")
        if link is None:
            if board is not None and board.name != _VIRTUAL:
                self._error(
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
            self._error(
                here,
                _('link = "{link}" does not say what kind of link it is').format(link=link),
                _('write, for example, link = "serial:/dev/ttyACM0"'),
            )
        elif scheme != "serial":
            self._error(
                here,
                _("links over {scheme}: cannot be used yet").format(scheme=scheme),
                _('connect the node by USB and write link = "serial:/dev/ttyACM0"'),
            )
        elif not rest.startswith("/"):
            self._error(
                here,
                _('"{port}" is not the whole path of a serial port').format(port=rest),
                _('write, for example, link = "serial:/dev/ttyACM0"'),
            )
        else:
            what = _("the link {value} is already used in line {line}")
            self._links.add(here, link, what, _("write the port of this node's own cable"))
            return link
        return None

    # Buses

    def _bus(
        self,
        path: Key,
        data: Mapping[str, Any],
        board: Board | None,
        link: str | None,
        device_names: _Names,
        uarts: _Names,
    ) -> Bus | None:
        kind = data.get("type")
        if not isinstance(kind, str) or kind not in BUS_TABLES:
            if "type" not in data:
                self._error(path, _("'type' is missing"), _('write, for example, type = "modbus-rtu"'))
            else:
                self._error(
                    (*path, "type"),
                    _("type = {value} is not known").format(value=f'"{kind}"'),
                    instead(kind, BUS_TABLES),
                )
            return None
        # Without a valid table of the bus its devices are still checked.
        shape: type[BusTable] = BUS_TABLES[kind]
        table = check(shape, self._document, path, self._without_secrets(data), leave=["device"])
        found = self._list(path, data, "device")
        if not found and "device" not in data:
            self._document.warning(
                path,
                _("there is no device on this bus"),
                _("write [[node.bus.device]], or leave it for later"),
            )
        if kind == "ble":
            sensors = self._sensors(found, device_names)
            self._capability(path, board, "ble", _("Bluetooth"))
            return self._ble(path, table, board, sensors) if isinstance(table, BleBusTable) else None
        devices = self._devices(kind, found, device_names)
        if kind == "modbus-tcp":
            self._capability(path, board, "tcp", _("network"))
            if isinstance(table, TcpBusTable):
                return TcpBus(table.name, table.host, table.port, devices)
            return None
        if isinstance(table, RtuBusTable):
            return self._rtu(path, table, board, link, devices, uarts)
        return None

    def _capability(self, path: Key, board: Board | None, needed: str, words: str) -> None:
        if board is not None and needed not in board.capabilities:
            able = [name for name in self._boards if needed in facts.load(name).capabilities]
            self._error(
                (*path, "type"),
                _("the board {board} has no {what}").format(board=board.name, what=words),
                _("use a board that has: {boards}").format(boards=", ".join(able)),
            )

    def _rtu(
        self,
        path: Key,
        table: RtuBusTable,
        board: Board | None,
        link: str | None,
        devices: tuple[ModbusDevice, ...],
        uarts: _Names,
    ) -> RtuBus | None:
        if table.baudrate not in BAUDRATES:
            nearest = min(BAUDRATES, key=lambda rate: abs(rate - table.baudrate))
            self._error(
                (*path, "baudrate"),
                _("baudrate = {value} is not a usual rate").format(value=table.baudrate),
                _("did you mean {nearest}? One of {rates}").format(
                    nearest=nearest, rates=", ".join(map(str, BAUDRATES))
                ),
            )
        if board is None:
            return None
        virtual = board.name == _VIRTUAL
        if table.port is not None and not virtual:
            self._error(
                (*path, "port"),
                _("'port' is only for a virtual board; {board} has UARTs of its own").format(
                    board=board.name
                ),
                _("remove it and write uart = {uart}").format(uart=min(board.uarts)),
            )
        if table.port is not None:
            what = _("the port {value} is already used in line {line}")
            self._ports.add((*path, "port"), table.port, what, _("write the port of this bus's own line"))
        elif virtual and link is None:
            self._error(
                path,
                _("'port' is missing: a virtual board's UART needs something to be connected to"),
                _('write, for example, port = "/dev/ttyUSB0" or port = "/dev/pts/4"'),
            )
        uart = table.uart if table.uart is not None else min(board.uarts)
        here = (*path, "uart") if table.uart is not None else path
        if uart not in board.uarts:
            self._error(
                here,
                _("the board {board} has no UART {uart}").format(board=board.name, uart=uart),
                one_of(f"uart = {number}" for number in sorted(board.uarts)),
            )
        others = [f"uart = {number}" for number in sorted(board.uarts) if number != uart]
        uarts.add(here, uart, _("UART {value} is already used in line {line}"), one_of(others))
        if (table.tx_pin is None) != (table.rx_pin is None):
            self._error(
                path,
                _("'tx_pin' and 'rx_pin' go together"),
                _("write both, or none for the usual pins of the UART"),
            )
        bus = RtuBus(
            name=table.name,
            uart=uart,
            port=table.port,
            baudrate=table.baudrate,
            parity=table.parity,
            stop_bits=table.stop_bits,
            pins=_pins(table, board, uart),
            de_re_pin=table.de_re_pin,
            devices=devices,
        )
        self._rtu_lines.append((path, bus))
        return bus

    def _line_time(self, path: Key, bus: RtuBus) -> None:
        share = occupation(bus)
        if share <= _BUSY:
            return
        faster = next((rate for rate in BAUDRATES if rate > bus.baudrate), None)
        mend = _("write longer periods or fewer channels")
        if faster is not None:
            mend = _("write longer periods, fewer channels or a higher baudrate")
        if share > 1:
            what = _("the line {bus} would need {percent} % of its time; readings will be missed")
        else:
            what = _("the line {bus} is busy for about {percent} % of its time")
        self._document.warning(path, what.format(bus=bus.name, percent=round(100 * share)), mend)

    def _ble(
        self, path: Key, table: BleBusTable, board: Board | None, devices: tuple[BleDevice, ...]
    ) -> BleBus:
        if table.scan_window > table.scan_interval:
            self._error(
                (*path, "scan_window"),
                _("scan_window is longer than scan_interval"),
                _("write a window that fits into the interval"),
            )
        if table.air is not None and board is not None and board.name != _VIRTUAL:
            self._error((*path, "air"), _("'air' is only for a virtual board"), _("remove it"))
        if table.air is not None and _ENDPOINT.fullmatch(table.air) is None:
            self._error(
                (*path, "air"),
                _('"{air}" is not an address with a port').format(air=table.air),
                _('write, for example, air = "127.0.0.1:7300"'),
            )
        return BleBus(table.name, table.scan_interval, table.scan_window, table.air, devices)

    # Devices

    def _devices(
        self, kind: str, found: Iterable[tuple[Key, Mapping[str, Any]]], names: _Names
    ) -> tuple[ModbusDevice, ...]:
        units = self._new_names()
        devices = []
        for path, data in found:
            table = check(ModbusDeviceTable, self._document, path, self._without_secrets(data))
            self._add_name(names, path, data, _("device"))
            unit = data.get("unit")
            if isinstance(unit, int) and not isinstance(unit, bool):
                if kind == "modbus-rtu" and (unit == 0 or 247 < unit <= 255):
                    self._error(
                        (*path, "unit"),
                        _("unit = {unit} cannot be a device on an RTU line").format(unit=unit),
                        _("write a number from {low} to {high}").format(low=1, high=247),
                    )
                what = _("unit {value} is already used on this bus in line {line}")
                units.add((*path, "unit"), unit, what, _("write the unit that is set on this device"))
            profile = self._profile(path, data, kind)
            if profile is None:
                continue
            periods = table.periods if table is not None else {}
            for group in periods.keys() - profile.groups.keys():
                self._error(
                    (*path, "periods", group),
                    _('the profile {profile} has no group "{name}"').format(profile=profile.name, name=group),
                    instead(group, profile.groups),
                )
            channels = self._channels(path, data, profile)
            if table is None:
                continue
            self._check_periods(path, table)
            devices.append(
                ModbusDevice(
                    name=table.name,
                    unit=table.unit,
                    profile=profile,
                    timeout_ms=_first(table.timeout, profile.timeout_ms),
                    gap_ms=_first(table.gap, profile.gap_ms),
                    max_registers=_first(table.max_registers, profile.max_registers),
                    channels=tuple(
                        SiteChannel(profile.channels[name], _period(table, profile, name))
                        for name in channels
                    ),
                )
            )
        return tuple(devices)

    def _check_periods(self, path: Key, table: ModbusDeviceTable) -> None:
        given: list[tuple[Key, int | None]] = [((*path, "period"), table.period)]
        given += [((*path, "periods", group), period) for group, period in table.periods.items()]
        for here, period in given:
            if period is not None and period < _PERIOD_MIN_MS:
                self._error(
                    here,
                    _("a period of {period} ms is too short").format(period=period),
                    _('write at least "{least}ms"').format(least=_PERIOD_MIN_MS),
                )

    def _sensors(
        self, found: Iterable[tuple[Key, Mapping[str, Any]]], names: _Names
    ) -> tuple[BleDevice, ...]:
        addresses = self._new_names()
        devices = []
        for path, data in found:
            table = check(BleDeviceTable, self._document, path, self._without_secrets(data))
            self._add_name(names, path, data, _("device"))
            if table is not None:
                what = _("this address is already used in line {line}")
                addresses.add((*path, "address"), table.address, what, _("write the address of this sensor"))
            profile = self._profile(path, data, "ble")
            if profile is None:
                continue
            channels = self._channels(path, data, profile)
            if table is not None:
                chosen = tuple(SiteChannel(profile.channels[name], 0) for name in channels)
                timeout = _first(table.timeout, profile.timeout_ms)
                devices.append(BleDevice(table.name, table.address, profile, timeout, chosen))
        return tuple(devices)

    def _profile(self, path: Key, data: Mapping[str, Any], bus_type: str) -> Profile | None:
        name = data.get("profile")
        if not isinstance(name, str) or not name:
            return None
        here = (*path, "profile")
        wanted = _KIND_OF_BUS[bus_type]
        if name not in self._profiles:
            self._profiles[name] = None
            try:
                self._profiles[name] = profiles.load(name, self._file.parent)
            except FileError as error:
                self._document.problems.extend(error.problems)
            except InputError as error:
                what, _semicolon, mend = str(error).partition("; ")
                known = profiles.names() if not name.endswith(".toml") else []
                fitting = [other for other in known if profiles.load(other).kind == wanted]
                self._error(here, what, instead(name, fitting) if fitting else mend)
        profile = self._profiles[name]
        if profile is not None and profile.kind != wanted:
            fitting = [other for other in profiles.names() if profiles.load(other).kind == wanted]
            self._error(
                here,
                _("the profile {profile} is for {kind}, not for a {type} bus").format(
                    profile=name, kind=profile.kind, type=bus_type
                ),
                one_of(fitting),
            )
            return None
        return profile

    def _channels(self, path: Key, data: Mapping[str, Any], profile: Profile) -> list[str]:
        wanted = data.get("channels")
        if not isinstance(wanted, list):
            return list(profile.default)
        kept: list[str] = []
        for index, name in enumerate(wanted):
            here = (*path, "channels", index)
            if not isinstance(name, str):
                continue
            if name not in profile.channels:
                what = _('the profile {profile} has no channel "{name}"').format(
                    profile=profile.name, name=name
                )
                self._error(here, what, instead(name, profile.channels))
            elif name in kept:
                self._error(here, _('channel "{name}" is named twice').format(name=name), _("remove one"))
            else:
                kept.append(name)
        return kept

    # What all tables have

    def _list(self, path: Key, data: Mapping[str, Any], key: str) -> list[tuple[Key, Mapping[str, Any]]]:
        """The tables of an array of tables, each with its path; what is not a table is noted and left out."""
        value = data.get(key, [])
        names = [part for part in (*path, key) if isinstance(part, str)]
        header = f"[[{'.'.join(names)}]]"
        mend = _("write {header} on a line of its own, and its keys below").format(header=header)
        if not isinstance(value, list):
            self._error((*path, key), _("'{key}' must be a list of tables").format(key=key), mend)
            return []
        found = []
        for index, table in enumerate(value):
            here = (*path, key, index)
            if isinstance(table, dict):
                found.append((here, self._without_secrets(table)))
            else:
                self._error(here, _("'{key}' must be a list of tables").format(key=key), mend)
        return found

    def _add_name(self, names: _Names, path: Key, data: Mapping[str, Any], kind: str) -> None:
        name = data.get("name")
        if isinstance(name, str):
            what = _('the {kind} name "{value}" is already used in line {line}').replace("{kind}", kind)
            names.add((*path, "name"), name, what, _("give each one a name of its own"))

    def _secrets(self) -> None:
        for path, value in self._document.walk():
            key = path[-1]
            named = isinstance(key, str) and _SECRET_KEY.search(key) is not None
            if named or (isinstance(value, str) and _SECRET_VALUE.search(value)):
                self._error(
                    path,
                    _("a site file never holds a secret"),
                    _("remove this line; keys are made by gasan and stay in the state folder"),
                )

    def _without_secrets(self, data: Any) -> Any:
        """The table without keys that `_secrets` has already objected to."""
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if not _SECRET_KEY.search(key)}


def _pins(table: RtuBusTable, board: Board, uart: int) -> tuple[int, int] | None:
    """TX and RX: those of the site file, else the usual ones of the board's UART."""
    if table.tx_pin is not None and table.rx_pin is not None:
        return table.tx_pin, table.rx_pin
    if board.name == _VIRTUAL or uart not in board.uarts:
        return None
    return board.uarts[uart].tx, board.uarts[uart].rx


def _period(table: ModbusDeviceTable, profile: Profile, channel: str) -> int:
    group = profile.channels[channel].group
    if group is not None and group in table.periods:
        return table.periods[group]
    if table.period is not None:
        return table.period
    return profile.groups[group] if group is not None else profile.period_ms


def _first(given: _T | None, otherwise: _T) -> _T:
    return otherwise if given is None else given
