"""Device profiles: what a kind of device measures and how to read it (protocols/profiles/README.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.resources import profiles_folder

__all__ = [
    "COMPLEMENT",
    "FORMS",
    "LONG_ORDERS",
    "MAGNITUDE",
    "ORDERS",
    "RSSI",
    "TYPES",
    "BthomePlace",
    "Characteristic",
    "Field",
    "Match",
    "ModbusPlace",
    "Profile",
    "ProfileChannel",
    "Signal",
    "Source",
    "load",
    "names",
    "read_profile",
]

# Type names and their widths in bytes.
TYPES = {"u16": 2, "i16": 2, "u32": 4, "i32": 4, "u64": 8, "i64": 8, "f32": 4, "f64": 8, "u8": 1, "i8": 1}
# Word and byte orders as numbered in a compiled config.
ORDERS = {"ABCD": 0, "CDAB": 1, "BADC": 2, "DCBA": 3}
# Those of 64 bits; the first four are short for four of them.
LONG_ORDERS = {
    "ABCDEFGH": 0,
    "GHEFCDAB": 1,
    "BADCFEHG": 2,
    "HGFEDCBA": 3,
    "EFGHABCD": 4,
    "CDABGHEF": 5,
    "FEHGBADC": 6,
    "DCBAHGFE": 7,
}
# Types whose number stands in an integer of another type: that type and the form (store/meaning.py).
FORMS = {
    "f16": ("u16", 1),
    "bcd16": ("u16", 2),
    "bcd32": ("u32", 2),
    "medfloat16": ("u16", 5),
    "medfloat32": ("u32", 5),
}
MAGNITUDE, COMPLEMENT = 3, 4


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
class Signal:
    """No value of the advertisement: how strongly it was heard."""


@dataclass(frozen=True)
class Match:
    """How the AD structure of an advertisement is known, as a compiled config has it.

    identity: its type, and the company or service as sent; prefix: what its data begin with; size: of its
    data, 0 for any.
    """

    identity: bytes
    prefix: bytes
    size: int


@dataclass(frozen=True)
class Characteristic:
    """Of a sensor that is connected to. service, uuid: as sent, little-endian. notify: it is not read, its
    notifications are taken.
    """

    service: bytes
    uuid: bytes
    notify: bool


@dataclass(frozen=True)
class Field:
    """Where a value stands in an advertisement: `width` bytes from `offset` of a part.

    part: number of a match, or id of a MiBeacon's object. sign_bit: the topmost bit is no part of the number;
    of a signed one it is the sign. missing: the number that means "no value". The value is
    raw % modulo // divide, each unless 0.
    """

    part: int
    offset: int
    width: int
    big_endian: bool
    signed: bool
    sign_bit: bool
    missing: int | None
    divide: int
    modulo: int


@dataclass(frozen=True)
class ProfileChannel:
    """One quantity. value = (raw * num + off) / den, where raw is what was read, after `shift` and `mask`.

    type: how it is read and kept; of a text "text". form: what the bits are, else 0. missing: numbers, after
    shift and mask, that mean "no value". decimals: the channel that says how many decimals it has. length: of
    a text, in registers.
    """

    name: str
    place: ModbusPlace | BthomePlace | Field | Signal
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
    form: int = 0
    missing: tuple[int, ...] = ()
    decimals: str | None = None
    length: int = 0

    @property
    def words(self) -> int:
        """Registers that the value takes."""
        return self.length or max(1, TYPES[self.type] // 2)


RSSI = ProfileChannel(
    name="rssi", place=Signal(), type="i8", unit="dBm", num=1, den=1, off=0, shift=None, mask=None, enum={},
    enum_ko={}, writable=False, group=None, label_en="Signal strength", label_ko="신호 세기",
)  # fmt: skip
"""The channel that every sensor that advertises has besides those of its profile."""


@dataclass(frozen=True)
class Source:
    """The document that a profile's facts are from."""

    title: str
    revision: str
    pages: str


@dataclass(frozen=True)
class Profile:
    """One kind of device. Times in milliseconds; `groups` maps names to periods.

    encrypted: whether a sensor of this kind encrypts, unless the site file says otherwise. matches, counter:
    of kind "advert"; matches are those of kind "gatt" too. device_information: whether one of kind "gatt" is
    asked what it is.
    """

    name: str
    maker: str
    model: str
    kind: str
    verified: str
    source: Source
    default: tuple[str, ...]
    max_registers: int
    max_hole: int
    timeout_ms: int
    gap_ms: int
    period_ms: int
    encrypted: bool
    device_information: bool
    matches: tuple[Match, ...]
    counter: Field | None
    characteristics: tuple[Characteristic, ...]
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
    from gasan.host.profile_rules import check_profile  # it builds the classes above

    return check_profile(file, name)
