"""Device profiles: what a kind of device measures and how to read it (protocols/profiles/README.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Annotated, Any, Literal

from gasan.host import units
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.quantities import Duration, Exact, check_quantity
from gasan.host.resources import profiles_folder
from gasan.host.shape import Table, check
from gasan.host.toml_file import Document, read
from gasan.host.toml_lines import Path as Key
from pydantic import Field

__all__ = [
    "ORDERS",
    "TYPES",
    "BthomePlace",
    "ModbusPlace",
    "Profile",
    "ProfileChannel",
    "Source",
    "load",
    "names",
    "read_profile",
]

# Type names and their widths in bytes.
TYPES = {"u16": 2, "i16": 2, "u32": 4, "i32": 4, "u64": 8, "i64": 8, "f32": 4, "f64": 8, "u8": 1, "i8": 1}
# Word and byte orders as numbered in a compiled config.
ORDERS = {"ABCD": 0, "CDAB": 1, "BADC": 2, "DCBA": 3}

_DEFAULT_MAX_REGISTERS = 125
_DEFAULT_TIMEOUT_MS = {"modbus": 500, "bthome": 60_000}
_DEFAULT_PERIOD_MS = 1000
_INT64 = 1 << 63
_ENUM_MAX = 1000  # bytes of words and numbers; a channel's meaning has to fit into one part of a birth frame

_Label = Annotated[str, Field(min_length=1, max_length=60)]


class _Source(Table):
    title: str = Field(min_length=1, examples=["SDM120-Modbus protocol implementation"])
    revision: str = Field(min_length=1, examples=["V2.4"])
    pages: str = Field(min_length=1, examples=["4-9"])


class _Head(Table):
    maker: str = Field(min_length=1, examples=["Eastron"])
    model: str = Field(min_length=1, examples=["SDM120-Modbus"])
    kind: Literal["modbus", "bthome"] = Field(examples=["modbus"])
    verified: Literal["simulated", "tried on hardware"] = Field(examples=["simulated"])
    default: list[str] = Field(min_length=1, examples=[["voltage", "current"]])
    source: _Source = Field(examples=["…"])
    max_registers: int = Field(default=_DEFAULT_MAX_REGISTERS, ge=1, le=125, examples=[80])
    timeout: Duration | None = Field(default=None, examples=["500ms"])
    gap: Duration = Field(default=0, examples=["10ms"])
    period: Duration = Field(default=_DEFAULT_PERIOD_MS, examples=["1s"])


class _Group(Table):
    period: Duration = Field(examples=["10s"])


class _Bits(Table):
    shift: int = Field(default=0, ge=0, le=63, examples=[8])
    mask: int = Field(ge=1, le=_INT64 - 1, examples=[255])


class _Channel(Table):
    unit: str = Field(default="", examples=["V"])
    scale: Exact = Field(default=Fraction(1), examples=["1/10"])
    offset: Exact = Field(default=Fraction(0), examples=[-40])
    bits: _Bits | None = Field(default=None, examples=["…"])
    enum: dict[str, str] = Field(default={}, examples=["…"])
    enum_ko: dict[str, str] = Field(default={}, examples=["…"])
    access: Literal["read", "read-write"] = Field(default="read", examples=["read"])
    group: str | None = Field(default=None, examples=["slow"])
    label_en: _Label = Field(examples=["Voltage"])
    label_ko: _Label = Field(examples=["전압"])


class _ModbusChannel(_Channel):
    table: Literal["holding", "input"] | None = Field(default=None, examples=["input"])
    function: Literal[3, 4] | None = Field(default=None, examples=[4])
    address: int = Field(ge=0, le=65535, examples=[0])
    type: Literal["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"] = Field(examples=["u16"])
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = Field(default="ABCD", examples=["ABCD"])


class _BthomeChannel(_Channel):
    object: int = Field(ge=0, le=255, examples=[2])
    index: int = Field(default=0, ge=0, le=15, examples=[0])
    type: Literal["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"] = Field(examples=["i16"])


@dataclass(frozen=True)
class ModbusPlace:
    """Where a value stands in a Modbus device: function 3 or 4, address from 0, order as in `ORDERS`."""

    function: int
    address: int
    order: int


@dataclass(frozen=True)
class BthomePlace:
    """Where a value stands in a BTHome advertisement: the `index`-th object of an id."""

    object: int
    index: int


@dataclass(frozen=True)
class ProfileChannel:
    """One quantity. value = (raw * num + off) / den, where raw is what was read, after `shift` and `mask`."""

    name: str
    place: ModbusPlace | BthomePlace
    type: str
    unit: str
    num: int
    den: int
    off: int
    shift: int | None
    mask: int | None
    enum: Mapping[int, str]
    enum_ko: Mapping[int, str]
    writable: bool
    group: str | None
    label_en: str
    label_ko: str

    @property
    def words(self) -> int:
        """Registers that the value takes."""
        return max(1, TYPES[self.type] // 2)


@dataclass(frozen=True)
class Source:
    """The document that a profile's facts are from."""

    title: str
    revision: str
    pages: str


@dataclass(frozen=True)
class Profile:
    """One kind of device. Times in milliseconds; `groups` maps names to periods."""

    name: str
    maker: str
    model: str
    kind: str
    verified: str
    source: Source
    default: tuple[str, ...]
    max_registers: int
    timeout_ms: int
    gap_ms: int
    period_ms: int
    groups: Mapping[str, int]
    channels: Mapping[str, ProfileChannel]


def names() -> list[str]:
    """The names of all profiles that come with gasan."""
    folder = profiles_folder()
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.glob("*/*.toml"))


def load(name: str, beside: Path | None = None) -> Profile:
    """The profile `name`; a name ending in ``.toml`` is a file, relative to the folder `beside`.

    Raises InputError for an unknown name and FileError for a profile with mistakes.
    """
    if name.endswith(".toml"):
        return read_profile((beside or Path()) / name, name)
    known = names()
    if name not in known:
        what = _('there is no profile "{name}"').format(name=name)
        raise InputError(f"{what}; {instead(name, known)}")
    return read_profile(profiles_folder() / f"{name}.toml", name)


def read_profile(file: Path, name: str) -> Profile:
    """The profile in `file`. Raises InputError when it cannot be read and FileError with all its mistakes."""
    document = read(file)
    profile = _profile(document, name)
    document.raise_errors()
    assert profile is not None  # no errors were noted
    return profile


def _profile(document: Document, name: str) -> Profile | None:
    data = document.data
    for key in data.keys() - {"profile", "group", "channel"}:
        document.error(
            (key,), _("unknown key '{key}'").format(key=key), instead(key, ["profile", "group", "channel"])
        )
    head = check(_Head, document, ("profile",), data.get("profile", {}))
    groups = {
        key: check(_Group, document, ("group", key), value)
        for key, value in _tables(document, "group").items()
    }
    bthome = isinstance(data.get("profile"), dict) and data["profile"].get("kind") == "bthome"
    channels: dict[str, ProfileChannel | None] = {}
    for key, value in _tables(document, "channel").items():
        _check_name(document, ("channel", key), key)
        channels[key] = _channel(document, key, value, bthome, groups.keys())
    if not channels:
        document.error(
            (), _("there is no channel"), _("write [channel.NAME] tables, as the format description shows")
        )
    if head is None:
        return None
    _check_defaults(document, head.default, channels.keys())
    if bthome:
        for key in ("max_registers", "gap", "period"):
            if key in head.model_fields_set:
                document.error(
                    ("profile", key),
                    _("'{key}' is only for Modbus").format(key=key),
                    _("remove it from this BTHome profile"),
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


def _channel(document: Document, name: str, data: object, bthome: bool, groups: Any) -> ProfileChannel | None:
    path: Key = ("channel", name)
    if bthome:
        radio = check(_BthomeChannel, document, path, data)
        if radio is None:
            return None
        if radio.group is not None:
            document.error(
                (*path, "group"), _("'group' is only for Modbus"), _("remove it from this BTHome profile")
            )
        return _finish(document, name, radio, radio.type, BthomePlace(radio.object, radio.index))
    wired = check(_ModbusChannel, document, path, data)
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


def _finish(
    document: Document, name: str, channel: _Channel, type_: str, place: ModbusPlace | BthomePlace
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


def _check_bits(document: Document, path: Key, bits: _Bits, type_: str) -> None:
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
    channel: _Channel,
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
