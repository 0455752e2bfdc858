"""Find the units behind a Modbus TCP address by reads alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gasan.host.modbus.frames import absent_behind_gateway
from gasan.host.modbus.ports import Asker
from gasan.host.modbus.scan import PROBE, Device, identify

__all__ = ["TCP_UNITS", "TcpReport", "scan_tcp"]

# 255 is what a device without units of its own is called by (TCP/IP Implementation Guide V1.0b, 4.4.1.2).
TCP_UNITS = (1, 255, *range(2, 248))
_SAMPLE = (1, 255, 2, 100, 247)


@dataclass
class TcpReport:
    """What has been found so far. any_unit: the device answers to whatever number it is called by."""

    devices: list[Device] = field(default_factory=list)
    any_unit: bool = False
    absent: int = 0  # units of which a gateway says that it has none
    requests: int = 0
    complete: bool = False


def scan_tcp(
    line: Asker,
    units: Sequence[int],
    report: TcpReport,
    *,
    timeout_s: float,
    watch: Callable[[int, int], None] = lambda _done, _unit: None,
) -> None:
    """Ask every unit, and fill `report` on the way; interrupt it by any exception.

    watch: called with the number of units that are done and the unit that is asked now.
    """
    sample = [unit for unit in _SAMPLE if unit in units]
    order = [*sample, *(unit for unit in units if unit not in sample)]
    for done, unit in enumerate(order):
        watch(done, unit)
        reply = line.ask(unit, PROBE, timeout_s)
        report.requests += 1
        if absent_behind_gateway(reply):
            report.absent += 1
        elif reply.there:
            report.devices.append(Device(unit, reply.code, reply.seconds))
        if done + 1 == len(_SAMPLE) == len(sample) == len(report.devices):
            report.any_unit = True
            del report.devices[1:]
            break
    for index, device in enumerate(report.devices):
        identity = identify(line, device.unit, timeout_s)
        report.devices[index] = Device(device.unit, device.code, device.seconds, identity)
    report.complete = True
