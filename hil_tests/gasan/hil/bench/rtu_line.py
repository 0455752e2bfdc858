"""How much of an RS-485 line the node uses: the least time its reads can take by the time they took.

The node's own RTU source runs on the 64-bit VM and reads ten registers of one prompt device as fast as it
can. The device sits in the relay, a process of its own, which paces every byte and clocks both times: the
least one is the bytes of request and answer and 3.5 characters of silence after each.

Each round is a relay and a node of its own, and the baud rates take turns, so that a busy minute of the
machine does not fall on one of them. Node and relay go before other processes where that is allowed (as root
on Linux): a process that spins is else made to wait for others, and its own relay for it, by milliseconds.
What the relay was late is in the time that reads took, and told beside it.
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gasan.hil.bench.row import Row
from gasan.hil.polling import block, poll_rtu
from gasan.hil.rs485 import Line, Relay, Responder
from gasan.hil.rs485.relay import ahead

__all__ = ["rows"]

_BARS = {9600: 0.95, 19200: 0.95, 38400: 0.95, 115200: 0.90}
_ROUNDS = 5
_WINDOW_S = 1.0
_WARM_S = 0.3


@dataclass(frozen=True)
class _Round:
    """Line use, and what share of the time the relay was late."""

    use: float
    late: float
    late_max_us: float


def _measure(baudrate: int) -> _Round:
    line = Line(baudrate)
    device = ["device", 1, 500, 0, 125, block(0, 3, 0, 10, 1)]
    with (
        Relay(line, responder=Responder()) as relay,
        ThreadPoolExecutor(1, initializer=ahead, initargs=(2,)) as pool,
    ):
        run_ms = round(1000 * (_WARM_S + _WINDOW_S + 0.5))
        node = pool.submit(poll_rtu, relay.master, line, [device], run_ms, keep=False)
        while relay.stats().totals.cycles < 3 and not node.done():
            time.sleep(0.05)
        time.sleep(_WARM_S)
        before = relay.stats().totals
        time.sleep(_WINDOW_S)
        stats = relay.stats()
        node.result()
    cycles = stats.totals.cycles - before.cycles
    cycle_ns = stats.totals.cycle_ns - before.cycle_ns
    if not cycles:
        return _Round(0.0, 0.0, stats.late_max_us)
    least_ns = stats.totals.least_ns - before.least_ns
    return _Round(least_ns / cycle_ns, 1000 * stats.late_mean_us * cycles / cycle_ns, stats.late_max_us)


def rows() -> list[Row]:
    """One row per baud rate."""
    rounds: dict[int, list[_Round]] = {baudrate: [] for baudrate in _BARS}
    for _ in range(_ROUNDS):
        for baudrate, done in rounds.items():
            done.append(_measure(baudrate))
    return [_row(baudrate, done) for baudrate, done in rounds.items()]


def _row(baudrate: int, rounds: list[_Round]) -> Row:
    uses = [one.use for one in rounds]
    use = statistics.median(uses)
    return Row(
        name=f"Modbus RTU line use at {baudrate} baud",
        figure=round(use, 3),
        unit="of the line",
        bar=f">= {_BARS[baudrate]:.2f}",
        peer=f"1.00: {Line(baudrate).least_ns(8, 25) / 1e6:.2f} ms per read",
        met=use >= _BARS[baudrate],
        note=(
            f"median of {len(uses)} rounds of {_WINDOW_S:g} s, {min(uses):.3f}..{max(uses):.3f}; relay late "
            f"{statistics.median(one.late for one in rounds):.3f} of the time, "
            f"{max(one.late_max_us for one in rounds):.0f} us at most"
        ),
    )
