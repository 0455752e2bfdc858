"""Compiles a node of a site into what is sent to it: one CBOR item, always the same bytes for the same site.

Config = ``[2, node name, {limits}, [* bus], [+ meaning]]``. Channels are numbered from 0 in the order of the
site file: bus, device, and inside a Modbus device by function, period and address, so that the registers of
one request have neighbouring numbers. A meaning is CBOR ``[first channel, [+ channel]]``; the node copies it
into its birth frames without reading it.
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import cbor2
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.profiles import BthomePlace, Field, ModbusPlace, ProfileChannel
from gasan.host.site import BleBus, BleDevice, Bus, ModbusDevice, Node, RtuBus, Site, SiteChannel, TcpBus
from gasan.wire import columns, fields

__all__ = ["CONFIG_MAX", "MEANING_MAX", "Channel", "CompiledNode", "compile_node", "compile_site"]

_FORMAT = 2
_BUS_TYPES = {RtuBus: 0, TcpBus: 1, BleBus: 2}
_PARITIES = {"none": 0, "even": 1, "odd": 2}
_FORMATS = {
    ("bthome", False): 0,
    ("bthome", True): 1,
    ("advert", False): 2,
    ("mibeacon", False): 3,
    ("mibeacon", True): 4,
}
MEANING_MAX = 1400  # bytes; with the rest of a birth frame it stays under the frame's limit
CONFIG_MAX = 16_384  # bytes; a node reads its config whole into a heap of 100 KB and more
_REVISION_SIZE = 8


@dataclass(frozen=True)
class Channel:
    """The meaning of a channel number. value = (raw * num + off) / den, after shift and mask."""

    index: int
    device: str
    name: str
    unit: str
    type: int
    num: int
    den: int
    off: int
    period_ms: int
    shift: int | None
    mask: int | None
    enum: Mapping[int, str]
    enum_ko: Mapping[int, str]
    label_en: str
    label_ko: str

    def meaning(self) -> list[Any]:
        """The channel as it stands in a birth frame."""
        extra: dict[int, Any] = {}
        if self.shift is not None:
            extra[1] = self.shift
        if self.mask is not None:
            extra[2] = self.mask
        if self.enum:
            extra[3] = dict(self.enum)
        return [
            self.device,
            self.name,
            self.unit,
            self.type,
            self.num,
            self.den,
            self.off,
            self.period_ms,
            extra,
        ]


@dataclass(frozen=True)
class CompiledNode:
    """A node's config and what the gateway has to know beside it.

    `uarts` maps UART numbers of a virtual board to ports of this machine, `air` is where its radio is played.
    Without a `link` the node is a virtual board that the gateway starts, or an emulated one.
    """

    name: str
    config: bytes
    revision: bytes
    channels: tuple[Channel, ...]
    uarts: Mapping[int, str]
    air: str | None
    link: str | None
    board: str
    emulated: bool = False


@dataclass
class _Numbering:
    """Channels in the order in which they get their numbers."""

    channels: list[Channel] = field(default_factory=list)

    def add(self, device: str, chosen: SiteChannel) -> int:
        profile = chosen.profile
        index = len(self.channels)
        self.channels.append(
            Channel(
                index=index,
                device=device,
                name=profile.name,
                unit=profile.unit,
                type=_type_code(profile),
                num=profile.num,
                den=profile.den,
                off=profile.off,
                period_ms=chosen.period_ms,
                shift=profile.shift,
                mask=profile.mask,
                enum=profile.enum,
                enum_ko=profile.enum_ko,
                label_en=profile.label_en,
                label_ko=profile.label_ko,
            )
        )
        return index


def compile_site(site: Site) -> list[CompiledNode]:
    """Every node of a site. Raises InputError like `compile_node`."""
    return [compile_node(site, node) for node in site.nodes]


def compile_node(site: Site, node: Node) -> CompiledNode:
    """One node. Raises InputError when the config becomes too large for a node."""
    numbering = _Numbering()
    buses = [_bus(bus, numbering) for bus in node.buses]
    limits = {
        1: node.batch_max_age_ms,
        2: node.batch_max_bytes,
        3: node.board.spool_bytes,
        4: int(node.watchdog),
    }
    meanings = list(_meanings(numbering.channels))
    config = _cbor([_FORMAT, node.name, limits, buses, meanings])
    if len(config) > CONFIG_MAX:
        raise InputError(
            _(
                "{file}: the config of {node} has {size} bytes and {limit} are possible; read fewer channels"
            ).format(file=site.file, node=node.name, size=len(config), limit=CONFIG_MAX)
        )
    rtu = [bus for bus in node.buses if isinstance(bus, RtuBus)]
    airs = [bus.air for bus in node.buses if isinstance(bus, BleBus)]
    return CompiledNode(
        name=node.name,
        config=config,
        revision=hashlib.sha256(config).digest()[:_REVISION_SIZE],
        channels=tuple(numbering.channels),
        uarts={bus.uart: bus.port for bus in rtu if bus.port is not None},
        air=airs[0] if airs else None,
        link=node.link,
        board=node.board.name,
        emulated=node.emulated,
    )


def _bus(bus: Bus, numbering: _Numbering) -> list[Any]:
    params: dict[int, Any]
    devices: list[list[Any]]
    if isinstance(bus, RtuBus):
        params = {1: bus.uart, 2: bus.baudrate, 3: _PARITIES[bus.parity], 4: bus.stop_bits}
        if bus.de_re_pin is not None:
            params[5] = bus.de_re_pin
        if bus.pins is not None:
            params[6], params[7] = bus.pins
        devices = [_modbus_device(device, numbering) for device in bus.devices]
    elif isinstance(bus, TcpBus):
        params = {1: _host(bus.host), 2: bus.port}
        devices = [_modbus_device(device, numbering) for device in bus.devices]
    else:
        params = {1: bus.scan_interval_ms, 2: bus.scan_window_ms}
        if bus.active:
            params[3] = 1
        devices = [_ble_device(device, numbering) for device in bus.devices]
    return [_BUS_TYPES[type(bus)], bus.name, params, devices]


def _modbus_device(device: ModbusDevice, numbering: _Numbering) -> list[Any]:
    """[name, unit, timeout_ms, gap_ms, max_regs, [* [channel, function, address, type, order, period_ms]]]"""
    placed = []
    for position, chosen in enumerate(device.channels):
        place = chosen.profile.place
        assert isinstance(place, ModbusPlace)  # a Modbus device has a Modbus profile
        placed.append((place.function, chosen.period_ms, place.address, position, place, chosen))
    placed.sort(key=lambda entry: entry[:4])
    items = [
        [
            numbering.add(device.name, chosen),
            place.function,
            place.address,
            _type_code(chosen.profile),
            place.order,
            chosen.period_ms,
        ]
        for *_key, place, chosen in placed
    ]
    return [device.name, device.unit, device.timeout_ms, device.gap_ms, device.max_registers, items]


def _ble_device(device: BleDevice, numbering: _Numbering) -> list[Any]:
    """[name, address, format, timeout_ms, [* [channel, object or field, index, type, period_ms]], ? table]

    The table of a fixed layout is [matches, fields, counted], that of a MiBeacon its fields.
    """
    items = []
    table: list[Any] = []
    for chosen in device.channels:
        place = chosen.profile.place
        number = numbering.add(device.name, chosen)
        if isinstance(place, BthomePlace):
            items.append([number, place.object, place.index, _type_code(chosen.profile), 0])
        else:
            assert isinstance(place, Field)  # a sensor has a profile of a sensor
            items.append([number, len(table), 0, _type_code(chosen.profile), 0])
            table.append(_field(place, chosen.profile))
    profile = device.profile
    form = _FORMATS[profile.kind, device.encrypted]
    compiled: list[Any] = [device.name, device.address, form, device.timeout_ms, items]
    if profile.kind == "mibeacon":
        compiled.append(table)
    elif profile.kind == "advert":
        if profile.counter is not None:
            table.append(_field(profile.counter, None))
        matches = [[match.identity, match.prefix, match.size] for match in profile.matches]
        compiled.append([matches, table, profile.counter is not None])
    return compiled


def _field(place: Field, channel: ProfileChannel | None) -> list[Any]:
    """A field as gasan.wire.fields has it."""
    form = place.width
    form |= fields.BIG_ENDIAN if place.big_endian else 0
    form |= fields.SIGNED if place.signed else 0
    form |= fields.SIGN_BIT if place.sign_bit else 0
    compiled: list[Any] = [place.part, place.offset, form]
    none = b""
    if place.missing is not None:
        order: Literal["big", "little"] = "big" if place.big_endian else "little"
        every = (1 << 8 * place.width) - 1
        shift, mask = 0, every
        if channel is not None and channel.mask is not None:
            shift, mask = channel.shift or 0, channel.mask
        for number in ((place.missing & mask) << shift, mask << shift):
            none += (number & every).to_bytes(place.width, order)
    if none or place.divide or place.modulo or place.sign_bit:
        compiled += [none, place.divide, place.modulo]
    return compiled


def _meanings(channels: Sequence[Channel]) -> Iterable[bytes]:
    """The channels in parts of at most MEANING_MAX bytes."""
    first = 0
    while first < len(channels):
        last = first + 1
        part = _cbor([first, [channels[first].meaning()]])
        while last < len(channels):
            longer = _cbor([first, [channel.meaning() for channel in channels[first : last + 1]]])
            if len(longer) > MEANING_MAX:
                break
            part = longer
            last += 1
        yield part
        first = last


def _type_code(channel: ProfileChannel) -> int:
    code: int = getattr(columns, channel.type.upper())
    return code


def _host(host: str) -> str:
    """An address in its shortest form; a name in lower case."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


def _cbor(item: Any) -> bytes:
    return cbor2.dumps(item, canonical=True)
