"""What edge rules leave out of a channel's readings. Loaded by `gasan.node.edge_make`.

Each has ``keeps(channel, t)``, called for every sample; a change of quality is always kept. What was kept
last stands in the channel, so that channels with equal rules share one object.
"""

from time import ticks_diff

from gasan.node.edge_channel import Channel
from gasan.wire.quality import BAD_NO_VALUE
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any


class Never:
    """Leaves every reading out, so that its channels need no group."""

    def keeps(self, channel: Channel, t: "Any") -> bool:
        return False


class Change:
    """Keeps what differs from the last one that was kept, and one after `silence` ms in any case."""

    def __init__(self, silence: int) -> None:
        self._silence = silence

    def keeps(self, channel: Channel, t: "Any") -> bool:
        quality = channel.quality
        if (
            quality == channel.kept
            and ticks_diff(t, channel.kept_at) < self._silence
            and (quality >= BAD_NO_VALUE or self._alike(channel))
        ):
            return False
        channel.kept = quality
        channel.kept_at = t
        if quality < BAD_NO_VALUE:
            self._note(channel)
        return True

    def _alike(self, channel: Channel) -> bool:
        return channel.low == channel.key

    def _note(self, channel: Channel) -> None:
        channel.low = bytes(channel.key)


class Deadband(Change):
    """Keeps what is further from the last one that was kept than num / den.

    percent: num / den is the share of the last one's size. The keys between which nothing is kept are worked
    out when one is kept.
    """

    def __init__(self, silence: int, num: int, den: int, percent: bool) -> None:
        super().__init__(silence)
        self._width = num, den, percent

    def _alike(self, channel: Channel) -> bool:
        return channel.low <= channel.key <= channel.high  # type: ignore[operator]

    def _note(self, channel: Channel) -> None:
        from gasan.node.edge_number import around

        channel.low, channel.high = around(channel, *self._width)
