"""Starts what a config's buses need, and loads no other kind. Dropped from memory afterwards."""

import os

from gasan.node import log
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from gasan.node.app import Node

# Types of bus.
_RTU = const(0)
_TCP = const(1)
_BLE = const(2)
_GATT = const(5)  # format of a BLE device that is connected to
_RTU_TCP = const(3)
_BLE_OPEN = const(4)  # gasan.node.ble_open


def add(node: "Node", buses: list) -> None:
    """Make a source of each bus; ``buses`` is emptied. One that cannot be had is reported and left out."""
    try:
        if not any([_pairs(device) for bus in buses if bus[0] in (_BLE, _BLE_OPEN) for device in bus[3]]):
            os.remove("/secret/bonds")  # gasan.node.ble_bonds, whose keys go with their sensors
    except (OSError, IndexError, TypeError):
        pass  # nobody was paired with, or the bus is one that is left out
    while buses:
        bus = buses.pop(0)
        try:
            if bus[0] == _RTU:
                from gasan.node.modbus_rtu import Source
            elif bus[0] == _TCP:
                from gasan.node.modbus_tcp import Source  # type: ignore[assignment]
            elif bus[0] == _BLE:
                if any([device[2] == _GATT for device in bus[3]]):
                    from gasan.node.ble_central import Source  # type: ignore[assignment]
                else:
                    from gasan.node.ble import Source  # type: ignore[assignment]
            elif bus[0] == _RTU_TCP:
                from gasan.node.modbus_rtu_tcp import Source  # type: ignore[assignment]
            else:
                from gasan.node.ble_open import Source  # type: ignore[assignment]  # or a ValueError
            source = Source(bus, node.sampler, node.clock)
        except Exception as e:  # whatever it is, the other buses must run
            log.error("%s is left out: %s" % (bus[1], log.trace(e)))
            continue
        source.keep = (bus[1], node.batcher.quietly)  # type: ignore[attr-defined]
        node.sources.append((bus[1], source))
        if source.lock:
            node.batcher.locks.append(source.lock)


def _pairs(device: list) -> bool:
    return device[2] == _GATT and bool(device[6][1])
