"""The host's errors: one root, three families.

A message is one sentence: what is wrong, where, and how to mend it. The command line prints it as it is.
"""

__all__ = ["GasanError", "InputError", "TryAgainError", "UntrustedError"]


class GasanError(Exception):
    """Root of every error that gasan raises on purpose."""


class UntrustedError(GasanError):
    """Something is not authentic, or contradicts what was authentic: do not use it, do not retry."""


class TryAgainError(GasanError):
    """Something outside failed (a port, a process, a peer); the same call may work later."""


class InputError(GasanError):
    """A site file, profile or argument is wrong and has to be changed by a person."""
