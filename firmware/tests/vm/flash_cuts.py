"""Look at the flash that power cuts have left: littlefs mounts, key and config are whole, every committed
frame is there, no other is, the spool takes new frames.

Arguments: folder of the stand-ins; folder with image, states and facts (gasan.hil.flash_cuts). Prints the
number of states and of frames that had to be there, or the first wrong state.
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


class Broken(Exception):
    pass


def check(ok, what):
    if not ok:
        raise Broken(what)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def look(image, done):
    """Check the flash with ``done`` whole operations; returns how many frames had to be there."""
    store, _ = mount(image)
    try:
        return look_at_files(done)
    finally:
        unmount(store)


def look_at_files(done):
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
        check(data in known, "a frame that nobody wrote")
    check(len(set(there)) == len(there), "a frame is there twice")
    must = [data for data, (since, until) in known.items() if since <= done < until]
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
known = {bytes.fromhex(data): (since, until) for since, until, data in facts["frames"]}
KEY = bytes.fromhex(facts["key"])
CONFIG = bytes.fromhex(facts["config"])
damage_at, damage = facts["damage"]

image = bytearray(read(FOLDER + "/image"))
looked = expected = 0
with open(FOLDER + "/states", "rb") as f:
    head = f.read(17)
    while head:
        number, done, at, size, mode = struct.unpack("<IIIIB", head)
        image[at : at + size] = f.read(size)
        if number == damage_at:
            hurt(image, bytes.fromhex(damage))
            damage_at = -1
        try:
            expected += look(image, done)
        except (Broken, OSError, ValueError) as e:
            print("broken: operation %d, %s: %s" % (number, MODES[mode], e))
            break
        looked += 1
        gc.collect()
        head = f.read(17)
    else:
        print("states %d, frames %d" % (looked, expected))
