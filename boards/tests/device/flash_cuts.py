"""What is left of an operation after each kind of cut."""

import io

from flash import AFTER, BEFORE, BITS, TORN, Flash

BLANK = b"\xff" * 4096
FULL = b"\x3c" * 4096


def after(mode, argument, erase):
    """The block in which the cut operation was: an erase, or the program of two pages from 256 on."""
    store = io.BytesIO(b"\xff" * 65536)
    f = Flash(store, 4096, 16, 256)
    f.writeblocks(2, FULL, 0)
    f.writeblocks(7, FULL, 0)
    told = []
    f.cut(f.operations, mode, argument, lambda: told.append(1))
    result = f.ioctl(6, 2) if erase else f.writeblocks(1, b"\x55" * 512, 256)
    assert result == -5 and told == [1] and f.dead
    image = store.getvalue()
    assert f.writeblocks(7, bytes(256), 0) == -5 and f.ioctl(6, 7) == -5
    assert f.readblocks(7, bytearray(16), 0) == -5
    assert store.getvalue() == image, "a dead flash changed"
    assert image[7 * 4096 : 8 * 4096] == FULL
    return image[8192:12288] if erase else image[4096:8192]


assert after(BEFORE, 0, False) == BLANK
assert after(AFTER, 0, False) == BLANK[:256] + b"\x55" * 256 + BLANK[512:]  # one page of the two
assert after(TORN, 100, False) == BLANK[:256] + b"\x55" * 100 + BLANK[356:]

torn = after(BITS, 7, False)
assert torn == after(BITS, 7, False) != after(BITS, 8, False), "not by seed"
assert torn[:256] + torn[512:] == BLANK[256:]
assert all(b & 0x55 == 0x55 for b in torn), "a bit was cleared that should stay"
assert any(b != 0xFF for b in torn) and any(b != 0x55 for b in torn[256:512]), "all or nothing"

assert after(BEFORE, 0, True) == FULL
assert after(AFTER, 0, True) == BLANK
assert after(TORN, 1000, True) == BLANK[:1000] + FULL[1000:]
half = after(BITS, 3, True)
assert all(b & 0x3C == 0x3C for b in half) and half != BLANK and half != FULL
