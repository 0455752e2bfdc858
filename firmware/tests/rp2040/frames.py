# Runs on the emulated RP2040: makes the frames of /plans, one JSON plan a line, and prints each in hex.

import gc
import json
from binascii import hexlify, unhexlify

from gasan.wire import columns, frame


def fill(plan):
    types = bytes([columns.TYPE.index(name) for name in plan["types"]])
    group = columns.Group(plan["channels"], types, len(plan["times"]), plan["period_ms"])
    for row, t in enumerate(plan["times"]):
        group.start(t)
        for col, samples in enumerate(plan["samples"]):
            if samples[row] is not None:
                group.put(col, unhexlify(samples[row]), 0)
            if plan["qualities"][col][row]:
                group.mark(col, plan["qualities"][col][row])
        group.finish()
    return group


def make(plan):
    key = frame.frame_key(unhexlify(plan["key"]))
    writer = frame.FrameWriter(unhexlify(plan["node_id"]), plan["generation"], key)
    boot, rev = unhexlify(plan["boot"]), unhexlify(plan["rev"])
    writer.begin(plan["kind"], boot, plan["seq"], plan["count"], plan["mono"], rev)
    if "content" in plan:
        writer.raw(unhexlify(plan["content"]))
    for group in plan.get("groups", ()):
        if not writer.add(fill(group)):
            raise ValueError("a group does not fit")
    return writer.seal()


with open("/plans") as lines:
    for line in lines:
        print(hexlify(make(json.loads(line))).decode())
        gc.collect()
