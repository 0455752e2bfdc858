"""Cut the power at each flash operation of a write, in each way; print what a reader finds afterwards.

Argument: ``rename`` (write beside, then rename) or ``remove`` (remove, then write anew).
"""

import io
import json
import os
import sys

import vfs
from flash import AFTER, BEFORE, BITS, TORN, Flash

OLD = b"old " * 700
NEW = b"new! " * 900


def put(path, content):
    with open(path, "wb") as f:
        f.write(content)


def get(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return None


def prepare():
    put("/flash/f", OLD)
    put("/flash/g", b"bystander")


def rename():
    put("/flash/f.new", NEW)
    os.rename("/flash/f.new", "/flash/f")


def remove():
    os.remove("/flash/f")
    put("/flash/f", NEW)


def device(image):
    """Every boot has a device of its own."""
    store = io.BytesIO(image)
    return store, Flash(store, 4096, 16, 256)


def life(image, operation, mode, argument, act):
    """The flash after ``act`` with a cut, and the device."""
    store, f = device(image)
    f.cut(operation, mode, argument)
    try:
        vfs.mount(vfs.VfsLfs2(f, progsize=256), "/flash")
        act()
    except OSError:
        if not f.dead:
            raise
    vfs.umount("/flash")
    return store.getvalue(), f


def sweep(act):
    store, f = device(b"\xff" * 65536)
    vfs.VfsLfs2.mkfs(f, progsize=256)
    image, _ = life(store.getvalue(), -1, BEFORE, 0, prepare)
    operations = life(image, -1, BEFORE, 0, act)[1].operations
    found = {"old": 0, "new": 0, "neither": 0}
    for n in range(operations):
        for mode, argument in (
            (BEFORE, 0),
            (TORN, 1 + n * 37 % 255),
            (TORN, 255),
            (BITS, n),
            (BITS, n + 999),
            (AFTER, 0),
        ):
            cut, f = life(image, n, mode, argument, act)
            assert f.dead
            _, f = device(cut)
            vfs.mount(vfs.VfsLfs2(f, progsize=256), "/flash")
            content = get("/flash/f")
            found["old" if content == OLD else "new" if content == NEW else "neither"] += 1
            assert get("/flash/g") == b"bystander"
            put("/flash/h", b"still writable")
            assert get("/flash/h") == b"still writable"
            vfs.umount("/flash")
    print(json.dumps([operations, found]))


sweep(rename if sys.argv[1] == "rename" else remove)
