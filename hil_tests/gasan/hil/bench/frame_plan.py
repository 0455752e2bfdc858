"""Frames for the encoder on a VM: what goes in, what comes out, and how readings are cut into frames."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasan.hil import vmrun
from gasan.wire import columns, frame

__all__ = ["Encoded", "FramePlan", "GroupPlan", "Identity", "encode_on_vm", "pack"]

_PROGRAM = Path(__file__).with_name("frame_vm.py")

#: Group times are 31-bit numbers on a board.
_SPAN_MS = 1 << 30


@dataclass(frozen=True)
class GroupPlan:
    """Channels that are read together.

    types: names as in `columns.TYPE`. times: ms from the base of the batch, one for each row.
    samples: for each column the raw bytes of each row; None where the quality is 64 or more.
    qualities: for each column the quality of each row.
    """

    channels: Sequence[int]
    types: Sequence[str]
    period_ms: int
    times: Sequence[int]
    samples: Sequence[Sequence[bytes | None]]
    qualities: Sequence[Sequence[int]]

    @property
    def readings(self) -> int:
        return len(self.channels) * len(self.times)

    def rows(self, first: int, end: int, base: int) -> "GroupPlan":
        """Rows first..end-1 with times that count from ``base``."""
        return GroupPlan(
            self.channels,
            self.types,
            self.period_ms,
            [t - base for t in self.times[first:end]],
            [column[first:end] for column in self.samples],
            [column[first:end] for column in self.qualities],
        )

    def filled(self) -> columns.Group:
        """The group as a node would hold it."""
        types = bytes(map(columns.TYPE.index, self.types))
        group = columns.Group(self.channels, types, len(self.times), self.period_ms)
        for row, t in enumerate(self.times):
            group.start(t)
            for col, samples in enumerate(self.samples):
                sample = samples[row]
                if sample is not None:
                    group.put(col, sample, 0)
                if self.qualities[col][row]:
                    group.mark(col, self.qualities[col][row])
            group.finish()
        return group

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> "GroupPlan":
        samples = [[None if s is None else bytes.fromhex(s) for s in column] for column in table["samples"]]
        return cls(**{**table, "samples": samples})

    def as_json(self) -> dict[str, Any]:
        samples = [[None if s is None else s.hex() for s in column] for column in self.samples]
        return {**self.__dict__, "samples": samples}


@dataclass(frozen=True)
class Identity:
    """Whose frames they are; all but the generation are bytes."""

    node_id: bytes
    generation: int
    key: bytes
    boot: bytes
    rev: bytes

    def writer(self) -> frame.FrameWriter:
        return frame.FrameWriter(self.node_id, self.generation, frame.frame_key(self.key))


@dataclass(frozen=True)
class FramePlan:
    """One frame: a data frame of groups, or one of another kind whose content is ready CBOR."""

    identity: Identity
    seq: int
    count: int
    mono: int
    groups: Sequence[GroupPlan] = ()
    kind: int = frame.DATA
    content: bytes | None = None

    @property
    def readings(self) -> int:
        return sum(group.readings for group in self.groups)

    def encode(self) -> bytes:
        """The frame as the encoder makes it on CPython. Raises FrameError when it does not fit."""
        who = self.identity
        writer = who.writer()
        writer.begin(self.kind, who.boot, self.seq, self.count, self.mono, who.rev)
        for group in self.groups:
            if not writer.add(group.filled()):
                raise frame.FrameError("a group does not fit")
        if self.content is not None:
            writer.raw(self.content)
        return bytes(writer.seal())

    def expected(self) -> Iterator[tuple[int, int, int | bytes | None, int]]:
        """(channel, ms since the boot, value, quality) of each reading, as a decoder must find them.

        A value is an int, the raw bytes of a float, or None.
        """
        for group in self.groups:
            for channel, name, samples, qualities in zip(
                group.channels, group.types, group.samples, group.qualities, strict=True
            ):
                for t, sample, quality in zip(group.times, samples, qualities, strict=True):
                    value: int | bytes | None = sample
                    if sample is not None and name[0] != "f":
                        value = int.from_bytes(sample, "big", signed=name[0] == "i")
                    yield channel, self.mono + t, value, quality

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> "FramePlan":
        node_id, key, boot, rev = (bytes.fromhex(table[name]) for name in ("node_id", "key", "boot", "rev"))
        who = Identity(node_id, table["generation"], key, boot, rev)
        groups = [GroupPlan.from_json(group) for group in table.get("groups", ())]
        content = bytes.fromhex(table["content"]) if "content" in table else None
        return cls(who, table["seq"], table["count"], table["mono"], groups, table["kind"], content)

    def as_json(self) -> dict[str, Any]:
        who = {k: v.hex() if isinstance(v, bytes) else v for k, v in self.identity.__dict__.items()}
        out = {**who, "kind": self.kind, "seq": self.seq, "count": self.count, "mono": self.mono}
        if self.content is not None:
            return {**out, "content": self.content.hex()}
        return {**out, "groups": [group.as_json() for group in self.groups]}


@dataclass(frozen=True)
class Encoded:
    """A frame from the VM.

    encoding, sealing: bytes allocated while filling the groups and encoding the payload, and while sealing.
    us: microseconds from the bytes that a device has sent to the sealed frame; 0 when it was not timed.
    """

    frame: bytes
    encoding: int
    sealing: int
    us: float


def encode_on_vm(
    plans: Sequence[FramePlan], bits: int = 64, repetitions: int = 0, rounds: int = 1, timeout: float = 300
) -> list[Encoded]:
    """Let the encoder on a VM make the frames; it also does so once with the heap locked.

    repetitions, rounds: how often each frame is made to time it, and the least of how many rounds counts.
    Raises vmrun.VmFailed when the encoder fails, VmMissing when there is no such VM.
    """
    lines = "".join(json.dumps(plan.as_json()) + "\n" for plan in plans)
    out = vmrun.run(
        _PROGRAM, repetitions, rounds, bits=bits, heap="8m", timeout=timeout, stdin=lines.encode()
    )
    made = [json.loads(line) for line in out.splitlines()]
    return [Encoded(bytes.fromhex(m["frame"]), m["encoding"], m["sealing"], m.get("us", 0.0)) for m in made]


class _Cutter:
    """Cuts the rows of some groups, in the order of time, into frames that are as full as can be."""

    def __init__(self, groups: Sequence[GroupPlan], identity: Identity) -> None:
        self.groups = groups
        self.writer = identity.writer()
        self.identity = identity
        self.rows = sorted(
            (t, number, row) for number, group in enumerate(groups) for row, t in enumerate(group.times)
        )

    def ranges(self, start: int, end: int) -> dict[int, tuple[int, int]]:
        """Of each group in rows start..end-1, which are in the order of time: its first row and its end."""
        out: dict[int, tuple[int, int]] = {}
        for _, number, row in self.rows[start:end]:
            out[number] = (out.get(number, (row, row))[0], row + 1)
        return out

    def fits(self, start: int, end: int, seq: int, count: int, mono: int) -> bool:
        base = self.rows[start][0]
        if self.rows[end - 1][0] - base >= _SPAN_MS:
            return False
        who = self.identity
        self.writer.begin(frame.DATA, who.boot, seq, count, mono + base, who.rev)
        return all(
            self.writer.add(self.groups[number].rows(first, stop, base).filled())
            for number, (first, stop) in self.ranges(start, end).items()
        )

    def most(self, start: int, guess: int, seq: int, count: int, mono: int) -> int:
        """How many rows from ``start`` on fit into a frame; a single one always does."""
        fitting, end = 1, len(self.rows) - start + 1
        probe = min(guess, end - 1)
        while fitting < end - 1:
            if self.fits(start, start + probe, seq, count, mono):
                fitting = probe
            else:
                end = probe
            # Until one does not fit, twice as many; then halfway.
            probe = min(2 * fitting, end - 1) if end > len(self.rows) - start else (fitting + end) // 2
        return fitting

    def plans(self, seq: int, count: int, mono: int) -> Iterator[FramePlan]:
        start, taken = 0, 512
        while start < len(self.rows):
            taken = self.most(start, taken, seq, count, mono)
            base = self.rows[start][0]
            ranges = self.ranges(start, start + taken).items()
            parts = [self.groups[number].rows(first, end, base) for number, (first, end) in ranges]
            plan = FramePlan(self.identity, seq, count, mono + base, parts)
            yield plan
            seq += 1
            count += plan.readings
            start += taken


def pack(
    groups: Sequence[GroupPlan], identity: Identity, seq: int, count: int, mono: int
) -> Iterator[FramePlan]:
    """Cut groups into frames.

    The times of a group do not go back, and it has at most 100 columns. seq, count, mono: of the first frame;
    mono is the moment that the times of the groups count from.
    """
    return _Cutter(groups, identity).plans(seq, count, mono)
