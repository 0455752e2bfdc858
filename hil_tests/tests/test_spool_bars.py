"""What the spool promises of flash life, outage, speed, draining and memory, measured on littlefs in the VM,
and the arithmetic of `gasan check` beside it.
"""

from pathlib import Path

import pytest
from gasan.boards import facts
from gasan.boards.image import firmware_files
from gasan.hil import vmrun
from gasan.hil.bench import spool
from gasan.hil.drain import drain
from gasan.host.endurance import RESIDENT_BLOCKS, work_out

_W1 = [(5_000, ["u16"] * 10)]
_BOARDS = ("rpi_pico_w", "esp32_generic")


def _needs(bits: int) -> None:
    if missing := vmrun.missing(bits):
        pytest.skip(missing)


@pytest.mark.parametrize("name", _BOARDS)
def test_the_flash_lasts_ten_years_and_as_long_as_check_says(name: str) -> None:
    _needs(64)
    board = facts.load(name)
    worn = spool.wear(board, 720)
    assert worn.years >= 10, worn
    # littlefs moves a directory after 100 erases of its blocks.
    assert worn.ahead < 200, worn
    assert worn.resident <= RESIDENT_BLOCKS <= worn.resident + 25, worn
    told = work_out(board, _W1, 60_000, 1600, board.spool_bytes)
    assert told.frames == 2 * 1440
    assert told.erases == pytest.approx(2 * worn.erases, rel=0.05)
    assert told.years is not None and told.years == pytest.approx(worn.years, rel=0.2)
    assert told.years < worn.years, "it leaves room for files to come"


@pytest.mark.parametrize("name", _BOARDS)
def test_an_outage_of_a_day_is_kept_and_check_says_how_long(name: str) -> None:
    _needs(64)
    board = facts.load(name)
    hours = spool.outage(board).minutes / 60
    assert hours >= 24
    told = work_out(board, _W1, 60_000, 1600, board.spool_bytes)
    assert 0.9 * hours <= told.outage_hours <= hours


def test_frames_are_committed_faster_than_fifty_a_second() -> None:
    _needs(64)
    fast = spool.speed(facts.load("esp32_generic"), 1_000)
    assert fast.frames == 1_000
    assert fast.committed >= 50 and fast.drained >= 200, fast


def test_a_backlog_drains_fast_and_sampling_does_not_notice(tmp_path: Path, seed: int) -> None:
    _needs(64)
    drained = drain(tmp_path, 1_500, 150, seed)
    print(drained)
    assert drained.frames / drained.cpu_s >= 200, "on a machine of its own"
    assert drained.twice == 0
    assert drained.live >= drained.seconds / 2 - 2, "a batch a second goes beside the backlog"
    assert drained.missed == 0
    # The same number with and without a backlog: as many as were due, but for those at the ends.
    assert min(drained.polls, drained.polls_after) >= drained.due - 2
    assert max(drained.polls, drained.polls_after) <= drained.due + 2


@pytest.mark.parametrize("name", _BOARDS)
def test_memory_is_bounded_and_does_not_grow_with_the_backlog(name: str) -> None:
    _needs(32)
    held = spool.memory(facts.load(name), 1_600)
    assert held.frames == 1_600
    assert held.held <= 8_192, held
    assert held.growth <= 512, "a byte for each frame would be 1,200"


def test_the_boards_leave_room_for_the_firmware() -> None:
    for name in facts.names():
        board = facts.load(name)
        files = sum(-(-len(content) // board.flash.block) for content in firmware_files().values())
        assert files < RESIDENT_BLOCKS
        assert board.spool_bytes + (files + 20) * board.flash.block < board.flash.fs_size, name
