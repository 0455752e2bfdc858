"""Seeded faults on a line: the same seed does the same to the same frames, whenever they come.

`FaultPlan` is for RS-485; `gasan.hil.tcp` has its sister for connections, with the same kinds where they make
sense.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from gasan.wire.modbus_rtu import crc16

__all__ = ["Fault", "FaultPlan", "Injection", "Kind", "Shaped", "with_crc"]

Direction = Literal["request", "answer"]


class Kind(StrEnum):
    """What can go wrong. ``low`` and ``high`` of a `Fault` bound its size, drawn evenly."""

    FLIP = "flip"  # a bit is inverted; rate per bit
    DROP = "drop"  # a byte is lost; rate per byte
    DOUBLE = "double"  # a byte comes twice; rate per byte
    NOISE = "noise"  # low..high random bytes right before the frame; rate per frame, as all below
    TRUNCATE = "truncate"  # the frame ends early; low..high bytes remain
    DELAY = "delay"  # the frame leaves low..high ms late
    SPLIT = "split"  # a pause of low..high characters inside the frame
    WRONG_UNIT = "wrong_unit"  # another unit's number, with a right CRC
    MERGE = "merge"  # a foreign, valid frame right before or behind, without the silence
    ECHO = "echo"  # the sender hears itself
    BETWEEN = "between"  # 1..6 random bytes low..high ms after the frame's end, whoever is sending then
    BROADCAST = (
        "broadcast"  # another master's write to unit 0, as soon as the line is quiet after low..high ms
    )
    FOREIGN = "foreign"  # likewise its read of a unit from 200 on, which answers
    WRONG_ID = "wrong_id"  # TCP: another transaction id
    STRAY = "stray"  # TCP: 1..3 answers right before, with ids that nobody is waiting for
    REORDER = "reorder"  # TCP: the frame is held and leaves right after the next one
    CLOSE = "close"  # TCP: the connection is closed instead
    HALF_OPEN = "half_open"  # TCP: from here on nothing passes, and nobody says so
    INTRUDER = "intruder"  # likewise its read of the unit of the frame, as many registers at another address


_SIZES: dict[Kind, tuple[float, float]] = {
    Kind.NOISE: (1, 4),
    Kind.TRUNCATE: (1, 252),
    Kind.DELAY: (50, 500),
    Kind.SPLIT: (3.6, 20),
    Kind.BETWEEN: (0, 100),
    Kind.BROADCAST: (0, 100),
    Kind.FOREIGN: (0, 100),
    Kind.INTRUDER: (0, 100),
}
_OTHERS = (Kind.BETWEEN, Kind.BROADCAST, Kind.FOREIGN, Kind.INTRUDER)


@dataclass(frozen=True)
class Fault:
    """One kind of fault: at random with ``rate``, and for sure on the frames with the numbers ``frames``.

    on: "request", "answer" or "both". Frames are numbered from 0 in each direction. unit: only its
    frames; least_bytes: only frames that are so long.
    """

    kind: Kind
    rate: float = 0.0
    on: Literal["request", "answer", "both"] = "answer"
    frames: frozenset[int] = frozenset()
    low: float | None = None
    high: float | None = None
    unit: int | None = None
    least_bytes: int = 0
    spared: int = 0

    def size(self, rng: random.Random) -> float:
        """How big, or long, or late, this time."""
        least, most = _SIZES.get(self.kind, (0.0, 0.0))
        low = least if self.low is None else self.low
        return rng.uniform(low, max(low, most if self.high is None else self.high))


@dataclass(frozen=True)
class Injection:
    """A fault that was injected: into which frame of which direction, which, and its size."""

    direction: Direction
    frame: int
    kind: Kind
    detail: str


@dataclass
class Shaped:
    """A frame as it will go over the line: pieces, each after a pause (ns); whether the sender hears it.

    others: what somebody else sends after it: ns from its end, the bytes, and whether silence is waited for.
    """

    pieces: list[tuple[int, bytes]]
    echo: bool = False
    others: list[tuple[int, bytes, bool]] = field(default_factory=list)


def with_crc(body: bytes) -> bytes:
    """``body`` and its CRC, low byte first."""
    return body + crc16(body, 0, len(body)).to_bytes(2, "little")


@dataclass
class FaultPlan:
    """Faults and their seed. ``injected`` tells what was done."""

    seed: int
    faults: tuple[Fault, ...]
    injected: list[Injection] = field(default_factory=list)
    _numbers: dict[Direction, int] = field(default_factory=lambda: {"request": 0, "answer": 0})

    @classmethod
    def of(cls, seed: int, faults: Iterable[Fault]) -> "FaultPlan":
        """A fresh plan."""
        return cls(seed, tuple(faults))

    def shape(self, direction: Direction, frame: bytes, char_ns: int) -> Shaped:
        """Pass the next frame of a direction through the plan."""
        number = self._numbers[direction]
        self._numbers[direction] += 1
        rng = random.Random(f"{self.seed}/{direction}/{number}")
        data, delay_ns, split, echo = bytearray(frame), 0, (0, 0), False
        others: list[tuple[int, bytes, bool]] = []

        for fault in self.faults:
            if fault.on not in (direction, "both") or fault.unit not in (None, *frame[:1]):
                continue
            if len(frame) < fault.least_bytes:
                continue
            sure = number in fault.frames
            if fault.kind in (Kind.FLIP, Kind.DROP, Kind.DOUBLE):
                done = self._damage_bytes(fault, rng, data, sure)
            elif sure or rng.random() < fault.rate:
                size = fault.size(rng)
                done = f"{size:.4g}"
                if fault.kind is Kind.NOISE:
                    data[:0] = rng.randbytes(max(1, round(size)))
                elif fault.kind is Kind.TRUNCATE:
                    del data[max(1, min(round(size), len(data) - 1)) :]
                elif fault.kind is Kind.DELAY:
                    delay_ns = round(size * 1_000_000)
                elif fault.kind is Kind.SPLIT:
                    split = (rng.randrange(1, max(2, len(data))), round(size * char_ns))
                elif fault.kind is Kind.WRONG_UNIT:
                    data[:] = with_crc(bytes([(data[0] - 1 + rng.randrange(1, 247)) % 247 + 1]) + data[1:-2])
                elif fault.kind is Kind.MERGE:
                    foreign = with_crc(bytes([200 + rng.randrange(40), 3, 2]) + rng.randbytes(2))
                    data[:] = foreign + data if rng.random() < 0.5 else data + foreign
                elif fault.kind in _OTHERS:
                    others += self._others(fault.kind, rng, frame, round(size * 1_000_000))
                else:
                    echo = True
            else:
                done = ""
            if done:
                self.injected.append(Injection(direction, number, fault.kind, done))

        pieces = [(delay_ns, bytes(data))]
        if split[1] and split[0] < len(data):
            pieces = [(delay_ns, bytes(data[: split[0]])), (split[1], bytes(data[split[0] :]))]
        return Shaped(pieces, echo, others)

    @staticmethod
    def _others(kind: Kind, rng: random.Random, frame: bytes, at: int) -> list[tuple[int, bytes, bool]]:
        """What another station sends ``at`` ns after the frame."""
        if kind is Kind.BETWEEN:
            return [(at, rng.randbytes(rng.randrange(1, 7)), False)]
        if kind is Kind.BROADCAST:
            return [(at, with_crc(b"\x00\x06" + rng.randbytes(4)), True)]
        if kind is Kind.INTRUDER:
            count = frame[4:6] if len(frame) == 8 else (len(frame) - 5 >> 1).to_bytes(2, "big")
            register = rng.randrange(0x1000, 0x2000).to_bytes(2, "big")
            return [(at, with_crc(bytes([frame[0], frame[1] & 0x7F]) + register + count), True)]
        unit, registers = 200 + rng.randrange(40), rng.randrange(1, 20)
        request = bytes([unit, 3]) + rng.randrange(1000).to_bytes(2, "big") + registers.to_bytes(2, "big")
        answer = bytes([unit, 3, 2 * registers]) + rng.randbytes(2 * registers)
        return [(at, with_crc(request), True), (at + rng.randrange(1, 30_000_000), with_crc(answer), True)]

    @staticmethod
    def _damage_bytes(fault: Fault, rng: random.Random, data: bytearray, sure: bool) -> str:
        """Flip, drop or double in place; returns where, "" for nowhere."""
        if fault.kind is Kind.FLIP:
            first = 8 * min(fault.spared, len(data) - 1)
            hits = [bit for bit in range(first, 8 * len(data)) if rng.random() < fault.rate]
            hits = hits or ([rng.randrange(first, 8 * len(data))] if sure else [])
            for bit in hits:
                data[bit // 8] ^= 1 << bit % 8
        else:
            first = min(fault.spared, len(data) - 1)
            hits = [at for at in range(first, len(data)) if rng.random() < fault.rate]
            hits = hits or ([rng.randrange(first, len(data))] if sure else [])
            for at in reversed(hits):
                if fault.kind is Kind.DROP:
                    del data[at]
                else:
                    data.insert(at, data[at])
        return ",".join(map(str, hits))
