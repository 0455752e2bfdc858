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
    ORDERS,
    TYPES,
    BthomePlace,
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

__all__ = ["check_profile"]

_DEFAULT_TIMEOUT_MS = {"modbus": 500, "bthome": 60_000, "advert": 60_000, "mibeacon": 600_000}
_TABLES = {"advert": ("match", "counter")}
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
    found = advert_rules.matches(document, _tables(document, "match")) if kind == "advert" else {}
    if kind == "advert" and not found:
        document.error((), _("there is no match"), _("write [match.NAME] with a company or a service"))
    counter = None
    if kind == "advert" and "counter" in data:
        counter = advert_rules.counter_field(document, ("counter",), data["counter"], found)
    channels: dict[str, ProfileChannel | None] = {}
    for key, value in _tables(document, "channel").items():
        _check_name(document, ("channel", key), key)
        channels[key] = _channel(document, key, value, kind, groups.keys(), found)
    if not channels:
        document.error(
            (), _("there is no channel"), _("write [channel.NAME] tables, as the format description shows")
        )
    if head is None:
        return None
    _check_defaults(document, head.default, channels.keys())
    if head.kind != "modbus":
        for key in ("max_registers", "gap", "period"):
            if key in head.model_fields_set:
                document.error(
                    ("profile", key),
                    _("'{key}' is only for Modbus").format(key=key),
                    _("remove it from this profile of a sensor"),
                )
        if head.kind == "advert" and head.encrypted:
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
        timeout_ms=_DEFAULT_TIMEOUT_MS[head.kind] if head.timeout is None else head.timeout,
        gap_ms=head.gap,
        period_ms=head.period,
        encrypted=head.encrypted,
        matches=tuple(match for match in found.values() if match is not None),
        counter=counter,
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
    if kind in ("bthome", "advert", "mibeacon"):
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
    function = wired.function or (3 if wired.table == "holding" else 4)
    words = TYPES[wired.type] // 2
    if wired.address + words > 65536:
        document.error(
            (*path, "address"),
            _("a {type} at address {address} ends behind the last register").format(
                type=wired.type, address=wired.address
            ),
            _("write an address of at most {address}").format(address=65536 - words),
        )
    if words == 1 and wired.order in ("CDAB", "DCBA"):
        document.error(
            (*path, "order"),
            _('order = "{order}" needs more than 16 bits').format(order=wired.order),
            _('write "ABCD", or "BADC" when the two bytes are swapped'),
        )
    if wired.group is not None and wired.group not in groups:
        document.error(
            (*path, "group"),
            _('there is no group "{name}"').format(name=wired.group),
            instead(wired.group, groups)
            if groups
            else _('write [group.{name}] with period = "10s", or remove it').format(name=wired.group),
        )
    return _finish(
        document, name, wired, wired.type, ModbusPlace(function, wired.address, ORDERS[wired.order])
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
    elif kind == "advert":
        if (radio := check(FieldChannelTable, document, path, data)) is None:
            return None
        place = advert_rules.layout_field(document, path, radio, found)
    else:
        if (radio := check(BeaconChannelTable, document, path, data)) is None:
            return None
        place = advert_rules.beacon_field(document, path, radio)
    if radio.group is not None:
        document.error(
            (*path, "group"), _("'group' is only for Modbus"), _("remove it from this profile of a sensor")
        )
    return None if place is None else _finish(document, name, radio, radio.type, place)


def _finish(
    document: Document, name: str, channel: ChannelTable, type_: str, place: ModbusPlace | BthomePlace | Field
) -> ProfileChannel:
    path: Key = ("channel", name)
    _check_unit(document, (*path, "unit"), channel.unit)
    if channel.bits is not None:
        _check_bits(document, (*path, "bits"), channel.bits, type_)
    enum = _enumeration(document, (*path, "enum"), channel.enum)
    enum_ko = _enumeration(document, (*path, "enum_ko"), channel.enum_ko)
    if channel.enum:
        _check_enumeration(document, path, channel, type_, enum, enum_ko)
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
        shift=channel.bits.shift if channel.bits else None,
        mask=channel.bits.mask if channel.bits else None,
        enum=enum,
        enum_ko=enum_ko,
        writable=channel.access == "read-write",
        group=channel.group,
        label_en=channel.label_en,
        label_ko=channel.label_ko,
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
    if type_.startswith("f"):
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
