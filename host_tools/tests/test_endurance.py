"""What `gasan check` says of a node's spool and flash. That it is true is measured in hil_tests."""

import json
from pathlib import Path

import cbor2
import pytest
from gasan.boards import facts
from gasan.host import cli
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.compile import compile_site
from gasan.host.config_diff import difference
from gasan.host.endurance import endurance, longer_batch, work_out
from gasan.host.problems import FileError
from gasan.host.site import Site, load

_SITE = """\
[site]
name = "line-3"

[[node]]
name = "press-1"
board = "rpi_pico_w"
link = "serial:/dev/ttyACM0"
{more}
[[node.bus]]
name = "cabinet"
type = "modbus-rtu"
baudrate = 9600

[[node.bus.device]]
name = "meter"
unit = 1
profile = "eastron/sdm120"
"""


def _load(folder: Path, more: str = "") -> Site:
    file = folder / "site.toml"
    file.write_text(_SITE.format(more=more), encoding="utf-8")
    return load(file)


def test_longer_batches_wear_less_and_last_longer() -> None:
    board = facts.load("rpi_pico_w")
    told = [work_out(board, [(5000, ["u16"] * 10)], age, 1900, 393_216) for age in (1_000, 60_000, 600_000)]
    assert [round(one.frames) for one in told] == [18_720, 2_880, 1_584]
    years = [one.years for one in told if one.years is not None]
    assert years == sorted(years) and 1 < years[0] < 3 < 9 < years[1] < years[2]
    hours = [one.outage_hours for one in told]
    assert hours == sorted(hours)
    assert work_out(board, [], 60_000, 1900, 393_216).frames == 1440, "health alone"


def test_a_full_frame_ends_a_batch_before_its_age() -> None:
    board = facts.load("esp32_generic")
    fast = work_out(board, [(1000, ["f32"] * 50)], 60_000, 1900, board.spool_bytes)
    assert fast.frames - 1440 == pytest.approx(86_400 / ((1900 - 81) / (50 * 4.5)), rel=0.01)


def test_a_node_that_wears_its_flash_out_is_warned_about_with_a_mend(tmp_path: Path) -> None:
    assert not _load(tmp_path).warnings
    site = _load(tmp_path, '[node.batch]\nmax_age = "1s"\n')
    (warning,) = site.warnings
    assert warning.line == 4 and warning.severity == "warning"
    assert "the flash of press-1 lasts 0." in warning.what
    assert str(warning).endswith('write max_age = "30s" in [node.batch]'), str(warning)
    assert longer_batch(site.nodes[0]) == 30_000
    mended = _load(tmp_path, '[node.batch]\nmax_age = "30s"\n')
    assert not mended.warnings


def test_a_spool_in_memory_wears_nothing(tmp_path: Path) -> None:
    site = _load(tmp_path, '[node.batch]\nmax_age = "1s"\n[node.spool]\nstorage = "ram"\n')
    assert not site.warnings
    told = endurance(site.nodes[0])
    assert told.years is None and told.erases == 0 and 0 < told.outage_hours < 1
    assert site.nodes[0].spool_bytes == 16_384


def test_the_spool_s_settings_reach_the_node(tmp_path: Path) -> None:
    plain = compile_site(_load(tmp_path))[0].config
    assert cbor2.loads(plain)[2] == {1: 60_000, 2: 1600, 3: 393_216, 4: 1}
    table = '[node.spool]\nstorage = "ram"\nsize = 20000\ndrop = "newest"\nbacklog_share = 75\n'
    config = compile_site(_load(tmp_path, table))[0].config
    assert cbor2.loads(config)[2] == {1: 60_000, 2: 1600, 3: 20_000, 4: 1, 5: 1, 6: 75, 7: 1}
    changes = [str(change) for change in difference(plain, config)]
    assert changes == [
        "~ spool bytes: 393216 -> 20000",
        "~ spool.drop: oldest -> newest",
        "~ spool.backlog_share: 50 % -> 75 %",
        "~ spool.storage: flash -> ram",
    ]


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("size = 700000", "a spool of 700000 bytes is too large for the flash of rpi_pico_w"),
        ('storage = "ram"\nsize = 50000', "a spool of 50000 bytes is too large for the memory of rpi_pico_w"),
        ("size = 1000", "16384"),
        ('drop = "all"', "all"),
        ("backlog_share = 0", "5"),
    ],
)
def test_a_spool_that_cannot_be_is_refused(tmp_path: Path, table: str, what: str) -> None:
    with pytest.raises(FileError) as error:
        _load(tmp_path, f"[node.spool]\n{table}\n")
    assert any(what in str(problem) for problem in error.value.problems), error.value.problems


def test_check_tells_it_in_words_and_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = _load(tmp_path)
    assert cli.run(["check", str(site.file)]) == ExitCode.OK
    assert (
        "press-1: 2,880 frames and 2435 KB a day; 4 h without a gateway are kept; the flash lasts 9 years"
        in (capsys.readouterr().out)
    )
    assert cli.run(["check", "--json", str(site.file)]) == ExitCode.OK
    flash = json.loads(capsys.readouterr().out)["nodes"][0]["flash"]
    assert flash.keys() == {"frames_a_day", "bytes_a_day", "outage_hours", "erases_a_day", "years"}
    assert flash["frames_a_day"] == 2880 and 3000 < flash["erases_a_day"] < 4000
