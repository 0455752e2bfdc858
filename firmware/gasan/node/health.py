"""The figures that a node tells about itself, in STATUS and in health frames (keys: protocols/frame.md)."""

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.app import Node

_SATURATED = (1 << 32) - 1


class Health:
    """Collects the figures of all parts; ``figures`` is one dict, made once."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._figures = dict.fromkeys(range(1, 22), 0)

    def figures(self) -> dict:
        """The figures of this moment; the dict is reused."""
        node = self._node
        out = self._figures
        batcher, sampler, spool = node.batcher, node.sampler, node.spool
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
        for key in (12, 13, 14, 16, 17, 21):
            out[key] = 0
        out[15] = node.link.counters[15]
        for _, source in node.sources:
            for key, n in source.counters.items():
                out[key] = min(out[key] + n, _SATURATED)
        out[18] = node.lateness
        out[19] = node.ordinal
        out[20] = node.restarts
        return out
