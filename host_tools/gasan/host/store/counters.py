"""Keys of the counters in a node's status messages and health frames (protocols/link.md), and their names."""

from typing import Final

__all__ = [
    "COMMITTED",
    "DEVICE",
    "DEVICE_CRC_ERRORS",
    "DEVICE_TIMEOUTS",
    "DROPPED",
    "DROPPED_OF",
    "FIRST_TURNAROUND",
    "FOREIGN",
    "MISSED",
    "NAMES",
    "NEXT_SEQ",
    "SAMPLED",
    "SPOOL_BYTES",
    "SPOOL_FRAMES",
    "STRAYS",
    "TURNAROUNDS",
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
DEVICE: Final = 55
"""The first channel of the device of which the keys up to 69 tell."""

DEVICE_TIMEOUTS: Final = 56
DEVICE_CRC_ERRORS: Final = 57
"""Requests to the device that were sent and brought no answer, or a damaged one."""

FOREIGN: Final = 59
"""Requests of another master that were heard on the device's line."""

FIRST_TURNAROUND: Final = 62
STRAYS: Final = 69

TURNAROUNDS: Final = ("8ms", "16ms", "32ms", "64ms", "128ms", "256ms", "longer")
"""Up to how long a device may take for an answer to be counted under a key from FIRST_TURNAROUND on."""

DROPPED_OF: Final = 1 << 16
"""In health frames: this plus a channel's number is the key of what rules left out of that channel. Over all
channels they add up to `DROPPED`.
"""

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
    20: "task_restarts",
    21: "adverts_refused",
    30: "sessions",
    DEVICE: "device",
    DEVICE_TIMEOUTS: "device_timeouts",
    DEVICE_CRC_ERRORS: "device_crc_errors",
    58: "device_misfits",
    FOREIGN: "device_foreign_requests",
    60: "device_disconnected",
    61: "device_exceptions",
    **{
        key: f"device_answers_{name}"
        for key, name in zip(range(FIRST_TURNAROUND, STRAYS), TURNAROUNDS, strict=True)
    },
    STRAYS: "device_strays",
}
