"""The arithmetic of edge rules against Python's fractions and floats, here and on both VMs."""

import struct
from decimal import Decimal, localcontext
from fractions import Fraction
from math import inf, isqrt, nextafter
from random import Random

import pytest
from gasan.hil import vmrun
from gasan.wire import rational

FORMS = {2: ">e", 4: ">f", 8: ">d"}
MANY = 1500

PROGRAM = """
import sys
from gasan.wire import rational
for line in sys.stdin:
    name, *numbers = line.split()
    numbers = [int(number) for number in numbers]
    if name == "from_float":
        print(rational.from_float(numbers[0].to_bytes(numbers[1], "big"), numbers[1]))
    elif name == "to_float":
        told = rational.to_float(*numbers)
        print(None if told is None else told.hex())
    else:
        print(getattr(rational, name)(*numbers))
"""


def fractions(random: Random) -> tuple[int, int]:
    def number(most: int) -> int:
        return random.getrandbits(random.randrange(1, most))

    match random.randrange(4):
        case 0:
            return random.choice((1, -1)) * number(1100), number(1200) + 1
        case 1:  # beside a tie of a single or a double
            near = number(54) * 2 + 1
            return near * 2 ** random.randrange(60) + random.randrange(-1, 2), 2 ** random.randrange(1, 150)
        case 2:
            return random.choice((1, -1)) * number(60), 10 ** random.randrange(12)
        case _:
            return random.choice((1, -1)) * number(24), 1 << random.randrange(1100)


def test_every_half_float_is_taken_apart_and_put_together() -> None:
    for n in range(65536):
        data = n.to_bytes(2, "big")
        (value,) = struct.unpack(">e", data)
        told = rational.from_float(data, 2)
        if value - value != 0:
            assert told is None
            continue
        assert told is not None
        m, e = told
        assert Fraction(m) * Fraction(2) ** e == Fraction(value)
        made = rational.to_float(m << max(e, 0), 1 << max(-e, 0), 2)
        assert made == (data if n != 0x8000 else bytes(2))


@pytest.mark.parametrize("size", [4, 8])
def test_floats_are_rounded_as_python_rounds(size: int, seed: int) -> None:
    random = Random(seed)
    for _ in range(MANY):
        num, den = fractions(random)
        exact = Fraction(num, den)
        made = rational.to_float(num, den, size)
        if size == 8:
            try:
                wanted = struct.pack(">d", num / den if num else 0.0)  # correctly rounded, as Python promises
            except OverflowError:
                wanted = None
            assert made == wanted
        below, above = rational.to_float(num, den, size, -1), rational.to_float(num, den, size, 1)
        if made is None or below is None or above is None:
            continue
        value, low, high = (Fraction(struct.unpack(FORMS[size], data)[0]) for data in (made, below, above))
        assert low <= exact <= high
        assert value in (low, high)
        assert abs(value - exact) == min(exact - low, high - exact)
        if size == 8:
            assert high == low or nextafter(float(low), inf) == float(high)
        if exact - low == high - exact and low != high:
            assert made[-1] % 2 == 0


def test_roots_and_nearest_integers(seed: int) -> None:
    random = Random(seed)
    for _ in range(MANY):
        num, den = (
            abs(random.getrandbits(random.randrange(1, 400))),
            random.getrandbits(random.randrange(1, 200)) + 1,
        )
        q, d = rational.sqrt(num, den)
        error = Fraction(q, d) ** 2 - Fraction(num, den)
        assert abs(error) <= Fraction(num, den) / 2**77
        with localcontext() as context:
            context.prec = 300
            root = (Decimal(num) / Decimal(den)).sqrt()
        if abs(root - root.to_integral_value()) != Decimal("0.5"):
            assert rational.nearest(q, d) == int(root.to_integral_value())
        a = random.randrange(-(10**9), 10**9)
        assert rational.nearest(a, den) == round(Fraction(a, den))
        assert rational.sqrt(a * a, 1)[0] == 2 * abs(a) * (rational.sqrt(a * a, 1)[1] // 2)
        assert rational.bits(num) == num.bit_length()
    assert isqrt(10**40) == 10**20 and rational.nearest(*rational.sqrt(10**40, 1)) == 10**20


def test_a_fraction_stays_the_same_or_is_given_up() -> None:
    assert rational.bounded(6, 4) == (6, 4)
    told = rational.bounded(3 << 300, 7 << 300)
    assert told == (3, 7)
    assert rational.bounded(1 << 4096, 1) is None
    assert rational.bounded(3, 1 << 4096) is None


def test_the_same_on_the_vm(bits: int, seed: int) -> None:
    random = Random(seed)
    lines, wanted = [], []
    for _ in range(700):
        num, den = fractions(random)
        size, way = random.choice((2, 4, 8)), random.choice((-1, 0, 1))
        told = rational.to_float(num, den, size, way)
        lines.append(f"to_float {num} {den} {size} {way}")
        wanted.append(None if told is None else told.hex())
        lines.append(f"nearest {num} {den}")
        wanted.append(rational.nearest(num, den))
        lines.append(f"sqrt {abs(num)} {den}")
        wanted.append(rational.sqrt(abs(num), den))
        lines.append(f"bounded {num << 300} {den << 300}")
        wanted.append(rational.bounded(num << 300, den << 300))
        data = random.randbytes(size)
        lines.append(f"from_float {int.from_bytes(data, 'big')} {size}")
        wanted.append(rational.from_float(data, size))
    out = vmrun.run(PROGRAM, bits=bits, stdin="\n".join(lines).encode(), heap="8m").splitlines()
    assert [line.strip() for line in out] == [str(item) for item in wanted]
