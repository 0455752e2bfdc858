"""COBS on CPython and the VM: known packets, every length around a full run, round trips, hostile bytes."""

import random

import pytest
from gasan.hil import fuzz, vmrun
from gasan.wire import cobs


def encode(packet: bytes) -> bytes:
    buf = bytearray(1) + packet + bytes(len(packet) // 254)
    return bytes(buf[: cobs.encode(buf, 1, 1 + len(packet))])


def decode(stuffed: bytes) -> bytes:
    buf = bytearray(stuffed)
    return bytes(buf[1 : cobs.decode(buf, 0, len(buf))])


@pytest.mark.parametrize(
    ("packet", "stuffed"),
    [
        (b"", "01"),
        (b"\x00", "0101"),
        (b"\x00\x00", "010101"),
        (b"\x00\x11\x00", "01021101"),
        (b"\x11\x22\x00\x33", "0311220233"),
        (b"\x11\x22\x33\x44", "0511223344"),
        (b"\x11\x00\x00\x00", "0211010101"),
        (bytes(range(1, 255)), "ff" + bytes(range(1, 255)).hex()),
        (bytes(range(255)), "01ff" + bytes(range(1, 255)).hex()),
        (bytes(range(1, 256)), "ff" + bytes(range(1, 255)).hex() + "02ff"),
        (bytes(range(2, 256)) + b"\x00", "ff" + bytes(range(2, 256)).hex() + "0101"),
        (bytes(range(3, 256)) + b"\x00\x01", "fe" + bytes(range(3, 256)).hex() + "0201"),
    ],
)
def test_known_packets(packet: bytes, stuffed: str) -> None:
    assert encode(packet).hex() == stuffed
    assert decode(bytes.fromhex(stuffed)) == packet


def test_every_length_and_place_of_a_zero_around_full_runs() -> None:
    for size in (*range(0, 6), *range(250, 260), *range(504, 514), 2062):
        for zero in (None, 0, 1, 252, 253, 254, 255, 507, 508, 509, size - 1):
            packet = bytearray(b"\x07" * size)
            if zero is not None and 0 <= zero < size:
                packet[zero] = 0
            stuffed = encode(bytes(packet))
            assert b"\x00" not in stuffed
            assert len(stuffed) <= size + 1 + size // 254
            assert decode(stuffed) == packet


def test_round_trips(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(3000):
        alphabet = bytes(range(256)) if rng.random() < 0.5 else b"\x00\x01\xff"
        packet = bytes(rng.choices(alphabet, k=rng.randrange(700)))
        stuffed = encode(packet)
        assert b"\x00" not in stuffed
        assert decode(stuffed) == packet


@pytest.mark.parametrize("stuffed", ["", "00", "02", "0511", "011000", "03110002", "ff0102", "0105"])
def test_refuses(stuffed: str) -> None:
    with pytest.raises(cobs.CobsError):
        decode(bytes.fromhex(stuffed))


def test_works_in_place_beside_other_bytes() -> None:
    buf = bytearray(b"\xaa\xaa\x11\x00\x22\xaa\xaa")
    assert cobs.encode(buf, 2, 5) == 5
    assert buf == b"\xaa\x02\x11\x02\x22\xaa\xaa"
    assert cobs.decode(buf, 1, 5) == 5
    assert buf[2:5] == b"\x11\x00\x22"
    assert buf[0] == buf[5] == 0xAA


CORPUS = [b"\x01", b"\x05\x11\x22\x33\x44", b"\x01\x01\x01", b"\xff" + bytes(range(1, 255)) + b"\x02\x05"]


def test_fuzz(seed: int, fuzz_count: int) -> None:
    def both_ways(data: bytes) -> None:
        packet = decode(data)
        assert len(packet) < len(data)
        assert decode(encode(packet)) == packet

    accepted, refused = fuzz.run(both_ways, cobs.CobsError, fuzz.Fuzzer(seed, CORPUS), fuzz_count)
    assert accepted and refused


def test_fuzz_on_the_vm(seed: int, fuzz_count_vm: int, bits: int) -> None:
    out = vmrun.run(_FUZZ_VM, seed, fuzz_count_vm, bits=bits, timeout=120)
    accepted, refused = map(int, out.split())
    assert accepted and refused


_FUZZ_VM = f"""
import sys
from gasan.hil import fuzz
from gasan.wire import cobs

def both_ways(data):
    buf = bytearray(data)
    end = cobs.decode(buf, 0, len(buf))
    packet = bytes(buf[1:end])
    assert len(packet) < len(data) and end <= len(data)
    buf = bytearray(1) + packet + bytes(len(packet) // 254)
    end = cobs.encode(buf, 1, 1 + len(packet))
    assert buf.find(b"\\x00", 0, end) < 0
    assert bytes(buf[1:cobs.decode(buf, 0, end)]) == packet

fuzzer = fuzz.Fuzzer(int(sys.argv[1]), {CORPUS!r})
print(*fuzz.run(both_ways, cobs.CobsError, fuzzer, int(sys.argv[2])))
"""


def test_encoding_a_frame_on_the_vm_allocates_next_to_nothing(bits: int) -> None:
    """With zeros in it nothing moves and nothing is allocated; each full run costs two views."""
    program = """
import micropython
from gasan.wire import cobs
buf = bytearray(2100)
for i in range(1, 2000):
    buf[i] = i % 200
def there_and_back():
    micropython.heap_lock()
    end = cobs.encode(buf, 1, 2000)
    cobs.decode(buf, 0, end)
    micropython.heap_unlock()
    return end
print(there_and_back(), all(buf[i] == i % 200 for i in range(1, 2000)))
"""
    assert vmrun.run(program, bits=bits).split() == ["2000", "True"]
