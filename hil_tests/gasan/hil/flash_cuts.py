"""Every state in which a power cut could have left a board's flash, from the journal of one uncut run.

A run on the emulated RP2040 is recorded once: the image before it, what each flash operation left, and when
the gateway got and acknowledged each frame (``record``). From that, the flash of a cut before, inside and
after any operation is made (``states``), and a VM looks at each with the node's own code (``sweep``).
"""

import json
import random
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gasan.boards.places import FIRMWARE, STANDINS
from gasan.hil import vmrun
from gasan.hil.emulated_rig import EmulatedRig
from gasan.host.compile import CompiledNode
from gasan.wire.frame_reader import parse, split

__all__ = [
    "MODES",
    "Frame",
    "Operation",
    "Recording",
    "State",
    "record",
    "states",
    "sweep",
]

Mode = Literal["before", "torn", "bits", "after"]
MODES: Sequence[Mode] = ("before", "torn", "bits", "after")

_NEVER = 1 << 30
_PROGRAM = FIRMWARE / "tests" / "vm" / "flash_cuts.py"
_TAIL_MS = 3_000


@dataclass(frozen=True)
class Operation:
    """What the erase of a sector or the program of a page has left at ``at`` of the file system."""

    at: int
    content: bytes


@dataclass(frozen=True)
class Frame:
    """A frame that the gateway got when ``since`` operations were done, so it was committed by then.

    until: operations that were done when it was acknowledged; the node may drop it from then on.
    """

    data: bytes
    since: int
    until: int = _NEVER


@dataclass
class Recording:
    """One run. units: of the slaves on its line. key: the file /secret/key. image: before it. operations: of
    the time under test; frames that came later are there too.
    """

    node: CompiledNode
    units: Sequence[int]
    key: bytes
    image: bytes
    operations: list[Operation] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)


@dataclass(frozen=True)
class State:
    """The flash after a cut at operation ``number``: as before it, save that ``content`` stands at ``at``.

    done: operations that are wholly done.
    """

    number: int
    mode: Mode
    done: int
    at: int
    content: bytes


def record(
    folder: Path, node: CompiledNode, units: Sequence[int], ms: float, acks: Collection[float]
) -> Recording:
    """Run a fresh node in ``folder`` for ``ms`` of simulated time, and on until it has sent what it had then.

    acks: times, in ms, at which the gateway acknowledges all that it has; else it keeps that back, so that
    the frames pile up. Raises BoardError.
    """
    folder.mkdir()
    with EmulatedRig(folder, node, seed="cuts", log=False, journal=folder / "journal") as rig:
        recording = Recording(node, units, rig.key.encode(), (folder / "flash.img").read_bytes())
        emulator = rig.emulator
        emulator.ask("modbus", uart=1, units=list(units), de_pin=2)
        frames: dict[bytes, Frame] = {}
        rig.holds = True
        rig.boot()
        for end in sorted({*acks, ms}):
            rig.run(end - emulator.now_ms, lambda it: _note(it, frames))
            if end in acks:
                done = _operations(rig)
                rig.acknowledge()
                for data, frame in frames.items():
                    frames[data] = replace(frame, until=min(frame.until, done))
        count = _operations(rig)
        rig.run(_TAIL_MS, lambda it: _note(it, frames))
        assert len(rig.boots) == 1, "the node was to start once"
    recording.frames = list(frames.values())
    recording.operations = list(_journal(folder / "journal"))[:count]
    return recording


def _note(rig: EmulatedRig, frames: dict[bytes, Frame]) -> bool:
    """Note what has come, for the first time, since; False."""
    if rig.frames:
        done = _operations(rig)
        for data in rig.frames:
            frames.setdefault(data, Frame(data, done))
        rig.frames.clear()
    return False


def _operations(rig: EmulatedRig) -> int:
    count: int = rig.emulator.status()["flash"]["operations"]
    return count


def _journal(path: Path) -> Iterator[Operation]:
    with path.open("rb") as file:
        while head := file.read(8):
            at, size = struct.unpack("<II", head)
            yield Operation(at, file.read(size))


def states(recording: Recording, seed: int, modes: Collection[Mode] = MODES) -> Iterator[State]:
    """All of them, in order. seed: of how far a torn operation came, and of which bits were done."""
    rng = random.Random(seed)
    image = bytearray(recording.image)
    for number, operation in enumerate(recording.operations):
        at, new = operation.at, operation.content
        old = bytes(image[at : at + len(new)])
        for mode in modes:
            yield State(number, mode, number + (mode == "after"), at, _partly(old, new, mode, rng))
        image[at : at + len(new)] = new


def _partly(old: bytes, new: bytes, mode: Mode, rng: random.Random) -> bytes:
    """What a cut leaves of an operation."""
    if mode == "torn":
        done = rng.randrange(1, len(new))
        return new[:done] + old[done:]
    if mode == "bits":
        size = len(new)
        mask = rng.getrandbits(8 * size)
        mixed = int.from_bytes(old, "big") & ~mask | int.from_bytes(new, "big") & mask
        return mixed.to_bytes(size, "big")
    return old if mode == "before" else new


def _image(recording: Recording, state: State) -> bytes:
    """The whole flash after that cut."""
    image = bytearray(recording.image)
    for operation in recording.operations[: state.number]:
        image[operation.at : operation.at + len(operation.content)] = operation.content
    image[state.at : state.at + len(state.content)] = state.content
    return bytes(image)


def _kept(recording: Recording, state: State) -> list[bytes]:
    """The frames that must be there after that cut: committed, and not acknowledged."""
    return [frame.data for frame in recording.frames if frame.since <= state.done < frame.until]


def boot(folder: Path, recording: Recording, state: State) -> list[bytes]:
    """Start the emulated RP2040 with that flash until it polls again and the gateway has what it has.

    Returns the frames that must have come. Raises BoardError when one has not, or when it does not start;
    AssertionError when a frame came that nobody wrote.
    """
    folder.mkdir()
    (folder / "flash.img").write_bytes(_image(recording, state))
    must = _kept(recording, state)
    with EmulatedRig(folder, recording.node, seed=f"{state.number} {state.mode}", log=False) as rig:
        assert rig.key.encode() == recording.key
        rig.emulator.ask("modbus", uart=1, units=list(recording.units), de_pin=2)
        rig.boot()
        rig.wait(lambda it: it.status.get(1, 0) > 0, 20_000)
        rig.wait(lambda it: len(_others(it)) < len(it.frames) and set(must) <= set(it.frames), 20_000)
        old = _others(rig)
        assert set(old) <= {frame.data for frame in recording.frames}, "a frame that nobody wrote"
    return must


def _others(rig: EmulatedRig) -> list[bytes]:
    """The frames of other boots than the one that runs."""
    return [data for data in rig.frames if parse(split(data)[1]).boot != rig.boots[-1]]


def sweep(folder: Path, recording: Recording, seed: int, damage: tuple[int, bytes] | None = None) -> str:
    """Look at every state with the node's code on the 32-bit VM: "states N, frames M", or what is wrong.

    M: frames that had to be there, summed over the states. damage: (number of an operation, bytes): one bit
    of these bytes is wrong from then on, for the test of this test. Raises VmFailed.
    """
    (folder / "image").write_bytes(recording.image)
    known = [[frame.since, frame.until, frame.data.hex()] for frame in recording.frames]
    hurt = [damage[0], damage[1].hex()] if damage else [_NEVER, ""]
    config = recording.node.config.hex()
    facts = {"frames": known, "key": recording.key.hex(), "config": config, "damage": hurt}
    (folder / "facts").write_text(json.dumps(facts))
    with (folder / "states").open("wb") as file:
        for state in states(recording, seed):
            mode = MODES.index(state.mode)
            head = struct.pack("<IIIIB", state.number, state.done, state.at, len(state.content), mode)
            file.write(head + state.content)
    return vmrun.run(_PROGRAM, STANDINS, folder, bits=32, heap="12m", timeout=600).strip()
