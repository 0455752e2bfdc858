"""machine, as far as a node needs it, for a board that is a process.

A reset ends the process; the supervisor starts it again and keeps the watchdog and the reset cause.
"""

import time

import control
import levels
import umachine
from uart import UART  # noqa: F401
from umachine import Signal, mem8, mem16, mem32, time_pulse_us  # noqa: F401

PWRON_RESET = 1
WDT_RESET = 3

_facts = {}


def set_facts(facts):
    """``facts``: what run.py was told (family, freq, unique id, reset cause, ...)."""
    global _facts
    _facts = facts
    if facts["family"] != "rp2":  # rp2 knows these two causes only
        for name, value in (("HARD_RESET", 2), ("DEEPSLEEP_RESET", 4), ("SOFT_RESET", 5)):
            globals()[name] = value


def unique_id():
    return _facts["uid"]


def freq(hz=None):
    if hz is None:
        return _facts["freq"]
    _facts["freq"] = hz


def reset_cause():
    return _facts["cause"]


def reset():
    control.halt(b"R reset\n")


def soft_reset():
    raise SystemExit


def bootloader(timeout=0):
    control.halt(b"R bootloader\n")


def deepsleep(ms=0):
    control.halt(b"R deepsleep %d\n" % ms)


def lightsleep(ms=0):
    time.sleep_ms(ms)


def idle():
    umachine.idle()


def disable_irq():
    return 0


def enable_irq(state):
    pass


class Pin(umachine.PinBase):
    """A pin's level goes to the supervisor, which keeps a log; an input reads what the outside puts on it."""

    IN = 0
    OUT = 1
    OPEN_DRAIN = 2
    PULL_UP = 1
    PULL_DOWN = 2

    def __init__(self, id, mode=-1, pull=-1, *, value=None):
        self.id = 0 if id == "LED" else int(id)
        self._mode = self.IN
        self._pull = -1
        self._level = 0
        self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None):
        if mode != -1:
            self._mode = mode
        if pull != -1:
            self._pull = pull
        if value is not None:
            self.value(value)

    def value(self, level=None):
        if level is None:
            if self._mode == self.OUT:
                return self._level
            outside = levels.pin(self.id)
            if self._mode == self.OPEN_DRAIN and not self._level:
                return 0
            return int(self._pull == self.PULL_UP) if outside is None else outside
        level = 1 if level else 0
        if level != self._level:
            self._level = level
            control.say(b"P %d %d\n" % (self.id, level))

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    high = on
    low = off

    def toggle(self):
        self.value(1 - self._level)

    def __repr__(self):
        return "Pin(%d)" % self.id


class ADC:
    """Reads what the host put on the input: pin 26 is channel 0 as on the RP2040, else pin modulo 8."""

    def __init__(self, pin, **options):
        number = pin.id if isinstance(pin, Pin) else pin
        self._channel = number - 26 if 26 <= number <= 29 else number & 7

    def read_u16(self):
        return levels.analogue(self._channel)

    def read_uv(self):
        return levels.analogue(self._channel) * 3300000 // 65535


class I2C:
    """A bus with nothing on it: scan finds nothing, no address acknowledges."""

    def __init__(self, id=0, *, scl=None, sda=None, freq=400000, timeout=50000):
        pass

    def scan(self):
        return []

    def _no_answer(self, *args, **options):
        raise OSError(5 if _facts["family"] == "rp2" else 19)  # EIO, ENODEV as the ports say it

    readfrom = readfrom_into = writeto = writevto = _no_answer
    readfrom_mem = readfrom_mem_into = writeto_mem = _no_answer


SoftI2C = I2C


class RTC:
    """Starts anew with every start of the VM, since boards have no battery. Sets what time.time() says."""

    def __init__(self, id=0):
        pass

    def datetime(self, new=None):
        """(year, month, day, weekday, hours, minutes, seconds, subseconds)"""
        if new is None:
            y, mo, d, h, mi, s, wd, _ = time.gmtime()
            return (y, mo, d, wd, h, mi, s, 0)
        y, mo, d, _, h, mi, s = new[:7]
        time.set(time.mktime((y, mo, d, h, mi, s, 0, 0)))


class WDT:
    """The supervisor counts: without a feed in time it kills the process, and there is no way to stop it."""

    def __init__(self, id=0, timeout=5000):
        longest = _facts["wdt_max"]
        if id != 0:
            raise ValueError("WDT(%d) doesn't exist" % id)
        if timeout > longest:
            raise ValueError("timeout exceeds %d" % longest)
        if timeout < _facts["wdt_min"]:
            raise ValueError("WDT timeout too short")
        control.say(b"W %d\n" % timeout)

    def feed(self):
        control.say(control.FEED)
