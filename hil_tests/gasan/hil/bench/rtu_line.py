"""How much of an RS-485 line the node uses: the least time its reads can take by the time they took.

The node's own RTU source runs on the 64-bit VM and reads ten registers of one prompt device as fast as it
can. The device sits in the relay, a process of its own, which paces every byte and clocks both times: the
least one is the bytes of request and answer and 3.5 characters of silence after each.
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from gasan.hil.bench.row import Row
from gasan.hil.polling import block, poll_rtu
from gasan.hil.rs485 import Line, Relay, Responder, Stats

__all__ = ["rows"]

_BARS = {9600: 0.90, 19200: 0.90, 38400: 0.90, 115200: 0.85}
_WINDOWS = 6
_WINDOW_S = 0.75
_WARM_S = 0.5


def _measure(baudrate: int) -> tuple[list[float], Stats]:
    """Line use in each window, and the relay's figures for the whole run."""
    line = Line(baudrate)
    device = ["device", 1, 500, 0, 125, block(0, 3, 0, 10, 1)]
    with Relay(line, responder=Responder()) as relay, ThreadPoolExecutor(1) as pool:
        run_ms = round(1000 * (_WARM_S + _WINDOWS * _WINDOW_S + 0.5))
        node = pool.submit(poll_rtu, relay.master, line, [device], run_ms, keep=False)
        while relay.stats().totals.cycles < 3 and not node.done():
            time.sleep(0.05)
        time.sleep(_WARM_S)
        uses = []
        before = relay.stats().totals
        for _ in range(_WINDOWS):
            time.sleep(_WINDOW_S)
            after = relay.stats().totals
            cycle_ns = after.cycle_ns - before.cycle_ns
            uses.append((after.least_ns - before.least_ns) / cycle_ns if cycle_ns else 0.0)
            before = after
        stats = relay.stats()
        node.result()
    return uses, stats


def rows() -> list[Row]:
    """One row per baud rate."""
    out = []
    for baudrate, bar in _BARS.items():
        uses, stats = _measure(baudrate)
        use = statistics.median(uses)
        line = Line(baudrate)
        out.append(
            Row(
                name=f"Modbus RTU line use at {baudrate} baud",
                figure=round(use, 3),
                unit="of the line",
                bar=f">= {bar:.2f}",
                peer=f"1.00: {line.least_ns(8, 25) / 1e6:.2f} ms per read",
                met=use >= bar,
                note=(
                    f"median of {len(uses)} windows of {_WINDOW_S} s, {min(uses):.3f}..{max(uses):.3f}; "
                    f"relay late {stats.late_mean_us:.0f} us in the mean, {stats.late_p99_us:.0f} p99, "
                    f"{stats.late_max_us:.0f} at most"
                ),
            )
        )
    return out
