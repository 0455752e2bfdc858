"""What the world outside does to a board: pin levels, voltages, radio. A small file that the host writes.

Layout: byte 0 Wi-Fi in range (0 or 1), byte 1 its strength in -dBm, bytes 2..65 pin levels (0, 1, or 255
where nothing drives the pin), then 8 analogue inputs as little-endian u16.
"""

SIZE = 82
_PINS = 2
_ANALOGUE = 66

_file = None
_two = bytearray(2)


def open_file(file):
    global _file
    _file = file


def _read(at, n):
    if _file is None:
        return 0
    _file.seek(at)
    _file.readinto(_two, n)
    return _two[0] | (_two[1] << 8 if n == 2 else 0)


def wifi():
    """True while the access point is in range."""
    return _read(0, 1) == 1


def rssi():
    return -_read(1, 1)


def pin(number):
    """Level that the outside puts on a pin, or None."""
    level = _read(_PINS + number, 1) if _file and number < 64 else 255
    return None if level == 255 else level


def analogue(channel):
    """0..65535."""
    return _read(_ANALOGUE + 2 * (channel & 7), 2)
