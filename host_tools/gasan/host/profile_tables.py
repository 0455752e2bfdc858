"""The tables of a device profile: their keys and forms. What goes with what is in `profile_rules`."""

from fractions import Fraction
from typing import Annotated, Literal

from gasan.host.quantities import Duration, Exact
from gasan.host.shape import Table
from gasan.wire.modbus_plan import MAX_HOLE
from pydantic import Field

__all__ = [
    "PERIOD_MIN_MS",
    "BeaconChannelTable",
    "BitsTable",
    "BthomeChannelTable",
    "ChannelTable",
    "CounterTable",
    "FieldChannelTable",
    "GroupTable",
    "HeadTable",
    "MatchTable",
    "ModbusChannelTable",
]

PERIOD_MIN_MS = 10
"""The shortest period of a Modbus channel."""

_Label = Annotated[str, Field(min_length=1, max_length=60)]


class SourceTable(Table):
    """[profile.source]: the document that the facts are from."""

    title: str = Field(min_length=1, examples=["SDM120-Modbus protocol implementation"])
    revision: str = Field(min_length=1, examples=["V2.4"])
    pages: str = Field(min_length=1, examples=["4-9"])


class HeadTable(Table):
    """[profile], with its source."""

    maker: str = Field(min_length=1, examples=["Eastron"])
    model: str = Field(min_length=1, examples=["SDM120-Modbus"])
    kind: Literal["modbus", "bthome", "advert", "mibeacon", "gatt"] = Field(examples=["modbus"])
    verified: Literal["simulated", "tried on hardware"] = Field(examples=["simulated"])
    default: list[str] = Field(min_length=1, examples=[["voltage", "current"]])
    source: SourceTable = Field(examples=["…"])
    max_registers: int = Field(default=125, ge=1, le=125, examples=[80])
    max_hole: int = Field(default=MAX_HOLE, ge=0, le=MAX_HOLE, examples=[0])
    timeout: Duration | None = Field(default=None, examples=["500ms"])
    gap: Duration = Field(default=0, examples=["10ms"])
    period: Duration = Field(default=1000, examples=["1s"])
    encrypted: bool = Field(default=False, examples=[False])
    device_information: bool = Field(default=False, examples=[True])


class GroupTable(Table):
    """[group.NAME]"""

    period: Duration = Field(examples=["10s"])


class BitsTable(Table):
    """The bits of a register that make a channel."""

    shift: int = Field(default=0, ge=0, le=63, examples=[8])
    mask: int = Field(ge=1, le=(1 << 63) - 1, examples=[255])
    signed: bool = Field(default=False, examples=[True])


class ChannelTable(Table):
    """[channel.NAME], what all kinds have."""

    unit: str = Field(default="", examples=["V"])
    scale: Exact = Field(default=Fraction(1), examples=["1/10"])
    offset: Exact = Field(default=Fraction(0), examples=[-40])
    bits: BitsTable | None = Field(default=None, examples=["…"])
    enum: dict[str, str] = Field(default={}, examples=["…"])
    enum_ko: dict[str, str] = Field(default={}, examples=["…"])
    access: Literal["read", "read-write"] = Field(default="read", examples=["read"])
    group: str | None = Field(default=None, examples=["slow"])
    label_en: _Label = Field(examples=["Voltage"])
    label_ko: _Label = Field(examples=["전압"])


class ModbusChannelTable(ChannelTable):
    """[channel.NAME] of a Modbus device."""

    table: Literal["holding", "input", "coil", "discrete"] | None = Field(default=None, examples=["input"])
    function: Literal[1, 2, 3, 4] | None = Field(default=None, examples=[4])
    address: int = Field(ge=0, le=65535, examples=[0])
    type: Literal[
        "u16",
        "i16",
        "u32",
        "i32",
        "u64",
        "i64",
        "f16",
        "f32",
        "f64",
        "u8",
        "i8",
        "bcd16",
        "bcd32",
        "text",
        "bool",
    ] = Field(examples=["u16"])
    order: Literal[
        "ABCD", "CDAB", "BADC", "DCBA",
        "ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA", "EFGHABCD", "CDABGHEF", "FEHGBADC", "DCBAHGFE",
    ] = Field(default="ABCD", examples=["ABCD"])  # fmt: skip
    byte: Literal["low", "high"] | None = Field(default=None, examples=["high"])
    length: int | None = Field(default=None, ge=1, le=62, examples=[16])
    bit: int | None = Field(default=None, ge=0, le=63, examples=[3])
    sign: Literal["magnitude"] | None = Field(default=None, examples=["magnitude"])
    missing: int | list[int] = Field(default=[], examples=[0x7FFF])
    decimals: str | None = Field(default=None, min_length=1, examples=["decimal_point"])


class BthomeChannelTable(ChannelTable):
    """[channel.NAME] of a BTHome sensor."""

    object: int = Field(ge=0, le=255, examples=[2])
    index: int = Field(default=0, ge=0, le=15, examples=[0])
    type: Literal["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "text"] = Field(examples=["i16"])
    length: int | None = Field(default=None, ge=1, le=32, examples=[24])


class MatchTable(Table):
    """[match.NAME]: how an AD structure is known in which values stand, or which characteristic it is."""

    company: int | None = Field(default=None, ge=0, le=0xFFFF, examples=[0x0499])
    service: int | str | None = Field(default=None, examples=[0x181A])
    ad_type: int | None = Field(default=None, ge=1, le=255, examples=[255])
    characteristic: int | str | None = Field(default=None, examples=[0x2A6E])
    notify: bool = Field(default=False, examples=[True])
    prefix: str = Field(default="", max_length=54, examples=["0215"])
    size: int | None = Field(default=None, ge=1, le=30, examples=[24])


class CounterTable(Table):
    """[counter]: where a sensor counts its measurements."""

    match: str | None = Field(default=None, examples=["main"])
    at: int = Field(ge=0, le=253, examples=[16])
    width: int = Field(default=1, ge=1, le=8, examples=[2])


class _FieldTable(ChannelTable):
    at: int = Field(default=0, ge=0, le=253, examples=[1])
    type: Literal[
        "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "medfloat16", "medfloat32"
    ] = Field(examples=["i16"])
    width: int | None = Field(default=None, ge=1, le=8, examples=[3])
    byte_order: Literal["little", "big"] = Field(default="little", examples=["big"])
    sign_bit: bool = Field(default=False, examples=[True])
    missing: int | None = Field(default=None, examples=[0x8000])
    divide: int | None = Field(default=None, ge=2, lt=1 << 24, examples=[1000])
    modulo: int | None = Field(default=None, ge=2, lt=1 << 24, examples=[1000])


class FieldChannelTable(_FieldTable):
    """[channel.NAME] of a sensor whose advertisements have a fixed layout."""

    match: str | None = Field(default=None, examples=["main"])


class BeaconChannelTable(_FieldTable):
    """[channel.NAME] of a MiBeacon."""

    object: int = Field(ge=0, le=0xFFFF, examples=[0x1004])
