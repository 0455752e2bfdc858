"""A busy hall on the emulated RP2040: the BLE observer beside a Modbus line that is always asked.

The chip has no radio. A timer plays it: its interrupt hands the observer what a port's would. What a radio's
own code costs is not in these figures.
"""

import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from gasan.hil import on_rp2040

pytestmark = pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing())

_PROGRAM = Path(__file__).parents[2] / "firmware" / "tests" / "rp2040" / "hall.py"
_RATE = 300  # adverts a second, of 500 addresses
_SETTLED_MS = 6_000  # after a quarter of that every sensor was heard
_SHARE = 15  # every 15th is a new measurement of one of 20 sensors


def in_the_hall(folder: Path, rate: int, baudrate: int, ms: int, seed: int) -> dict[str, Any]:
    folder.mkdir()
    items = [[i, 3, i, 1, 0, 10] for i in range(10)]
    devices = [[f"unit-{unit}", unit, 200, 0, 125, items] for unit in range(1, 5)]
    bus = [0, "line", {1: 1, 2: baudrate, 3: 0, 5: 2}, devices]
    job = {"bus": bus, "rate": rate, "share": _SHARE, "ms": ms, "seed": seed}
    done = on_rp2040.run(
        _PROGRAM,
        folder,
        files={"/job": json.dumps(job).encode()},
        ms=ms + 20_000,
        prepare=lambda emulator: emulator.ask("modbus", uart=1, units=[1, 2, 3, 4], de_pin=2),
    )
    print(rate, baudrate, done.output.strip())
    said: dict[str, Any] = json.loads(done.output)
    return said


@pytest.mark.timeout(7200)
def test_a_busy_hall_costs_the_line_little(tmp_path: Path, soak: bool, seed: int) -> None:
    """Three pairs of some simulated seconds, quiet and busy; with --soak one, busy for half an hour."""
    baudrate, lengths = (9600, (1_800_000,)) if soak else (38400, (6_000, 2_000, 2_000))
    shares = []
    for n, ms in enumerate(lengths):
        chosen = (seed + n) & 0x3FFFFFFF
        quiet = in_the_hall(tmp_path / f"quiet{n}", 0, baudrate, min(ms, 60_000), chosen)
        busy = in_the_hall(tmp_path / f"busy{n}", _RATE, baudrate, ms, chosen)
        rate = [run["line_rows"] / run["ms"] for run in (busy, quiet)]
        shares.append(rate[0] / rate[1])
        print(f"{busy['ticks']} adverts, {busy['told']} measurements; {shares[-1]:.3f} of the polls")
        assert busy["ticks"] >= 0.99 * _RATE * ms / 1000
        assert busy["heard"] == [busy["told"], 0, 0], "heard, dropped, refused"
        assert busy["hall_rows"] >= 0.99 * busy["told"]
        assert not any(busy["line"].values())
        if ms >= _SETTLED_MS:
            assert busy["free"][0] - busy["free"][-1] <= 256, "the heap is flat"
    assert median(shares) >= 0.95
