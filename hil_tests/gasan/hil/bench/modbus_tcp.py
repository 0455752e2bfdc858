"""Modbus TCP reads beside those of `micropython-modbus` (umodbus), on the same VM and against one server.

Transaction against transaction: a request of ten registers, its checked answer, the ten numbers in a list.
By turns, with the VM and the server on one core: what counts is then the work that is done, not where the
kernel wakes two processes that wait for one another. No client can be faster than a bare write and read.

What the library allocates costs it the more, the larger the heap is, for the collector comes round to
memory that is in no cache any more: a bare write and read is 1.4 times as fast as the library with a small
board's heap, 2.2 times with the VM's own, and 4.9 times with 8 MB, as an ESP32-S3 with PSRAM has. The bar of
twice the library, where three times had been seen, is of the large one: elsewhere no client could see that.

The library is kept in the cache and is no part of the project. Pip will not take its source package, which
has no setup.py, but says where it is.
"""

import contextlib
import hashlib
import io
import os
import re
import statistics
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from gasan.boards.places import CACHE
from gasan.hil import vmrun
from gasan.hil.bench.row import Row
from gasan.hil.polling import block, poll_tcp
from gasan.hil.tcp.server import PromptServer

__all__ = ["rows"]

_FOLDER = CACHE / "peers" / "umodbus"
_PACKAGE = "micropython-modbus==2.3.7"
_SHA256 = "b9351a66af0ff29dd585900e53827a989dedcb02ec63b1041358165089652271"
_ROUNDS = 9
# Heaps, and how many requests the library needs to fill them twice; its ids must not wrap.
_BOARD_HEAP = "96wk"
_VM_HEAP = "2m"  # of a 64-bit VM that is not told otherwise
_LARGE_HEAP = "8m"
_REQUESTS = {_BOARD_HEAP: 5200, _VM_HEAP: 5200, "4m": 10400, _LARGE_HEAP: 20800}

# Each defines read(), which is timed; argv: n, port, and the library's folder.
_PEER = """\
import sys
sys.path.append(sys.argv[3])
from umodbus.tcp import TCP
client = TCP("127.0.0.1", int(sys.argv[2]))
def read(n):
    for _ in range(n):
        values = client.read_holding_registers(1, 0, 10)
"""
_NODE = """\
import sys
from gasan.node.modbus_tcp import Source
from gasan.node.sampler import Sampler
sampler = Sampler(1000, 1000, 10, 1000)
items = [[i, 3, i, 1, 0, 1] for i in range(10)]
source = Source([1, "", {1: "127.0.0.1", 2: int(sys.argv[2])}, [["", 1, 500, 0, 125, items]]], sampler, None)
block = source._blocks[0]
"""
_OURS = (
    _NODE
    + """\
def read(n):
    answer = source._read
    values = [0] * 10
    for _ in range(n):
        source._begin(block)
        while source._step() >= 0:
            pass
        source._end()
        if answer.quality:
            raise OSError(answer.quality)
        buf = answer.buf
        at = answer.data
        for i in range(10):
            values[i] = buf[at] << 8 | buf[at + 1]
            at += 2
"""
)
_WHOLE = (
    _NODE
    + """\
def read(n):
    for _ in range(n):
        source._begin(block)
        while source._step() >= 0:
            pass
        source._end()
        source._settle(block)
        block.group.clear()
    if any(source.counters.values()):
        raise OSError(source.counters)
"""
)
_BARE = """\
import socket, sys
client = socket.socket()
client.connect(socket.getaddrinfo("127.0.0.1", int(sys.argv[2]))[0][-1])
request = b"\\0\\1\\0\\0\\0\\6\\1\\3\\0\\0\\0\\n"
buf = bytearray(260)
def read(n):
    for _ in range(n):
        client.write(request)
        client.readinto(buf, 29)
"""
_TIMED = """
import gc
from time import ticks_diff, ticks_us
read(50)
gc.collect()
gc.disable()
before = gc.mem_alloc()
read(100)
allocated = (gc.mem_alloc() - before) / 100
gc.enable()
n = int(sys.argv[1])
start = ticks_us()
read(n)
print(n * 1000000 / ticks_diff(ticks_us(), start), allocated)
"""
_PROGRAMS = {"ours": _OURS, "whole": _WHOLE, "bare": _BARE, "peer": _PEER}


def rows() -> list[Row]:
    """Requests a second and bytes a request; without the library ours alone."""
    names = [name for name in _PROGRAMS if name != "peer" or _fetched()]
    rates: dict[tuple[str, str], list[float]] = {}
    allocated: dict[str, float] = {}
    with _one_core(), PromptServer() as server:
        for _ in range(_ROUNDS):
            for heap, requests in _REQUESTS.items():
                for name in names:
                    args = (requests, server.port, _FOLDER)
                    rate, bytes_ = map(float, vmrun.run(_PROGRAMS[name] + _TIMED, *args, heap=heap).split())
                    rates.setdefault((name, heap), []).append(rate)
                    allocated[name] = bytes_
        device = ["device", 1, 500, 0, 125, block(0, 3, 0, 10, 1)]
        polled = poll_tcp("127.0.0.1", server.port, [device], 500, keep=False, garbage=True, heap="8m")
    out = []
    for name, what in (("ours", "ten registers"), ("whole", "with sampling, ten columns")):
        for heap in _REQUESTS:
            barred = (name, heap) == ("ours", _LARGE_HEAP)
            mine = rates[name, heap]
            bare = f"bare write and read {statistics.median(rates['bare', heap]):,.0f}"
            ratios = [a / b for a, b in zip(mine, rates.get(("peer", heap), ()), strict=False)]
            ratio = statistics.median(ratios) if ratios else None
            most = [a / b for a, b in zip(rates["bare", heap], rates.get(("peer", heap), ()), strict=False)]
            peer = statistics.median(rates["peer", heap]) if ratios else 0
            spread = f"{min(ratios):.2f}..{max(ratios):.2f}" if ratios else ""
            out.append(
                Row(
                    f"Modbus TCP, {what}, heap {heap}",
                    round(statistics.median(mine)),
                    "requests/s",
                    ">= 2.0 times the peer" if barred else "",
                    f"umodbus {peer:,.0f}; {bare}" if ratios else f"umodbus could not be fetched; {bare}",
                    None if ratio is None or not barred else ratio >= 2,
                    f"ratio {ratio:.2f}, median of {_ROUNDS} pairs by turns, {spread}; of the bare one "
                    f"{statistics.median(most):.2f}"
                    if ratio
                    else "",
                )
            )
    theirs = f"umodbus {allocated['peer']:.0f}" if "peer" in allocated else ""
    garbage = max(polled.garbage, allocated["ours"], allocated["whole"])
    note = "64-bit VM, what stays on the heap with the collector off: transaction, with sampling, polling"
    return [
        *out,
        Row(
            "Modbus TCP, allocated per request", round(garbage), "bytes", "<= 80", theirs, garbage <= 80, note
        ),
    ]


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """This process, and all that it starts meanwhile, on one of its cores, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _fetched() -> bool:
    """Whether the library is in the cache, after fetching it."""
    if (_FOLDER / "umodbus" / "tcp.py").exists():
        return True
    _FOLDER.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(_FOLDER), _PACKAGE]
    told = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=60)
    link = re.search(r"(https://\S+\.tar\.gz)#", told.stdout + told.stderr)
    if link is None:
        return False
    try:
        with urllib.request.urlopen(link[1], timeout=60) as answer:
            data = answer.read()
    except OSError:
        return False
    if hashlib.sha256(data).hexdigest() != _SHA256:
        return False
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive.getmembers():
            name = Path(member.name)
            if member.isfile() and name.suffix == ".py" and name.parent.name == "umodbus":
                (_FOLDER / "umodbus").mkdir(exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None
                (_FOLDER / "umodbus" / name.name).write_bytes(content.read())
    return (_FOLDER / "umodbus" / "tcp.py").exists()
