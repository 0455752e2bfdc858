"""Hostile inputs for decoders, the same on CPython and on the VM.

Random, mutated, truncated, spliced and oversized::

    fuzzer = Fuzzer(seed, corpus)
    accepted, refused = run(cbor.loads, cbor.CBORError, fuzzer, 50_000)
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Bytes that are often special: CBOR heads with hostile lengths, breaks and nestings, delimiters, extremes.
_SPECIAL = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x5a\xff\xff\xff\xff",
    b"\x59\xff\xff",
    b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x9a\x00\xff\xff\xff",
    b"\x99\xff\xff",
    b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xb9\xff\xff",
    b"\x9f\x9f\x9f\x9f",
    b"\xbf",
    b"\x81\x81\x81\x81\x81\x81\x81\x81",
    b"\xd8\x1c\xd8\x1d\x00",
    b"\xc2\x58\xff",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x01",
    b"\xf6",
    b"\xf7",
)
_OVERSIZE = 4096


class FuzzFailure(Exception):
    """A decoder raised something that it does not document; ``data`` is the input."""

    def __init__(self, data: bytes, cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause} on input {data.hex()}")
        self.data = data


class Fuzzer:
    """An endless, repeatable stream of inputs.

    seed: any int; the same seed gives the same inputs on CPython and on MicroPython.
    corpus: well-formed inputs (bytes) that mutations start from.
    """

    def __init__(self, seed: int, corpus: "Iterable[bytes]") -> None:
        self._state = (seed ^ (seed >> 31)) & 0x7FFFFFFF
        self._corpus = [bytes(item) for item in corpus] or [b""]

    def below(self, n: int) -> int:
        """A pseudo-random int in 0..n-1 (a 31-bit linear congruential generator; its upper bits are used)."""
        self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._state >> 8) % n

    def noise(self, n: int) -> bytes:
        """n pseudo-random bytes."""
        out = bytearray(n)
        for i in range(n):
            out[i] = self.below(256)
        return bytes(out)

    def _pick(self) -> bytes:
        return self._corpus[self.below(len(self._corpus))]

    def next(self) -> bytes:
        """The next input, bytes of any length up to a few KB."""
        kind = self.below(256)
        if kind < 32:
            return self.noise(self.below(24))
        if kind == 32:
            return self.noise(16) * self.below(_OVERSIZE // 16)
        item = self._pick()
        if kind == 33:
            return item * (1 + self.below(1 + _OVERSIZE // (len(item) + 1)))
        if kind < 64:
            return item[: self.below(len(item) + 1)]
        if kind < 80:
            other = self._pick()
            return item[: self.below(len(item) + 1)] + other[self.below(len(other) + 1) :]
        if kind < 96:
            at = self.below(len(item) + 1)
            return item[:at] + item[at + 1 + self.below(8) :]
        if kind < 144:
            at = self.below(len(item) + 1)
            special = _SPECIAL[self.below(len(_SPECIAL))]
            keep = at + (len(special) if kind & 1 else 0)
            return item[:at] + special + item[keep:]
        if not item:
            return item
        out = bytearray(item)
        for _ in range(1 + (self.below(8) if kind >= 240 else 0)):
            at = self.below(len(out))
            if kind & 1:
                out[at] ^= 1 << self.below(8)
            else:
                out[at] = self.below(256)
        return bytes(out)


def run(
    decode: "Callable[[bytes], object]",
    error: "type[Exception] | tuple[type[Exception], ...]",
    fuzzer: Fuzzer,
    count: int,
) -> "tuple[int, int]":
    """Feed ``count`` inputs to ``decode``; returns (accepted, refused).

    error: the exception class (or tuple of classes) that the decoder documents.
    Raises FuzzFailure on any other exception, MemoryError included.
    """
    accepted = 0
    for _ in range(count):
        data = fuzzer.next()
        try:
            decode(data)
            accepted += 1
        except error:
            pass
        except Exception as cause:
            raise FuzzFailure(data, cause) from cause
    return accepted, count - accepted
