"""Compiles a node of a site into what is sent to it: one CBOR item, always the same bytes for the same site.

Config = ``[2, node name, {limits}, [* bus], [+ meaning], ? rules]``. Channels are numbered from 0 in the
order of the site file: bus, device, and inside a Modbus device by function, period and address, so that the
registers of one request have neighbouring numbers; those that rules make come behind (protocols/rules.md). A
meaning is CBOR ``[first channel, [+ channel]]``; the node copies it into its birth frames without reading it.
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import cbor2
from gasan.host.edge_compile import EdgeCompiler
from gasan.host.edge_rules import Rules
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.meanings import Channel
from gasan.host.profiles import COMPLEMENT, BthomePlace, Field, ModbusPlace, Profile, ProfileChannel, Signal
from gasan.host.site import (
    BleBus,
    BleDevice,
    Bus,
    ModbusDevice,
    Node,
    RtuBus,
    RtuOverTcpBus,
    Site,
    SiteChannel,
    TcpBus,
)
from gasan.host.write_rules import compiled_write
from gasan.host.writes import WHO, WRITES
from gasan.wire import advert_extras, columns, fields
from gasan.wire.modbus_plan import MAX_HOLE

__all__ = [
    "CONFIG_MAX",
    "MEANING_MAX",
    "Channel",
    "CompiledNode",
    "compile_node",
    "compile_site",
    "field_form",
    "type_code",
]

_FORMAT = 2
_BACKLOG_SHARE = 50  # percent, when the config does not say
_LINK = 15  # the limit that says over what the node is linked
_BUS_TYPES = {RtuBus: 0, TcpBus: 1, BleBus: 2, RtuOverTcpBus: 3}
_OPEN_BUS = 4  # a BleBus with sensors that have no address
_PARITIES = {"none": 0, "even": 1, "odd": 2}
_FORMATS = {
    ("bthome", False): 0,
    ("bthome", True): 1,
    ("advert", False): 2,
    ("mibeacon", False): 3,
    ("mibeacon", True): 4,
    ("gatt", False): 5,
}
_PARTS_MAX = 3  # of 8 bytes each, and a counter: what a node takes
_EXTRAS = 0x10  # added to a format: gasan.wire.advert_extras
_OPEN = 0x20  # added as well: gasan.node.ble_open
MEANING_MAX = 1400  # bytes; with the rest of a birth frame it stays under the frame's limit
CONFIG_MAX = 16_384  # bytes; a node reads its config whole into a heap of 100 KB and more
_REVISION_SIZE = 8
_BURST_ROWS = 20  # a node has room for two of them, and four


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
    """Channels in the order in which they get their numbers, and which of them have rules."""

    channels: list[Channel]
    edge: EdgeCompiler
    ruled: list[tuple[Channel, Rules]] = field(default_factory=list)
    batch_ms: int = 0

    def add(self, device: str, chosen: SiteChannel) -> int:
        """The number under which a channel is read."""
        profile = chosen.profile
        channel = Channel(
            index=len(self.channels),
            device=device,
            name=profile.name,
            unit=profile.unit,
            type=type_code(profile),
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
            form=profile.form,
            missing=profile.missing,
        )
        number = channel.index
        if profile.decimals is not None:
            size = columns.width(channel.type)
            bits = (1 << 8 * size) - 1
            joined: dict[str, Any] = {"type": columns.U32 if size == 2 else columns.U64, "decimals": 8 * size}
            if profile.type.startswith("i"):
                joined |= {"form": COMPLEMENT, "mask": bits}
            channel = replace(channel, missing=tuple(sorted(one & bits for one in profile.missing)), **joined)
            number = self.edge.join(channel, size, (device, profile.decimals))
        self.channels.append(channel)
        if chosen.rules is not None:
            self.ruled.append((channel, chosen.rules))
        return number


def compile_site(site: Site) -> list[CompiledNode]:
    """Every node of a site. Raises InputError like `compile_node`."""
    return [compile_node(site, node) for node in site.nodes]


def compile_node(site: Site, node: Node) -> CompiledNode:
    """One node. Raises InputError when the config becomes too large for a node."""
    channels: list[Channel] = []
    edge = EdgeCompiler(channels)
    numbering = _Numbering(channels, edge, batch_ms=node.batch_max_age_ms)
    buses = [_bus(bus, numbering) for bus in node.buses]
    rules = edge.compile(numbering.ruled, node.derived)
    limits = {
        1: node.batch_max_age_ms,
        2: node.batch_max_bytes,
        3: node.spool_bytes,
        4: int(node.watchdog),
    }
    if node.link is not None and node.link.startswith("ble:"):
        limits[_LINK] = 1
    if node.drop_newest:
        limits[5] = 1
    if node.backlog_share != _BACKLOG_SHARE:
        limits[6] = node.backlog_share
    if node.spool_in_ram:
        limits[7] = 1
    meanings = list(_meanings(numbering.channels))
    config = _cbor([_FORMAT, node.name, limits, buses, meanings, *([_cbor(rules)] if rules else [])])
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
        if bus.turnaround_ms != RtuBus.turnaround_ms:
            params[30] = bus.turnaround_ms
        if bus.de_delay_us:
            params[31] = bus.de_delay_us
        if bus.echo:
            params[32] = 1
        devices = [_modbus_device(device, numbering) for device in bus.devices]
    elif isinstance(bus, TcpBus):
        params = {1: _host(bus.host), 2: bus.port}
        if isinstance(bus, RtuOverTcpBus) and bus.turnaround_ms != RtuOverTcpBus.turnaround_ms:
            params[30] = bus.turnaround_ms
        devices = [_modbus_device(device, numbering) for device in bus.devices]
    else:
        params = {1: bus.scan_interval_ms, 2: bus.scan_window_ms}
        if bus.active:
            params[3] = 1
        devices = [_ble_device(device, numbering) for device in bus.devices]
    kind = _BUS_TYPES[type(bus)]
    if isinstance(bus, BleBus) and any(device.sender is not None for device in bus.devices):
        kind = _OPEN_BUS
    return [kind, bus.name, params, devices]


def _modbus_device(device: ModbusDevice, numbering: _Numbering) -> list[Any]:
    """[name, unit, timeout_ms, gap_ms, max_regs, ? more, [* item]]

    item = [channel, function, address, type, order, period_ms]
    more = {? 1: max_hole, ? 30: writes, ? 31: who}
    """
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
            type_code(chosen.profile),
            place.order,
            chosen.period_ms,
        ]
        for *_key, place, chosen in placed
    ]
    more: dict[int, Any] = {} if device.max_hole == MAX_HOLE else {1: device.max_hole}
    writes, who = [], {}
    for item, (*_key, chosen) in zip(items, placed, strict=True):
        if (rule := device.writes.get(chosen.profile.name)) is not None:
            writes.append(compiled_write(item[0], chosen.profile, rule))
            if rule.who:
                who[item[0]] = list(rule.who)
    more |= ({WRITES: writes} if writes else {}) | ({WHO: who} if who else {})
    limits = [device.timeout_ms, device.gap_ms, device.max_registers]
    return [device.name, device.unit, *limits, *([more] if more else []), items]


def _ble_device(device: BleDevice, numbering: _Numbering) -> list[Any]:
    """[name, address, format, timeout_ms, [* [channel, object or field, index, type, period_ms]], ? table]

    In place of an object or field stands `advert_extras.RSSI` for the strength. A format with such an item,
    or with an object of no fixed width, has _EXTRAS added. One of a sensor without an address has _OPEN
    added, and by what it is known stands last.

    The table of a fixed layout is [matches, fields, counted], that of a MiBeacon its fields. Behind the
    layout of one that is connected to stands [address type, pair, period_ms, [+ [service, UUID, notifies]],
    ? true where it is asked what it is], and the period of its items says for how many rows of a burst there
    must be room.
    """
    profile = device.profile
    burst = any(it.notify for it in profile.characteristics)
    spacing = max(1, numbering.batch_ms // _BURST_ROWS) if burst else 0
    items = []
    table: list[Any] = []
    extras = False
    for chosen in device.channels:
        place = chosen.profile.place
        number = numbering.add(device.name, chosen)
        if isinstance(place, BthomePlace):
            items.append([number, place.object, place.index, type_code(chosen.profile), 0])
            extras = extras or advert_extras.is_extra(place.object)
        elif isinstance(place, Signal):
            items.append([number, advert_extras.RSSI, 0, type_code(chosen.profile), 0])
            extras = True
        else:
            assert isinstance(place, Field)  # a sensor has a profile of a sensor
            items.append([number, len(table), 0, type_code(chosen.profile), spacing])
            table.append(field_form(place, chosen.profile))
    if not table:  # its advertisements are known by their values, whether those are wanted or not
        table = _one_of_each_part(profile)
    form = _FORMATS[profile.kind, device.encrypted] | (_EXTRAS if extras else 0)
    form |= _OPEN if device.sender is not None else 0
    compiled: list[Any] = [device.name, device.address, form, device.timeout_ms, items]
    if profile.kind == "mibeacon":
        compiled.append(table)
    elif profile.kind == "advert":
        if profile.counter is not None:
            table.append(field_form(profile.counter, None))
        matches = [[match.identity, match.prefix, match.size] for match in profile.matches]
        compiled.append([matches, table, profile.counter is not None])
    elif profile.kind == "gatt":
        matches = [[match.identity, match.prefix, match.size] for match in profile.matches]
        compiled.append([matches, table, False])
        wanted = [[it.service, it.uuid, it.notify] for it in profile.characteristics]
        about = [True] if profile.device_information else []
        compiled.append([int(device.random_address), device.pair, device.period_ms, wanted, *about])
    if device.sender is not None:
        kinds = [list(kind) for kind in device.sender.kinds]
        compiled.append([kinds, device.sender.needs, device.sender.name])
    return compiled


def _one_of_each_part(profile: Profile) -> list[Any]:
    first: dict[int, tuple[Field, ProfileChannel]] = {}
    for channel in profile.channels.values():
        if isinstance(channel.place, Field):
            first.setdefault(channel.place.part, (channel.place, channel))
    table = [field_form(place, channel) for place, channel in first.values()]
    return table[:_PARTS_MAX]


def field_form(place: Field, channel: ProfileChannel | None) -> list[Any]:
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


def type_code(channel: ProfileChannel) -> int:
    """The type of a channel's column (gasan.wire.columns)."""
    if channel.length:
        return columns.TEXT + channel.length
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
