"""The shipped RTU master on a simulated RS-485 line, in virtual byte time."""

import importlib
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from gasan.hil.rs485.bus import MASTER, Bus
from gasan.hil.rs485.faults import Fault, FaultPlan
from gasan.hil.rs485.line import Line
from gasan.hil.rs485.responder import Responder
from gasan.hil.virtual.judge import Judge, places_of
from gasan.hil.virtual.shims import Clock, drive, shipped

__all__ = ["RtuRun"]

_PARITY = {"none": 0, "even": 1, "odd": 2}
_READ_NS = 8_000


class _Uart:
    """machine.UART on the bus."""

    def __init__(self, run: "RtuRun", rxbuf: int) -> None:
        self._run = run
        self._rx = bytearray()
        self._room = rxbuf
        self._sent_at = 0
        self.overruns = 0

    def came(self, byte: int) -> None:
        if len(self._rx) < self._room:
            self._rx.append(byte)
        else:
            self.overruns += 1

    def any(self) -> int:
        self._run.clock.look()
        self._run.pass_time()
        return len(self._rx)

    def readinto(self, buf: bytearray, size: int) -> int:
        self._run.clock.move(_READ_NS)
        size = min(size, len(self._rx), len(buf))
        buf[:size] = self._rx[:size]
        del self._rx[:size]
        return size

    def write(self, data: bytes) -> int:
        run = self._run
        run.pass_time()
        now = run.clock.ns
        self._sent_at = now + len(data) * run.bus.line.char_ns
        run.asked(now, bytes(data))
        run.bus.send(MASTER, bytes(data), now)
        return len(data)

    def txdone(self) -> bool:
        return self._run.clock.look() >= self._sent_at


class RtuRun:
    """A run of the master on a line with faults.

    devices: as compiled, [name, unit, timeout_ms, gap_ms, max_registers, [* item]]. params: of the bus,
    beyond its line. start_ns: of the clock, so that ticks wrap during the run. tamper: changes
    gasan.node.poll before it is used, for a test of the test.
    """

    def __init__(
        self,
        line: Line,
        devices: Sequence[Sequence[Any]],
        responder: Responder,
        faults: Iterable[Fault] = (),
        *,
        seed: int = 0,
        params: dict[int, Any] | None = None,
        start_ns: int = 0,
        tamper: Callable[[Any], None] | None = None,
    ) -> None:
        self.clock = Clock(seed, start_ns)
        self.plan = FaultPlan.of(seed, faults)
        self.bus = Bus(line, self.plan, responder)
        self.responder = responder
        self.judge = Judge(places_of(devices), responder.served, lambda: self.clock.ns, self._ns)
        self.source: Any = None
        self.quiet_ns = 0  # when the faults ended
        self.tamper = tamper
        self._devices = devices
        self._params = params or {}
        self._uart: _Uart | None = None
        self.clock.passed = self.pass_time

    def pass_time(self) -> None:
        """Hand over what has come in by now."""
        due = self.bus.next_time()
        if due is not None and due <= self.clock.ns:
            for one in self.bus.run(self.clock.ns):
                if one.station == MASTER and self._uart is not None:
                    self._uart.came(one.byte)

    def asked(self, now: int, frame: bytes) -> None:
        """The master has begun to send."""
        self.judge.asked(now, frame)

    def run(self, requests: int, faulty: int | None = None, ms: float = 1e12) -> "RtuRun":
        """Poll until so many requests were sent, and inject faults into the first ``faulty`` of them only.

        ms: at most for so long.
        """
        last = requests if faulty is None else faulty
        end = self.clock.ns + ms * 1_000_000
        machine = ModuleType("machine")

        def uart(*args: Any, timeout: int = 0, rxbuf: int = 256, **pins: Any) -> _Uart:
            self._uart = _Uart(self, rxbuf)
            return self._uart

        class Pin:
            OUT = 1

            def __init__(self, *args: Any, **options: Any) -> None:
                pass

            def __call__(self, level: int) -> None:
                pass

        machine.__dict__.update(UART=uart, Pin=Pin)
        line = self.bus.line
        params = {1: 1, 2: line.baudrate, 3: _PARITY[line.parity], 4: line.stop, **self._params}
        with shipped(self.clock, {"machine": machine}):
            bus = [0, "line", params, [list(device) for device in self._devices]]
            if self.tamper is not None:
                self.tamper(importlib.import_module("gasan.node.poll"))
            self.source = importlib.import_module("gasan.node.modbus_rtu").Source(bus, self.judge, None)

            def wanted() -> bool:
                done = len(self.judge.requests)
                if done >= last and self.plan.faults and last < requests:
                    self.plan.faults = ()
                    self.quiet_ns = self.clock.ns
                return done < requests and self.clock.ns < end

            drive(self.source.run(), self.clock, wanted)
        return self

    def _ns(self, ms: int) -> int:
        """The time of a stamp of ticks_ms, not long ago."""
        now = self.clock.ns // 1_000_000
        return 1_000_000 * (now - (now - ms) % (1 << 30))
