"""AES by PyPI's `cryptography`: the block cipher that gasan.wire.ccm wants on CPython, and a CCM as judge."""

from collections.abc import Callable
from functools import cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

__all__ = ["ecb", "encipher"]


@cache
def ecb(key: bytes) -> Callable[[bytearray, bytearray], None]:
    """What ``cryptolib.aes(key, 1).encrypt`` is on a board."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()

    def encrypt(source: bytearray, target: bytearray) -> None:
        target[:] = encryptor.update(bytes(source))

    return encrypt


def encipher(key: bytes, nonce: bytes, text: bytes, more: bytes | None = None) -> bytes:
    """The text enciphered, and a tag of 4 bytes behind it."""
    return AESCCM(key, tag_length=4).encrypt(nonce, text, more)
