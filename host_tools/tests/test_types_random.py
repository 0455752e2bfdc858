"""Numbers of every type and form, random ones, against Python's own struct and decimal digits."""

import struct
from fractions import Fraction
from random import Random

import pytest
from gasan.host.profiles import LONG_ORDERS, ORDERS
from gasan.host.store.meaning import Meaning
from gasan.wire import columns, quality
from gasan.wire.modbus import reorder

_STRUCTS = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "u64": ">Q", "i64": ">q"}
MANY = 2000


def meaning(type_code: int, form: int = 0, mask: int = -1, **more: object) -> Meaning:
    fields = {"num": 1, "den": 1, "off": 0, "period_ms": 1000, "shift": 0, "labels": {}, "label": ""} | more
    return Meaning(0, "d", "c", "", type=type_code, form=form, mask=mask, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", list(ORDERS | LONG_ORDERS))
def test_an_order_says_where_each_byte_of_a_value_stands(order: str, seed: int) -> None:
    random = Random(seed)
    for size in (8,) if len(order) == 8 else (4, 8):
        letters = order if size == 8 else order[:4]
        if size == 8 and len(order) == 4:
            letters = {"ABCD": "ABCDEFGH", "CDAB": "GHEFCDAB", "BADC": "BADCFEHG", "DCBA": "HGFEDCBA"}[order]
        for _ in range(MANY):
            value = random.randbytes(size)
            wire = bytes(value[ord(letter) - ord("A")] for letter in letters)
            out = bytearray(size)
            reorder(bytearray(wire), 0, size // 2, (ORDERS | LONG_ORDERS)[order], out)
            assert bytes(out) == value


@pytest.mark.parametrize("name", ["f16", "f32", "f64"])
def test_floats(name: str, seed: int) -> None:
    random = Random(seed)
    size = int(name[1:]) // 8
    form = struct.Struct({2: ">e", 4: ">f", 8: ">d"}[size])
    one = meaning(columns.U16, 1, 0xFFFF) if size == 2 else meaning(getattr(columns, name.upper()))
    pattern = [number.to_bytes(2) for number in range(65536)] if size == 2 else []
    for data in pattern or [random.randbytes(size) for _ in range(MANY)]:
        raw = int.from_bytes(data) if size == 2 else data
        (number,) = form.unpack(data)
        finite = number - number == 0
        assert one.value(raw) == (number if finite else None)
        told = quality.BAD_NO_VALUE if number != number else quality.BAD_RANGE
        assert one.verdict(raw) == (quality.GOOD if finite else told)


@pytest.mark.parametrize("digits", [4, 8])
def test_binary_coded_decimals(digits: int, seed: int) -> None:
    random = Random(seed)
    one = meaning(columns.U16 if digits == 4 else columns.U32, 2, (1 << 4 * digits) - 1)
    for _ in range(MANY):
        digit = "0123456789abcdef" if random.random() < 0.2 else "0123456789"
        text = "".join(random.choice(digit) for _ in range(digits))
        raw = int(text, 16)
        if text.isdecimal():
            assert (one.value(raw), one.verdict(raw)) == (int(text), quality.GOOD)
        else:
            assert (one.value(raw), one.verdict(raw)) == (None, quality.BAD_RANGE)


@pytest.mark.parametrize("width", [16, 32, 64])
def test_sign_and_magnitude(width: int, seed: int) -> None:
    random = Random(seed)
    one = meaning(
        {16: columns.U16, 32: columns.U32, 64: columns.U64}[width], 3, (1 << width) - 1 if width < 64 else -1
    )
    for _ in range(MANY):
        size = random.getrandbits(random.randrange(1, width))
        sign = random.choice((1, -1))
        raw = size | (sign < 0) << width - 1
        assert one.exact(raw) == sign * size


def test_signed_bits(seed: int) -> None:
    random = Random(seed)
    for _ in range(MANY):
        width, shift = random.randrange(1, 16), random.randrange(0, 16)
        raw = random.getrandbits(32)
        one = meaning(columns.U32, 4, (1 << width) - 1, shift=shift)
        bits = f"{raw:032b}"[32 - shift - width : 32 - shift]
        assert one.exact(raw) == int(bits, 2) - (int(bits[0]) << width)


def test_decimals_beside_the_number(seed: int) -> None:
    random = Random(seed)
    for _ in range(MANY):
        places, number = random.randrange(0, 12), random.randrange(-32768, 32768)
        raw = places << 16 | number & 0xFFFF
        one = meaning(columns.U32, 4, 0xFFFF, decimals=16, den=4, off=3, missing=(0x8000,))
        if number == -32768:
            assert one.verdict(raw) == quality.BAD_NO_VALUE
        elif places > 9:
            assert (one.verdict(raw), one.value(raw)) == (quality.BAD_RANGE, None)
        else:
            assert one.value(raw) == float((Fraction(number, 10**places) + 3) / 4)


@pytest.mark.parametrize("name", list(_STRUCTS))
def test_integers_and_their_numbers_for_no_value(name: str, seed: int) -> None:
    random = Random(seed)
    form = struct.Struct(_STRUCTS[name])
    code = getattr(columns, name.upper())
    for _ in range(MANY):
        (raw,) = form.unpack(random.randbytes(form.size))
        (other,) = form.unpack(random.choice((b"\x7f", b"\x80", b"\xff", b"\0")) * form.size)
        one = meaning(code, missing=(other,))
        assert one.verdict(raw) == (quality.BAD_NO_VALUE if raw == other else quality.GOOD)
        assert one.verdict(other) == quality.BAD_NO_VALUE
        assert one.value(raw) == float(raw)
