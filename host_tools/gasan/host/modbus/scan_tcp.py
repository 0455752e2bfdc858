"""Find the units behind a Modbus TCP address by reads alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gasan.host.modbus.frames import Reply, absent_behind_gateway
from gasan.host.modbus.ports import Asker
from gasan.host.modbus.scan import PROBE, Device, identify

__all__ = ["TCP_UNITS", "TcpReport", "scan_tcp"]

# 255 is what a device without units of its own is called by (TCP/IP Implementation Guide V1.0b, 4.4.1.2).
TCP_UNITS = (1, 255, *range(2, 248))
_SAMPLE = (1, 255, 2, 100, 247)
_LATER, _LATEST_S = 1.5, 5.0  # how much longer is waited than a late answer took, and at most


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

    Where answers come late, more time is given, and who was silent before is asked again.

    watch: called with the number of units that are done and the unit that is asked now.
    """
    sample = [unit for unit in _SAMPLE if unit in units]
    order = [*sample, *(unit for unit in units if unit not in sample)]
    silent: dict[int, float] = {}  # and how long was waited for it

    def take(unit: int, reply: Reply) -> None:
        """Make what came of asking `unit` part of the report."""
        if not reply.there or any(one.unit == unit for one in report.devices):
            return
        silent.pop(unit, None)
        if absent_behind_gateway(reply):
            report.absent += 1
        else:
            report.devices.append(Device(unit, reply.code, reply.seconds))

    def ask(done: int, unit: int) -> None:
        nonlocal timeout_s
        watch(done, unit)
        silent[unit] = timeout_s
        reply = line.ask(unit, PROBE, timeout_s)
        report.requests += 1
        take(unit, reply)
        for other, late in reply.late:
            # A gateway asks one after the other: without more time its answers come ever later.
            take(other, late)
            timeout_s = max(timeout_s, min(_LATER * late.seconds, _LATEST_S))

    for done, unit in enumerate(order):
        ask(done, unit)
        if len(sample) == len(_SAMPLE) and len(report.devices) == done + 1 >= len(_SAMPLE):
            report.any_unit = True
            report.devices = report.devices[:1]
            break
    else:
        for unit in [unit for unit, waited in silent.items() if waited < timeout_s]:
            if unit in silent:
                ask(len(order) - 1, unit)
    for index, device in enumerate(report.devices):
        identity = identify(line, device.unit, timeout_s)
        report.devices[index] = Device(device.unit, device.code, device.seconds, identity)
    report.complete = True
