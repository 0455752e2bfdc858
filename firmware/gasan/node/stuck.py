"""What is left to do when the node cannot be loaded: tell, and try again."""

import io
import sys
from time import sleep

import machine
from micropython import const

_PAUSE_S = const(60)
_TEXT_MAX = const(900)  # characters


def stuck(e: Exception) -> None:
    """Leave word of ``e`` for a boot that can be loaded, and reset after a minute; Ctrl-C leaves the REPL."""
    out = io.StringIO()
    sys.print_exception(e, out)
    text = out.getvalue()[-_TEXT_MAX:]
    print(text + "gasan: the node cannot be loaded; it is tried again in a minute, Ctrl-C ends that")
    try:
        if text not in _told():
            with open("/crash", "w") as f:
                f.write("1\n" + text)
        with open("/reset", "w") as f:  # no power cut, and no watchdog
            f.write("crash")
    except OSError as error:
        print(error)
    sleep(_PAUSE_S)
    machine.reset()


def _told() -> str:
    """What the last boot left."""
    try:
        with open("/crash") as f:
            return f.read()
    except (OSError, ValueError):
        return ""
