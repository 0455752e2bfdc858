"""CBOR on CPython and on the VM: the standard's vectors, round trips, another codec, hostile bytes."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import cbor2
import pytest
from gasan.boards.places import ROOT
from gasan.hil import both, fuzz
from gasan.wire import cbor

FILE = Path(__file__).parent / "both" / "cbor_cases.py"
VECTORS = ROOT.parent / "shared" / "vectors" / "cbor_rfc8949_appendix_a.json"

needs_vectors = pytest.mark.skipif(not VECTORS.is_file(), reason=f"{VECTORS} is not there")

cases = both.load(FILE)


@needs_vectors
def test_vectors_of_the_standard() -> None:
    refused = cases.check_vectors(json.loads(VECTORS.read_text()))
    assert sorted(refused) == sorted(cases.NOT_TAKEN)


@needs_vectors
def test_vectors_of_the_standard_on_the_vm(bits: int) -> None:
    out = both.on_vm(
        FILE,
        bits,
        "import json\n"
        f"with open({str(VECTORS)!r}) as file: refused = cases.check_vectors(json.load(file))\n"
        "print(sorted(refused) == sorted(cases.NOT_TAKEN))",
    )
    assert out == "True\n"


def test_round_trips(seed: int) -> None:
    cases.check_round_trips(fuzz.Fuzzer(seed, []), 5000)


def test_round_trips_on_the_vm(bits: int, seed: int) -> None:
    both.on_vm(
        FILE, bits, f"from gasan.hil import fuzz\ncases.check_round_trips(fuzz.Fuzzer({seed}, []), 2000)"
    )


def as_cbor2_has_it(value: Any) -> Any:
    if isinstance(value, cbor.Tag):
        return cbor2.CBORTag(value.tag, as_cbor2_has_it(value.value))
    if isinstance(value, list):
        return [as_cbor2_has_it(item) for item in value]
    if isinstance(value, dict):
        return {key: as_cbor2_has_it(item) for key, item in value.items()}
    return value


def test_cbor2_reads_what_we_write_and_we_read_what_it_writes(seed: int) -> None:
    rng = fuzz.Fuzzer(seed, [])
    for _ in range(3000):
        value = cases.random_value(rng, 4)
        theirs = as_cbor2_has_it(value)
        # Registered tags would be interpreted: it is told not to by numbers that nothing is registered for.
        encoded = cbor.dumps(value)
        if b"\xd8" not in encoded and b"\xd9" not in encoded and b"\xda" not in encoded:
            assert cbor2.loads(encoded) == theirs
        assert cbor.loads(cbor2.dumps(theirs)) == value


def test_floats_are_as_short_as_they_can_be_and_keep_their_value() -> None:
    for number in (0.0, -0.0, 1024.0, 65505.0, 2**-24, 2**-25, 1e-45, 3.4028235e38, 3.5e38, 1 / 3, 5e-324):
        encoded = cbor.dumps(number)
        assert encoded == cbor2.dumps(number, canonical=True)
        assert str(cbor.loads(encoded)) == str(number)


def test_keys_are_sorted_by_their_encoding() -> None:
    keys = ["aa", "z", 100, 10, -1, b"\x00", ""]
    encoded = cbor.dumps(dict.fromkeys(keys))
    assert list(cbor.loads(encoded)) == [10, 100, -1, b"\x00", "", "z", "aa"]


def test_values_without_a_cbor_form_are_refused() -> None:
    with pytest.raises(cbor.CBORError, match="no CBOR form"):
        cbor.dumps([object()])


def test_a_head_that_does_not_fit_is_an_index_error() -> None:
    buf = bytearray(3)
    assert cbor.put_head(buf, 0, 4, 256) == 3
    with pytest.raises(IndexError):
        cbor.put_head(buf, 1, 0, 65535)


def test_limits() -> None:
    assert cbor.loads(bytes.fromhex("82" * 3 + "00" * 4), max_depth=3) == [[[0, 0], 0], 0]
    with pytest.raises(cbor.CBORError):
        cbor.loads(bytes.fromhex("82" * 3 + "00" * 4), max_depth=2)
    assert cbor.loads(b"\x83\x00\x00\x00", max_items=4) == [0, 0, 0]
    with pytest.raises(cbor.CBORError):
        cbor.loads(b"\x83\x00\x00\x00", max_items=3)


def test_hostile_forms_are_refused_in_little_memory() -> None:
    cases.check_hostile()
    tracemalloc.start()
    try:
        cases.check_hostile()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000


def test_hostile_forms_are_refused_in_a_small_heap(bits: int) -> None:
    both.on_vm(FILE, bits, "cases.check_hostile()", heap="64wk")


def corpus(seed: int) -> list[bytes]:
    rng = fuzz.Fuzzer(seed, [])
    return [bytes.fromhex(text) for text in cases.HOSTILE] + [
        cbor.dumps(cases.random_value(rng, 4)) for _ in range(200)
    ]


def test_hostile_bytes(seed: int, fuzz_count: int) -> None:
    accepted, refused = fuzz.run(cbor.loads, cbor.CBORError, fuzz.Fuzzer(seed, corpus(seed)), fuzz_count)
    assert accepted > 0 and refused > 0


def test_hostile_bytes_on_the_vm(bits: int, seed: int, fuzz_count_vm: int) -> None:
    out = both.on_vm(
        FILE,
        bits,
        "from gasan.hil import fuzz\n"
        "from gasan.wire import cbor\n"
        f"rng = fuzz.Fuzzer({seed}, [])\n"
        "corpus = [bytes.fromhex(text) for text in cases.HOSTILE]\n"
        "corpus += [cbor.dumps(cases.random_value(rng, 4)) for _ in range(40)]\n"
        f"print(*fuzz.run(cbor.loads, cbor.CBORError, fuzz.Fuzzer({seed}, corpus), {fuzz_count_vm}))",
        heap="96wk",
    )
    accepted, refused = map(int, out.split())
    assert accepted + refused == fuzz_count_vm and accepted and refused


def test_a_node_without_the_rare_part_refuses_it(bits: int) -> None:
    out = both.on_vm(
        FILE,
        bits,
        "import builtins\n"
        "real = builtins.__import__\n"
        "def without(name, *args):\n"
        "    if name == 'gasan.wire' and 'cbor_rare' in args[2]: raise ImportError(name)\n"
        "    return real(name, *args)\n"
        "from gasan.wire import cbor\n"
        "builtins.__import__ = without\n"
        "for text in ('f93c00', 'c249010000000000000000', '5fff'):\n"
        "    try: print(cbor.loads(bytes.fromhex(text)))\n"
        "    except cbor.CBORError: print('refused')",
    )
    assert out == "refused\n" * 3
