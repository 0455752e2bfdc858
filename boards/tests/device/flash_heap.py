"""No method of the flash allocates: finalisers of unclosed files call them with the heap locked."""

import struct

import micropython
from flash import BITS, Flash

with open("count", "wb") as f:
    f.write(bytes(16))
with open("image", "wb") as f:
    f.write(b"\xff" * 65536)
with open("image", "r+b") as store, open("count", "r+b") as count:
    f = Flash(store, 4096, 16, 256, count)
    f.cut(5, BITS, 9)
    page = bytes(512)
    back = bytearray(512)
    micropython.heap_lock()
    f.writeblocks(1, page, 0)
    f.readblocks(1, back, 0)
    f.ioctl(6, 1)
    f.writeblocks(2, page, 256)
    f.writeblocks(1, page, 0)
    f.ioctl(6, 1)
    micropython.heap_unlock()
    assert f.dead
with open("count", "rb") as f:
    assert struct.unpack("<IIII", f.read(16)) == (4, 1, 0, 5)
