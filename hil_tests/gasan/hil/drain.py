"""A whole node that drains a long backlog while it samples: how fast, and what sampling has of it.

The node is the shipped firmware on the VM, its spool on littlefs on the flash of an ESP32, its link the
console. The backlog is what an earlier start has left, as files in the form of protocols/spool.md. When it
has drained the node is watched for as long again: both halves are of one run, so that they meet one load.
"""

import os
import struct
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from zlib import crc32

from gasan.boards.image import firmware_files
from gasan.boards.places import FIRMWARE
from gasan.boards.virtual import VirtualBoard
from gasan.hil.bare_gateway import BareGateway
from gasan.hil.bench.workload import load
from gasan.hil.rs485 import Line, Relay, Responder
from gasan.hil.scripted_node import ScriptedNode, channel
from gasan.host.store.counters import COMMITTED, MISSED
from gasan.ota.slots import pack
from gasan.wire import cbor
from gasan.wire.columns import TYPE, U16
from gasan.wire.frame import DATA
from gasan.wire.frame_reader import Frame, expand

__all__ = ["Drained", "drain"]

_W1 = FIRMWARE.parent / "protocols" / "workloads" / "w1_meter_10x12.json"
_SEGMENT = 32_768
_SPOOL = 1_572_864
_BATCH_MS = 1_000
_LINE = Line(115200)
_PATIENCE_S = 240.0


@dataclass(frozen=True)
class Drained:
    """frames: of the backlog, data and others. twice: of all frames, that came more than once. seconds: from
    the first of them to the last; cpu_s: what the VM has worked in that time, sampling included. live: data
    frames of the present start that came meanwhile.

    due: samples in that time; polls: that the device was asked for; polls_after: in as long a time without a
    backlog. missed: readings of the whole run that were due and never asked for, as the node counts them.
    longest_ms: between two samples, as the node dates them.
    """

    frames: int
    twice: int
    seconds: float
    cpu_s: float
    live: int
    due: float
    polls: int
    polls_after: int
    missed: int
    longest_ms: int

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.frames / self.seconds


def drain(folder: Path, frames: int, period_ms: int, seed: int, bits: int = 64) -> Drained:
    """Let a node drain so many data frames while it reads a device on Modbus RTU each ``period_ms``.

    Raises VmMissing, BoardError, TimeoutError.
    """
    node = ScriptedNode(Random(seed))
    backlog = _backlog(node, frames)
    with Relay(_LINE, responder=Responder()) as relay:
        items = [[0, 3, 1, U16, 0, period_ms]]
        bus = [0, "line", {1: 1, 2: _LINE.baudrate, 3: 0, 4: 1}, [["device", 1, 500, 0, 125, items]]]
        meaning = cbor.dumps([0, [channel("device", "serial", U16, period_ms=period_ms)]])
        limits = {1: _BATCH_MS, 2: 2048, 3: _SPOOL, 4: 1}
        board = VirtualBoard(folder / "board", "esp32_generic", bits=bits, uarts={1: relay.master})
        files = firmware_files() | _segments(node.boot, backlog)
        files["/secret/key"] = cbor.dumps([node.node_id, node.generation, node.key])
        files["/cfg/a"] = pack(cbor.dumps([2, "drain", limits, [bus], [meaning]]))
        board.install(files)
        with board, BareGateway(board.console_path, node.node_id, node.generation, node.key) as gateway:

            def is_old(frame: Frame) -> bool:
                return frame.boot == node.boot

            gateway.wait(lambda: any(map(is_old, gateway.frames)), _PATIENCE_S)
            pid = board.status()["pid"]
            begun, worked, answers = time.monotonic(), _cpu_s(pid), [relay.stats().totals.cycles]
            gateway.wait(lambda: gateway.known(node.boot) == len(backlog), _PATIENCE_S)
            ended, cpu_s = time.monotonic(), _cpu_s(pid) - worked
            answers.append(relay.stats().totals.cycles)
            span = ended - begun
            live = sum(f.kind == DATA and not is_old(f) for f in gateway.frames)
            gateway.wait(lambda: time.monotonic() > ended + span, span + 10)
            answers.append(relay.stats().totals.cycles)
            gateway.command("flush")
            gateway.wait(lambda: gateway.status[COMMITTED] == gateway.readings() - node.count, 20)
    mine = [frame for frame in gateway.of(DATA) if not is_old(frame)]
    times = sorted(at for frame in mine for _, row_times, _, _ in expand(frame) for at in row_times)
    return Drained(
        frames=len(backlog),
        twice=gateway.again,
        seconds=span,
        cpu_s=cpu_s,
        live=live,
        due=span * 1000 / period_ms,
        polls=answers[1] - answers[0],
        polls_after=answers[2] - answers[1],
        missed=gateway.status[MISSED],
        longest_ms=max(after - before for before, after in pairwise(times)),
    )


def _backlog(node: ScriptedNode, frames: int) -> list[bytes]:
    """The frames of a start: its boot frame, its birth, and data of workload W1."""
    columns = load(_W1).columns
    out = [
        node.start(),
        node.birth([channel("meter", column.channel, TYPE.index(column.type)) for column in columns]),
    ]
    values = [(TYPE.index(c.type), [int.from_bytes(v or b"", "big") for v in c.samples]) for c in columns]
    return out + [node.data(values, mono=60_000 * i, period_ms=5_000) for i in range(frames)]


def _segments(boot: bytes, frames: list[bytes]) -> dict[str, bytes]:
    """The files of a spool with these frames."""
    files: dict[str, bytes] = {}
    segment, first = b"", 0
    for seq, data in enumerate([*frames, bytes(_SEGMENT)]):
        if len(segment) + 6 + len(data) > _SEGMENT:
            files[f"/spool/{len(files) + 1:08x}-{boot.hex()}-{first:x}"] = segment
            segment, first = b"", seq
        segment += struct.pack(">HI", len(data), crc32(data)) + data
    return files


def _cpu_s(pid: int) -> float:
    """Seconds that a process has worked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
