"""UART: bytes to a terminal and back, counted; nothing on the way allocates. Argument: the terminal."""

import gc
import select
import sys
import time

import micropython
import uart
import vfs
from machine import UART

uart.set_ports(vfs.VfsPosix("/"), {1: sys.argv[1]})
u = UART(1, 115200, parity=0, stop=1, rxbuf=512)
out = bytes(i & 255 for i in range(200))
back = bytearray(200)


def exchange():
    """Send 200 bytes and read them as they come back."""
    u.write(out)
    held = 0
    deadline = time.ticks_add(time.ticks_ms(), 2000)
    while held < 200 and time.ticks_diff(deadline, time.ticks_ms()) > 0:
        n = u.any()
        if n:
            held += u.readinto(piece, n) if n < 200 else u.readinto(back)
        else:
            time.sleep_ms(1)
    return held


piece = bytearray(200)


def measure():
    """(microseconds of an exchange, bytes allocated by twenty of them)"""
    start = time.ticks_us()
    before = micropython.mem_total()
    for _ in range(20):
        if exchange() != 200:
            raise ValueError("bytes are missing")
    allocated = micropython.mem_total() - before
    return time.ticks_diff(time.ticks_us(), start) // 20, allocated


exchange()
gc.collect()
us, allocated = measure()

# The bytes of one answer are counted exactly and kept in order.
u.write(out)
while u.any() < 200:
    time.sleep_ms(1)
assert u.any() == 200 and u.readinto(back) == 200 and back == out
assert u.any() == 0 and u.readinto(back) is None and u.read() is None

# Polling the descriptor, after which bytes stay in the terminal.
p = select.poll()
p.register(u, select.POLLIN)
assert not p.poll(20)
u.write(b"abc")
assert p.poll(1000) and u.any() >= 1
time.sleep_ms(20)
assert u.read() == b"abc"

# A read with a timeout.
v = UART(1, 115200, timeout=50)
t = time.ticks_ms()
assert v.read(1) is None and 45 <= time.ticks_diff(time.ticks_ms(), t) < 150
v.write(b"late")
assert v.read(1) == b"l"
print(us, allocated)
