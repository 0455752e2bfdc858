"""Makes Modbus reads; needed only while a bus is set up.

Source: MODBUS Application Protocol V1.1b3 (6.3, 6.4).
"""


class ModbusError(ValueError):
    """A read that no device can answer: count, register, unit or function is out of the specification."""


def read_request(unit: int, function: int, register: int, count: int) -> bytes:
    """Unit, function, first register and count: 6 bytes. Raises ModbusError."""
    if not (function == 3 or function == 4) or not 0 <= unit <= 255:
        raise ModbusError("function must be 3 or 4, unit 0..255")
    if not 1 <= count <= 125 or register < 0 or register + count > 65536:
        raise ModbusError("a read takes 1..125 registers within 0..65535")
    return bytes((unit, function, register >> 8, register & 0xFF, 0, count))
