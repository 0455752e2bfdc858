"""The bench of BLE adverts measures what it says: right values, none of them from the heap."""

import pytest
from gasan.hil.bench import ble

VALUES = bytes.fromhex("61 09ca 13bf")
RUUVI = bytes.fromhex("12fc 5394 c37c")


@pytest.mark.parametrize(("case", "read"), [("plain", VALUES), ("sealed", VALUES), ("layout", RUUVI)])
def test_what_is_timed_is_a_whole_decoding(case: str, read: bytes, bits: int) -> None:
    speed = ble.measure(case, bits, repetitions=100, rounds=1)
    assert speed.read == read
    assert speed.per_second > 1000  # far below any machine; the bars are for `make bench`
