"""For programs on the VM: littlefs in memory, over the stand-in flash, and the parts of a node that write."""

import io
import os
import sys

import vfs

sys.path.insert(0, sys.argv[1])  # boards/standins
import flash

sys.path.pop(0)

from gasan.node import recover
from gasan.node import sampler as sampler_module
from gasan.node.batcher import Batcher
from gasan.node.clock import Clock
from gasan.node.sampler import Sampler
from gasan.node.spool import Spool
from gasan.wire import frame

BLOCK, PAGE = 4096, 256
KEY = bytes(range(32))
REV = b"revision"


def blank(blocks):
    """The image of an empty file system with the folder /spool."""
    store = io.BytesIO(b"\xff" * (BLOCK * blocks))
    vfs.VfsLfs2.mkfs(flash.Flash(store, BLOCK, blocks, PAGE), progsize=PAGE, readsize=32)
    image = store.getvalue()
    store, _ = mount(image)
    os.mkdir("/f/spool")
    return unmount(store)


def mount(image):
    """Mount a copy of the image at /f; returns (store, flash)."""
    store = io.BytesIO(image)
    f = flash.Flash(store, BLOCK, len(image) // BLOCK, PAGE)
    vfs.mount(vfs.VfsLfs2(f, progsize=PAGE, readsize=32), "/f")
    return store, f


def unmount(store):
    """Unmount and return the image."""
    vfs.umount("/f")
    return store.getvalue()


class Ticks:
    """A tick counter that goes on by 10 ms whenever it is read, so that each run writes the same bytes."""

    now = 0

    def __call__(self):
        self.now += 10
        return self.now


def node(boot, budget=32768, max_age=1000, spool_class=Spool):
    """(sampler, batcher, spool) of a boot."""
    ticks = sampler_module.ticks_ms = Ticks()
    spool = spool_class("/f/spool", budget)
    recover.recover(spool)
    sampler = Sampler(max_age, 2048, 8, 8192)
    writer = frame.FrameWriter(b"node-id-", 0, frame.frame_key(KEY))
    return sampler, Batcher(writer, spool, sampler, Clock(ticks), boot, REV), spool


def frames(spool):
    """Copies of all frames that the spool would send."""
    buf = bytearray(frame.FRAME_MAX)
    out = []
    spool.rewind()
    n = spool.next(buf)
    while n:
        out.append(bytes(buf[:n]))
        n = spool.next(buf)
    return out
