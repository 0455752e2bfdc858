"""UART: the time that sending takes, what does not fit, a line with nothing on it. Argument: the terminal."""

import sys
import time

import uart
import vfs
from machine import UART

uart.set_ports(vfs.VfsPosix("/"), {1: sys.argv[1], 2: "/no/such/terminal"})

# 100 characters of 11 bits at 9600 baud take 114.6 ms, although the bytes have left.
u = UART(1, 9600, parity=0, stop=1)
t = time.ticks_us()
assert u.write(bytes(100)) == 100 and not u.txdone()
u.flush()
us = time.ticks_diff(time.ticks_us(), t)
assert u.txdone() and 114000 < us < 160000, us

# What the ring cannot take is lost and counted.
time.sleep_ms(100)
u.read()
u = UART(1, 115200, rxbuf=64)
u.write(b"x" * 100)
time.sleep_ms(100)
assert u.any() == 64 and u.overruns == 36, u.overruns and len(u.read()) == 64

# Nothing there: silence, and writing goes on.
for nothing in (UART(0), UART(2)):
    assert nothing.write(b"abc") == 3 and nothing.any() == 0 and nothing.read(1) is None

for wrong in ((1, 0), (1, 9600, 5), (9,)):
    try:
        UART(*wrong)
        raise AssertionError(wrong)
    except ValueError:
        pass
print("end")
