"""The demo's site with its node emulated, as a user runs it: `gasan up` at the pace of the wall clock.

The equipment is the demo's own; what it says that it has served is held against what was stored.
"""

import contextlib
import json
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gasan.hil import on_rp2040
from gasan.hil.served import read_served
from gasan.host.starter import Places, demo_site

pytestmark = pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing())

# (device, channel): unit, address and format of what the equipment has for it; a float is stored as bytes.
_WATCHED = {
    ("main-meter", "voltage"): (1, 0x0000, "4s"),
    ("main-meter", "active_power"): (1, 0x000C, "4s"),
    ("oven", "process_value"): (2, 0x03E8, ">h"),
}


@contextlib.contextmanager
def equipment(folder: Path) -> Iterator[dict[str, Any]]:
    """The demo's equipment; where it listens."""
    command = [sys.executable, "-m", "gasan.hil.demo_equipment", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def line_only(ready: dict[str, Any], file: Path) -> None:
    """Write the demo's site with its node emulated, hence without network and radio."""
    places = Places(ready["rtu_port"], "127.0.0.1", ready["tcp_port"], ready["air"], ready["ble_address"])
    text, rest = demo_site(places, str(file)).split('[[node.bus]]\nname = "lan"')
    assert "[[node]]" not in rest
    file.write_text(
        text.replace('\nboard = "virtual"', '\nboard = "rpi_pico"\nemulated = true'), encoding="utf-8"
    )


def served(path: Path, unit: int, address: int, form: str) -> list[object]:
    """The values of a channel that the equipment has served, in order."""
    values: list[object] = []
    for entry in read_served(path):
        if entry["bus"] == "rtu" and entry["unit"] == unit:
            at = 2 * (address - entry["address"])
            if 0 <= at < 2 * entry["count"]:
                values.append(struct.unpack_from(form, bytes.fromhex(entry["registers"]), at)[0])
    return values


def stored(db: Path, device: str, channel: str) -> tuple[list[object], int]:
    """The good values of a channel in the store, in order, and how many others there are."""
    query = "SELECT raw, quality FROM readings WHERE device = ? AND channel = ? ORDER BY seq, time_ms"
    with contextlib.closing(sqlite3.connect(db)) as connection:
        rows = connection.execute(query, (device, channel)).fetchall()
    values = [raw for raw, quality in rows if quality == "good"]
    return values, len(rows) - len(values)


def is_part(short: list[object], long: list[object]) -> bool:
    """Whether all of ``short`` stand in ``long``, in that order."""
    rest = iter(long)
    return all(value in rest for value in short)


@pytest.mark.timeout(720)
def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path, soak: bool) -> None:
    """Half a minute, ten minutes with --soak."""
    seconds = 600 if soak else 30
    file, db = tmp_path / "site.toml", tmp_path / "db"
    with equipment(tmp_path / "equipment") as ready:
        line_only(ready, file)
        command = [str(Path(sys.executable).with_name("gasan")), "up", "--site", str(file), "--json"]
        command += ["--state", str(tmp_path / "state"), "--db", str(db), "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
        log = Path(ready["served"])
    print(done.stderr[-2000:], done.stdout)
    assert done.returncode == 0
    account = json.loads(done.stdout)
    assert account["readings_lost"] == account["readings_duplicated"] == account["conflicts"] == 0
    start = 12 if soak else 20  # s; longer on a busy machine
    assert account["readings_stored"] > (seconds - start) * 8
    for (device, channel), (unit, address, form) in _WATCHED.items():
        there = served(log, unit, address, form)
        good, bad = stored(db, device, channel)
        print(device, channel, f"served {len(there)}, stored {len(good)} good, {bad} others")
        assert is_part(good, there)
        open_batch = 5
        assert len(there) - open_batch <= len(good) + bad
