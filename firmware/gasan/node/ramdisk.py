"""A file system in memory, for the spool of a board that is not to write its flash. Loaded when a config asks
for it.
"""

import os

import vfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLOCK = 512


class _Disk:
    """A block device of the extended interface."""

    def __init__(self, blocks: int) -> None:
        self._data = memoryview(bytearray(blocks * _BLOCK))

    def readblocks(self, number: int, buf: bytearray, offset: int = 0) -> int:
        at = number * _BLOCK + offset
        buf[:] = self._data[at : at + len(buf)]
        return 0

    def writeblocks(self, number: int, buf: bytearray, offset: int = 0) -> int:
        at = number * _BLOCK + offset
        self._data[at : at + len(buf)] = buf
        return 0

    def ioctl(self, op: int, arg: int) -> "int | None":
        if op == 4:
            return len(self._data) // _BLOCK
        if op == 5:
            return _BLOCK
        return 0


def mount(size: int) -> str:
    """Make a file system of so many bytes and return the folder for the spool in it."""
    disk: "Any" = _Disk(size // _BLOCK)
    littlefs: "Any" = vfs.VfsLfs2
    littlefs.mkfs(disk)
    vfs.mount(littlefs(disk), "/ram")
    os.mkdir("/ram/spool")
    return "/ram/spool"
