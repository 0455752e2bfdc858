"""What one boot hands over to the next: its number, why it ended, and the word of what it was to do."""

import os
from time import sleep_ms

import machine
from gasan.node import log
from gasan.ota.slots import replace
from gasan.wire import cbor
from micropython import const

_ORDINAL = "/boot.n"
_CRASH = "/crash"
_RESET = "/reset"  # main.py reads it
_CRASH_MAX = const(1000)
_CRASH_PAUSE_MS = const(5000)  # so that a board that cannot even write to flash does not spin; below the watchdog's 8 s

# (name in machine, cause as in a boot frame); ports have some of them.
_CAUSES = (
    ("PWRON_RESET", 1),
    ("HARD_RESET", 2),
    ("WDT_RESET", 3),
    ("DEEPSLEEP_RESET", 4),
    ("SOFT_RESET", 5),
    ("BROWN_OUT_RESET", 6),
)


def cause(word: str) -> int:
    """Why this boot began, as in a boot frame; ``word`` is what the boot before left, if it ended by ``reset``."""
    value = machine.reset_cause()
    for name, number in _CAUSES:
        if getattr(machine, name, None) == value:
            # rp2 resets itself by its watchdog.
            return 2 if word and number == 3 else number
    return 0


def count(boot: bytes, last, seen: int) -> tuple:
    """Count this boot in flash; returns (ordinal, boot before, its last seq, its readings), None where unknown.

    last: (boot, seq, readings) at the end of the spool, or None. seen: the newest ordinal that the spool holds.
    """
    try:
        with open(_ORDINAL, "rb") as f:
            ordinal, before = cbor.loads(f.read())
        ordinal = max(ordinal, seen)
    except (OSError, ValueError, TypeError):
        ordinal, before = seen, last[0] if last else None
        if last:
            log.warn("%s is unreadable: counting on from the spool" % _ORDINAL)
    try:
        replace(_ORDINAL, cbor.dumps([ordinal + 1, boot]))
    except OSError as e:
        log.error("%s: %s" % (_ORDINAL, e))
    if last and last[0] == before:
        return ordinal + 1, before, last[1], last[2]
    return ordinal + 1, before, None, None


def crashed() -> tuple[int, str]:
    """(crashes in a row, what was left of the last one) when the boot before crashed, else (0, "")."""
    try:
        with open(_CRASH, "rb") as f:
            number, text = f.read(_CRASH_MAX + 100).decode().split("\n", 1)
        return int(number), text
    except (OSError, ValueError):
        return 0, ""


def forget_crash() -> None:
    """The crash has been told."""
    os.remove(_CRASH)


def crash(e: BaseException, number: int) -> None:
    """Leave word of what ends this boot, the ``number``-th crash in a row, and reset."""
    text = log.trace(e, _CRASH_MAX)
    log.error(text)
    try:
        replace(_CRASH, ("%d\n%s" % (number, text)).encode())
    except OSError:
        pass
    sleep_ms(_CRASH_PAUSE_MS)
    reset("crash")


def reset(word: str) -> None:
    """Reset the board; main.py of the next boot reads ``word``."""
    try:
        replace(_RESET, word.encode())
    except OSError as e:
        log.error("%s: %s" % (_RESET, e))
    machine.reset()
