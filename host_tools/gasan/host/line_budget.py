"""How much of its time a Modbus RTU line is busy, from the requests that a node will make.

A request costs its bytes and those of the answer, 3.5 characters of silence before each (MODBUS over Serial
Line V1.02, 2.5.1.1; the device's turnaround when that is longer), the time that DE is given and a moment of
the node. The gap that a device wants between two requests is its own time: others may be asked meanwhile.
A dead device costs timeouts: it is asked again after growing pauses; the last leave it 4 % of the line.
"""

import itertools
from dataclasses import dataclass, replace

from gasan.host.profiles import ModbusPlace
from gasan.host.site import ModbusDevice, RtuBus, SiteChannel
from gasan.host.site_tables import BAUDRATES
from gasan.wire.modbus_plan import NODE_US, TURNAROUND_US, cut, rtu_costs

__all__ = ["BUSY", "Budget", "Load", "Request", "budget", "requests"]

BUSY = 0.8
"""Share of a line's time above which a single retry makes others late."""

_REQUEST_BYTES = 8  # unit, function, address, count, CRC
_ANSWER_BYTES = 5  # unit, function, byte count, CRC
_BITS, _MOST_BITS = 2, 2000  # functions up to it read bits; most of them in a request (gasan.node.plan)
_FIXED_GAP_BAUDRATE = 19_200  # above it the pause between frames is fixed
_FIXED_GAP_MS = 1.75
_DEAD_SHARE = 0.04  # one timeout in 25, as gasan.node.poll pauses
_LEFT_OUT_MAX = 8  # channels that a mend names
_STEPS = (1, 2, 3, 5, 10, 15, 20, 30)
_PERIODS_MS = (
    *(20, 50, 100, 200, 300, 500),
    *(1000 * step for step in _STEPS),
    *(60_000 * step for step in _STEPS),
)


@dataclass(frozen=True)
class Request:
    """A read of registers (or bits), and the channels that are cut out of its answer."""

    function: int
    first: int
    count: int
    period_ms: int
    channels: tuple[SiteChannel, ...]


@dataclass(frozen=True)
class Load:
    """What a device takes of its line: shares of the line's time while it answers and when it is dead.

    cost_ms: line time of each request. probe_ms: line time of a request that is not answered.
    """

    device: ModbusDevice
    requests: tuple[Request, ...]
    cost_ms: tuple[float, ...]
    probe_ms: float

    @property
    def share(self) -> float:
        return sum(
            cost / request.period_ms for request, cost in zip(self.requests, self.cost_ms, strict=True)
        )

    @property
    def own_share(self) -> float:
        """Of the device's time, its gaps included."""
        return sum(
            (cost + self.device.gap_ms) / request.period_ms
            for request, cost in zip(self.requests, self.cost_ms, strict=True)
        )

    @property
    def dead_share(self) -> float:
        return min(_DEAD_SHARE, sum(self.probe_ms / request.period_ms for request in self.requests))


@dataclass(frozen=True)
class Budget:
    """The occupation of a line. Shares are of its time; above 1 it cannot keep its periods.

    gap_ms: 3.5 characters of silence.
    """

    bus: RtuBus
    gap_ms: float
    loads: tuple[Load, ...]

    @property
    def share(self) -> float:
        return sum(load.share for load in self.loads)

    @property
    def one_dead(self) -> tuple[float, Load] | None:
        """The share at its worst with one device dead, and that device."""
        if not self.loads:
            return None
        worst = max(self.loads, key=lambda load: load.dead_share - load.share)
        return self.share - worst.share + worst.dead_share, worst

    def faster(self) -> int | None:
        """The lowest usual baud rate at which the line would have time to spare."""
        for rate in BAUDRATES:
            if rate > self.bus.baudrate and budget(replace(self.bus, baudrate=rate)).share <= BUSY:
                return rate
        return None

    def slower(self) -> tuple[Load, int] | None:
        """The device that takes most, and the period (ms) of it that leaves the line time to spare."""
        load = self._heaviest
        for period_ms in _PERIODS_MS:
            slow = tuple(
                replace(one, period_ms=max(one.period_ms, period_ms)) for one in load.device.channels
            )
            if self._with(load, slow) <= BUSY:
                return load, period_ms
        return None

    def fewer(self) -> tuple[Load, tuple[str, ...]] | None:
        """The device that takes most, and the channels of its costliest requests without which the line has
        time to spare.
        """
        load = self._heaviest
        by_cost = sorted(
            zip(load.cost_ms, load.requests, strict=True), key=lambda one: -one[0] / one[1].period_ms
        )
        out: list[SiteChannel] = []
        for _cost, request in by_cost:
            out += request.channels
            left = tuple(channel for channel in load.device.channels if channel not in out)
            if not left or len(out) > _LEFT_OUT_MAX:
                return None
            if self._with(load, left) <= BUSY:
                return load, tuple(channel.profile.name for channel in out)
        return None

    @property
    def _heaviest(self) -> Load:
        return max(self.loads, key=lambda load: load.share)

    def _with(self, load: Load, channels: tuple[SiteChannel, ...]) -> float:
        """The share when a device has these channels."""
        devices = tuple(
            replace(device, channels=channels) if device is load.device else device
            for device in self.bus.devices
        )
        return budget(replace(self.bus, devices=devices)).share


def requests(device: ModbusDevice, costs: tuple[int, int]) -> tuple[Request, ...]:
    """The requests that a device's channels need: equal function and period, least time of the line.

    costs: microseconds of a request and of each register in it, as the node reckons them (gasan.node.plan).
    """
    found: list[Request] = []
    for (function, period_ms), family in itertools.groupby(
        sorted(device.channels, key=_by_place), key=lambda channel: _by_place(channel)[:2]
    ):
        channels = tuple(family)
        starts = [_place(channel).address for channel in channels]
        ends = [start + channel.profile.words for start, channel in zip(starts, channels, strict=True)]
        most = device.max_registers if function > _BITS else min(16 * device.max_registers, _MOST_BITS)
        first = 0
        for end in cut(starts, ends, most, costs, device.max_hole):
            count = max(ends[first:end]) - starts[first]
            found.append(Request(function, starts[first], count, period_ms, channels[first:end]))
            first = end
    return tuple(found)


def budget(bus: RtuBus, turnaround_ms: float = TURNAROUND_US / 1000) -> Budget:
    """The occupation of a line whose devices answer after `turnaround_ms`. The plan is the node's, which
    reckons with a prompt device.
    """
    character_ms = bus.bits_per_character * 1000 / bus.baudrate
    gap_ms = _FIXED_GAP_MS if bus.baudrate > _FIXED_GAP_BAUDRATE else 3.5 * character_ms
    de_ms = 0 if bus.de_re_pin is None else bus.de_delay_us / 1000
    alone = len({device.unit for device in bus.devices}) == 1
    # As the node reckons: whole microseconds, and a device that is prompt.
    char_us = -(-bus.bits_per_character * 1_000_000 // bus.baudrate)
    head_us, register_us = rtu_costs(
        char_us, round(1000 * gap_ms) if bus.baudrate > _FIXED_GAP_BAUDRATE else char_us * 7 // 2
    )

    def load(device: ModbusDevice) -> Load:
        # A gap is line time when nobody else is there to be asked meanwhile.
        planned = requests(device, (head_us + 1000 * device.gap_ms * alone, register_us))
        silence = gap_ms + max(gap_ms, turnaround_ms) + NODE_US / 1000 + de_ms
        costs = [
            (_REQUEST_BYTES + _ANSWER_BYTES + _data_bytes(request)) * character_ms + silence
            for request in planned
        ]
        probe_ms = _REQUEST_BYTES * character_ms + gap_ms + de_ms + device.timeout_ms
        return Load(device, planned, tuple(costs), probe_ms)

    return Budget(bus, gap_ms, tuple(load(device) for device in bus.devices))


def _data_bytes(request: Request) -> int:
    return 2 * request.count if request.function > _BITS else (request.count + 7) // 8


def _place(channel: SiteChannel) -> ModbusPlace:
    place = channel.profile.place
    assert isinstance(place, ModbusPlace)  # a Modbus device has only such channels
    return place


def _by_place(channel: SiteChannel) -> tuple[int, int, int]:
    place = _place(channel)
    return place.function, channel.period_ms, place.address
