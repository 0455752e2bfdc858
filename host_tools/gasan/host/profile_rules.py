"""The rules of a device profile: its tables, and what goes with what. Notes every mistake in its own line."""

from collections.abc import Mapping
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any

from gasan.host import advert_rules, units
from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.profile_tables import (
    PERIOD_MIN_MS,
    BeaconChannelTable,
    BitsTable,
    BthomeChannelTable,
    ChannelTable,
    FieldChannelTable,
    GroupTable,
    HeadTable,
    ModbusChannelTable,
)
from gasan.host.profiles import (
    COMPLEMENT,
    FORMS,
    TYPES,
    BthomePlace,
    Characteristic,
    Field,
    Match,
    ModbusPlace,
    Profile,
    ProfileChannel,
    Source,
)
from gasan.host.quantities import check_quantity
from gasan.host.shape import check
from gasan.host.toml_file import Document, read
from gasan.host.toml_lines import Path as Key
from gasan.host.type_rules import Typed, bthome_type, modbus_type

__all__ = ["check_profile"]

_DEFAULT_TIMEOUT_MS = {
    "modbus": 500,
    "bthome": 60_000,
    "advert": 60_000,
    "mibeacon": 600_000,
    "gatt": 120_000,
}
_TABLES = {"advert": ("match", "counter"), "gatt": ("match",)}
_BITS_OF_REGISTERS = {"bit", "bits", "byte", "missing", "order", "sign"}
_INT64 = 1 << 63
_ENUM_MAX = 1000  # bytes of words and numbers; a channel's meaning has to fit into one part of a birth frame


def check_profile(file: Path, name: str) -> Profile:
    """The profile in `file`. Raises InputError when it cannot be read and FileError with all its mistakes."""
    document = read(file)
    profile = _profile(document, name)
    document.raise_errors()
    assert profile is not None  # no errors were noted
    return profile


def _profile(document: Document, name: str) -> Profile | None:
    data = document.data
    kind = data["profile"].get("kind") if isinstance(data.get("profile"), dict) else None
    known = ["profile", "group", "channel", *_TABLES.get(str(kind), ())]
    for key in data.keys() - set(known):
        document.error((key,), _("unknown key '{key}'").format(key=key), instead(key, known))
    head = check(HeadTable, document, ("profile",), data.get("profile", {}))
    groups = {
        key: check(GroupTable, document, ("group", key), value)
        for key, value in _tables(document, "group").items()
    }
    found: dict[str, Match | None] = {}
    characteristics: tuple[Characteristic, ...] = ()
    if kind == "advert":
        found = advert_rules.matches(document, _tables(document, "match"))
        if not found:
            document.error((), _("there is no match"), _("write [match.NAME] with a company or a service"))
    elif kind == "gatt":
        found, characteristics = advert_rules.gatt_matches(document, _tables(document, "match"))
        if not found:
            document.error(
                (), _("there is no match"), _("write [match.NAME] with a service and a characteristic")
            )
    counter = None
    if kind == "advert" and "counter" in data:
        counter = advert_rules.counter_field(document, ("counter",), data["counter"], found)
    channels: dict[str, ProfileChannel | None] = {}
    for key, value in _tables(document, "channel").items():
        _check_name(document, ("channel", key), key)
        channels[key] = _channel(document, key, value, kind, groups.keys(), found)
    _check_decimals(document, channels)
    if not channels:
        document.error(
            (), _("there is no channel"), _("write [channel.NAME] tables, as the format description shows")
        )
    if head is None:
        return None
    _check_defaults(document, head.default, channels.keys())
    if head.device_information and head.kind != "gatt":
        document.error(
            ("profile", "device_information"),
            _("'{key}' is only for sensors that are connected to").format(key="device_information"),
            _('remove it, or write kind = "gatt"'),
        )
    if head.kind == "modbus":
        _check_limits(document, head, groups, channels)
    if head.kind != "modbus":
        for key in ("max_registers", "max_hole", "gap", *(() if head.kind == "gatt" else ("period",))):
            if key in head.model_fields_set:
                document.error(
                    ("profile", key),
                    _("'{key}' is only for Modbus").format(key=key),
                    _("remove it from this profile of a sensor"),
                )
        if head.kind in ("advert", "gatt") and head.encrypted:
            document.error(
                ("profile", "encrypted"),
                _("advertisements of a fixed layout are not encrypted"),
                _('remove it, or write kind = "bthome" or "mibeacon"'),
            )
    elif "encrypted" in head.model_fields_set:
        document.error(
            ("profile", "encrypted"),
            _("'encrypted' is only for sensors that advertise"),
            _("remove it from this Modbus profile"),
        )
    return Profile(
        name=name,
        maker=head.maker,
        model=head.model,
        kind=head.kind,
        verified=head.verified,
        source=Source(head.source.title, head.source.revision, head.source.pages),
        default=tuple(head.default),
        max_registers=head.max_registers,
        max_hole=head.max_hole,
        timeout_ms=_DEFAULT_TIMEOUT_MS[head.kind] if head.timeout is None else head.timeout,
        gap_ms=head.gap,
        period_ms=head.period,
        encrypted=head.encrypted,
        device_information=head.device_information,
        matches=tuple(match for match in found.values() if match is not None),
        counter=counter,
        characteristics=characteristics,
        groups={key: group.period for key, group in groups.items() if group is not None},
        channels={key: channel for key, channel in channels.items() if channel is not None},
    )


def _tables(document: Document, key: str) -> dict[str, Any]:
    value = document.data.get(key, {})
    if isinstance(value, dict):
        return value
    document.error(
        (key,), _("'{key}' must be a table").format(key=key), _("write [{key}.NAME] tables").format(key=key)
    )
    return {}


def _check_name(document: Document, path: Key, name: str) -> None:
    try:
        check_quantity(name)
    except ValueError as error:
        context = getattr(error, "context", None) or {}
        document.error(path, str(context.get("what", error)), str(context.get("mend", "")))


def _check_limits(
    document: Document,
    head: HeadTable,
    groups: Mapping[str, GroupTable | None],
    channels: Mapping[str, ProfileChannel | None],
) -> None:
    """Periods that a node cannot keep, and channels that no request within the limit can read."""
    periods: list[tuple[Key, int]] = [(("profile", "period"), head.period)]
    periods += [(("group", key, "period"), group.period) for key, group in groups.items() if group]
    for path, period in periods:
        if period < PERIOD_MIN_MS:
            document.error(
                path,
                _("a period of {period} ms is too short").format(period=period),
                _('write at least "{least}ms"').format(least=PERIOD_MIN_MS),
            )
    for name, channel in channels.items():
        if channel is None or not isinstance(channel.place, ModbusPlace) or channel.place.function < 3:
            continue
        if channel.words > head.max_registers:
            document.error(
                ("channel", name),
                _("the channel {name} has {count} registers, more than a request may ask for").format(
                    name=name, count=channel.words
                ),
                _("write max_registers = {count}, or leave the channel out").format(count=channel.words),
            )


def _check_defaults(document: Document, default: list[str], known: Any) -> None:
    seen = set()
    for index, channel in enumerate(default):
        path = ("profile", "default", index)
        if channel not in known:
            document.error(
                path, _('there is no channel "{name}"').format(name=channel), instead(channel, known)
            )
        elif channel in seen:
            document.error(path, _('channel "{name}" is named twice').format(name=channel), _("remove one"))
        seen.add(channel)


def _channel(
    document: Document,
    name: str,
    data: object,
    kind: str | None,
    groups: Any,
    found: Mapping[str, Match | None],
) -> ProfileChannel | None:
    path: Key = ("channel", name)
    if kind in ("bthome", "advert", "mibeacon", "gatt"):
        return _sensor_channel(document, name, data, kind, found)
    wired = check(ModbusChannelTable, document, path, data)
    if wired is None:
        return None
    if (wired.table is None) == (wired.function is None):
        document.error(
            path,
            _("a channel needs one of 'table' and 'function'"),
            _('write table = "holding" (function 3) or table = "input" (function 4)'),
        )
        return None
    function = wired.function or ("coil", "discrete", "holding", "input").index(wired.table or "coil") + 1
    if (function < 3) != (wired.type == "bool"):
        document.error(
            (*path, "type"),
            _("a coil or discrete input is a bool, and nothing else is"),
            _('write type = "bool", or another table'),
        )
        return None
    if wired.type == "bool":
        wrong = _BITS_OF_REGISTERS & wired.model_fields_set
        for key in sorted(wrong):
            what = _("'{key}' does not go with type {type}").format(key=key, type="bool")
            document.error((*path, key), what, _("remove it"))
        if wrong:
            return None
        wired = wired.model_copy(update={"type": "u8"})
    typed = modbus_type(document, path, wired)
    words = typed.length or max(1, TYPES[typed.type] // 2)
    if wired.address + words > 65536:
        document.error(
            (*path, "address"),
            _("a {type} at address {address} ends behind the last register").format(
                type=wired.type, address=wired.address
            ),
            _("write an address of at most {address}").format(address=65536 - words),
        )
    if wired.group is not None and wired.group not in groups:
        document.error(
            (*path, "group"),
            _('there is no group "{name}"').format(name=wired.group),
            instead(wired.group, groups)
            if groups
            else _('write [group.{name}] with period = "10s", or remove it').format(name=wired.group),
        )
    return _finish(document, name, wired, typed, ModbusPlace(function, wired.address, typed.order))


def _check_decimals(document: Document, channels: Mapping[str, ProfileChannel | None]) -> None:
    """Whether the channels that say how many decimals others have are there, and are plain numbers."""
    for name, channel in channels.items():
        if channel is None or channel.decimals is None:
            continue
        path: Key = ("channel", name, "decimals")
        other = channels.get(channel.decimals)
        if channel.decimals not in channels:
            what = _('there is no channel "{name}"').format(name=channel.decimals)
            document.error(path, what, instead(channel.decimals, channels.keys() - {name}))
        elif other is not None and not (
            other.type in ("u16", "i16", "u8", "i8")
            and (other.num, other.den, other.off) == (1, 1, 0)
            and not (other.form or other.missing or other.decimals or other.mask)
        ):
            document.error(
                path,
                _('the channel "{name}" is no plain number of one register').format(name=channel.decimals),
                _("describe the register as u16, without scale, bits or missing"),
            )
        if (
            channel.type not in ("u16", "i16", "u32", "i32")
            or channel.enum
            or (channel.mask and not channel.form)
        ):
            document.error(
                path,
                _("only whole numbers of one or two registers have decimals from elsewhere"),
                _("remove 'decimals'"),
            )


def _sensor_channel(
    document: Document, name: str, data: object, kind: str, found: Mapping[str, Match | None]
) -> ProfileChannel | None:
    path: Key = ("channel", name)
    place: BthomePlace | Field | None
    radio: BthomeChannelTable | FieldChannelTable | BeaconChannelTable | None
    if kind == "bthome":
        if (radio := check(BthomeChannelTable, document, path, data)) is None:
            return None
        place = BthomePlace(radio.object, radio.index)
        typed = bthome_type(document, path, radio)
    elif kind in ("advert", "gatt"):
        if (radio := check(FieldChannelTable, document, path, data)) is None:
            return None
        place, typed = advert_rules.layout_field(document, path, radio, found), _field_type(radio)
    else:
        if (radio := check(BeaconChannelTable, document, path, data)) is None:
            return None
        place, typed = advert_rules.beacon_field(document, path, radio), _field_type(radio)
    if radio.group is not None:
        document.error(
            (*path, "group"), _("'group' is only for Modbus"), _("remove it from this profile of a sensor")
        )
    return None if place is None else _finish(document, name, radio, typed, place)


def _field_type(table: FieldChannelTable | BeaconChannelTable) -> Typed:
    if bits := table.bits:
        return Typed(table.type, 0, COMPLEMENT if bits.signed else 0, bits.shift, bits.mask)
    type_, form = FORMS.get(table.type, (table.type, 0))
    return Typed(type_, 0, form, None, (1 << 8 * TYPES[type_]) - 1 if form else None)


def _finish(
    document: Document,
    name: str,
    channel: ChannelTable,
    typed: Typed,
    place: ModbusPlace | BthomePlace | Field,
) -> ProfileChannel:
    path: Key = ("channel", name)
    type_ = typed.type
    _check_unit(document, (*path, "unit"), channel.unit)
    if channel.bits is not None and type_ != "text":
        _check_bits(document, (*path, "bits"), channel.bits, type_)
    enum = _enumeration(document, (*path, "enum"), channel.enum)
    enum_ko = _enumeration(document, (*path, "enum_ko"), channel.enum_ko)
    if channel.enum:
        _check_enumeration(document, path, channel, type_, enum, enum_ko, typed.form)
    elif channel.enum_ko:
        document.error((*path, "enum_ko"), _("'enum_ko' stands without 'enum'"), _("write 'enum' too"))
    num, den, off = _integers(channel.scale, channel.offset)
    if max(abs(num), den, abs(off)) >= _INT64:
        document.error(
            (*path, "scale"), _("scale and offset together need too many digits"), _("write fewer digits")
        )
    if channel.scale == 0:
        document.error((*path, "scale"), _("scale = 0 makes every value the same"), _("write another scale"))
    return ProfileChannel(
        name=name,
        place=place,
        type=type_,
        unit=channel.unit,
        num=num,
        den=den,
        off=off,
        shift=typed.shift,
        mask=typed.mask,
        enum=enum,
        enum_ko=enum_ko,
        writable=channel.access == "read-write",
        group=channel.group,
        label_en=channel.label_en,
        label_ko=channel.label_ko,
        form=typed.form,
        missing=typed.missing,
        length=typed.length,
        decimals=getattr(channel, "decimals", None),
    )


def _integers(scale: Fraction, offset: Fraction) -> tuple[int, int, int]:
    """num, den and off with raw * scale + offset = (raw * num + off) / den, den as small as can be."""
    den = lcm(scale.denominator, offset.denominator)
    return int(scale * den), den, int(offset * den)


def _check_unit(document: Document, path: Key, unit: str) -> None:
    if unit == "" or unit in units.UNITS:
        return
    what = _('unit "{unit}" is not in the SenML registry').format(unit=unit)
    better = units.mend(unit)
    if better is None:
        document.error(path, what, instead(unit, sorted(units.UNITS)))
    elif better[1]:
        mend = _('write unit = "{unit}" and multiply the scale by {factor}')
        document.error(path, what, mend.format(unit=better[0], factor=better[1]))
    else:
        document.error(path, what, _('write unit = "{unit}"').format(unit=better[0]))


def _check_bits(document: Document, path: Key, bits: BitsTable, type_: str) -> None:
    width = TYPES[type_] * 8
    if not type_.startswith("u"):
        document.error(
            path,
            _("'bits' does not go with type {type}").format(type=type_),
            _('write an unsigned type, for example type = "u16"'),
        )
    elif bits.mask << bits.shift >= 1 << width:
        document.error(
            path,
            _("shift {shift} and mask {mask} reach beyond {width} bits").format(
                shift=bits.shift, mask=hex(bits.mask), width=width
            ),
            _("the mask is applied after the shift; write a smaller one"),
        )


def _enumeration(document: Document, path: Key, words: Mapping[str, str]) -> dict[int, str]:
    numbers: dict[int, str] = {}
    for key, word in words.items():
        try:
            number = int(key, 0)
        except ValueError:
            document.error(
                (*path, key),
                _("'{key}' is not a whole number").format(key=key),
                _('write, for example, 1 = "running"'),
            )
            continue
        if number in numbers:
            document.error((*path, key), _("{number} is here twice").format(number=number), _("remove one"))
        numbers[number] = word
    return numbers


def _check_enumeration(
    document: Document,
    path: Key,
    channel: ChannelTable,
    type_: str,
    enum: Mapping[int, str],
    enum_ko: Mapping[int, str],
    form: int,
) -> None:
    for key, given in (
        ("scale", channel.scale != 1),
        ("offset", channel.offset != 0),
        ("unit", channel.unit != ""),
    ):
        if given:
            document.error(
                (*path, key), _("'{key}' does not go with 'enum'").format(key=key), _("remove one of the two")
            )
    if sum(len(word.encode()) + 10 for word in enum.values()) > _ENUM_MAX:
        document.error(
            (*path, "enum"), _("the words of 'enum' are too long"), _("write fewer or shorter words")
        )
    if type_.startswith("f") or form:
        document.error(
            (*path, "type"),
            _("'enum' does not go with type {type}").format(type=type_),
            _("write an integer type"),
        )
    missing = sorted(enum.keys() - enum_ko.keys())
    extra = sorted(enum_ko.keys() - enum.keys())
    if missing or extra:
        document.error(
            (*path, "enum_ko"),
            _("'enum' and 'enum_ko' do not name the same numbers ({numbers})").format(
                numbers=", ".join(map(str, missing + extra))
            ),
            _("write a Korean word for each number of 'enum'"),
        )
