"""Slots: the state machine on CPython, and power cuts at every flash operation on littlefs in the VM."""

from pathlib import Path

import pytest
from gasan.hil import vmrun
from gasan.ota import slots

_HERE = Path(__file__).parent
_STANDINS = _HERE.parents[1] / "boards" / "standins"


def _sweep(seed: int, mistake: str) -> str:
    if missing := vmrun.missing(64):
        pytest.skip(missing)
    return vmrun.run(_HERE / "vm" / "slots_sweep.py", _STANDINS, seed, mistake, heap="8m", timeout=120)


def test_a_cut_at_any_flash_operation_leaves_the_old_or_the_new_content_whole(seed: int) -> None:
    out = _sweep(seed, "none")
    assert out.startswith("cuts "), out
    assert int(out.split()[1]) > 100


@pytest.mark.parametrize("mistake", ["slot in use overwritten", "trial not noted", "way back overwritten"])
def test_the_sweep_notices_a_mistake(seed: int, mistake: str) -> None:
    assert _sweep(seed, mistake).startswith("broken: ")


OLD = b"an old config"
NEW = b"a new config, somewhat longer than the old one"
NAME = slots.digest(NEW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as an image is made: the old content in slot a, no state file."""
    (tmp_path / "a").write_bytes(slots.pack(OLD))
    return tmp_path


def _started(folder: Path) -> tuple[slots.Slots, bytes | None]:
    s = slots.Slots(str(folder))
    return s, s.start()


def _receive(s: slots.Slots, content: bytes, name: bytes, piece: int = 16) -> tuple[int, int]:
    offset, answer = 0, slots.MORE
    while answer == slots.MORE:
        offset, answer = s.receive(name, len(content), offset, content[offset : offset + piece])
    return offset, answer


def test_an_update_is_tried_confirmed_and_stays(folder: Path) -> None:
    s, content = _started(folder)
    assert (content, s.state) == (OLD, slots.STABLE)
    assert _receive(s, NEW, NAME) == (len(NEW), slots.COMPLETE)
    assert s.activate(NAME)
    s, content = _started(folder)
    assert (content, s.state) == (NEW, slots.TRIAL)
    s.confirm()
    for _ in range(2):
        s, content = _started(folder)
        assert (content, s.state) == (NEW, slots.STABLE)
    assert s.in_use(NAME)


def test_a_trial_that_is_not_confirmed_goes_back_and_says_so(folder: Path) -> None:
    s, _ = _started(folder)
    _receive(s, NEW, NAME)
    s.activate(NAME)
    _started(folder)
    for _ in range(2):
        s, content = _started(folder)
        assert (content, s.state) == (OLD, slots.ROLLED_BACK)
    _receive(s, NEW, NAME)
    assert s.activate(NAME), "after a rollback the same content may be tried again"


def test_the_first_content_of_all_has_no_trial(tmp_path: Path) -> None:
    folder = tmp_path / "cfg"
    s, content = _started(folder)
    assert content is None
    assert _receive(s, NEW, NAME)[1] == slots.COMPLETE
    assert s.activate(NAME)
    s, content = _started(folder)
    assert (content, s.state) == (NEW, slots.STABLE)


def _confirmed(folder: Path) -> None:
    s, _ = _started(folder)
    _receive(s, NEW, NAME)
    s.activate(NAME)
    s, _ = _started(folder)
    s.confirm()


@pytest.mark.parametrize("rotten", [b"", b"short", slots.pack(NEW)[:-1] + b"?", slots.pack(b"other")])
def test_a_slot_that_rots_is_noticed_and_the_other_one_used(folder: Path, rotten: bytes) -> None:
    _confirmed(folder)
    (folder / "b").write_bytes(rotten)
    s, content = _started(folder)
    assert (content, s.state) == (OLD, slots.ROLLED_BACK)
    _confirmed(folder)
    s, content = _started(folder)
    assert (content, s.state) == (NEW, slots.STABLE)


@pytest.mark.parametrize("rotten", [b"", b"\xff", b"\x80", b"\x83\x05\x40\x00", b"\x83\x00\x40\x09", b"\x01"])
def test_a_state_file_that_rots_leaves_a_whole_slot(folder: Path, rotten: bytes) -> None:
    _confirmed(folder)
    (folder / "state").write_bytes(rotten)
    _, content = _started(folder)
    assert content == OLD
    (folder / "a").unlink()
    s, content = _started(folder)
    assert (content, s.state) == (NEW, slots.ROLLED_BACK)


def test_with_both_slots_rotten_there_is_no_content(folder: Path) -> None:
    (folder / "a").write_bytes(b"rotten")
    s, content = _started(folder)
    assert content is None
    assert _receive(s, NEW, NAME)[1] == slots.COMPLETE


def test_pieces_may_come_twice_late_or_from_another_sender(folder: Path) -> None:
    s, _ = _started(folder)
    total = len(NEW)
    assert s.receive(NAME, total, 16, NEW[16:32]) == (0, slots.MORE)
    assert s.receive(NAME, total, 0, NEW[:16]) == (16, slots.MORE)
    assert s.receive(NAME, total, 0, NEW[:16]) == (16, slots.MORE)
    other = b"someone else's"
    assert s.receive(slots.digest(other), len(other), 0, other[:4]) == (4, slots.MORE)
    assert _receive(s, NEW, NAME) == (total, slots.COMPLETE)
    assert s.receive(NAME, total, 16, NEW[16:32]) == (total, slots.COMPLETE)
    assert s.received(NAME) == NEW


def test_what_is_not_what_its_name_says_is_refused(folder: Path) -> None:
    s, _ = _started(folder)
    assert _receive(s, NEW, slots.digest(b"x")) == (0, slots.REFUSED)
    assert not s.activate(NAME)
    assert s.receive(NAME, len(NEW) - 1, 0, NEW) == (0, slots.REFUSED), "longer than announced"
    assert s.receive(NAME, slots.MAX_SIZE + 1, 0, NEW) == (0, slots.REFUSED)
    assert s.receive(NAME, 0, 0, b"") == (0, slots.REFUSED)
    assert _started(folder)[1] == OLD


def test_what_runs_already_is_not_received_again(folder: Path) -> None:
    s, _ = _started(folder)
    assert s.receive(slots.digest(OLD), len(OLD), 0, OLD[:4]) == (len(OLD), slots.COMPLETE)
    assert not (folder / "b").exists()


def test_nothing_is_received_while_a_way_back_must_stay(folder: Path) -> None:
    s, _ = _started(folder)
    _receive(s, NEW, NAME)
    s.activate(NAME)
    assert s.receive(slots.digest(b"x"), 1, 0, b"x") == (0, slots.REFUSED), "armed"
    s, _ = _started(folder)
    assert s.receive(slots.digest(b"x"), 1, 0, b"x") == (0, slots.REFUSED), "on trial"


def test_a_full_flash_is_an_oserror_and_the_old_content_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s, _ = _started(folder)
    _receive(s, NEW, NAME)

    def no_space(path: str, content: bytes) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(slots, "replace", no_space)
    with pytest.raises(OSError, match="no space"):
        s.activate(NAME)
    s, content = _started(folder)
    assert (content, s.state) == (OLD, slots.STABLE)


def test_later_in_a_boot_it_goes_on_where_the_start_left_it(folder: Path) -> None:
    s, _ = _started(folder)
    later = slots.Slots(str(folder))
    later.resume(slots.digest(OLD), s.state)
    assert _receive(later, NEW, NAME)[1] == slots.COMPLETE
    assert later.activate(NAME)
    s, _ = _started(folder)
    later = slots.Slots(str(folder))
    later.resume(NAME, s.state)
    assert not later.in_use(NAME), "on trial"
    later.confirm()
    assert later.in_use(NAME)
    assert _started(folder)[1] == NEW
