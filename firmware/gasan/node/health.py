"""The figures that a node tells about itself, in STATUS and in health frames (keys: protocols/frame.md)."""

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.app import Node

_TURN_MS = const(60000)  # for so long a device is the one of which keys 55 to 69 tell


def figures(node: "Node", whole: bool) -> dict:
    """The figures of this moment; whole: with those of a device."""
    batcher, sampler, spool = node.batcher, node.sampler, node.spool
    out = dict.fromkeys(range(1, 22), 0)
    out[1] = sampler.sampled
    out[2] = batcher.count
    out[3] = sampler.missed_readings
    out[5] = spool.frames
    out[6] = spool.used()
    out[7] = batcher.heap_free
    out[8] = batcher.heap_low
    out[9] = batcher.lost
    out[10] = batcher.seq
    out[11] = node.clock.now()
    out.update(node.link.counters)
    devices: list = []
    for _, source in node.sources:
        for device in getattr(source, "devices", ()):
            device.tally[4] = getattr(source._read, "foreign", 0)
            devices.append(device)
        for key, n in source.counters.items():
            out[key] += n
    if whole and devices:
        out.update(zip(range(55, 70), devices[out[11] // _TURN_MS % len(devices)].tally))
    out[18] = node.lateness
    out[19] = node.ordinal
    out[20] = node.restarts
    return out
