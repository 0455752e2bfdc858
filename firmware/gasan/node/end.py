"""How a boot ends: the word that it leaves for the next one, and what is left of a crash."""

from time import sleep_ms

import machine
from gasan.node import log
from gasan.ota.slots import replace
from micropython import const

CRASH = "/crash"
CRASH_MAX = const(1000)  # bytes
_RESET = "/reset"  # main.py reads it
_PAUSE_MS = const(5000)  # below the watchdog's 8 s


def crash(e: BaseException, number: int) -> None:
    """Leave word of what ends this boot, the ``number``-th crash in a row, and reset."""
    text = log.trace(e, CRASH_MAX)
    log.error(text)
    data = text.encode()[-CRASH_MAX:]
    while data and data[0] & 0xC0 == 0x80:  # no character is cut in two
        data = data[1:]
    try:
        replace(CRASH, b"%d\n" % number + data)
    except OSError as e:
        log.error("%s: %s" % (CRASH, e))
    sleep_ms(_PAUSE_MS)  # so that a board that cannot even write to flash does not spin
    reset("crash")


def reset(word: str) -> None:
    """Reset the board; main.py of the next boot reads ``word``."""
    try:
        replace(_RESET, word.encode())
    except OSError as e:
        log.error("%s: %s" % (_RESET, e))
    machine.reset()
