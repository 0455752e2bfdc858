"""The line from the VM to its supervisor: what a board's hardware would do by itself, the supervisor does.

Messages are short lines of ASCII, written to an inherited descriptor. Without a supervisor they go nowhere.
"""

_out = None
_wait = None

FEED = b"F\n"


def open_line(out, wait):
    """Take the descriptors of the pipe to the supervisor and of one on which nothing ever arrives."""
    global _out, _wait
    _out = open(out, "wb")
    _wait = open(wait, "rb")


def say(message):
    """Send one line (bytes). Does not allocate; waits for nobody."""
    if _out:
        _out.write(message)


def halt(message):
    """Send a line after which the hardware takes over: the process is killed while it waits here."""
    say(message)
    while _wait:
        _wait.read(1)
    raise SystemExit
