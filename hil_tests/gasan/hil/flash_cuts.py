"""Every state in which a power cut could have left a board's flash, from the journal of one uncut run.

A run on the emulated RP2040 is recorded once: the image before it, what each flash operation left, and when
the gateway got each frame (``record``). From that, the flash of a cut before, inside and after any operation
is made (``states``), a VM looks at each with the node's own code (``sweep``), and the board can be started
with it (``boot``). Once a frame is there after a whole operation, every later state must hold it, until it is
acknowledged.
"""

import json
import random
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
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
    "Swept",
    "boot",
    "record",
    "states",
    "sweep",
]

Mode = Literal["before", "torn", "bits", "after"]
MODES: Sequence[Mode] = ("before", "torn", "bits", "after")

_NEVER = 1 << 30
_PROGRAM = FIRMWARE / "tests" / "vm" / "flash_cuts.py"
_TAIL_MS = 8_000


@dataclass(frozen=True)
class Operation:
    """What the erase of a sector or the program of a page has left at ``at`` of the file system."""

    at: int
    content: bytes


@dataclass(frozen=True)
class Frame:
    """A frame that the gateway got and acknowledged when ``until`` operations were done."""

    data: bytes
    until: int


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
class Swept:
    """What the sweep came to. said: "states N, frames M" (those that had to be there, summed over the
    states), or what is wrong. since: for each frame the operations that were done when it was there first.
    """

    said: str
    since: list[int]


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
    folder: Path, node: CompiledNode, units: Sequence[int], ms: float, absences: Sequence[tuple[float, float]]
) -> Recording:
    """Run a fresh node in ``folder`` for ``ms`` of simulated time, and on until it has sent what it had then.

    absences: of the gateway, from and to, in ms, in which the frames pile up. Raises BoardError.
    """
    folder.mkdir()
    with EmulatedRig(folder, node, seed="cuts", log=False, journal=folder / "journal") as rig:
        recording = Recording(node, units, rig.key.encode(), (folder / "flash.img").read_bytes())
        emulator = rig.emulator
        emulator.ask("modbus", uart=1, units=list(units), de_pin=2)
        frames: dict[bytes, Frame] = {}

        def run_to(ms: float) -> None:
            rig.run(ms - emulator.now_ms, lambda it: _note(it, frames))

        rig.boot()
        for start, end in absences:
            run_to(start)
            rig.leave()
            run_to(end)
            rig.come()
        run_to(ms)
        count = _operations(rig)
        rig.wait(lambda it: it.up, _TAIL_MS)
        run_to(emulator.now_ms + _TAIL_MS)
        assert len(set(rig.boots)) == 1, "the node was to start once"
    recording.frames = list(frames.values())
    sent = sorted(parse(split(data)[1]).seq for data in frames)
    assert sent == list(range(len(sent))), "the gateway has not got all frames"
    recording.operations = list(_journal(folder / "journal"))[:count]
    return recording


def _note(rig: EmulatedRig, frames: dict[bytes, Frame]) -> bool:
    """Note what has come; False."""
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


def boot(folder: Path, recording: Recording, since: Sequence[int], state: State) -> list[bytes]:
    """Start the emulated RP2040 with that flash until it polls again and the gateway has what it has.

    since: as the sweep tells it. Returns the frames that must have come. Raises BoardError when one has not,
    or when the board does not start; AssertionError when a frame came that nobody wrote.
    """
    folder.mkdir()
    (folder / "flash.img").write_bytes(_image(recording, state))
    frames = zip(recording.frames, since, strict=True)
    must = [frame.data for frame, first in frames if first <= state.done < frame.until]
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


def sweep(folder: Path, recording: Recording, seed: int, damage: tuple[int, bytes] | None = None) -> Swept:
    """Look at every state with the node's code on the 32-bit VM.

    damage: (number of an operation, bytes): one bit of these bytes is wrong from then on, for the test of
    this test. Raises VmFailed.
    """
    (folder / "image").write_bytes(recording.image)
    facts = {
        "frames": [[frame.data.hex(), frame.until] for frame in recording.frames],
        "key": recording.key.hex(),
        "config": recording.node.config.hex(),
        "damage": [damage[0], damage[1].hex()] if damage else [_NEVER, ""],
    }
    (folder / "facts").write_text(json.dumps(facts))
    with (folder / "states").open("wb") as file:
        for state in states(recording, seed):
            mode = MODES.index(state.mode)
            head = struct.pack("<IIIIB", state.number, state.done, state.at, len(state.content), mode)
            file.write(head + state.content)
    said = vmrun.run(_PROGRAM, STANDINS, folder, bits=32, heap="24m", timeout=3600)
    since, said = said.strip().split("\n")
    return Swept(said, json.loads(since))
