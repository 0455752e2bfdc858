"""Exit codes of the command line. They are part of its interface and do not change."""

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """What the process returns."""

    OK = 0  # done; also what runs until Ctrl-C and was ended by it
    FAILED = 1  # something outside failed; it may work later
    WRONG_INPUT = 2  # the command line, a site file or a profile is wrong
    UNTRUSTED = 3  # something is not authentic
    ROLLED_BACK = 4  # the node did not come up with the new config and took the old one back
    CONTRADICTION = 5  # the account: a node's counters and the store do not agree
    INTERNAL = 70  # a fault in gasan itself
    INTERRUPTED = 130  # a second Ctrl-C, or Ctrl-C in anything that does not run until Ctrl-C
