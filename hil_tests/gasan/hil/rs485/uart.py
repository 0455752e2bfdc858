"""What a UART hears of bytes that were sent at other settings than its own: bits sampled in the middle. Pure.

The model: the sender's bits are a rectangular wave, without a pause between the bytes. The receiver waits for
a falling edge, samples each bit once in its middle, and looks at one stop bit only, as UARTs do. After a low
stop bit (framing error) it waits for the line to go high. Noise, rise times and oversampling are left out.
"""

from typing import NamedTuple

from gasan.hil.rs485.line import Line

__all__ = ["Heard", "heard", "heard_by_adapter", "heard_by_device"]


class Heard(NamedTuple):
    """One character: its 8 data bits, and whether its parity and stop bit were right."""

    byte: int
    ok: bool


def heard(data: bytes, sent: Line, at: Line) -> list[Heard]:
    """The characters that a receiver set to ``at`` makes of ``data`` sent at the settings ``sent``."""
    if (sent.baudrate, sent.parity) == (at.baudrate, at.parity):
        return [Heard(byte, True) for byte in data]
    wave = [level for byte in data for level in _bits(byte, sent)]
    # Times in units of 1 / (2 * both baud rates) s, so that all of them are whole numbers.
    sent_bit, bit = 2 * at.baudrate, 2 * sent.baudrate
    characters: list[Heard] = []
    now = 0
    while True:
        start = _edge(wave, -(-now // sent_bit))
        if start is None:
            return characters
        begin = start * sent_bit

        def level(position: int, begin: int = begin) -> int:
            """The level in the middle of the bit with this number, the start bit being 0."""
            index = (begin + bit // 2 + position * bit) // sent_bit
            return wave[index] if index < len(wave) else 1

        if level(0):
            now = begin + sent_bit  # too short for a start bit
            continue
        byte = sum(level(1 + i) << i for i in range(8))
        ones = byte.bit_count() + (level(9) if at.parity != "none" else 0)
        right = at.parity == "none" or ones % 2 == (at.parity == "odd")
        stop = 9 + (at.parity != "none")
        now = begin + bit // 2 + stop * bit
        characters.append(Heard(byte, bool(right and level(stop))))
        if not level(stop):
            index = now // sent_bit
            while index < len(wave) and not wave[index]:
                index += 1
            now = index * sent_bit


def heard_by_device(data: bytes, sent: Line, at: Line) -> bytes:
    """What a Modbus device takes: it drops characters with a wrong parity or stop bit."""
    return bytes(one.byte for one in heard(data, sent, at) if one.ok)


def heard_by_adapter(data: bytes, sent: Line, at: Line) -> bytes:
    """What a program reads from a serial port that was opened without parity checking, as pyserial does."""
    return bytes(one.byte for one in heard(data, sent, at))


def _bits(byte: int, line: Line) -> list[int]:
    bits = [0, *(byte >> i & 1 for i in range(8))]
    if line.parity != "none":
        bits.append(byte.bit_count() & 1 ^ (line.parity == "odd"))
    return bits + [1] * line.stop


def _edge(wave: list[int], index: int) -> int | None:
    """The first bit from ``index`` on that is low after a high one (the line is high before the wave)."""
    for at in range(index, len(wave)):
        if not wave[at] and (at == 0 or wave[at - 1]):
            return at
    return None
