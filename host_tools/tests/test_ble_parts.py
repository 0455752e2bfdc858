"""Advertising data taken apart: as bumble takes it, and whatever the bytes are."""

import random

from bumble.core import AdvertisingData
from gasan.boards.air_bleak import _service_data, _service_uuids
from gasan.hil import fuzz
from gasan.host.ble.known import parts, recognise, structures

CORPUS = [
    bytes.fromhex("020106 0c16d2fc40015802ca0903bf13 0409505152"),
    bytes.fromhex("020106 05020f18 0a18 11070102030405060708090a0b0c0d0e0f10 05ff4c000215"),
    bytes.fromhex("1321000102030405060708090a0b0c0d0e0f aabbcc"),
]


def test_hostile_bytes(seed: int, fuzz_count: int) -> None:
    def decode(data: bytes) -> None:
        said = parts(data)
        again = structures(said.manufacturer, said.service_data)
        back = parts(again)
        assert (dict(back.manufacturer), dict(back.service_data)) == (
            dict(said.manufacturer),
            dict(said.service_data),
        )

    count = fuzz_count // 10
    assert fuzz.run(decode, (), fuzz.Fuzzer(seed, CORPUS), count) == (count, 0)


def test_what_is_recognised_of_hostile_bytes(seed: int, fuzz_count: int) -> None:
    count = fuzz_count // 500
    told = fuzz.run(lambda data: recognise(data, bytes(6)), (), fuzz.Fuzzer(seed, CORPUS), count)
    assert told == (count, 0)


def test_as_bumble_takes_it(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(500):
        kinds = rng.sample([(0x09, 5), (0xFF, 6), (0x16, 5), (0x21, 18), (0x03, 4), (0x07, 16), (0x01, 1)], 4)
        made = b"".join(
            bytes((size + 1, kind)) + (b"abcde" if kind == 9 else rng.randbytes(size)) for kind, size in kinds
        )
        said, other = parts(made), AdvertisingData.from_bytes(made)
        assert said.name == (other.get(AdvertisingData.COMPLETE_LOCAL_NAME) or "")
        found = dict(other.get_all(AdvertisingData.MANUFACTURER_SPECIFIC_DATA))
        assert dict(said.manufacturer) == found
        assert dict(said.service_data) == _service_data(other)
        assert len(said.services) == len(set(_service_uuids(other)))
