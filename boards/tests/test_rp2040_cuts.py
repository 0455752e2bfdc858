"""Power cuts at every flash operation of a fresh node's first time on the emulated RP2040.

One run is recorded; the flash that a cut would have left at each operation is made from the record and looked
at by the node's own code on the 32-bit VM, and some of these boards are started again.
"""

import dataclasses
from pathlib import Path

import pytest
from gasan.hil import flash_cuts, on_rp2040, vmrun
from gasan.hil.emulated_rig import modbus_node
from gasan.hil.flash_cuts import MODES, Recording, Swept
from gasan.wire import cbor, frame
from gasan.wire.frame_reader import parse, split

pytestmark = [
    pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing()),
    pytest.mark.skipif(bool(vmrun.missing(32)), reason=vmrun.missing(32)),
    pytest.mark.timeout(7200),
]

_LIMITS, _SPOOL = 2, 3  # in a compiled config
_SEED = 1


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Recording:
    """A third of a minute from the power-on of a fresh node; with --soak its first hour. Segments of 4 KB,
    the gateway away most of the time.
    """
    folder = tmp_path_factory.mktemp("recording")
    ms, period, max_age = 17_000, "200ms", "1s"
    absences: list[tuple[float, float]] = [(4_000, 12_000)]
    if request.config.getoption("--soak"):
        ms, period, max_age = 3_600_000, "1s", "10s"
        absences = [(60_000, 900_000), (1_500_000, 2_100_000), (3_000_000, 3_500_000)]
    node = modbus_node(folder, units=[1], channels=20, period=period, max_age=max_age)
    config = cbor.loads(node.config)
    config[_LIMITS][_SPOOL] = 32768
    node = dataclasses.replace(node, config=cbor.dumps(config))
    return flash_cuts.record(folder / "run", node, [1], ms, absences)


@pytest.fixture(scope="module")
def swept(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    return flash_cuts.sweep(tmp_path_factory.mktemp("swept"), recording, _SEED)


def test_no_cut_loses_a_committed_frame_or_makes_one_up(
    recording: Recording, swept: Swept, soak: bool
) -> None:
    operations = len(recording.operations)
    committed = list(zip(recording.frames, swept.since, strict=True))
    kinds = [parse(split(it.data)[1]).kind for it, since in committed if since <= operations]
    print(f"{operations} operations, {len(kinds)} frames, {kinds.count(frame.DATA)} batches: {swept.said}")
    assert swept.said.startswith(f"states {operations * len(MODES)}, frames ")
    assert int(swept.said.split()[-1]) > operations
    assert all(since <= it.until for it, since in committed if it.until <= operations), "sent too early"
    assert kinds.count(frame.DATA) >= (300 if soak else 5)


def test_a_board_that_was_cut_starts_again_and_sends_what_it_had(
    recording: Recording, swept: Swept, tmp_path: Path, soak: bool
) -> None:
    """Cuts all over the run: 150 of them with --soak, else three."""
    states = list(flash_cuts.states(recording, _SEED))
    step = len(states) // (150 if soak else 3)
    numbers = range(step // 2, len(states), step)
    sent = [len(flash_cuts.boot(tmp_path / str(n), recording, swept.since, states[n])) for n in numbers]
    print(f"{len(sent)} boards started again; committed frames that they had to send: {sent}")
    assert any(sent)


def test_a_damaged_frame_key_or_config_is_noticed(recording: Recording, swept: Swept, tmp_path: Path) -> None:
    committed = zip(recording.frames, swept.since, strict=True)
    last, since = max(committed, key=lambda it: it[0].until - it[1])
    for number, damage, complaint in (
        (since, last.data[-24:], " is lost"),
        (5, recording.key[-20:], "the key is not whole"),
        (5, recording.node.config[-40:], "the config is not whole"),
    ):
        said = flash_cuts.sweep(tmp_path, recording, _SEED, (number, damage)).said
        assert said.startswith(f"broken: operation {number}, ") and said.endswith(complaint), said


def test_a_frame_that_nobody_wrote_is_noticed(recording: Recording, tmp_path: Path) -> None:
    less = dataclasses.replace(recording, frames=recording.frames[1:])
    said = flash_cuts.sweep(tmp_path, less, _SEED).said
    assert said.startswith("broken: ") and said.endswith("a frame that nobody wrote")
