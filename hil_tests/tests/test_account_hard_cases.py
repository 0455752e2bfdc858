"""The account through what happens to boards and databases in a factory, with a real node and gateway.

The node runs the shipped firmware, the gateway is `gasan up`, and every reading is a count that the equipment
has logged. After each case node, store and log must tell the same.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from gasan.boards.image import firmware_files, list_files, remove_file, write_files
from gasan.hil.rig import DEVICES, NODE, Rig, compare
from gasan.hil.served import read_served
from gasan.host.account import CUT, ELSEWHERE, REPLACED, RESTORED, WIPED, Account, account
from gasan.host.compile import compile_site
from gasan.host.keys import KeyStore
from gasan.host.site import load
from gasan.host.store import open_reader, readings
from gasan.host.store.backup import backup, restore
from gasan.ota.slots import pack

_AWAY_S = 1.0
"""So long the cable is out: some batches of 400 ms go to flash meanwhile."""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        rig.until(lambda: rig.stored() > 20, "the first readings are stored")
        yield rig


def again(rig: Rig, what: str) -> None:
    """Until readings come again."""
    before = rig.stored()
    rig.until(lambda: rig.stored() > before + 10, f"readings come again after: {what}")


def spooled_and_off(rig: Rig) -> None:
    """Frames wait in the node's flash, and its power is off; so is the gateway."""
    rig.board.unplug()
    time.sleep(_AWAY_S)
    rig.board.off()
    rig.end_gateway()


def on(rig: Rig, what: str) -> None:
    rig.start_gateway()
    rig.board.on()
    rig.board.plug()
    again(rig, what)


def config(rig: Rig) -> bytes:
    (node,) = compile_site(load(rig.site))
    return pack(node.config)


def settled(rig: Rig) -> Account:
    """The end: all that the node has is stored, and the account adds up, by node and by channel."""
    rig.flush()
    rig.end_gateway()
    drawn = account(rig.db, gaps=True)
    (node,) = drawn.nodes
    print(drawn.as_dict())
    assert drawn.agrees, node.disagreements
    assert node.sampled == node.stored + node.lost and node.pending == node.duplicated == 0
    assert sum(channel.stored for channel in node.channels) == node.stored
    assert sum(channel.lost for channel in node.channels) + node.nobodys_lost == node.lost
    return drawn


def agrees_with_the_equipment(rig: Rig, lost: int, unknown: int) -> None:
    """Nothing was made up or stored twice. Of what was served and is not stored the account knows; `unknown`
    are readings that may have been served and told nobody, and as many may stand as bad ones.
    """
    result = compare(rig)
    assert result.invented == [] and result.twice == []
    assert lost - unknown <= len(result.missing) <= lost + unknown, (lost, len(result.missing), unknown)


def only_in(one: Path, other: Path) -> int:
    """Readings of frames that stand in one database and not in the other."""
    with closing(sqlite3.connect(one)) as connection:
        connection.execute("ATTACH ? AS other", (str(other),))
        (readings,) = connection.execute(
            "SELECT coalesce(sum(n), 0) FROM frame JOIN boot ON boot.id = frame.boot"
            " WHERE (boot.boot, seq) NOT IN"
            " (SELECT b.boot, f.seq FROM other.frame AS f JOIN other.boot AS b ON b.id = f.boot)"
        ).fetchone()
    return int(readings)


def dated_when_they_arrived(rig: Rig) -> None:
    """A reading's time is when its answer came in, not when it was batched or delivered: the equipment's log
    says when that left. Frames were spooled for seconds, and batches last 400 ms.
    """
    by_unit = {unit: device for device, unit in DEVICES.items()}
    served = {
        (by_unit[entry["bus"], entry["unit"]], int(entry["registers"][:8], 16)): entry["unix"] * 1000
        for entry in read_served(rig.served)
    }
    late = []
    with closing(open_reader(rig.db)) as connection:
        for reading in readings(connection, channel="reads"):
            if reading.quality != "good":
                continue
            assert reading.time_ms is not None and reading.time_err_ms is not None
            left = served[reading.device, int(str(reading.raw))]
            assert reading.time_ms >= left - reading.time_err_ms - 2
            late.append(reading.time_ms - left)
    late.sort()
    print(f"dated after the answer had left: median {late[len(late) // 2]:.1f} ms, worst {late[-1]:.1f} ms")
    assert len(late) > 20 and late[len(late) // 2] < 60  # 9 bytes at 38,400 baud, and a busy machine


def dates(rig: Rig) -> list[int]:
    """The times of the readings of one channel that have one."""
    with closing(open_reader(rig.db)) as connection:
        return [one.time_ms for one in readings(connection, channel="reads") if one.time_ms is not None]


def bad(db: Path) -> int:
    """Readings without a value: to the equipment's log they are nothing."""
    with closing(sqlite3.connect(db)) as connection:
        return int(connection.execute("SELECT count(*) FROM sample WHERE quality >= 64").fetchone()[0])


def _no_progress(done: int, all_: int) -> None:
    pass


_CUT = 18
"""Readings of six channels that may be under way, or told nobody, when the power goes."""


def test_key_and_config_changed_with_frames_spooled(rig: Rig) -> None:
    """The spool holds frames of the old key and of the old config when the node starts with new ones."""
    spooled_and_off(rig)
    keys = KeyStore(rig.state / "keys")
    old, new = keys.obtain(NODE), keys.renew(NODE)
    write_files(rig.board.image, {"/secret/key": new.encode()}, rig.board.settings.facts)
    on(rig, "a new key")
    spooled_and_off(rig)
    text = rig.site.read_text()
    rig.site.write_text(text.replace(f'"{rig.period_ms}ms"', f'"{rig.period_ms + 50}ms"'))
    write_files(rig.board.image, {"/cfg/a": config(rig)}, rig.board.settings.facts)
    on(rig, "a new config")
    drawn = settled(rig)
    assert new.node_id == old.node_id
    (node,) = drawn.nodes
    assert (node.boards, node.boots) == (1, 3)
    dated_when_they_arrived(rig)
    # Unplugged, the node tells nobody what it has sampled: its open batch is the only loss, and not known.
    assert set(drawn.lost_reasons) <= {CUT}
    window = round(rig.max_age_ms / rig.period_ms) * 6
    agrees_with_the_equipment(rig, node.lost, 2 * (_CUT + 2 * window))
    with closing(sqlite3.connect(rig.db)) as connection:
        (revisions,) = connection.execute(
            "SELECT count(*) FROM revision WHERE id IN (SELECT revision FROM channel)"
        ).fetchone()
    assert revisions == 2


def test_two_gateways_in_turn_a_fresh_database_and_a_restored_backup(rig: Rig) -> None:
    """One boot of the node, first with this gateway, then with another whose database is fresh, then back."""
    first, second, copy = rig.db, rig.folder / "second.sqlite", rig.folder / "copy.sqlite"
    backup(first, copy, _no_progress)  # beside the gateway, which goes on writing
    again(rig, "the first gateway")
    rig.end_gateway()
    rig.db = second
    rig.start_gateway()
    rig.until(lambda: rig.stored() > 30, "the second gateway has readings")
    rig.until(lambda: bool(account(second).lost_reasons), "the node has said that it holds nothing more")
    rig.end_gateway()
    before = account(second)
    rig.db = first
    rig.start_gateway()
    again(rig, "the first gateway has the node again")
    drawn = settled(rig)
    # What either store lacks the other one has; some frames both have, since the node had no answer yet.
    elsewhere = only_in(second, first)
    assert drawn.lost_reasons == ({ELSEWHERE: elsewhere} if elsewhere else {})
    agrees_with_the_equipment(rig, elsewhere, 6 + bad(second))
    assert before.agrees and set(before.lost_reasons) == {ELSEWHERE}
    assert before.total("lost") <= only_in(first, second) <= drawn.total("sampled") - before.total("stored")

    # The first one's disk dies; its backup is restored, and lacks what was stored since.
    total = account(first).total("sampled")
    report, former = restore(copy, first, _no_progress)
    had = account(copy).total("stored")
    assert report.sound and former is not None and account(first).total("stored") == had < total
    with closing(sqlite3.connect(first)) as connection:
        noted = connection.execute("SELECT first_seq, last_seq, reason FROM gateway_loss").fetchall()
        (last,) = connection.execute("SELECT max(seq) FROM frame").fetchone()
    assert noted == [(last + 1, None, 2)], "of the one start: all behind the last frame of the backup"
    rig.start_gateway()
    rig.until(lambda: account(first).total("sampled") == total, "the node has told the restored database")
    rig.until(lambda: account(first).total("pending") == 0, "nothing is pending")
    rig.end_gateway()
    restored = account(first)
    assert restored.agrees
    assert restored.lost_reasons == {RESTORED: total - had}
    assert restored.total("stored") == had, "the node has forgotten what was acknowledged"


def test_spool_erased_board_flashed_anew_and_board_replaced(rig: Rig) -> None:
    """What a board held is gone with its flash. How much, nobody was told: the account says that too."""
    facts = rig.board.settings.facts
    spooled_and_off(rig)
    for name in list_files(rig.board.image, facts):
        if name.startswith("/spool/"):
            remove_file(rig.board.image, name, facts)
    on(rig, "an erased spool")
    wiped = account(rig.db).nodes[0]
    assert wiped.agrees and wiped.open_ends == 1

    spooled_and_off(rig)
    key = KeyStore(rig.state / "keys").obtain(NODE)
    files = firmware_files() | {"/secret/key": key.encode(), "/cfg/a": config(rig)}
    rig.board.install(files)
    on(rig, "a board flashed anew")
    flashed = account(rig.db).nodes[0]
    assert flashed.agrees and (flashed.boards, flashed.boots, flashed.open_ends) == (1, 3, 2)

    spooled_and_off(rig)
    other = KeyStore(rig.state / "keys").replace(NODE)
    rig.board.install(files | {"/secret/key": other.encode()})
    on(rig, "another board in its place")
    drawn = settled(rig)
    (node,) = drawn.nodes
    assert (node.node, node.boards, node.boots, node.open_ends) == (NODE, 2, 4, 3)
    assert set(drawn.lost_reasons) <= {CUT, WIPED, REPLACED}
    # Three times a spool of some batches, and the open one.
    held = round((_AWAY_S + 1.5) * 1000 / rig.period_ms) * 6 + _CUT
    agrees_with_the_equipment(rig, node.lost, 3 * held)
    gaps = [gap for gap in node.gaps if gap.to_ms - gap.from_ms > 900 * _AWAY_S]
    assert len({gap.channel for gap in gaps}) == 2 and len(gaps) >= 3 * 6


_WILD_RTC = b"""\
    import machine, os
    _duties = app.Node._duties
    async def duties(self, now):
        n = os.urandom(1)[0]
        machine.RTC().datetime((2000 + n % 36, 1 + n % 12, 1 + n % 28, 0, n % 24, n % 60, 0, 0))
        await _duties(self, now)
    app.Node._duties = duties
"""
"""In a node's main.py: its RTC jumps four times a second."""


@pytest.mark.parametrize("ahead_ms", [3_600_000, -10 * 365 * 86_400_000])
def test_clocks_that_jump_on_both_sides_misdate_nothing(tmp_path: Path, ahead_ms: int) -> None:
    """The node's RTC is wild, it is reset, and the gateway's clock was wrong when it started."""
    rig = Rig(tmp_path)
    rig.set_clock(ahead_ms)
    with rig:
        main = firmware_files()["/main.py"].replace(b"    app.run(word)", _WILD_RTC + b"    app.run(word)")
        rig.board.off()
        write_files(rig.board.image, {"/main.py": main}, rig.board.settings.facts)
        rig.board.on()
        again(rig, "a wild RTC")
        rig.board.reset()
        again(rig, "a reset, by the wrong clock")
        rig.until(lambda: len(dates(rig)) > 10, "readings are dated")
        wrong = time.time() * 1000 + ahead_ms
        assert all(abs(at - wrong) < 600_000 for at in dates(rig)), "by the wrong clock"
        rig.set_clock(0)  # a time server is reached
        spooled_and_off(rig)
        on(rig, "a cut, by the right clock")
        drawn = settled(rig)
    assert set(drawn.lost_reasons) <= {CUT}
    assert drawn.nodes[0].boots == 3
    dated_when_they_arrived(rig)
