"""HMAC-SHA-256 (RFC 2104), whole or truncated to 64 bits as COSE's algorithm 4 (RFC 9053, 3.1) has it."""

import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview

TAG_SIZE = 8


class Hmac:
    """A MAC under one key of at most 64 bytes, whose padded forms are made once.

    Each call allocates some 400 bytes on a 64-bit VM: two hashes and their digests.
    """

    def __init__(self, key: "Buffer") -> None:
        if len(key) > 64:
            raise ValueError("a key of more than 64 bytes")
        inner = bytearray(b"\x36" * 64)
        outer = bytearray(b"\x5c" * 64)
        for i, byte in enumerate(key):
            inner[i] ^= byte
            outer[i] ^= byte
        self._inner = bytes(inner)
        self._outer = bytes(outer)

    def digest(self, *parts: "Buffer") -> bytes:
        """The 32-byte MAC of the parts, joined."""
        inner = hashlib.sha256(self._inner)
        i = 0
        while i < len(parts):
            inner.update(parts[i])
            i += 1
        outer = hashlib.sha256(self._outer)
        outer.update(inner.digest())
        return outer.digest()

    def tag(self, *parts: "Buffer") -> bytes:
        """The first 8 bytes of the MAC."""
        return self.digest(*parts)[:TAG_SIZE]


def equal(a: "Buffer", b: "Buffer") -> bool:
    """Whether two tags are the same, in a time that does not depend on where they differ."""
    if len(a) != len(b):
        return False
    difference = 0
    for i in range(len(a)):
        difference |= a[i] ^ b[i]
    return difference == 0
