"""Look at the flash that power cuts have left: littlefs mounts, key and config are whole, every committed
frame is there, no other is, the spool takes new frames.

Arguments: folder of the stand-ins; folder with image, states and facts (gasan.hil.flash_cuts). Prints for
each frame when it was there first, then the number of states and of frames that had to be there, or what is
wrong.
"""

import asyncio
import gc
import json
import os
import struct
import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0])
from scratch import frames, mount, node, unmount

from gasan.node import config, log
from gasan.ota import slots
from gasan.wire import cbor, frame

log.sink = lambda line: None
FOLDER = sys.argv[2]
MODES = ("before", "torn", "bits", "after")
BUDGET = 1 << 19  # nothing is to be dropped here
NEVER = 1 << 30


class Broken(Exception):
    pass


def check(ok, what):
    if not ok:
        raise Broken(what)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def look(image, done, whole):
    """Check the flash with ``done`` operations done, and part of one unless ``whole``.

    Returns how many frames had to be there.
    """
    store, _ = mount(image)
    try:
        return look_at_files(done, whole)
    finally:
        unmount(store)


def look_at_files(done, whole):
    check(read("/f/secret/key") == KEY, "the key is not whole")
    config.key(KEY)
    check(slots.Slots("/f/cfg").start() == CONFIG, "the config is not whole")
    if "boot.n" in os.listdir("/f"):
        ordinal, boot = cbor.loads(read("/f/boot.n"))
        check(ordinal > 0 and len(boot) == 8, "the count of boots is not whole")
    slots.mkdir("/f/spool")
    _, batch, spool = node(b"another!", BUDGET)
    there = frames(spool)
    for data in there:
        check(data in until, "a frame that nobody wrote")
        if whole:
            since.setdefault(data, done)
    check(len(set(there)) == len(there), "a frame is there twice")
    must = [data for data, first in since.items() if first <= done < until[data]]
    for data in must:
        check(data in there, "frame %d is lost" % frame.peek(data)[2])
    asyncio.run(batch.put(frame.BOOT, {1: 2}))
    check(len(frames(spool)) == len(there) + 1, "no frame can be written")
    return len(must)


def hurt(image, data):
    """Turn one bit of these bytes, wherever they stand."""
    whole = bytes(image)
    at = whole.find(data)
    check(at >= 0, "these bytes are not there")
    while at >= 0:
        image[at + len(data) // 2] ^= 1
        at = whole.find(data, at + 1)


with open(FOLDER + "/facts") as f:
    facts = json.load(f)
until = {bytes.fromhex(data): acknowledged for data, acknowledged in facts["frames"]}
since = {}
KEY = bytes.fromhex(facts["key"])
CONFIG = bytes.fromhex(facts["config"])
damage_at, damage = facts["damage"]

image = bytearray(read(FOLDER + "/image"))
looked = expected = 0
said = ""
with open(FOLDER + "/states", "rb") as f:
    head = f.read(17)
    while head:
        number, done, at, size, mode = struct.unpack("<IIIIB", head)
        image[at : at + size] = f.read(size)
        if number == damage_at:
            hurt(image, bytes.fromhex(damage))
            damage_at = -1
        try:
            expected += look(image, done, MODES[mode] in ("before", "after"))
        except (Broken, OSError, ValueError) as e:
            said = "broken: operation %d, %s: %s" % (number, MODES[mode], e)
            break
        looked += 1
        gc.collect()
        head = f.read(17)
print([since.get(bytes.fromhex(data), NEVER) for data, _ in facts["frames"]])
print(said or "states %d, frames %d" % (looked, expected))
