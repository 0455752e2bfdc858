"""A box for a small secret: opens with its key only, and not when a bit of it has changed."""

import hashlib
import hmac

import pytest
from gasan.hil import vmrun
from gasan.wire.lockbox import LockboxError, lock, unlock

KEY = bytes(range(32))


def by_the_definition(key: bytes, text: bytes) -> bytes:
    def mac(key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, hashlib.sha256).digest()

    tag = mac(mac(key, b"gasan box tag 1"), text)[:16]
    k2 = mac(key, b"gasan box stream 1")
    stream = b"".join(mac(k2, tag + n.to_bytes(4, "big")) for n in range(len(text) // 32 + 1))
    return tag + bytes(a ^ b for a, b in zip(text, stream, strict=False))


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 64, 500])
def test_it_is_what_it_is_defined_to_be(size: int) -> None:
    text = bytes(i * 7 & 0xFF for i in range(size))
    box = lock(KEY, text)
    assert box == by_the_definition(KEY, text)
    assert unlock(KEY, box) == text


def test_a_box_that_was_changed_or_has_another_key_stays_shut() -> None:
    box = lock(KEY, b"0123456789abcdef0123456789abcdef!")
    for at in range(len(box)):
        changed = bytearray(box)
        changed[at] ^= 1
        with pytest.raises(LockboxError):
            unlock(KEY, changed)
    for wrong in (box[:-1], box + b"\0", box[:15], b""):
        with pytest.raises(LockboxError):
            unlock(KEY, wrong)
    with pytest.raises(LockboxError):
        unlock(bytes(32), box)


def test_on_the_vm(bits: int) -> None:
    text = bytes(range(100))
    program = (
        f"from gasan.wire.lockbox import lock, unlock\nprint(lock({KEY}, {text}) == {lock(KEY, text)})\n"
    )
    assert vmrun.run(program, bits=bits) == "True\n"
