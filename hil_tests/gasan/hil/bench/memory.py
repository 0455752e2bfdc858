"""What a node takes: heap of the demo's node on the 32-bit VM, lines it loads, what a commit costs."""

import ast
import subprocess
import tempfile
from pathlib import Path

from gasan.boards.image import firmware_files
from gasan.boards.places import FIRMWARE, STANDINS
from gasan.boards.vm import VmMissing, find_vm
from gasan.hil import vmrun
from gasan.hil.bench.row import Row
from gasan.hil.demo_node import demo_node
from gasan.wire import cbor

HEAP = 98_304
LINES_MAX = 3_000
#: After so long the node's figures of its heap are fresh.
COLLECTED_MS = 8_000
_READINGS = 120
_CONFIG = 1  # kind of a put
_ERASE_MS, _PROGRAM_MS = 45.0, 0.4  # W25Q16JV: a sector of 4 KB, a page of 256 bytes, typical

# Before the modules, what a board has built in; then each module by itself.
_PER_MODULE = """\
import sys, gc
class Hardware: pass
for name in ("UART", "Pin", "WDT", "BLE"): setattr(Hardware, name, Hardware)
Hardware.reset = Hardware.reset_cause = Hardware.unique_id = None
sys.modules["machine"] = sys.modules["bluetooth"] = Hardware
import asyncio, binascii, errno, hashlib, io, micropython, os, select, socket, struct, time
asyncio.Event, asyncio.Lock, asyncio.sleep_ms
sys.path[:] = [sys.argv[1]]
gc.threshold(1024)
import gasan.node, gasan.wire
for name in sys.argv[2:]:
    gc.collect()
    before = gc.mem_alloc()
    __import__(name)
    gc.collect()
    print(name, gc.mem_alloc() - before)
"""

_COMMITS = """\
import io, os, sys, time, vfs, asyncio
sys.path.insert(0, sys.argv[1])
import flash
sys.path.pop(0)
from gasan.node.batcher import Batcher
from gasan.node.clock import Clock
from gasan.node.sampler import Sampler
from gasan.node.spool import Spool
from gasan.wire import frame
store = io.BytesIO(b"\\xff" * 4096 * 64)
device = flash.Flash(store, 4096, 64, 256)
vfs.VfsLfs2.mkfs(device, progsize=256)
vfs.mount(vfs.VfsLfs2(device, progsize=256), "/f")
os.mkdir("/f/spool")
spool = Spool("/f/spool", 131072)
sampler = Sampler(2000, 2048, 10, 16384)
writer = frame.FrameWriter(b"12345678", 0, bytes(32))
batcher = Batcher(writer, spool, sampler, Clock(), b"boot-one", b"revision")
group = sampler.group(list(range(10)), b"\\x01" * 10, 1000)
value = bytearray(2)
spent = 0
device.programs = device.erases = 0
N = 200
for i in range(N):
    for row in range(12):
        sampler.start(group)
        for col in range(10):
            value[1] = (i * 7 + row * col) & 255
            group.put(col, value, 0)
        sampler.finish(group)
    began = time.ticks_us()
    asyncio.run(batcher.flush())
    spent += time.ticks_diff(time.ticks_us(), began)
    spool.ack(b"boot-one", batcher.seq, ())
    spool.sweep()
print(spent / N, device.erases / N, device.programs / N)
"""


def rows() -> list[Row]:
    """Raises VmMissing without a 32-bit VM."""
    modules, lines, out = _run_demo()
    out += _heap_per_module(modules)
    out.append(
        Row(
            "lines of code loaded by the demo's node",
            lines,
            "lines",
            f"<= {LINES_MAX}",
            met=lines <= LINES_MAX,
            note="without blank lines, comments and docstrings; modules of the start are dropped again",
        )
    )
    return out + _commit()


def _run_demo() -> tuple[list[str], int, list[Row]]:
    with (
        tempfile.TemporaryDirectory(prefix="gasan-") as folder,
        demo_node(Path(folder), bits=32, heap=HEAP) as node,
    ):
        gateway = node.gateway
        gateway.wait(lambda: gateway.readings() >= _READINGS, 60)
        standins = node.board.status()["heap"]["standins"]
        free, low = gateway.status[7], gateway.low[8]
        done = gateway.put(_CONFIG, _another(node.config), 60)
        since = gateway.status[11]
        gateway.wait(lambda: gateway.status[11] > since + COLLECTED_MS, 30)
        modules = [name for name in node.modules() if name != "gasan.ota.slots"]  # only for a config
        gateway.status = {}
        gateway.wait(lambda: gateway.status.get(5) == 0)
        after = gateway.low[8]
        sound = done.ok and node.board.status()["boots"] == 1 and gateway.status[20] == 0
    note = f"32-bit VM, firmware as .mpy; {standins} bytes of stand-ins taken off"
    return (
        modules,
        code_lines(modules),
        [
            Row("heap free, demo's node at work", free, "bytes", "> 0", f"of {HEAP}", free > 0, note),
            Row(
                "heap free, low-water at work",
                low,
                "bytes",
                "> 0",
                f"of {HEAP}",
                low > 0,
                "after collections",
            ),
            Row(
                "heap free, low-water with a config received",
                after,
                "bytes",
                "> 0",
                f"of {HEAP}",
                after > 0 and sound,
                "the node takes a config of the same size while it samples; no restart, no failed task",
            ),
        ],
    )


def _another(config: bytes) -> bytes:
    value = cbor.loads(config)
    value[1] += "-2"
    return cbor.dumps(value)


def _source(module: str) -> Path:
    _, portion, *name = module.split(".")
    folders = {"node": FIRMWARE, "wire": FIRMWARE.parent / "protocols", "ota": FIRMWARE.parent / "ota"}
    return folders[portion] / "gasan" / portion / f"{name[0] if name else '__init__'}.py"


def code_lines(modules: list[str]) -> int:
    """Lines of these modules that hold code: no blank line, comment or docstring."""
    return sum(_code_lines(_source(name).read_text()) for name in modules)


def _code_lines(text: str) -> int:
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            skipped.update(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(
        1 for n, line in lines if n not in skipped and line.strip() and not line.strip().startswith("#")
    )


def _heap_per_module(modules: list[str]) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="gasan-") as folder:
        for name, content in firmware_files().items():
            if name.startswith("/lib/"):
                path = Path(folder) / name.removeprefix("/lib/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        script = Path(folder) / "per_module.py"
        script.write_text(_PER_MODULE)
        command = find_vm(bits=32).command(str(script), heap="100wk")
        done = subprocess.run(
            [*command, folder, *_leaves_first(modules)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    if done.returncode:
        raise RuntimeError(done.stderr or done.stdout)
    sizes = [line.split() for line in done.stdout.splitlines()]
    rows = [Row(f"heap of {name}", int(size), "bytes") for name, size in sizes]
    total = sum(int(size) for _, size in sizes)
    return [
        *rows,
        Row("heap of all modules of the demo's node", total, "bytes", note="names included, 32-bit VM"),
    ]


def _leaves_first(modules: list[str]) -> list[str]:
    """The modules so that each comes after those it imports."""
    out: list[str] = []

    def add(name: str) -> None:
        if name in out or name.count(".") < 2:
            return
        for node in ast.parse(_source(name).read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gasan."):
                found = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                for other in found:
                    if other in modules:
                        add(other)
        out.append(name)

    for name in modules:
        add(name)
    return out


def _commit() -> list[Row]:
    if missing := vmrun.missing(64):
        raise VmMissing(missing)
    us, erases, programs = map(float, vmrun.run(_COMMITS, STANDINS, heap="8m").split())
    flash_ms = erases * _ERASE_MS + programs * _PROGRAM_MS
    return [
        Row("commit of a frame of 120 readings", us / 1000, "ms", note="64-bit VM, flash in memory"),
        Row(
            "flash operations of a commit",
            f"{erases:.2f} + {programs:.2f}",
            "erases + programs",
            peer=f"{flash_ms:.0f} ms at 45 and 0.4 ms each",
            note="littlefs, 4 KB blocks, 256-byte pages",
        ),
    ]
