"""How much of its time a Modbus RTU line is busy: an estimate from the requests that a node will make."""

from dataclasses import dataclass

from gasan.host.profiles import ModbusPlace
from gasan.host.site import ModbusDevice, RtuBus

__all__ = ["Block", "blocks", "occupation"]

_REQUEST_BYTES = 8  # unit, function, address, count, CRC
_ANSWER_BYTES = 5  # unit, function, byte count, CRC
_TURNAROUND_MS = 5.0  # a prompt device's time to answer
_FIXED_GAP_BAUDRATE = (
    19_200  # above it the pause between frames is fixed (Modbus over serial line V1.02, 2.5.1.1)
)
_FIXED_GAP_MS = 1.75


@dataclass(frozen=True)
class Block:
    """Neighbouring registers that one request reads."""

    function: int
    first: int
    count: int
    period_ms: int


def blocks(device: ModbusDevice) -> list[Block]:
    """The requests that a device's channels need: equal function and period, registers without holes."""
    wanted = []
    for channel in device.channels:
        place = channel.profile.place
        assert isinstance(place, ModbusPlace)  # a Modbus device has only such channels
        wanted.append((place.function, channel.period_ms, place.address, channel.profile.words))
    found: list[Block] = []
    for function, period_ms, address, words in sorted(wanted):
        if found:
            last = found[-1]
            end = max(last.first + last.count, address + words)
            if (
                (last.function, last.period_ms) == (function, period_ms)
                and address <= last.first + last.count
                and end - last.first <= device.max_registers
            ):
                found[-1] = Block(function, last.first, end - last.first, period_ms)
                continue
        found.append(Block(function, address, words, period_ms))
    return found


def occupation(bus: RtuBus) -> float:
    """Share of its time that a line of prompt devices is busy; above 1 it cannot keep its periods."""
    character_ms = bus.bits_per_character * 1000 / bus.baudrate
    gap_ms = _FIXED_GAP_MS if bus.baudrate > _FIXED_GAP_BAUDRATE else 3.5 * character_ms
    share = 0.0
    for device in bus.devices:
        for block in blocks(device):
            size = _REQUEST_BYTES + _ANSWER_BYTES + 2 * block.count
            busy_ms = size * character_ms + gap_ms + max(_TURNAROUND_MS, gap_ms) + device.gap_ms
            share += busy_ms / max(1, block.period_ms)
    return share
