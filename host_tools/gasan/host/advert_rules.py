"""The rules of profiles of sensors that advertise otherwise than by BTHome: matches and fields."""

import re
from collections.abc import Mapping
from typing import Any

from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.profile_tables import BeaconChannelTable, CounterTable, FieldChannelTable, MatchTable
from gasan.host.profiles import FORMS, TYPES, Characteristic, Field, Match, Profile
from gasan.host.shape import check
from gasan.host.site import Sender
from gasan.host.site_tables import SenderTable
from gasan.host.toml_file import Document
from gasan.host.toml_lines import Path as Key

__all__ = ["beacon_field", "counter_field", "gatt_matches", "layout_field", "matches", "sender"]

_ARITHMETIC_MAX = 3  # bytes that a node divides without taking memory
_HEX = re.compile(r"([0-9A-Fa-f]{2})*")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_CHARACTERISTIC = 0xE0  # and above: AD types that nobody uses, see gasan.node.ble_central
_CHARACTERISTICS_MAX = 16
_MANUFACTURER, _SERVICE_16, _SERVICE_128 = 0xFF, 0x16, 0x21
_BTHOME_PLAIN = (0x40, 0x42, 0x44, 0x46)  # device information: version 2, not encrypted; sent when triggered


def matches(document: Document, found: Mapping[str, Any]) -> dict[str, Match | None]:
    """The [match.NAME] tables of a profile; None for one with a mistake, which is noted."""
    return {name: _match(document, ("match", name), value) for name, value in found.items()}


def gatt_matches(
    document: Document, found: Mapping[str, Any]
) -> tuple[dict[str, Match | None], tuple[Characteristic, ...]]:
    """The [match.NAME] tables of a sensor that is connected to, and its characteristics, each once."""
    known: list[Characteristic] = []
    made: dict[str, Match | None] = {}
    for name, value in found.items():
        path: Key = ("match", name)
        made[name] = None
        table = check(MatchTable, document, path, value)
        if table is None:
            continue
        if table.service is None or table.characteristic is None or table.company or table.ad_type:
            document.error(
                path,
                _("a match of a connected sensor needs 'service' and 'characteristic' and nothing else"),
                _("write, for example, service = 0x181A and characteristic = 0x2A6E"),
            )
            continue
        uuids = [_uuid(document, (*path, key), getattr(table, key)) for key in ("service", "characteristic")]
        prefix = _prefix(document, path, table)
        if prefix is None or not all(uuids):
            continue
        one = Characteristic(uuids[0], uuids[1], table.notify)
        if one not in known:
            known.append(one)
        identity = bytes([_CHARACTERISTIC + known.index(one)])
        made[name] = Match(identity, prefix, table.size or 0)
    if len(known) > _CHARACTERISTICS_MAX:
        document.error(
            ("match",),
            _("{count} characteristics are more than a node takes").format(count=len(known)),
            _("write at most {count}").format(count=_CHARACTERISTICS_MAX),
        )
    return made, tuple(known)


def sender(document: Document, path: Key, table: SenderTable, profile: Profile) -> Sender | None:
    """By what a sensor without an address is known; None when that says too little, which is noted."""
    if not table.model_fields_set & {"name", "service", "company"} or (table.service and table.company):
        document.error(
            path,
            _("'match' needs a name, a service or a company"),
            _('write, for example, match = {name = "Tank-"} or match = {service = 0xFCD2}'),
        )
        return None
    needs = b""
    if table.service is not None or table.company is not None:
        told = MatchTable(company=table.company, service=table.service, prefix=table.prefix)
        match = _match(document, path, told.model_dump(exclude_unset=True, exclude_none=True))
        if match is None:
            return None
        needs = match.identity + match.prefix
    elif table.prefix:
        document.error(
            (*path, "prefix"),
            _("'prefix' is what data of a service or company begin with"),
            _("write the service or company too"),
        )
    if profile.kind == "bthome":
        kinds = tuple((bytes([_SERVICE_16]) + b"\xd2\xfc" + bytes([it]), 0) for it in _BTHOME_PLAIN)
    else:
        kinds = tuple(
            (it.identity + it.prefix, len(it.identity) + it.size if it.size else 0) for it in profile.matches
        )
    return Sender(kinds, needs, (table.name or "").encode())


def _match(document: Document, path: Key, data: object) -> Match | None:
    table = check(MatchTable, document, path, data)
    if table is None:
        return None
    given = [key for key in ("company", "service", "ad_type") if getattr(table, key) is not None]
    if len(given) != 1:
        document.error(
            path,
            _("a match needs one of 'company', 'service' and 'ad_type'"),
            _("write, for example, company = 0x0499"),
        )
        return None
    if table.company is not None:
        identity = bytes([_MANUFACTURER]) + table.company.to_bytes(2, "little")
    elif table.service is not None:
        identity = _service(table.service)
        if not identity:
            document.error(
                (*path, "service"),
                _('"{text}" is not a service UUID').format(text=table.service),
                _("write 16 bits as a number, or 128 bits with hyphens in quotes"),
            )
            return None
    else:
        assert table.ad_type is not None
        identity = bytes([table.ad_type])
    for key in ("characteristic", "notify"):
        if key in table.model_fields_set:
            document.error(
                (*path, key),
                _("'{key}' is only for sensors that are connected to").format(key=key),
                _('remove it, or write kind = "gatt"'),
            )
    prefix = _prefix(document, path, table)
    return None if prefix is None else Match(identity, prefix, table.size or 0)


def _prefix(document: Document, path: Key, table: MatchTable) -> bytes | None:
    if _HEX.fullmatch(table.prefix) is None:
        document.error(
            (*path, "prefix"),
            _('"{text}" is not hexadecimal').format(text=table.prefix),
            _('write two digits for each byte, for example prefix = "0215"'),
        )
        return None
    return bytes.fromhex(table.prefix)


def _uuid(document: Document, path: Key, uuid: int | str) -> bytes:
    """As sent, without what says how long it is; empty when it is none, which is noted."""
    identity = _service(uuid)
    if not identity:
        document.error(
            path,
            _('"{text}" is not a UUID').format(text=uuid),
            _("write 16 bits as a number, or 128 bits with hyphens in quotes"),
        )
    return identity[1:]


def _service(uuid: int | str) -> bytes:
    """The identity of an AD structure of service data; empty when the UUID is none."""
    if isinstance(uuid, int):
        return bytes([_SERVICE_16]) + uuid.to_bytes(2, "little") if 0 <= uuid <= 0xFFFF else b""
    if _UUID.fullmatch(uuid) is None:
        return b""
    return bytes([_SERVICE_128]) + bytes.fromhex(uuid.replace("-", ""))[::-1]


def layout_field(
    document: Document, path: Key, table: FieldChannelTable, known: Mapping[str, Match | None]
) -> Field | None:
    """Where a channel of an advertisement of fixed layout stands."""
    part = _part(document, path, table.match, known)
    return None if part is None else _field(document, path, table, part)


def beacon_field(document: Document, path: Key, table: BeaconChannelTable) -> Field | None:
    """Where a channel stands in an object of a MiBeacon."""
    return _field(document, path, table, table.object)


def counter_field(
    document: Document, path: Key, data: object, known: Mapping[str, Match | None]
) -> Field | None:
    """Where a sensor's count of its measurements stands."""
    table = check(CounterTable, document, path, data)
    if table is None:
        return None
    part = _part(document, path, table.match, known)
    return None if part is None else Field(part, table.at, table.width, False, False, False, None, 0, 0)


def _part(document: Document, path: Key, name: str | None, known: Mapping[str, Match | None]) -> int | None:
    names = list(known)
    if name is None and len(names) == 1:
        return 0
    if name in names:
        return names.index(name)
    if not names:
        return None  # told once for the profile
    what = (
        _("there are several matches") if name is None else _('there is no match "{name}"').format(name=name)
    )
    document.error(path if name is None else (*path, "match"), what, instead(name or "", names))
    return None


def _field(
    document: Document, path: Key, table: FieldChannelTable | BeaconChannelTable, part: int
) -> Field | None:
    most = TYPES[FORMS.get(table.type, (table.type,))[0]]
    width = table.width or most
    problem: tuple[str, str, str] | None = None
    calculates = table.sign_bit or table.divide is not None or table.modulo is not None
    if width > most or (table.type.startswith("f") and width != most):
        problem = (
            "width",
            _("{width} bytes do not fit into type {type}").format(width=width, type=table.type),
            _("write the smallest type that holds the value"),
        )
    elif calculates and (width > _ARITHMETIC_MAX or table.type.startswith("f")):
        problem = (
            "width",
            _("'divide', 'modulo' and 'sign_bit' are for integers of 1 to 3 bytes"),
            _("write the width, for example width = 3"),
        )
    elif table.missing is not None and not -(1 << 8 * width - 1) <= table.missing < 1 << 8 * width:
        problem = (
            "missing",
            _("{number} does not fit into {width} bytes").format(number=table.missing, width=width),
            _("write the number that is sent when there is no value"),
        )
    if problem is not None:
        key, what, mend = problem
        document.error((*path, key), what, mend)
        return None
    return Field(
        part=part,
        offset=table.at,
        width=width,
        big_endian=table.byte_order == "big",
        signed=table.type.startswith("i"),
        sign_bit=table.sign_bit,
        missing=table.missing,
        divide=table.divide or 0,
        modulo=table.modulo or 0,
    )
