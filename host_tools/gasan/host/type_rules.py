"""The rules of types: how a number or a text stands in registers, and which holds a BTHome object."""

from collections.abc import Callable
from dataclasses import dataclass

from gasan.host.i18n import _
from gasan.host.problems import one_of
from gasan.host.profile_tables import BthomeChannelTable, ModbusChannelTable
from gasan.host.profiles import COMPLEMENT, FORMS, LONG_ORDERS, MAGNITUDE, ORDERS, TYPES
from gasan.host.toml_file import Document
from gasan.host.toml_lines import Path as Key
from gasan.wire import bthome

__all__ = ["Typed", "bthome_type", "modbus_type"]

_BYTE = {"low": 0, "high": 2}
_HALVES = ("u8", "i8")
_COMMAND, _TEXT, _RAW = 0x3B, 0x53, 0x54  # BTHome objects of no fixed width


@dataclass(frozen=True)
class Typed:
    """How a channel is read and what its bits are; the fields are those of `ProfileChannel`."""

    type: str
    order: int
    form: int = 0
    shift: int | None = None
    mask: int | None = None
    missing: tuple[int, ...] = ()
    length: int = 0


def modbus_type(document: Document, path: Key, table: ModbusChannelTable) -> Typed:
    """What the keys about the type say together; mistakes are noted."""
    checks = _Checks(document, path, table)
    type_, form = FORMS.get(table.type, (table.type, 0))
    if table.type == "text":
        return checks.text()
    checks.only("length", table.length is not None, _("only a text has a length"))
    checks.only(
        "byte", table.byte is not None and table.type not in _HALVES, _('only "u8" and "i8" are a byte')
    )
    shift, mask = None, None
    if form:
        mask = (1 << 8 * TYPES[type_]) - 1
    if table.sign is not None:
        if not table.type.startswith("i") or table.type == "i8":
            checks.note(
                "sign", _("'sign' does not go with type {type}").format(type=table.type), 'type = "i16"'
            )
        else:
            type_, form = "u" + type_[1:], MAGNITUDE
            mask = (1 << 8 * TYPES[type_]) - 1
    if table.bits is not None or table.bit is not None:
        if form or (table.bits is not None and table.bit is not None):
            checks.only("bit" if table.bits is not None and table.bit is not None else "bits", True,
                        _("this goes with no other key that says which bits are meant"))  # fmt: skip
        elif table.bit is not None:
            shift, mask = table.bit, 1
            if not type_.startswith("u") or table.bit >= 8 * TYPES[type_]:
                what = _("type {type} has no bit {bit}").format(type=table.type, bit=table.bit)
                checks.note("bit", what, 'type = "u16", bit = 15')
        elif table.bits is not None:
            shift, mask = table.bits.shift, table.bits.mask
            form = COMPLEMENT if table.bits.signed else 0
    return Typed(type_, checks.order(), form, shift, mask, checks.missing(type_, mask))


def bthome_type(document: Document, path: Key, table: BthomeChannelTable) -> Typed:
    """What the type of a BTHome channel says; whether it holds the object is checked."""
    text = table.type == "text"
    if text != (table.object in (_TEXT, _RAW)):
        document.error(
            (*path, "type"),
            _("objects 0x53 and 0x54 are texts, and nothing else is"),
            _("write another type or object"),
        )
    elif text and (table.length is None or table.bits is not None or table.enum or table.unit):
        document.error(
            path, _("a text has a length in bytes, and no bits, enum or unit"), _("write length = 24")
        )
    elif not text and table.length is not None:
        document.error((*path, "length"), _("only a text has a length"), _("remove it"))
    elif not text and table.object != _COMMAND:
        try:
            if bthome.width(table.object) > TYPES[table.type]:
                document.error(
                    (*path, "type"),
                    _("object 0x{object:02x} has {width} bytes and does not fit into type {type}").format(
                        object=table.object, width=bthome.width(table.object), type=table.type
                    ),
                    _("write the smallest type that holds the value"),
                )
        except bthome.BTHomeError:
            document.error(
                (*path, "object"),
                _("BTHome has no object 0x{object:02x}").format(object=table.object),
                _("see bthome.io/format for its objects"),
            )
    if text:
        return Typed("text", 0, length=((table.length or 1) + 1) // 2)
    if table.bits:
        return Typed(table.type, 0, COMPLEMENT if table.bits.signed else 0, table.bits.shift, table.bits.mask)
    return Typed(table.type, 0)


class _Checks:
    """Notes what is wrong with one channel."""

    def __init__(self, document: Document, path: Key, table: ModbusChannelTable) -> None:
        self._document = document
        self._path = path
        self._table = table

    def note(self, key: str, what: str, example: str) -> None:
        self._document.error(
            (*self._path, key), what, _("write, for example, {example}").format(example=example)
        )

    def only(self, key: str, wrong: bool, what: str) -> None:
        if wrong:
            self._document.error((*self._path, key), what, _("remove it"))

    def order(self) -> int:
        """The number of the order in a compiled config."""
        table = self._table
        if table.type in _HALVES:
            self.only(
                "order", "order" in table.model_fields_set, _("a byte has no order; 'byte' says which it is")
            )
            return _BYTE[table.byte or "low"]
        size = TYPES[FORMS.get(table.type, (table.type, 0))[0]]
        if size == 2 and table.order in ("CDAB", "DCBA"):
            self._document.error(
                (*self._path, "order"),
                _('order = "{order}" needs more than 16 bits').format(order=table.order),
                _('write "ABCD", or "BADC" when the two bytes are swapped'),
            )
        elif size < 8 and table.order in LONG_ORDERS:
            self._document.error(
                (*self._path, "order"),
                _('order = "{order}" is of 64 bits').format(order=table.order),
                one_of(ORDERS),
            )
        return (ORDERS | LONG_ORDERS)[table.order]

    def text(self) -> Typed:
        """A text of `length` characters, two in each register."""
        table = self._table
        if table.length is None:
            self.note("type", _("a text needs its length in characters"), "length = 16")
        given: dict[str, Callable[[], bool]] = {
            "bits": lambda: table.bits is not None,
            "bit": lambda: table.bit is not None,
            "byte": lambda: table.byte is not None,
            "sign": lambda: table.sign is not None,
            "missing": lambda: bool(table.missing),
            "scale": lambda: table.scale != 1,
            "offset": lambda: table.offset != 0,
            "unit": lambda: table.unit != "",
            "enum": lambda: bool(table.enum),
        }
        for key, is_given in given.items():
            self.only(key, is_given(), _("'{key}' does not go with a text").format(key=key))
        if table.order not in ("ABCD", "BADC"):
            self._document.error(
                (*self._path, "order"),
                _('order = "{order}" does not go with a text').format(order=table.order),
                _('write "ABCD", or "BADC" when the two bytes are swapped'),
            )
        return Typed("text", ORDERS.get(table.order, 0) & 2, length=((table.length or 1) + 1) // 2)

    def missing(self, type_: str, mask: int | None) -> tuple[int, ...]:
        """The numbers that mean "no value", as they compare with what is read (floats: with their bits)."""
        given = [self._table.missing] if isinstance(self._table.missing, int) else self._table.missing
        bits = 8 * TYPES[type_] if mask is None else mask.bit_length()
        signed = mask is None and type_.startswith("i")
        numbers = []
        for number in given:
            if not (-(1 << bits - 1) if signed else 0) <= number < 1 << bits:
                what = _("{number} is no number of {bits} bits").format(number=number, bits=bits)
                self.note("missing", what, f"missing = 0x{1 << bits - 1:X}")
            numbers.append(number - (1 << bits) if signed and number >> bits - 1 == 1 else number)
        return tuple(sorted(set(numbers)))
