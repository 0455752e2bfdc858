# Runs on the emulated RP2040: sends back on UART 1 what comes there, at the speeds of /bauds, 600 bytes each.

import json
from time import sleep_ms, ticks_diff, ticks_ms

from machine import UART

with open("/bauds") as f:
    bauds = json.load(f)
for baud in bauds:
    uart = UART(1, baudrate=baud, timeout=0, rxbuf=1024, txbuf=1024)
    print("ready %d" % baud)
    got = 0
    last = ticks_ms()
    while got < 600 and ticks_diff(ticks_ms(), last) < 3000:
        n = uart.any()
        if n:
            data = uart.read(n)
            uart.write(data)
            got += len(data)
            last = ticks_ms()
        else:
            sleep_ms(1)
    while not uart.txdone():
        sleep_ms(1)
    uart.deinit()
    print("got %d" % got)
