"""Who a device says it is: functions 43/14 (read device identification) and 17 (report server id). Pure.

Source: MODBUS Application Protocol V1.1b3 (6.13, 6.21). Both are reads.
"""

from dataclasses import dataclass

__all__ = ["READ_IDENTITY", "REPORT_ID", "Identity", "identity_of", "server_id_of"]

READ_IDENTITY = bytes([43, 14, 1, 0])  # basic: maker, product code, revision
REPORT_ID = bytes([17])
_OBJECTS = {0: "maker", 1: "product", 2: "revision"}


@dataclass(frozen=True)
class Identity:
    """What a device says about itself; "" where it says nothing."""

    maker: str = ""
    product: str = ""
    revision: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.maker, self.product, self.revision) if part)


def identity_of(pdu: bytes) -> Identity | None:
    """From an answer to `READ_IDENTITY`; None when nothing can be read in it."""
    texts: dict[str, str] = {}
    position = 7
    for _count in range(pdu[6] if len(pdu) > 6 else 0):
        if position + 2 > len(pdu):
            break
        key, size = pdu[position], pdu[position + 1]
        value = pdu[position + 2 : position + 2 + size]
        if key in _OBJECTS:
            texts[_OBJECTS[key]] = _text(value)
        position += 2 + size
    return Identity(**texts) if any(texts.values()) else None


def server_id_of(pdu: bytes) -> Identity | None:
    """From an answer to `REPORT_ID`: its readable characters, when there are at least three together."""
    text = _text(pdu[2:])
    return Identity(product=text) if len(text) >= 3 else None


def _text(data: bytes) -> str:
    """The printable part: a device may send anything, also what a terminal would obey."""
    shown = "".join(chr(byte) if 32 <= byte < 127 else " " for byte in data)
    return " ".join(shown.split())
