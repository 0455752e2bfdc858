"""The timing of an asynchronous serial line that carries Modbus RTU."""

from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Line"]


@dataclass(frozen=True)
class Line:
    """Baud rate and character format; 8 data bits always."""

    baudrate: int
    parity: str = "none"
    stop: int = 1

    def __post_init__(self) -> None:
        if self.baudrate <= 0 or self.parity not in ("none", "even", "odd") or self.stop not in (1, 2):
            raise ValueError(
                f"no such line: {self.baudrate} baud, parity {self.parity}, {self.stop} stop bits"
            )

    @property
    def char_bits(self) -> int:
        """Bits of one character on the wire, start and stop bits included."""
        return 9 + (self.parity != "none") + self.stop

    @property
    def char_ns(self) -> int:
        """Nanoseconds of one character."""
        return round(Fraction(self.char_bits * 1_000_000_000, self.baudrate))

    @property
    def gap_ns(self) -> int:
        """Silence between frames: 3.5 characters, fixed above 19200 baud (Serial Line V1.02, 2.5.1.1)."""
        return 1_750_000 if self.baudrate > 19200 else self.char_ns * 7 // 2

    def least_ns(self, request: int, answer: int) -> int:
        """The least time of a request and an answer of so many bytes, with the silence after each."""
        return (request + answer) * self.char_ns + 2 * self.gap_ns
