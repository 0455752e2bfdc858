"""The model of a UART at wrong settings, and a relay whose line insists on the right ones."""

import random

import pytest
import serial
from gasan.hil.rs485 import Line, Relay, Responder
from gasan.hil.rs485.faults import with_crc
from gasan.hil.rs485.uart import heard, heard_by_adapter, heard_by_device

REQUEST = with_crc(b"\x01\x03\x00\x00\x00\x01")
LINES = [Line(rate, parity) for rate in (2400, 9600, 19200, 115200) for parity in ("none", "even", "odd")]


@pytest.mark.parametrize("line", LINES)
def test_right_settings_hear_every_byte(line: Line, seed: int) -> None:
    data = random.Random(seed).randbytes(50)
    two = Line(line.baudrate, line.parity, 2)
    for sent, at in ((line, line), (two, line), (line, two)):
        assert heard_by_device(data, sent, at) == data


def test_the_bits_are_sampled_where_they_are() -> None:
    """A speed that differs by so little that no sample leaves its bit: the wave itself is exercised."""
    data = bytes(range(256))
    for parity in ("none", "even", "odd"):
        assert heard_by_device(data, Line(9600, parity), Line(9700, parity)) == data


@pytest.mark.parametrize("sent", LINES)
@pytest.mark.parametrize("at", LINES)
def test_no_device_takes_a_request_at_wrong_settings(sent: Line, at: Line) -> None:
    taken = heard_by_device(REQUEST, sent, at)
    assert (taken == REQUEST) == (sent == at)


def test_a_program_without_parity_checking_hears_the_right_bytes_with_parity() -> None:
    data = bytes(range(256))
    assert heard_by_adapter(data, Line(9600, "even"), Line(9600, "odd")) == data
    characters = heard(data, Line(9600, "even"), Line(9600))
    assert bytes(one.byte for one in characters) == data
    assert [one.ok for one in characters] == [byte.bit_count() % 2 == 1 for byte in data]


def test_garbage_at_half_and_at_twice_the_speed() -> None:
    slow, fast = Line(9600), Line(19200)
    assert 0 < len(heard(REQUEST, fast, slow)) < len(REQUEST) < len(heard(REQUEST, slow, fast))


@pytest.mark.parametrize("line", [Line(9600), Line(19200, "even")])
def test_a_relay_that_insists_on_its_settings(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "protocol_handler_packages", ["gasan.hil.rs485"])
    with Relay(line, responder=Responder(), settings_matter=True) as relay:
        with serial.serial_for_url(f"relay://{relay.master}", timeout=0.3) as port:
            for baudrate, parity in ((9600, "N"), (9600, "E"), (19200, "E"), (19200, "O"), (9600, "N")):
                port.baudrate, port.parity = baudrate, parity
                port.write(REQUEST)
                right = (baudrate, parity) == (line.baudrate, line.parity[0].upper())
                assert len(port.read(7)) == (7 if right else 0)
        assert {one.unit for one in relay.served()} == {1}
