"""A spool that keeps the oldest frames when full and drops the newest. Loaded when a config asks for it.

What takes no room for long goes on: the frames of a start, crashes and tombstones have an eighth of the spool
for themselves. When that is full too, the oldest segment goes.
"""

from gasan.node.spool import Spool
from gasan.wire.frame import DATA, HEALTH, peek

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gasan.node.spool import Buffer


class Newest(Spool):
    """See Spool."""

    def append(self, data: "Buffer", boot: bytes, seq: int) -> None:
        """Commit a frame. OSError when it is dropped, or when the flash does not take it."""
        self.refuses = self.used() + 2 * self._block > self.budget - self.budget // 8
        if self.refuses and peek(data)[0] in (DATA, HEALTH):
            raise OSError(28)  # ENOSPC
        super().append(data, boot, seq)
