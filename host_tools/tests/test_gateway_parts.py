"""Parts of the gateway by themselves: keys, logs, the lock, the live view, clocks."""

import asyncio
import contextlib
import fcntl
import multiprocessing
import os
import struct
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode, channel
from gasan.host.errors import InputError, TryAgainError, UntrustedError
from gasan.host.gateway import logs, service
from gasan.host.gateway.clock import ClockReading, machine_boot, mono_ms, read_clock
from gasan.host.gateway.live import LiveView, shown_value
from gasan.host.gateway.lock import state_lock
from gasan.host.gateway.logs import NodeLog
from gasan.host.gateway.tail import tail_rows
from gasan.host.gateway.writing import WriteDesk
from gasan.host.keys import KeyStore
from gasan.host.store import open_reader, open_store
from gasan.host.store.ingest import Ingest, Receipt
from gasan.host.store.meaning import Meaning, Raw
from gasan.host.store.writer import StoreWriter
from gasan.wire import cbor, columns


def test_a_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "keys")
    assert keys.get("press-1") is None
    key = keys.obtain("press-1")
    path = tmp_path / "keys" / "press-1.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert cbor.loads(path.read_bytes()) == [key.node_id, 0, key.key]
    assert (len(key.node_id), len(key.key)) == (8, 32)
    assert key.key.hex() not in repr(key)
    again = KeyStore(tmp_path / "keys")
    assert again.get("press-1") == key == again.obtain("press-1")
    assert again.key(key.node_id, 0) == key.key
    assert again.key(key.node_id, 1) is None and again.key(bytes(8), 0) is None
    assert (again.name(key.node_id), again.name(bytes(8))) == ("press-1", "0" * 16)
    assert keys.obtain("press-2").key != key.key
    assert [entry.name for entry in (tmp_path / "keys").iterdir() if entry.suffix == ".part"] == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        cbor.dumps([bytes(8), 0]),
        cbor.dumps([bytes(7), 0, bytes(32)]),
        cbor.dumps([bytes(8), 256, bytes(32)]),
    ],
)
def test_what_is_no_key_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "press-1.key"
    path.touch(0o600)
    path.write_bytes(data)
    with pytest.raises(InputError, match="no key file"):
        KeyStore(tmp_path)


def test_one_key_under_two_names_and_a_readable_one(tmp_path: Path) -> None:
    key = KeyStore(tmp_path).obtain("press-1")
    (tmp_path / "press-2.key").touch(0o600)
    (tmp_path / "press-2.key").write_bytes(key.encode())
    with pytest.raises(InputError, match="press-1 and press-2"):
        KeyStore(tmp_path)
    (tmp_path / "press-2.key").unlink()
    (tmp_path / "press-1.key").chmod(0o640)
    with pytest.raises(UntrustedError, match="chmod 600"):
        KeyStore(tmp_path)
    with pytest.raises(TryAgainError, match="cannot be read"):
        KeyStore(tmp_path / "press-1.key" / "folder")


def test_a_log_is_bounded_and_shows_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FILE_MAX", 2000)
    log = NodeLog(tmp_path / "logs", "press-1")
    heard: list[str] = []
    stop = log.listen(heard.append)
    log.add("clear \x1b[2J and \x07 bell, 전압")
    stop()
    for i in range(300):
        log.add(f"line {i} " + "x" * 2000)
    log.close()
    assert len(heard) == 1 and heard[0].endswith(" clear \\x1b[2J and \\x07 bell, 전압")
    sizes = [path.stat().st_size for path in (tmp_path / "logs").iterdir()]
    assert len(sizes) == 2 and max(sizes) < 4000
    assert len(log.lines) == 301 and all(len(line) < 1100 for line in log.lines)
    more = NodeLog(tmp_path / "logs", "press-1")
    more.add("the next run")
    more.close()
    assert "the next run" in (tmp_path / "logs" / "press-1.log").read_text()


def test_a_log_that_cannot_be_written_goes_on_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = NodeLog(tmp_path, "press-1")
    log._file.close()
    log._file = Path("/dev/full").open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - the log closes it
    log.add("one")
    log.add("two")
    assert [line.split()[-1] for line in log.lines] == ["one", "two"]
    assert caplog.text.count("kept in memory only") == 1
    log.close()


def _hold(folder: str, ready: "multiprocessing.connection.Connection") -> None:  # type: ignore[name-defined]
    with state_lock(Path(folder)):
        ready.send(os.getpid())
        ready.recv()


def test_the_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    holder = multiprocessing.get_context("fork").Process(target=_hold, args=(str(tmp_path / "state"), theirs))
    holder.start()
    pid = ours.recv()
    with pytest.raises(TryAgainError, match=f"process {pid}"), state_lock(tmp_path / "state"):
        pass
    holder.kill()
    holder.join()
    holder.close()
    with state_lock(tmp_path / "state"):
        assert (tmp_path / "state" / "lock").read_text() == f"{os.getpid()}\n"
        with (tmp_path / "state" / "lock").open() as file, pytest.raises(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_clocks() -> None:
    first, second = mono_ms(), mono_ms()
    assert 0 < first <= second
    reading = read_clock()
    assert abs(reading.mono_ms - first) < 1000
    assert reading.offset_ms == reading.utc_ms - reading.mono_ms
    assert machine_boot() == machine_boot() != ""


@pytest.mark.parametrize(
    ("type_code", "raw", "num", "den", "off", "expected"),
    [
        (columns.U16, 2300, 1, 10, 0, Decimal("230.0")),
        (columns.I16, -5, 1, 100, 0, Decimal("-0.05")),
        (columns.U16, 7, 1, 1, 0, Decimal(7)),
        (columns.U16, 1, 1, 3, 0, 1 / 3),
        (columns.U64, 10**19, 1, 1000, 0, Decimal("10000000000000000.000")),
        (columns.F32, struct.pack(">f", 0.1), 1, 1, 0, 0.1),
        (columns.F64, struct.pack(">d", 0.1), 1, 1, 0, 0.1),
        (columns.F32, bytes.fromhex("7fc00000"), 1, 1, 0, None),
        (columns.U16, None, 1, 1, 0, None),
        (columns.U16, 1, 1, 1, 0, "on"),
    ],
)
def test_a_value_is_shown_with_the_digits_that_it_has(
    type_code: int, raw: Raw | None, num: int, den: int, off: int, expected: object
) -> None:
    labels = {1: "on"} if expected == "on" else {}
    shown = shown_value(Meaning(0, "d", "c", "V", type_code, num, den, off, 0, 0, -1, labels, ""), raw)
    assert shown == expected and type(shown) is type(expected)


def receipts(path: Path, node: ScriptedNode, frames: list[bytes]) -> list[Receipt]:
    with open_store(path) as store:
        return Ingest(store, ScriptedKeys(node)).store(frames)


def test_the_view_follows_the_newest_readings_and_counts(tmp_path: Path) -> None:
    node = ScriptedNode(Random(1))
    birth = [channel("meter", "voltage", columns.U16, den=10), channel("meter", "current", columns.U16)]
    frames = [node.start(), node.birth(birth)]
    early = node.data([(columns.U16, [1, 2]), (columns.U16, [3, None])], mono=1000)
    late = node.data([(columns.U16, [5]), (columns.U16, [None])], mono=9000)
    grave = node.tombstone(9, 9, 12)
    got = receipts(tmp_path / "a.sqlite", node, [*frames, late, early, early, grave, b"garbage"])
    view = LiveView()
    view.expect("press-1", [Meaning(0, "meter", "voltage", "V", 1, 1, 10, 0, 0, 0, -1, {}, "")])
    (row,) = view.snapshot((), 0, None).rows
    assert (row.channel, row.value, row.age_ms, list(row.history)) == ("voltage", None, None, [])
    view.spool("press-1", 3, 700)
    for receipt in got:
        view.receipt("press-1", receipt, 100)
    snapshot = view.snapshot((), 9_600, "the disk is full")
    rows = {row.channel: row for row in snapshot.rows}
    assert (rows["voltage"].value, rows["voltage"].age_ms, rows["voltage"].history) == (
        Decimal("0.5"),
        500,
        (0.5,),
    )
    assert (rows["current"].value, rows["current"].quality) == (None, 64)
    counters = snapshot.counters
    assert (counters.frames, counters.readings, counters.lost, counters.rejected) == (5, 6, 12, 1)
    assert counters.bytes == len(early) + len(late)
    assert (counters.spool_frames, counters.spool_bytes, snapshot.trouble) == (3, 700, "the disk is full")


def test_rows_of_a_new_config_replace_those_of_the_old(tmp_path: Path) -> None:
    view = LiveView()
    old = [Meaning(i, "d", f"c{i}", "V", 1, 1, 1, 0, 0, 0, -1, {}, "") for i in range(3)]
    view.expect("press-1", old)
    view.expect("press-2", old[:1])
    view.expect("press-1", [old[2], old[0]])
    assert [(row.node, row.channel) for row in view.snapshot((), 0, None).rows] == [
        ("press-2", "c0"),
        ("press-1", "c2"),
        ("press-1", "c0"),
    ]


def test_tail_shows_what_is_stored_and_nothing_again(tmp_path: Path) -> None:
    node = ScriptedNode(Random(1))
    birth = [channel("m", "v", columns.U64), channel("m", "f", columns.F32)]
    data = (
        node.start(),
        node.birth(birth),
        node.data([(columns.U64, [2**63, None]), (columns.F32, [0.5, 1.5])], mono=5),
    )
    rows = [
        row
        for receipt in receipts(tmp_path / "a.sqlite", node, [*data, data[-1]])
        for row in tail_rows("press-1", receipt, lambda boot, ms: 1000, 10**12)
    ]
    assert [(row["channel"], row["time_ms"], row["value"], row["raw"], row["quality"]) for row in rows] == [
        ("v", 10**12 + 1005, 2.0**63, str(2**63), "good"),
        ("v", 10**12 + 2005, None, None, "bad/timeout"),
        ("f", 10**12 + 1005, 0.5, "3f000000", "good"),
        ("f", 10**12 + 2005, 1.5, "3fc00000", "good"),
    ]


def test_a_renewed_key_still_verifies_and_a_replaced_board_keeps_its_name(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    first = store.obtain("press-1")
    second = store.renew("press-1")
    other = store.replace("press-1")
    assert (second.node_id, second.generation) == (first.node_id, 1) and second.key != first.key
    assert other.node_id != first.node_id and other.generation == 0
    for keys in (store, KeyStore(tmp_path / "keys")):
        assert keys.obtain("press-1") == other
        assert keys.key(first.node_id, 0) == first.key
        assert keys.key(first.node_id, 1) == second.key
        assert keys.key(first.node_id, 2) is None
        assert keys.key(other.node_id, 0) == other.key
        assert keys.name(first.node_id) == keys.name(other.node_id) == "press-1"
    retired = list((tmp_path / "keys" / "retired").iterdir())
    assert len(retired) == 2 and all(path.stat().st_mode & 0o777 == 0o600 for path in retired)


def test_a_node_has_256_keys_at_most(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    store.obtain("press-1")
    for _ in range(255):
        store.renew("press-1")
    with pytest.raises(InputError, match="256 keys"):
        store.renew("press-1")


YEAR_MS = 365 * 86_400_000


@pytest.mark.parametrize("jump", [3_600_000, -3_600_000, 10 * YEAR_MS, -10 * YEAR_MS, 40, -70 * YEAR_MS])
def test_the_gateway_notices_that_its_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    """It started without a time server; then one answers. There stays one row for this start of the machine,
    and what does not move it (a millisecond of slewing) writes nothing.
    """
    utc = 1_790_000_000_000
    clocks = [ClockReading(mono, utc + mono + (mono == 2000), False) for mono in (1000, 2000, 3000)]
    clocks += [ClockReading(mono, utc + mono + jump, True) for mono in (4000, 5000)]
    told = iter(clocks)
    seen: list[ClockReading] = []
    done = asyncio.Event()

    def read() -> ClockReading:
        seen.append(next(told, clocks[-1]))
        if len(seen) > len(clocks):
            done.set()
        return seen[-1]

    monkeypatch.setattr(service, "read_clock", read)
    monkeypatch.setattr(service, "_CLOCK_S", 0.0)

    async def run() -> list[tuple[int, int, int]]:
        gateway = service.Gateway([], state_dir=tmp_path, db_path=tmp_path / "a.sqlite")
        writer = gateway._writer = StoreWriter(tmp_path / "a.sqlite", KeyStore(tmp_path / "keys"))
        await writer.start()
        try:
            await gateway._set_clock(clocks[0])
            watching = asyncio.create_task(gateway._watch_clock())
            await asyncio.wait_for(done.wait(), 10)
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        finally:
            await writer.close()
        with contextlib.closing(open_reader(tmp_path / "a.sqlite")) as connection:
            return connection.execute("SELECT mono_ms, utc_ms, synchronised FROM gateway_clock").fetchall()

    assert asyncio.run(run()) == [(4000, utc + 4000 + jump, 1)]


def test_a_write_that_nobody_waits_for_any_more_is_recorded() -> None:
    """Ctrl-C of `gasan write`, or a connection that drops, while the node is at it."""
    recorded: list[str] = []

    class Desk(WriteDesk):
        async def _write(self, *arguments: object) -> dict[str, Any]:
            recorded.append("sent")
            begun.set()
            await answered.wait()
            recorded.append("ended")
            return {}

    async def scene() -> None:
        desk = Desk(cast("StoreWriter", None))
        asking = asyncio.create_task(desk.write(cast("Any", None), "oven", "set_point", "1", "me", False))
        await begun.wait()
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        assert recorded == ["sent"]
        closing = asyncio.create_task(desk.close())
        await asyncio.sleep(0)
        answered.set()
        await closing
        assert recorded == ["sent", "ended"]

    begun, answered = asyncio.Event(), asyncio.Event()
    asyncio.run(scene())


def test_a_clean_up_that_fails_does_not_keep_the_gateway_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it runs, the same error only costs the node a moment."""
    monkeypatch.setattr(service, "_RESTART_S", 0.0)
    started: list[int] = []

    class Node:
        name = "press-1"

    class Service:
        node = Node()

        async def run(self) -> None:
            started.append(1)
            if len(started) == 1:
                raise ValueError("while it runs")
            try:
                await asyncio.sleep(1e6)
            finally:
                if len(started) == 2:
                    raise ValueError("at its end")

    async def run() -> None:
        gateway = service.Gateway([], state_dir=tmp_path, db_path=tmp_path / "a.sqlite")
        keeping = asyncio.create_task(gateway._keep(Service()))  # type: ignore[arg-type]
        while len(started) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        keeping.cancel()
        done, _ = await asyncio.wait([keeping], timeout=5)
        assert done and len(started) == 2

    asyncio.run(asyncio.wait_for(run(), 60))
