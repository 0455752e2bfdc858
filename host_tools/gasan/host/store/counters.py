"""Keys of the counters in a node's status messages and health frames (protocols/link.md), and their names."""

from typing import Final

__all__ = [
    "COMMITTED",
    "DROPPED",
    "MISSED",
    "NAMES",
    "NEXT_SEQ",
    "SAMPLED",
    "SPOOL_BYTES",
    "SPOOL_FRAMES",
    "UPTIME_MS",
]

SAMPLED: Final = 1
COMMITTED: Final = 2
MISSED: Final = 3
DROPPED: Final = 4
SPOOL_FRAMES: Final = 5
SPOOL_BYTES: Final = 6
NEXT_SEQ: Final = 10
UPTIME_MS: Final = 11

NAMES: Final = {
    SAMPLED: "readings_sampled",
    COMMITTED: "readings_committed",
    MISSED: "readings_missed",
    DROPPED: "readings_dropped_by_rule",
    SPOOL_FRAMES: "spool_frames",
    SPOOL_BYTES: "spool_bytes",
    7: "heap_free",
    8: "heap_free_low",
    9: "readings_overflowed",
    NEXT_SEQ: "next_seq",
    UPTIME_MS: "uptime_ms",
    12: "timeouts",
    13: "crc_errors",
    14: "exceptions",
    15: "link_errors",
    16: "adverts_heard",
    17: "adverts_dropped",
    18: "loop_lateness_ms",
    19: "resets",
    21: "adverts_refused",
}
