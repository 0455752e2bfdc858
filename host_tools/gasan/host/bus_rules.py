"""The rules of a site file for buses: what a board has for them, and how busy a line is."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from gasan.boards import facts
from gasan.boards.facts import Board
from gasan.host.device_rules import DeviceRules
from gasan.host.i18n import _
from gasan.host.line_rules import check_line
from gasan.host.problems import instead, one_of
from gasan.host.radio_rules import check_radio
from gasan.host.rule_parts import Unique, is_secret_value, tables
from gasan.host.shape import check
from gasan.host.site import BleBus, BleDevice, Bus, ModbusDevice, RtuBus, RtuOverTcpBus, TcpBus
from gasan.host.site_tables import (
    BAUDRATES,
    BUS_TABLES,
    BleBusTable,
    BusTable,
    RtuBusTable,
    RtuOverTcpBusTable,
    TcpBusTable,
)
from gasan.host.toml_file import Document, toml_text
from gasan.host.toml_lines import Path as Key

__all__ = ["EMULATED", "VIRTUAL", "BusRules"]

VIRTUAL = "virtual"
EMULATED = ("rpi_pico",)
"""Boards whose machine code can be emulated (gasan.boards.emulated)."""

_LAST_PIN = {"RP2040": 29, "ESP32": 39, "ESP32-S3": 48}
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_ENDPOINT = re.compile(r"[^:\s]+:\d{1,5}")


class BusRules:
    """Builds buses and notes what is wrong with them."""

    def __init__(self, document: Document, devices: DeviceRules) -> None:
        self._document = document
        self._devices = devices
        self._ports = Unique(document)
        self._lines: list[tuple[Key, RtuBus]] = []

    def bus(
        self,
        path: Key,
        data: Mapping[str, Any],
        board: Board | None,
        link: str | None,
        emulated: bool,
        device_names: Unique,
        uarts: Unique,
    ) -> Bus | None:
        kind = data.get("type")
        if not isinstance(kind, str) or kind not in BUS_TABLES:
            if "type" not in data:
                self._document.error(
                    path, _("'type' is missing"), _('write, for example, type = "modbus-rtu"')
                )
            else:
                self._document.error(
                    (*path, "type"),
                    _("type = {value} is not known").format(value=toml_text(kind)),
                    instead(kind, BUS_TABLES),
                )
            return None
        # Without a valid table of the bus its devices are still checked.
        shape: type[BusTable] = BUS_TABLES[kind]
        table = check(shape, self._document, path, data, leave=["device"])
        found = tables(self._document, path, data, "device")
        if not found and "device" not in data:
            self._document.warning(
                path,
                _("there is no device on this bus"),
                _("write [[node.bus.device]], or leave it for later"),
            )
        if kind == "ble":
            sensors = self._devices.sensors(found, device_names)
            self._capability(path, board, "ble", _("Bluetooth"))
            if board is not None and "ble" in board.capabilities:
                check_radio(self._document, found, sensors, board, link)
            return self._ble(path, table, board, sensors) if isinstance(table, BleBusTable) else None
        devices = self._devices.modbus(kind, found, device_names)
        if kind == "modbus-tcp":
            self._capability(path, board, "tcp", _("network"))
            if isinstance(table, TcpBusTable):
                self._check_host(path, table.host)
                return TcpBus(table.name, table.host, table.port, devices)
            return None
        if kind == "modbus-rtu-over-tcp":
            self._capability(path, board, "tcp", _("network"))
            if isinstance(table, RtuOverTcpBusTable):
                self._check_host(path, table.host)
                return RtuOverTcpBus(table.name, table.host, table.port, devices, table.turnaround)
            return None
        if isinstance(table, RtuBusTable):
            return self._rtu(path, table, board, link, emulated, devices, uarts)
        return None

    def _capability(self, path: Key, board: Board | None, needed: str, words: str) -> None:
        if board is not None and needed not in board.capabilities:
            able = [name for name in facts.names() if needed in facts.load(name).capabilities]
            self._document.error(
                (*path, "type"),
                _("the board {board} has no {what}").format(board=board.name, what=words),
                _("use a board that has: {boards}").format(boards=", ".join(able)),
            )

    def _check_host(self, path: Key, host: str) -> None:
        """An address or a name; with anything else a node only ever fails to connect."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            labels = host.removesuffix(".").split(".")
            if all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit():
                return
            if is_secret_value(host):  # that is told already
                return
            mend = _('write, for example, host = "192.168.0.20"')
            if ":" in host:
                mend = _('write, for example, host = "192.168.0.20", and the port below it: port = 502')
            self._document.error(
                (*path, "host"), _('"{host}" is neither an address nor a name').format(host=host), mend
            )

    def _rtu(
        self,
        path: Key,
        table: RtuBusTable,
        board: Board | None,
        link: str | None,
        emulated: bool,
        devices: tuple[ModbusDevice, ...],
        uarts: Unique,
    ) -> RtuBus | None:
        if table.baudrate not in BAUDRATES:
            nearest = min(BAUDRATES, key=lambda rate: abs(rate - table.baudrate))
            self._document.error(
                (*path, "baudrate"),
                _("baudrate = {value} is not a usual rate").format(value=table.baudrate),
                _("did you mean {nearest}? One of {rates}").format(
                    nearest=nearest, rates=", ".join(map(str, BAUDRATES))
                ),
            )
        if board is None:
            return None
        virtual = board.name == VIRTUAL or emulated
        if table.port is not None and not virtual:
            self._document.error(
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
            self._document.error(
                path,
                _("'port' is missing: a virtual board's UART needs something to be connected to"),
                _('write, for example, port = "/dev/ttyUSB0" or port = "/dev/pts/4"'),
            )
        uart = table.uart if table.uart is not None else min(board.uarts)
        here = (*path, "uart") if table.uart is not None else path
        if uart not in board.uarts:
            self._document.error(
                here,
                _("the board {board} has no UART {uart}").format(board=board.name, uart=uart),
                one_of(f"uart = {number}" for number in sorted(board.uarts)),
            )
        others = [f"uart = {number}" for number in sorted(board.uarts) if number != uart]
        uarts.add(here, uart, _("UART {value} is already used in line {line}"), one_of(others))
        if (table.tx_pin is None) != (table.rx_pin is None):
            self._document.error(
                path,
                _("'tx_pin' and 'rx_pin' go together"),
                _("write both, or none for the usual pins of the UART"),
            )
        pins = _pins(table, board, uart)
        last = _LAST_PIN.get(board.mcu)
        for key in ("tx_pin", "rx_pin", "de_re_pin"):
            pin = getattr(table, key)
            if last is not None and pin is not None and pin > last:
                self._document.error(
                    (*path, key),
                    _("the board {board} has no pin {pin}").format(board=board.name, pin=pin),
                    _("write a number from {low} to {high}").format(low=0, high=last),
                )
        used = [pin for pin in (*(pins or ()), table.de_re_pin) if pin is not None]
        if len(set(used)) < len(used):
            self._document.error(
                (*path, "de_re_pin" if table.de_re_pin in used[:-1] else "tx_pin"),
                _("one pin is named for two things"),
                _("write pins that differ (here: {pins})").format(pins=", ".join(map(str, used))),
            )
        bus = RtuBus(
            name=table.name,
            uart=uart,
            port=table.port,
            baudrate=table.baudrate,
            parity=table.parity,
            stop_bits=table.stop_bits,
            pins=pins,
            de_re_pin=table.de_re_pin,
            devices=devices,
            turnaround_ms=table.turnaround,
            de_delay_us=table.de_delay,
            echo=table.echo,
        )
        self._lines.append((path, bus))
        return bus

    def _ble(
        self, path: Key, table: BleBusTable, board: Board | None, devices: tuple[BleDevice, ...]
    ) -> BleBus:
        if table.scan_window > table.scan_interval:
            self._document.error(
                (*path, "scan_window"),
                _("scan_window is longer than scan_interval"),
                _("write a window that fits into the interval"),
            )
        if table.air is not None and board is not None and board.name != VIRTUAL:
            self._document.error((*path, "air"), _("'air' is only for a virtual board"), _("remove it"))
        if table.air is not None and _ENDPOINT.fullmatch(table.air) is None:
            self._document.error(
                (*path, "air"),
                _('"{air}" is not an address with a port').format(air=table.air),
                _('write, for example, air = "127.0.0.1:7300"'),
            )
        return BleBus(table.name, table.scan_interval, table.scan_window, table.active, table.air, devices)

    def check_lines(self) -> None:
        """Notes what cannot work on each RTU line seen, and which has little time left."""
        for path, bus in self._lines:
            check_line(self._document, path, bus)


def _pins(table: RtuBusTable, board: Board, uart: int) -> tuple[int, int] | None:
    """TX and RX: those of the site file, else the usual ones of the board's UART."""
    if table.tx_pin is not None and table.rx_pin is not None:
        return table.tx_pin, table.rx_pin
    if board.name == VIRTUAL or uart not in board.uarts:
        return None
    return board.uarts[uart].tx, board.uarts[uart].rx
