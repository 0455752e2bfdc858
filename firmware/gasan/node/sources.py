"""Starts what a config's buses need, and loads no other kind. Dropped from memory afterwards."""

from gasan.node import log
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.app import Node

# Types of bus.
_RTU = const(0)
_TCP = const(1)
_BLE = const(2)


def add(node: "Node", buses: list) -> None:
    """Make a source of each bus; ``buses`` is emptied. One that cannot be had is reported and left out."""
    while buses:
        bus = buses.pop(0)
        try:
            if bus[0] == _RTU:
                from gasan.node.modbus_rtu import Source
            elif bus[0] == _TCP:
                from gasan.node.modbus_tcp import Source  # type: ignore[assignment]
            elif bus[0] == _BLE:
                from gasan.node.ble import Source  # type: ignore[assignment]
            else:
                raise ValueError("unknown type of bus %s" % bus[0])
            source = Source(bus, node.sampler, node.clock)
        except Exception as e:  # whatever it is, the other buses must run
            log.error("%s is left out: %s" % (bus[1], log.trace(e)))
            continue
        node.sources.append((bus[1], source))
        if source.lock:
            node.batcher.locks.append(source.lock)
