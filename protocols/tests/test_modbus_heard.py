"""What an `RtuRead` makes of frames that nobody here has asked for."""

import pytest
from gasan.wire.modbus_resync import heard
from gasan.wire.modbus_rtu import RtuRead, with_crc

OWN = with_crc(b"\x01\x03\x00\x00\x00\x02")
THEIRS = with_crc(b"\x09\x03\x00\x10\x00\x02")
ANSWER = with_crc(b"\x09\x03\x04\x01\x02\x03\x04")
TO_ALL = with_crc(b"\x00\x06\x00\x01\x12\x34")


@pytest.mark.parametrize(
    ("came", "requests", "open_requests"),
    [
        (THEIRS, 1, 1),
        (THEIRS + ANSWER, 1, 0),  # whole: what comes next is no answer to it
        (b"\x55" + THEIRS + ANSWER + THEIRS, 2, 1),
        (TO_ALL, 1, 0),  # nobody answers it
        (TO_ALL + THEIRS, 2, 1),
        (OWN, 0, 0),  # an echo
        (ANSWER, 0, 0),
        (THEIRS[:-1], 0, 0),
        (bytes(16), 0, 0),
        # Two requests behind noise with which all together have the CRC of one frame, by chance.
        (bytes.fromhex("3ab23618e43fdec501031563000a31df010317cf000af046"), 2, 2),
    ],
)
def test_requests_of_other_masters_are_counted(came: bytes, requests: int, open_requests: int) -> None:
    read = RtuRead(87, 1750)
    read.ask(OWN, 100_000)
    read.buf[: len(came)] = came
    assert heard(read, 0, len(came)) == bool(open_requests)
    assert (read.foreign, read.intruded) == (requests, open_requests)
