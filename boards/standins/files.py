"""Put files into a flash image and take them out, with the stand-in flash and the VM's own littlefs.

Arguments: image, block size, blocks, program size, then one action: ``format``, ``put`` FOLDER (all that is
below it), ``get`` PATH FILE, ``list``, ``remove`` PATH. Host files are relative to the working directory.
"""

import sys

import flash
import vfs

_DIR = 0x4000


def _put(host, disk, source, target):
    for name, kind, *_ in sorted(host.ilistdir(source)):  # so that equal files make equal images
        if name in (".", ".."):
            continue
        below = target + "/" + name
        if kind == _DIR:
            try:
                disk.mkdir(below)
            except OSError as e:
                if e.errno != 17:  # EEXIST
                    raise
            _put(host, disk, source + "/" + name, below)
            continue
        with host.open(source + "/" + name, "rb") as f, disk.open(below, "wb") as g:
            buf = f.read(4096)
            while buf:
                g.write(buf)
                buf = f.read(4096)


def _get(host, disk, path, target):
    with disk.open(path, "rb") as f, host.open(target, "wb") as g:
        buf = f.read(4096)
        while buf:
            g.write(buf)
            buf = f.read(4096)


def _list(disk, path):
    for name, kind, _, size in disk.ilistdir(path):
        below = path + "/" + name
        if kind == _DIR:
            _list(disk, below)
        else:
            print(size, below)


def main(image, block, blocks, page, action, *args):
    host = vfs.VfsPosix("")
    page = int(page)
    with host.open(image, "r+b") as store:
        device = flash.Flash(store, int(block), int(blocks), page)
        if action == "format":
            vfs.VfsLfs2.mkfs(device, progsize=page)
            return
        disk = vfs.VfsLfs2(device, progsize=page, mtime=False)
        if action == "put":
            _put(host, disk, args[0], "")
        elif action == "get":
            _get(host, disk, *args)
        elif action == "list":
            _list(disk, "")
        elif action == "remove":
            disk.remove(args[0])
        disk.umount()


if __name__ == "__main__":
    main(*sys.argv[1:])
