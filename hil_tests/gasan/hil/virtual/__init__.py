"""The node's own Modbus masters on CPython, in virtual byte time: hours of a line pass in minutes.

`RtuRun` puts the shipped ``gasan.node.modbus_rtu`` on a simulated `Bus`, `TcpRun` the shipped
``gasan.node.modbus_tcp`` on a simulated `Stream`; `Judge` holds every value that they store against what was
asked and served. Nothing waits: a sleep moves the clock.
"""

from gasan.hil.virtual.judge import Judge, Verdicts
from gasan.hil.virtual.rtu import RtuRun
from gasan.hil.virtual.tcp import TcpRun

__all__ = ["Judge", "RtuRun", "TcpRun", "Verdicts"]
