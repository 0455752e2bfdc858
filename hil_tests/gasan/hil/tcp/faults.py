"""Seeded faults on a connection: the same seed does the same to the same frames, whenever they come."""

import random
from dataclasses import dataclass, field
from itertools import pairwise

from gasan.hil.rs485.faults import Direction, Fault, FaultPlan, Injection, Kind, with_crc

__all__ = ["Sending", "TcpFaultPlan"]

_KINDS = frozenset(
    {
        Kind.DROP,
        Kind.DOUBLE,
        Kind.NOISE,
        Kind.TRUNCATE,
        Kind.DELAY,
        Kind.SPLIT,
        Kind.WRONG_UNIT,
        Kind.WRONG_ID,
        Kind.STRAY,
        Kind.REORDER,
        Kind.CLOSE,
        Kind.HALF_OPEN,
    }
)
_HEAD = 6


@dataclass
class Sending:
    """A frame as it will go over the connection: pieces, each after a pause (ns).

    held: only after the next frame of its direction. close, mute: what becomes of the connection then.
    """

    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    held: bool = False
    close: bool = False
    mute: bool = False


@dataclass
class TcpFaultPlan(FaultPlan):
    """Faults of whole frames; every rate is per frame.

    Here DROP loses the frame and DOUBLE sends it twice, SPLIT makes 2..4 segments low..high ms apart, NOISE
    puts random bytes before it, and TRUNCATE loses its end and, but for RTU, the connection with it. Raises
    ValueError for a kind that TCP does not know: its checksums keep bits whole.
    """

    rtu: bool = False

    def __post_init__(self) -> None:
        for fault in self.faults:
            if fault.kind not in _KINDS:
                raise ValueError(f"{fault.kind.value} is no fault of a connection; take it on a line (rs485)")

    def sending(self, direction: Direction, frame: bytes) -> Sending:
        """Pass the next frame of a direction through the plan."""
        number = self._numbers[direction]
        self._numbers[direction] += 1
        rng = random.Random(f"{self.seed}/{direction}/{number}")
        out, data, delay, cuts, cut_off = Sending(), bytearray(frame), 0, [], False
        for fault in self.faults:
            if fault.on not in (direction, "both"):
                continue
            if number not in fault.frames and rng.random() >= fault.rate:
                continue
            size = fault.size(rng)
            if fault.kind is Kind.DELAY:
                delay = round(size * 1_000_000)
            elif fault.kind is Kind.SPLIT:
                cuts = sorted(rng.sample(range(1, len(frame)), min(len(frame) - 1, rng.randrange(1, 4))))
            elif fault.kind is Kind.REORDER:
                out.held = True
            elif fault.kind is Kind.CLOSE:
                out.close = True
            elif fault.kind is Kind.HALF_OPEN:
                out.mute = True
            else:
                self._damage(fault, rng, data, frame)
                cut_off |= fault.kind is Kind.TRUNCATE and not self.rtu
            self.injected.append(Injection(direction, number, fault.kind, f"{size:.4g}"))
            pause = round(size * 1_000_000)
        if out.close or out.mute:
            return out
        out.close = cut_off
        if data:
            edges = [0, *[cut for cut in cuts if cut < len(data)], len(data)]
            for start, end in pairwise(edges):
                out.pieces.append((pause if start else delay, bytes(data[start:end])))
        return out

    def _damage(self, fault: Fault, rng: random.Random, data: bytearray, frame: bytes) -> None:
        """Change the bytes in place."""
        unit = 0 if self.rtu else _HEAD
        if fault.kind is Kind.DROP:
            data.clear()
        elif fault.kind is Kind.DOUBLE:
            data += frame
        elif fault.kind is Kind.NOISE:
            data[:0] = rng.randbytes(max(1, round(fault.size(rng))))
        elif fault.kind is Kind.TRUNCATE:
            del data[rng.randrange(1, max(2, len(data))) :]
        elif fault.kind is Kind.WRONG_UNIT and len(data) > unit:
            data[unit] = (data[unit] + rng.randrange(1, 247)) & 0xFF
            if self.rtu:
                data[:] = with_crc(bytes(data[:-2]))
        elif fault.kind is Kind.WRONG_ID and not self.rtu and len(data) >= 2:
            data[:2] = self._other_id(rng, frame)
        elif fault.kind is Kind.STRAY and not self.rtu:
            for _ in range(rng.randrange(1, 4)):
                stray = frame[2 : _HEAD + 3] + rng.randbytes(max(0, len(frame) - _HEAD - 3))
                data[:0] = self._other_id(rng, frame) + stray

    @staticmethod
    def _other_id(rng: random.Random, frame: bytes) -> bytes:
        """Of any other transaction, the ones right before and after among them.

        Not of one that follows soon after that: if such an answer were late as well, nothing in it would be
        wrong.
        """
        own = int.from_bytes(frame[:2], "big")
        distance = rng.choice((-3, -2, -1, rng.randrange(256, 65_280)))
        return (own + distance & 0xFFFF).to_bytes(2, "big")
