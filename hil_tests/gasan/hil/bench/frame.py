"""What frames cost: bytes, time and heap for a workload, made on the VM and decoded here.

The frames are those of a node in its sixth day, which has sent 20,000 frames and 2,400,000 readings, so that
the numbers in each frame are as long as they usually are. MAC and header are part of every figure.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gasan.boards.places import ROOT
from gasan.hil import vmrun
from gasan.hil.bench import senml_peer
from gasan.hil.bench.frame_plan import Encoded, FramePlan, GroupPlan, Identity, encode_on_vm, pack
from gasan.hil.bench.row import Row
from gasan.hil.bench.workload import Column, Workload, WorkloadError, load
from gasan.wire import quality
from gasan.wire.cose import Hmac
from gasan.wire.frame import frame_key
from gasan.wire.frame_reader import expand, parse, split, verify

__all__ = ["Measurement", "WorkloadError", "measure", "measure_all", "rows"]

_WHO = Identity(
    node_id=b"gasan-00",
    generation=1,
    key=bytes(range(32)),
    boot=bytes.fromhex("8b52c1e03f7a96d4"),
    rev=bytes.fromhex("4a1b9c0d7e2f3358"),
)
_SEQ, _COUNT, _MONO = 20_000, 2_400_000, 500_000_000
_COLUMNS_MAX = 100

#: Readings that are made, some of them many times, to time them once.
_TIMED = 400_000

WORKLOADS = ROOT / "protocols" / "workloads"


@dataclass(frozen=True)
class Measurement:
    """Figures of a workload.

    frame_bytes: of all frames. encoding, sealing: the most bytes that encoding a payload, and sealing a
    frame, allocated. us: for all readings, from the bytes that a device has sent to sealed frames. exact:
    whether all values, times, gaps and qualities came back, bit for bit, from frames with the right MAC.
    """

    readings: int
    frames: int
    frame_bytes: int
    encoding: int
    sealing: int
    us: float
    exact: bool


def measure(path: str | Path, bits: int = 64) -> dict[str, float | int | bool]:
    """Measure a workload file on the VM of that word size.

    ``us_per_reading`` runs from the bytes that a device has sent to the sealed frame; ``allocated_bytes`` is
    the heap that filling and encoding the payload of a frame takes. Sealing allocates its two hashes besides;
    that figure is in the table of `make bench` and in `measure_all`.

    Raises WorkloadError when the file is no workload, VmMissing when there is no such VM.
    """
    figures = measure_all(load(Path(path)), bits)
    return {
        "readings": figures.readings,
        "bytes_per_reading": round(figures.frame_bytes / figures.readings, 4),
        "us_per_reading": round(figures.us / figures.readings, 4),
        "allocated_bytes": figures.encoding,
        "exact": figures.exact,
    }


def measure_all(workload: Workload, bits: int = 64) -> Measurement:
    """All figures of a workload."""
    earliest = min(min(column.times) for column in workload.columns)
    plans = list(pack(_groups(workload, earliest), _WHO, _SEQ, _COUNT, _MONO))
    readings = workload.readings
    repetitions = max(1, _TIMED // readings)
    encoded = encode_on_vm(plans, bits, repetitions, rounds=5 if readings < _TIMED else 1, timeout=3600)
    return Measurement(
        readings,
        len(encoded),
        sum(len(made.frame) for made in encoded),
        max(made.encoding for made in encoded),
        max(made.sealing for made in encoded),
        sum(made.us for made in encoded),
        _is_exact(workload, earliest, plans, encoded),
    )


def _groups(workload: Workload, earliest: int) -> list[GroupPlan]:
    """Columns of equal times together, in stretches in which time does not go back."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, column in enumerate(workload.columns):
        alike.setdefault(tuple(column.times), []).append(number)
    groups = []
    for times, numbers in alike.items():
        turns = [i for i in range(1, len(times)) if times[i] < times[i - 1]]
        for first, end in zip([0, *turns], [*turns, len(times)], strict=True):
            for at in range(0, len(numbers), _COLUMNS_MAX):
                some = numbers[at : at + _COLUMNS_MAX]
                groups.append(_group(workload, some, first, end, earliest))
    return groups


def _group(workload: Workload, numbers: Sequence[int], first: int, end: int, earliest: int) -> GroupPlan:
    columns = [workload.columns[number] for number in numbers]
    samples = [column.samples[first:end] for column in columns]
    return GroupPlan(
        numbers,
        [column.type for column in columns],
        workload.period_ms,
        [t - earliest for t in columns[0].times[first:end]],
        samples,
        [[quality.TIMEOUT if sample is None else quality.GOOD for sample in column] for column in samples],
    )


_Reading = tuple[int, int | bytes | None, int]


def _is_exact(
    workload: Workload, earliest: int, plans: Sequence[FramePlan], encoded: Sequence[Encoded]
) -> bool:
    mac = Hmac(frame_key(_WHO.key))
    got: list[Counter[_Reading]] = [Counter() for _ in workload.columns]
    count = _COUNT
    for plan, made in zip(plans, encoded, strict=True):
        kid, payload, tag = split(made.frame)
        if kid != _WHO.node_id + bytes([_WHO.generation]) or not verify(mac, payload, tag):
            return False
        frame = parse(payload)
        if (frame.boot, frame.rev, frame.seq, frame.count) != (_WHO.boot, _WHO.rev, plan.seq, count):
            return False
        count += frame.n_readings
        for channels, times, values, qualities in expand(frame):
            for channel, column, marks in zip(channels, values, qualities, strict=True):
                got[channel].update(zip(times, column, marks, strict=True))
    shift = _MONO - earliest
    return all(_expected(column, shift) == seen for column, seen in zip(workload.columns, got, strict=True))


def _expected(column: Column, shift: int) -> Counter[_Reading]:
    """How often each (time, value, quality) must come; a float is its bytes."""
    out: Counter[_Reading] = Counter()
    for t, sample in zip(column.times, column.samples, strict=True):
        value: int | bytes | None = sample
        if sample is not None and column.type[0] != "f":
            value = int.from_bytes(sample, "big", signed=column.type[0] == "i")
        out[t + shift, value, quality.TIMEOUT if sample is None else quality.GOOD] += 1
    return out


def rows() -> list[Row]:
    """Both workloads on both VMs, beside MicroPython's `senml` and `cbor2` where they can be had."""
    out = []
    for name, bar in (("w1_meter_10x12", 2.0), ("w2_ble_3x40", 6.0)):
        workload = load(WORKLOADS / f"{name}.json")
        peer = senml_peer.measure(workload) if name.startswith("w1") else None
        for bits in (64, 32):
            why = vmrun.missing(bits)
            if why:
                out.append(Row(f"frame {workload.name}, {bits} bits", "not run", "", note=why))
            else:
                out += _rows(workload, bits, bar, peer if bits == 64 else None)
    return out


def _rows(workload: Workload, bits: int, bar: float, peer: senml_peer.Peer | None) -> list[Row]:
    figures = measure_all(workload, bits)
    title = f"frame {workload.name}, {bits} bits: "
    size = figures.frame_bytes / figures.readings
    each = figures.us / figures.readings
    exact = "all values, times and gaps came back" if figures.exact else "NOT EXACT"
    bytes_peer = f"{peer.bytes_per_reading:.1f} {peer.name}" if peer else ""
    time_peer = f"{peer.us_per_reading:.2f} {peer.name}" if peer else ""
    fast = each <= peer.us_per_reading / 10 if peer else None
    return [
        Row(title + "size", size, "bytes/reading", f"<= {bar}", bytes_peer, size <= bar and figures.exact,
            exact),
        Row(title + "time", each, "us/reading", "<= 1/10 of the peer" if peer else "", time_peer, fast,
            "from a device's bytes to the sealed frame; best of 5 rounds"),
        Row(title + "encoding", figures.encoding, "bytes allocated", "0", "", figures.encoding == 0,
            "by mem_total, and once with the heap locked"),
        Row(title + "sealing", figures.sealing, "bytes allocated", "<= 600", "", figures.sealing <= 600,
            "two hashes and their digests"),
    ]  # fmt: skip
