"""The fuzzer itself: repeatable, the same on the VM, and strict about what a decoder raises."""

import pytest
from gasan.hil import fuzz, vmrun

CORPUS = [b"abcdef", b"", bytes(range(64))]


def test_the_same_seed_gives_the_same_inputs(seed: int) -> None:
    one, other = fuzz.Fuzzer(seed, CORPUS), fuzz.Fuzzer(seed, CORPUS)
    assert [one.next() for _ in range(500)] == [other.next() for _ in range(500)]
    assert [one.next() for _ in range(5)] != [fuzz.Fuzzer(seed ^ 1, CORPUS).next() for _ in range(5)]


def test_the_vm_makes_the_same_inputs(bits: int, seed: int) -> None:
    program = (
        "from gasan.hil import fuzz\n"
        f"fuzzer = fuzz.Fuzzer({seed}, {CORPUS!r})\n"
        "for _ in range(300): print(fuzzer.next().hex() or '')\n"  # b''.hex() is b'' on some versions
    )
    fuzzer = fuzz.Fuzzer(seed, CORPUS)
    out = vmrun.run(program, bits=bits).split("\n")
    assert out[:300] == [fuzzer.next().hex() for _ in range(300)]


def test_inputs_are_of_many_kinds() -> None:
    fuzzer = fuzz.Fuzzer(7, CORPUS)
    inputs = [fuzzer.next() for _ in range(5000)]
    assert b"" in inputs
    assert max(map(len, inputs)) > 1000
    assert any(data.startswith(b"abcdef") and len(data) > 6 for data in inputs)
    assert any(b"abcdef".startswith(data) and 0 < len(data) < 6 for data in inputs)
    assert len(set(inputs)) > 2000


def test_an_undocumented_error_fails_with_the_input() -> None:
    def decode(data: bytes) -> None:
        if data[:1] == b"b":
            raise KeyError("boo")
        raise ValueError

    with pytest.raises(fuzz.FuzzFailure, match="KeyError: 'boo' on input 62") as failure:
        fuzz.run(decode, ValueError, fuzz.Fuzzer(1, [b"bcd"]), 100)
    assert failure.value.data.startswith(b"b")
    assert fuzz.run(decode, (ValueError, KeyError), fuzz.Fuzzer(1, [b"bcd"]), 100) == (0, 100)
