"""Runs edge rules over scripted samples: one JSON job on standard input, what came of it on standard output.

job = {rules: CBOR in hex, groups: [[channels, types, period]], first: tick, steps: [[ms, group, values,
qualities]]}; a value is hexadecimal. With values null the whole row fails with qualities[0]. A step with a
fifth element must not take memory. Told: rows as [channel, ms, quality, value], what was sampled and dropped,
and when a frame was urgent. held: after so many steps the rows are first taken.
"""

import json
import sys

import micropython

from gasan.node import edge_make
from gasan.node.clock import Clock


class Limits:
    max_age_ms = 60000
    max_bytes = 100000
    channels = 10


class Node:
    pass


def main():
    job = json.loads(sys.stdin.readline())
    tick = [job["first"]]
    node = Node()
    node.clock = Clock(lambda: tick[0])
    node.status = dict
    limits = Limits()
    limits.rules = bytes.fromhex(job["rules"])
    try:
        edge_make.check(limits.rules, node.clock)
    except ValueError as e:
        print(json.dumps({"refused": str(e)}))
        return
    sampler = edge_make.install(node, limits, 1000000)
    sampler.own_groups()
    groups = [sampler.group(channels, bytes(types), period) for channels, types, period in job["groups"]]
    rows, urgent = [], []
    held = job.get("held", 0)
    for step in job["steps"]:
        ms, g, values, qualities = step[:4]
        from time import ticks_add

        tick[0] = t = ticks_add(job["first"], ms)
        group = groups[g]
        values = values and [bytes.fromhex(value) for value in values]
        marked = len(step) > 4
        if marked:
            micropython.heap_lock()
        if values is None:
            sampler.start(group, t)
            for column in range(group.columns):
                group.mark(column, qualities[0])
            sampler.finish(group)
        else:
            feed(sampler, group, t, values, qualities)
        if marked:
            micropython.heap_unlock()
        if sampler._full:
            urgent.append(ms)
            sampler._full = False
        held -= 1
        if held >= 0:
            continue
        for rest in sampler.groups:
            for row in range(rest.n):
                for column in range(rest.columns):
                    at = rest.offsets[column]
                    size = (
                        rest.offsets[column + 1] if column + 1 < rest.columns else len(rest.data) - 8
                    ) - at
                    size //= rest.capacity
                    q = rest.quality[column * rest.capacity + row]
                    value = None if q >= 64 else rest.data[at + row * size : at + (row + 1) * size].hex()
                    rows.append([rest.channels[column], ms + ago(rest, row, t), q, value])
            rest.clear()
        sampler.waiting = 0
    told = {
        "rows": rows,
        "sampled": sampler.sampled,
        "dropped": sampler.dropped,
        "urgent": urgent,
    }
    told["missed"] = sampler.missed_readings
    told["health"] = sampler.told(node.status())
    print(json.dumps(told))


def ago(rest, row, t):
    from time import ticks_add, ticks_diff

    return ticks_diff(ticks_add(rest.base, rest.time(row)), t)


def feed(sampler, group, t, values, qualities):
    sampler.start(group, t)
    for column in range(group.columns):
        if qualities[column] < 64:
            group.put(column, values[column], 0)
        if qualities[column]:
            group.mark(column, qualities[column])
    sampler.finish(group)


main()
