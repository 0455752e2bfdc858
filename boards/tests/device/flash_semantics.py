"""What erase and program do, without a cut."""

import io

from flash import Flash

f = Flash(io.BytesIO(b"\xff" * 65536), 4096, 16, 256)
page = bytearray(b"\xa5" * 256)
back = bytearray(256)


def content():
    f.readblocks(3, back, 512)
    return back


assert f.writeblocks(3, page, 512) == 0
assert content() == page
assert (f.programs, f.erases, f.overwrites) == (1, 0, 0)

# Programming again only clears bits, and it is noticed when more was wanted.
assert f.writeblocks(3, b"\x0f" * 256, 512) == 0
assert content() == b"\x05" * 256 and f.overwrites == 1
assert f.writeblocks(3, b"\x05" * 256, 512) == 0 and f.overwrites == 1

assert f.ioctl(6, 3) == 0 and f.erases == 1
assert content() == b"\xff" * 256

assert f.ioctl(4, 0) == 16 and f.ioctl(5, 0) == 4096
assert f.writeblocks(3, b"ab", 0) == -22 and f.writeblocks(3, page, 8) == -22  # whole pages only
assert f.writeblocks(5, b"\x11" * 8192) == 0 and f.erases == 3  # the simple interface erases by itself
