"""HMAC-SHA-256 and the comparison of tags, on CPython and on the VM."""

import hashlib
import hmac

import pytest
from gasan.hil import fuzz, vmrun
from gasan.wire.cose import Hmac, equal

# RFC 4231, test cases 1 to 4: key, data, HMAC-SHA-256.
RFC_4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (
        bytes(range(1, 26)),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
]


def test_vectors_of_the_standard() -> None:
    for key, data, digest in RFC_4231:
        assert Hmac(key).digest(data).hex() == digest
        assert Hmac(key).tag(data).hex() == digest[:16]


def test_vectors_of_the_standard_on_the_vm(bits: int) -> None:
    program = (
        "from gasan.wire.cose import Hmac, equal\n"
        f"for key, data, digest in {RFC_4231!r}:\n"
        "    assert Hmac(key).digest(data).hex() == digest\n"
        "    assert Hmac(key).tag(memoryview(data)[:3], data[3:]).hex() == digest[:16]\n"
        "    assert equal(data, bytearray(data)) and not equal(data, data[1:])\n"
    )
    vmrun.run(program, bits=bits)


def test_parts_are_joined(seed: int) -> None:
    rng = fuzz.Fuzzer(seed, [])
    for _ in range(300):
        key = rng.noise(rng.below(65))
        parts = [rng.noise(rng.below(80)) for _ in range(rng.below(5))]
        expected = hmac.new(key, b"".join(parts), hashlib.sha256).digest()
        assert Hmac(key).digest(*parts) == expected


def test_a_long_key_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 64"):
        Hmac(bytes(65))


def test_tags_are_equal_only_if_every_byte_is() -> None:
    tag = bytes(range(8))
    assert equal(tag, bytearray(tag)) and equal(b"", b"")
    assert not equal(tag, tag[:7]) and not equal(tag, tag + b"\x00")
    for at in range(8):
        for bit in range(8):
            wrong = bytearray(tag)
            wrong[at] ^= 1 << bit
            assert not equal(tag, wrong)
