"""Makes Modbus reads; needed only while a bus is set up.

Source: MODBUS Application Protocol V1.1b3 (6.1 to 6.4).
"""


class ModbusError(ValueError):
    """A request that no device can answer: something in it is out of the specification."""


def read_request(unit: int, function: int, first: int, count: int) -> bytes:
    """Unit, function, first address and count: 6 bytes. Raises ModbusError.

    ``function``: 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers.
    """
    if not 1 <= function <= 4 or not 0 <= unit <= 255:
        raise ModbusError("function must be 1 to 4, unit 0..255")
    most = 125 if function > 2 else 2000
    if not 1 <= count <= most or first < 0 or first + count > 65536:
        raise ModbusError("a read of function %d takes 1..%d within 0..65535" % (function, most))
    return bytes((unit, function, first >> 8, first & 0xFF, count >> 8, count & 0xFF))


def read_size(function: int, count: int) -> int:
    """Bytes of the answer to a read, from the unit to the last value."""
    return 3 + (2 * count if function > 2 else (count + 7) // 8)
