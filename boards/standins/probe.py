"""Print the word size and version of a VM that has everything device code, stand-ins and tests need."""

import asyncio
import hashlib
import io
import select
import socket
import struct
import sys
import termios

import micropython
import vfs

assert hashlib.sha256(b"gasan").digest()[:4] == b"\x46\xbb\x33\x52", "sha256"
for module, name in (
    (asyncio, "ThreadSafeFlag"),
    (io, "IOBase"),
    (micropython, "heap_lock"),
    (micropython, "mem_current"),
    (select, "poll"),
    (socket, "AF_INET"),
    (struct, "pack_into"),
    (termios, "tcsetattr"),
    (vfs, "VfsLfs2"),
    (vfs, "VfsPosix"),
):
    assert hasattr(module, name), name
assert execfile and sys.stdin.buffer and sys.stdout.buffer  # noqa: F821 - MicroPython has execfile
with open("/dev/null", "rb") as f:
    assert open(f.fileno(), "rb").fileno() == f.fileno(), "open() of a descriptor"

print("gasan", 64 if sys.maxsize > 1 << 31 else 32, *sys.implementation.version[:3])
