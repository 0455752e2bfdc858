"""A small secret on its way to a node: readable and changeable only with the node's key.

Deterministic authenticated encryption (SIV, Rogaway and Shrimpton 2006) with HMAC-SHA-256 as its pseudorandom
function: the first 16 bytes of the MAC of the text are at the same time the tag and the nonce from which
HMAC in counter mode makes the key stream. The same text under the same key makes the same box, so that a
hash of the box tells whether it is there already, and no nonce has to be remembered.

    box    = tag || text XOR stream
    tag    = HMAC(k1, text)[:16]                 k1 = HMAC(node key, "gasan box tag 1")
    stream = HMAC(k2, tag || 0) || HMAC(k2, tag || 1) || ...
                                                 k2 = HMAC(node key, "gasan box stream 1")

The block numbers have 4 bytes, big-endian.
"""

from gasan.wire import cose

TYPE_CHECKING = False
if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview

    def const(value: int) -> int:
        return value
else:
    try:
        from micropython import const
    except ImportError:

        def const(value):
            return value


_TAG = const(16)


class LockboxError(ValueError):
    """The box was not locked with this key, or has been changed."""


def lock(key: "Buffer", text: "Buffer") -> bytes:
    """The text in a box; 16 bytes longer."""
    master = cose.Hmac(key)
    tag = _tag(master, text)
    return tag + _mixed(master, tag, text)


def unlock(key: "Buffer", box: "Buffer") -> bytes:
    """The text in the box. Raises LockboxError."""
    master = cose.Hmac(key)
    tag = bytes(box[:_TAG])
    text = _mixed(master, tag, box[_TAG:])
    if not cose.equal(tag, _tag(master, text)):
        raise LockboxError("locked with another key, or changed")
    return text


def _tag(master: "cose.Hmac", text: "Buffer") -> bytes:
    return cose.Hmac(master.digest(b"gasan box tag 1")).digest(text)[:_TAG]


def _mixed(master: "cose.Hmac", tag: bytes, text: "Buffer") -> bytes:
    stream = cose.Hmac(master.digest(b"gasan box stream 1"))
    out = bytearray(text)
    for start in range(0, len(out), 32):
        block = stream.digest(tag, (start // 32).to_bytes(4, "big"))
        for i in range(start, min(start + 32, len(out))):
            out[i] ^= block[i - start]
    return bytes(out)
