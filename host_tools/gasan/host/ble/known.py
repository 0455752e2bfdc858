"""What an advertisement says, by the profiles that come with gasan."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from gasan.host import profiles
from gasan.host.compile import field_form, type_code
from gasan.host.profiles import BthomePlace, Field, Profile, ProfileChannel
from gasan.host.store.meaning import Meaning
from gasan.wire import bthome, columns
from gasan.wire.advert_extras import extended
from gasan.wire.fields import FieldError
from gasan.wire.layout import Layout
from gasan.wire.mibeacon import MiBeacon

__all__ = ["Known", "Parts", "Reading", "match_of", "parts", "recognise", "strangers", "structures"]

_READABLE, _ENCRYPTED = 1, 2
_LONGEST = 32  # bytes of a value
_MANUFACTURER, _SERVICE_16, _SERVICE_128 = 0xFF, 0x16, 0x21
_NAMES = (0x08, 0x09)
_NAME_MAX = 20
_LISTS = {0x02: 2, 0x03: 2, 0x06: 16, 0x07: 16}  # of services: bytes of each
_BASE = "-0000-1000-8000-00805f9b34fb"


@dataclass(frozen=True)
class Reading:
    """A channel of a profile and its value; None when the sensor has none just now."""

    channel: str
    value: float | str | None
    unit: str


@dataclass(frozen=True)
class Known:
    """A profile that reads an advertisement. encrypted: with a key that is not here, so without readings."""

    profile: str
    encrypted: bool
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class Parts:
    """What bleak tells of an advertisement."""

    name: str
    services: frozenset[str]
    manufacturer: Mapping[int, bytes]
    service_data: Mapping[str, bytes]


def parts(data: bytes) -> Parts:
    """Take AD structures apart; what ends too early is left out (Core Spec Supplement, Part A, 1)."""
    name, services = "", set[str]()
    manufacturer: dict[int, bytes] = {}
    service_data: dict[str, bytes] = {}
    at = 0
    while at + 1 < len(data) and data[at] and at + 1 + data[at] <= len(data):
        kind, value = data[at + 1], data[at + 2 : at + 1 + data[at]]
        at += 1 + data[at]
        if kind in _NAMES:
            name = value.decode(errors="replace")
        elif kind in _LISTS:
            width = _LISTS[kind]
            services.update(_uuid(value[k : k + width]) for k in range(0, len(value) - width + 1, width))
        elif kind == _MANUFACTURER and len(value) >= 2:
            manufacturer[int.from_bytes(value[:2], "little")] = value[2:]
        elif kind == _SERVICE_16 and len(value) >= 2:
            service_data[_uuid(value[:2])] = value[2:]
        elif kind == _SERVICE_128 and len(value) >= 16:
            service_data[_uuid(value[:16])] = value[16:]
    return Parts(name, frozenset(services), manufacturer, service_data)


def _uuid(sent: bytes) -> str:
    if len(sent) == 2:
        return f"0000{sent[::-1].hex()}{_BASE}"
    return str(UUID(bytes=sent[::-1]))


def structures(manufacturer: Mapping[int, bytes], service: Mapping[str, bytes]) -> bytes:
    """The AD structures of an advertisement, made again from what bleak tells of it."""
    made = b""
    for company, data in manufacturer.items():
        made += _structure(_MANUFACTURER, company.to_bytes(2, "little") + data)
    for uuid, data in service.items():
        short = uuid.lower().startswith("0000") and uuid.lower().endswith(_BASE)
        if short:
            made += _structure(_SERVICE_16, bytes.fromhex(uuid[4:8])[::-1] + data)
        else:
            made += _structure(_SERVICE_128, bytes.fromhex(uuid.replace("-", ""))[::-1] + data)
    return made


def _structure(kind: int, data: bytes) -> bytes:
    return bytes((len(data) + 1, kind)) + data if len(data) < 255 else b""


def recognise(data: bytes, address: bytes) -> tuple[Known, ...]:
    """All profiles that read these AD structures, those that read more channels first.

    Of those of BTHome only the one that reads most, and of several the one made for the least.
    """
    if not data or len(data) > 255:
        return ()
    found = [(known, it) for it in _profiles() if (known := _read(it, data, address)) is not None]
    found.sort(key=lambda pair: (-len(pair[0].readings), len(pair[1].channels), pair[0].profile))
    best = next((known for known, profile in found if profile.kind == "bthome"), None)
    return tuple(known for known, profile in found if profile.kind != "bthome" or known is best)


_cache: list[Profile] = []


def _profiles() -> list[Profile]:
    if not _cache:
        loaded = map(profiles.load, profiles.names())
        _cache.extend(it for it in loaded if it.kind in ("bthome", "advert", "mibeacon"))
    return _cache


def _read(profile: Profile, data: bytes, address: bytes) -> Known | None:
    if profile.kind == "bthome":
        return _bthome(profile, data)
    channels = list(profile.channels.values())
    forms = [field_form(place, it) for it in channels if isinstance(place := it.place, Field)]
    decoder: Layout | MiBeacon
    try:
        if profile.kind == "advert":
            matches = [[it.identity, it.prefix, it.size] for it in profile.matches]
            decoder = Layout(matches, forms, False)
        else:
            decoder = MiBeacon(address, forms, False)
    except FieldError:  # more channels than a node takes at a time
        return None
    state = decoder.open(data, 0, len(data))
    if state == _ENCRYPTED and profile.kind == "mibeacon":
        return Known(profile.name, True, ())
    if state != _READABLE:
        return None
    readings = []
    for k, channel in enumerate(channels):
        at = decoder.find(k, 0)
        if at >= 0:
            raw = bytearray(8)
            size = columns.width(type_code(channel))
            there = decoder.widen(k, at, raw, size)
            readings.append(_reading(channel, bytes(raw[:size]) if there else None))
    return Known(profile.name, False, tuple(readings))


def _bthome(profile: Profile, data: bytes) -> Known | None:
    advert = extended(bthome.Advert)()
    state = advert.open(data, 0, len(data))
    if state == _ENCRYPTED:
        return Known(profile.name, True, ())
    if state != _READABLE:
        return None
    readings = []
    for channel in profile.channels.values():
        place = channel.place
        assert isinstance(place, BthomePlace)
        at = advert.find(place.object, place.index)
        if at >= 0 and place.object != bthome.PACKET_ID:  # which is no measurement
            raw = bytearray(_LONGEST)
            size = columns.width(type_code(channel))
            there = advert.widen(place.object, at, raw, size)
            readings.append(_reading(channel, bytes(raw[:size]) if there else None))
    return Known(profile.name, False, tuple(readings))


def _reading(channel: ProfileChannel, raw: bytes | None) -> Reading:
    if raw is None:
        return Reading(channel.name, None, channel.unit)
    number: int | bytes = raw
    if not channel.length and not channel.type.startswith("f"):
        number = int.from_bytes(raw, signed=channel.type.startswith("i"))
    meaning = Meaning(
        0, "", channel.name, channel.unit, type_code(channel), channel.num, channel.den, channel.off, 0,
        channel.shift or 0, -1 if channel.mask is None else channel.mask, dict(channel.enum), "",
        channel.form, channel.missing,
    )  # fmt: skip
    if meaning.verdict(number):
        return Reading(channel.name, None, channel.unit)
    return Reading(channel.name, meaning.text(number) or meaning.value(number), channel.unit)


def match_of(name: str, sender: str) -> str:
    """`match` of a site file for a sensor of this profile without an address; "" where that does not go."""
    profile = profiles.load(name)
    keys = []
    if profile.kind == "bthome":
        keys.append("service = 0xFCD2")
    elif profile.kind == "advert":
        identity = profile.matches[0].identity
        number = int.from_bytes(identity[1:3], "little")
        if identity[0] == _MANUFACTURER:
            keys.append(f"company = 0x{number:04X}")
        elif identity[0] == _SERVICE_16:
            keys.append(f"service = 0x{number:04X}")
    plain = sender.isascii() and sender.isprintable() and len(sender) <= _NAME_MAX
    if keys and sender and plain and not set(sender) & set('"\\'):
        keys.append(f'name = "{sender}"')
    return f"{{{', '.join(keys)}}}" if keys else ""


def strangers(manufacturer: Iterable[int], service: Iterable[str]) -> list[str]:
    """By what an advertisement that no profile reads could be known."""
    named = [f"company = 0x{company:04X}" for company in manufacturer]
    for uuid in service:
        short = uuid.lower().startswith("0000") and uuid.lower().endswith(_BASE)
        named.append(f"service = 0x{uuid[4:8].upper()}" if short else f'service = "{uuid}"')
    return named
