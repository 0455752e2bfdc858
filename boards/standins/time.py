"""time as on a board: ticks are the VM's own, wall time is what the RTC says since it was started."""

from utime import *  # noqa: F403
from utime import gmtime as _gmtime
from utime import mktime as _mktime
from utime import ticks_add, ticks_diff, ticks_ms

_SINCE_1970 = 946684800

_epoch = 0  # Unix time of the board's second 0
_base = 0  # wall time at _tick
_tick = 0


def start(epoch_year, rtc_year):
    """``epoch_year``: what the port counts from (1970 or 2000); ``rtc_year``: where the RTC starts."""
    global _epoch
    _epoch = _SINCE_1970 if epoch_year == 2000 else 0
    set(mktime((rtc_year, 1, 1, 0, 0, 0, 0, 0)))


def set(seconds):
    global _base, _tick
    _base = seconds
    _tick = ticks_ms()


def _now_ms():
    """(whole seconds, milliseconds); renews its base, since ticks wrap after 12.4 days."""
    global _base, _tick
    past = ticks_diff(ticks_ms(), _tick)
    if past > 1000000:
        _base += past // 1000
        _tick = ticks_add(ticks_ms(), -(past % 1000))
        past %= 1000
    return _base + past // 1000, past % 1000


def time():
    return _now_ms()[0]


def time_ns():
    seconds, ms = _now_ms()
    return (seconds * 1000 + ms) * 1000000


def gmtime(seconds=None):
    return _gmtime((time() if seconds is None else seconds) + _epoch)[:8]


localtime = gmtime


def mktime(t):
    return _mktime(t) - _epoch
