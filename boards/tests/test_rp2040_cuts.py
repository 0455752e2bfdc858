"""Power cuts at every flash operation of a fresh node's first time on the emulated RP2040.

One run is recorded; the flash that a cut would have left at each operation is made from the record and looked
at by the node's own code on the 32-bit VM, and some of these boards are started again.
"""

import dataclasses
from pathlib import Path

import pytest
from gasan.hil import flash_cuts, on_rp2040, vmrun
from gasan.hil.emulated_rig import modbus_node
from gasan.hil.flash_cuts import MODES, Recording
from gasan.wire import cbor, frame
from gasan.wire.frame_reader import parse, split

pytestmark = [
    pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing()),
    pytest.mark.skipif(bool(vmrun.missing(32)), reason=vmrun.missing(32)),
    pytest.mark.timeout(1800),
]

_LIMITS, _SPOOL = 2, 3  # in a compiled config


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Recording:
    """A quarter of a minute from the power-on of a fresh node. With --soak as many commits as in its first
    hour with batches of a minute, in four minutes. Segments of 4 KB; frames wait for acknowledgement.
    """
    folder = tmp_path_factory.mktemp("recording")
    soak = request.config.getoption("--soak")
    ms, acks = (250_000, (60_000, 130_000, 200_000)) if soak else (15_000, (8_000,))
    node = modbus_node(folder, units=[1], channels=20, period="200ms", max_age="1s")
    config = cbor.loads(node.config)
    config[_LIMITS][_SPOOL] = 32768
    node = dataclasses.replace(node, config=cbor.dumps(config))
    return flash_cuts.record(folder / "run", node, [1], ms, acks)


def test_no_cut_loses_a_committed_frame_or_makes_one_up(
    recording: Recording, tmp_path: Path, seed: int, soak: bool
) -> None:
    operations = len(recording.operations)
    kinds = [parse(split(it.data)[1]).kind for it in recording.frames if it.since <= operations]
    said = flash_cuts.sweep(tmp_path, recording, seed)
    print(f"{operations} operations, {len(kinds)} frames, {kinds.count(frame.DATA)} batches: {said}")
    assert said.startswith(f"states {operations * len(MODES)}, frames ")
    assert int(said.split()[-1]) > operations
    assert kinds.count(frame.DATA) >= (100 if soak else 4)


def test_a_board_that_was_cut_starts_again_and_sends_what_it_had(
    recording: Recording, tmp_path: Path, seed: int, soak: bool
) -> None:
    """Every 50th cut with --soak, else three."""
    states = list(flash_cuts.states(recording, seed))
    step = 50 if soak else len(states) // 3
    sent = [
        len(flash_cuts.boot(tmp_path / str(n), recording, states[n])) for n in range(7, len(states), step)
    ]
    print(f"{len(sent)} boards started again; committed frames that they had to send: {sent}")
    assert sum(sent) > 3


def test_a_damaged_frame_key_or_config_is_noticed(recording: Recording, tmp_path: Path, seed: int) -> None:
    last = next(it for it in reversed(recording.frames) if it.since < len(recording.operations))
    for number, damage, complaint in (
        (last.since, last.data[-24:], " is lost"),
        (5, recording.key[-20:], "the key is not whole"),
        (5, recording.node.config[-40:], "the config is not whole"),
    ):
        said = flash_cuts.sweep(tmp_path, recording, seed, (number, damage))
        assert said.startswith(f"broken: operation {number}, ") and said.endswith(complaint), said


def test_a_frame_that_nobody_wrote_is_noticed(recording: Recording, tmp_path: Path, seed: int) -> None:
    less = dataclasses.replace(recording, frames=recording.frames[1:])
    said = flash_cuts.sweep(tmp_path, less, seed)
    assert said.startswith("broken: ") and said.endswith("a frame that nobody wrote")
