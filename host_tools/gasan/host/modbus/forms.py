"""What a register and its neighbours may mean: every type in every order in use. Pure.

Orders as in profiles: ABCD (Modbus' own), CDAB (low word first), BADC (bytes swapped in each word), DCBA.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["FORMS", "Form", "bits_of", "decode", "encode", "plausible", "text_of"]

_STRUCTS = {
    "u16": ">H",
    "i16": ">h",
    "u32": ">I",
    "i32": ">i",
    "f32": ">f",
    "u64": ">Q",
    "i64": ">q",
    "f64": ">d",
}
_BCD = {"bcd16": 2, "bcd32": 4}
_FLOATS, _RARE_FLOATS = (1e-3, 1e8), (1e-1, 1e5)
_WHOLE, _RARE_WHOLE = 1 << 28, 1 << 20
_TEXT_LEAST = 5  # characters


@dataclass(frozen=True, order=True)
class Form:
    """A type and its order; `words` registers."""

    type: str
    order: str

    @property
    def words(self) -> int:
        return (_BCD.get(self.type) or struct.calcsize(_STRUCTS[self.type])) // 2

    @property
    def is_float(self) -> bool:
        return self.type[0] == "f"

    def __str__(self) -> str:
        return self.type if self.order == "ABCD" else f"{self.type} {self.order}"


_WORD_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
FORMS: tuple[Form, ...] = (
    *(Form(type_, order) for type_ in ("u16", "i16", "bcd16") for order in ("ABCD", "BADC")),
    *(
        Form(type_, order)
        for type_ in ("u32", "i32", "f32", "bcd32", "u64", "i64", "f64")
        for order in _WORD_ORDERS
    ),
)


def decode(form: Form, registers: Mapping[int, int], address: int) -> int | float | None:
    """The number that stands at `address`; None: there is none (a register missing, NaN, no BCD)."""
    words = []
    for at in range(address, address + form.words):
        word = registers.get(at)
        if word is None:
            return None
        words.append(word)
    data = _ordered(words, form.order)
    if form.type in _BCD:
        digits = data.hex()
        return int(digits) if digits.isdigit() else None
    value: int | float = struct.unpack(_STRUCTS[form.type], data)[0]
    return value if math.isfinite(value) else None


def encode(form: Form, value: int | float) -> list[int]:
    """The registers that hold `value`; raises struct.error or ValueError when it does not fit."""
    if form.type in _BCD:
        size = 2 * _BCD[form.type]
        digits = f"{value:0{size}d}"
        if len(digits) != size or not digits.isdigit():
            raise ValueError(f"{value} does not fit into {form.type}")
        data = bytes.fromhex(digits)
    else:
        data = struct.pack(_STRUCTS[form.type], value)
    words = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
    again = _ordered(words, form.order)  # every order is its own inverse
    return [int.from_bytes(again[i : i + 2], "big") for i in range(0, len(again), 2)]


def plausible(form: Form, value: int | float, registers: Mapping[int, int], address: int) -> bool:
    """Whether a person would believe that this stands here: used to show, never to rule out a match."""
    words = [registers[at] for at in range(address, address + form.words)]
    rare = form.order in ("BADC", "DCBA")
    if form.is_float:
        low, high = _RARE_FLOATS if rare else _FLOATS
        return low <= abs(value) <= high
    if form.type in _BCD:
        return form.order == "ABCD" and any(word > 9 for word in words)
    if form.words == 1:
        return form.order == "ABCD" and (form.type == "u16" or value < 0)
    # Longer integers: the high part is used a little, or is all sign.
    most = _RARE_WHOLE if rare else _WHOLE
    return 0xFFFF < abs(value) < most and (form.type[0] == "u" or value < 0)


def bits_of(word: int) -> list[int]:
    """The numbers of the bits that are set, the lowest being 0."""
    return [bit for bit in range(16) if word >> bit & 1]


def text_of(registers: Mapping[int, int], address: int) -> tuple[str, int]:
    """Text that begins at `address`, and its registers; ("", 0) when less than five characters do."""
    best = ("", 0)
    for swapped in (False, True):
        text = ""
        at = address
        while at in registers:
            pair = registers[at].to_bytes(2, "little" if swapped else "big")
            good = pair[:1] if pair[1] == 0 else pair
            if not good.isascii() or not good.decode("ascii").isprintable():
                break
            text += good.decode("ascii")
            at += 1
            if pair[1] == 0:
                break
        shown = text.rstrip()
        if len(shown) >= _TEXT_LEAST and any(c.isalpha() for c in shown) and len(shown) > len(best[0]):
            best = (shown, at - address)
    return best


def _ordered(words: list[int], order: str) -> bytes:
    chosen = words[::-1] if order in ("CDAB", "DCBA") else words
    byte_order = "little" if order in ("BADC", "DCBA") else "big"
    return b"".join(word.to_bytes(2, byte_order) for word in chosen)  # type: ignore[arg-type]
