"""An RS-485 line in byte time: paced to its baud rate, half duplex, with seeded faults.

`Bus` is the line itself, pure, on any clock; `Relay` runs it in a process of its own between two ptys, one
for the master and one for the devices.

    with Relay(Line(9600), responder=Responder(units=(1,))) as relay:
        ...  # a master on relay.master, perhaps a server on relay.devices
        print(relay.stats())
"""

from gasan.hil.rs485.bus import MASTER, OUTSIDE, RESPONDER, STRANGER, Bus, Delivery, Totals
from gasan.hil.rs485.faults import Fault, FaultPlan, Injection, Kind
from gasan.hil.rs485.line import Line
from gasan.hil.rs485.relay import Relay, RelayError, Stats
from gasan.hil.rs485.responder import Responder, Served

__all__ = [
    "MASTER",
    "OUTSIDE",
    "RESPONDER",
    "STRANGER",
    "Bus",
    "Delivery",
    "Fault",
    "FaultPlan",
    "Injection",
    "Kind",
    "Line",
    "Relay",
    "RelayError",
    "Responder",
    "Served",
    "Stats",
    "Totals",
]
