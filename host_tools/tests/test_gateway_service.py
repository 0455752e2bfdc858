"""The gateway as a whole, with scripted nodes on ptys: what is stored, acknowledged, dated, told and
configured.
"""

import asyncio
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from gasan.hil.scripted_link import LinkedNode
from gasan.hil.scripted_node import ScriptedNode, channel
from gasan.host.account import account
from gasan.host.compile import CompiledNode
from gasan.host.errors import TryAgainError, UntrustedError
from gasan.host.gateway.control import control_path, socket_address
from gasan.host.gateway.service import Gateway
from gasan.host.keys import KeyStore, NodeKey
from gasan.host.link import serial, session
from gasan.host.store import writer
from gasan.wire import cbor, columns

BIRTH = [
    channel("meter", "voltage", columns.U16, den=10),
    channel("meter", "state", columns.U16, more={3: {1: "on"}}),
]
OTHER = [channel("meter", "current", columns.U16, unit="A")]


def config_of(channels: list[list[Any]], name: str = "press-1") -> bytes:
    return cbor.dumps([2, name, {}, [], [cbor.dumps([0, channels])]])


def revision_of(config: bytes) -> bytes:
    return hashlib.sha256(config).digest()[:8]


class Site:
    """One node, its gateway's folder, and a gateway that can be started and stopped."""

    def __init__(self, folder: Path, random: Random) -> None:
        self.state = folder / "state"
        self.db = folder / "a.sqlite"
        self.linked = LinkedNode(folder, random)
        self.node: ScriptedNode = self.linked.node
        self.config = config_of(BIRTH)
        self.node.revision = revision_of(self.config)
        keys = self.state / "keys"
        keys.mkdir(parents=True)
        key = NodeKey("press-1", self.node.node_id, 0, self.node.key)
        (keys / "press-1.key").touch(0o600)
        (keys / "press-1.key").write_bytes(key.encode())
        self.gateway: Gateway

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Gateway]:
        compiled = CompiledNode(
            "press-1",
            self.config,
            revision_of(self.config),
            (),
            {},
            None,
            f"serial:{self.linked.port}",
            "virtual",
        )
        self.gateway = Gateway([compiled], state_dir=self.state, db_path=self.db, site="line-3")
        stop = asyncio.Event()
        running = asyncio.create_task(self.gateway.run(stop))
        try:
            yield self.gateway
        finally:
            stop.set()
            await running

    def data(self, *values: int) -> None:
        """A frame of two readings for each value, just sampled."""
        frame = self.node.data(
            [(columns.U16, list(values)), (columns.U16, [1] * len(values))],
            mono=self.linked.mono(),
            period_ms=10,
        )
        self.linked.commit(frame)

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"it did not happen; node: {self.gateway.snapshot().nodes}"
            await asyncio.sleep(0.01)

    def delivered(self) -> bool:
        return not self.linked.spool

    def rows(self, what: str = "channel, value, text, quality, time_ms, time_err_ms, seq") -> list[Any]:
        connection = sqlite3.connect(self.db)
        try:
            return connection.execute(
                f"SELECT {what} FROM readings ORDER BY seq, channel, time_ms"
            ).fetchall()
        finally:
            connection.close()

    async def ask(self, **request: Any) -> list[dict[str, Any]]:
        """All answers of the control socket."""
        with socket_address(control_path(self.state)) as address:
            reader, writer = await asyncio.open_unix_connection(address)
        writer.write(json.dumps(request).encode() + b"\n")
        answers = [json.loads(line) async for line in reader]
        writer.close()
        await writer.wait_closed()
        return answers


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for ports and nodes that are seconds on a real cable."""
    monkeypatch.setattr(serial, "_RETRY_S", 0.05)
    monkeypatch.setattr(session, "_HELLO_MS", 100)
    monkeypatch.setattr(session, "_DOUBT_MS", 250)


def run(main: Callable[[Site], Coroutine[Any, Any, None]], folder: Path, seed: int) -> Site:
    site = Site(folder, Random(seed))
    asyncio.run(main(site))
    return site


def test_readings_are_stored_dated_shown_and_then_acknowledged(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        async with site.linked, site.serving() as gateway:
            site.linked.start()
            site.linked.commit(site.node.birth(BIRTH))
            site.data(2301, 2302, 2303)
            await site.until(lambda: site.delivered() and gateway.snapshot().nodes[0].state == "up")
            await site.until(lambda: all(time_ms is not None for (time_ms,) in site.rows("time_ms")))
            snapshot = gateway.snapshot()
            shown = {row.channel: row for row in snapshot.rows}
            assert (str(shown["voltage"].value), shown["voltage"].unit, shown["voltage"].quality) == (
                "230.3",
                "V",
                0,
            )
            assert shown["voltage"].history == (230.1, 230.2, 230.3)
            assert shown["state"].value == "on"
            age = shown["voltage"].age_ms
            assert age is not None and age < 5000
            assert (snapshot.counters.frames, snapshot.counters.readings) == (3, 6)
            assert (snapshot.counters.lost, snapshot.counters.duplicated, snapshot.trouble) == (0, 0, None)

    before = time.time() * 1000
    site = run(main, tmp_path, seed)
    rows = site.rows()
    assert [row[1] for row in rows if row[0] == "voltage"] == [230.1, 230.2, 230.3]
    assert {row[2] for row in rows if row[0] == "state"} == {"on"}
    assert all(
        before - 100 - err <= time_ms <= time.time() * 1000 + 100 + err for *_, time_ms, err, _ in rows
    )
    assert all(err < 100 for *_, err, _ in rows)
    drawn = account(site.db).as_dict()
    assert (drawn["readings_sampled"], drawn["readings_stored"], drawn["readings_pending"]) == (6, 6, 0)


def test_a_gateway_that_starts_again_takes_what_is_new_and_nothing_twice(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        async with site.linked:
            site.linked.start()
            async with site.serving():
                site.data(1)
                await site.until(site.delivered)
            site.data(2)
            site.data(3)
            async with site.serving():
                site.data(4)
                await site.until(site.delivered)

    site = run(main, tmp_path, seed)
    assert [value for (value,) in site.rows("value") if value > 1 or value < 0.5] == [0.1, 0.2, 0.3, 0.4]
    assert account(site.db).as_dict()["readings_duplicated"] == 0


def test_a_cable_that_is_pulled_again_and_again_costs_nothing(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        random = Random(seed)
        async with site.linked, site.serving():
            site.linked.start()
            for turn in range(5):
                await site.until(lambda: site.gateway.snapshot().nodes[0].state == "up")
                for i in range(20):
                    site.data(turn * 20 + i)
                await asyncio.sleep(random.uniform(0, 0.05))
                site.linked.unplug()
                await site.until(lambda: site.gateway.snapshot().nodes[0].state == "connecting")
                assert "console" in site.gateway.snapshot().nodes[0].detail
                site.linked.plug()
            await site.until(site.delivered)

    site = run(main, tmp_path, seed)
    raws = [raw for channel, raw in site.rows("channel, raw") if channel == "voltage"]
    assert raws == list(range(100))


def test_what_the_node_takes_with_it_is_known_from_its_last_status(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        async with site.linked, site.serving() as gateway:
            site.linked.start()
            site.data(1, 2)
            await site.until(site.delivered)
            site.linked.open_batch = 7
            await asyncio.sleep(0.3)  # some status messages
            site.linked.start()
            await site.until(lambda: site.delivered() and gateway.snapshot().nodes[0].state == "up")
            await site.until(lambda: gateway.snapshot().counters.lost == 7)

    site = run(main, tmp_path, seed)
    drawn = account(site.db).as_dict()
    assert (drawn["readings_sampled"], drawn["readings_stored"], drawn["readings_lost"]) == (11, 4, 7)
    assert drawn["lost_reasons"] == {"cut_before_commit": 7}


def test_the_last_status_is_on_disk_when_the_gateway_ends(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        async with site.linked:
            site.linked.start()
            async with site.serving():
                await site.until(site.delivered)
                site.linked.open_batch = 5
                await asyncio.sleep(0.3)
        assert account(site.db).as_dict()["readings_pending"] == 5

    run(main, tmp_path, seed)


def test_a_node_with_another_config_gets_the_sites(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        wanted = site.config
        site.node.revision = revision_of(config_of(OTHER))
        site.linked.take_config = lambda config: [BIRTH] if config == wanted else None
        async with site.linked, site.serving():
            site.linked.start()
            await site.until(lambda: site.node.revision == revision_of(wanted) and site.delivered())
            site.data(5)
            await site.until(site.delivered)
        assert [name for name, _ in site.linked.commands] == ["activate"]

    assert run(main, tmp_path, seed).rows("value")[-1] == (0.5,)


def test_a_config_that_does_not_come_up_is_tried_once_and_told(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        site.node.revision = revision_of(config_of(OTHER))
        site.linked.take_config = lambda config: None
        async with site.linked, site.serving():
            site.linked.start()
            log = site.state / "logs" / "press-1.log"
            await site.until(lambda: log.exists() and "went back to the old one" in log.read_text())
            site.data(1)
            await site.until(site.delivered)
            assert [name for name, _ in site.linked.commands] == ["activate"]
            answers = await site.ask(do="apply", node="press-1", config=site.config.hex())
            assert "went back" in answers[-1]["rolled_back"]

    run(main, tmp_path, seed)


def test_a_rolled_back_apply_leaves_the_config_before_it(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        site.linked.take_config = lambda config: None
        async with site.linked, site.serving() as gateway:
            site.linked.start()
            await site.until(lambda: gateway.snapshot().nodes[0].state == "up" and site.delivered())
            rows = [row.channel for row in gateway.snapshot().rows]
            answers = await site.ask(do="apply", node="press-1", config=config_of(OTHER).hex())
            assert "went back" in answers[-1]["rolled_back"]
            (nodes,) = await site.ask(do="nodes")
            assert nodes["done"]["nodes"][0]["config"] == site.config.hex()
            assert [row.channel for row in gateway.snapshot().rows] == rows
            site.data(1)
            await site.until(site.delivered)
            await asyncio.sleep(0.2)  # nothing is to happen
            assert [name for name, _ in site.linked.commands] == ["activate"]

    run(main, tmp_path, seed)


def test_apply_shows_its_progress_and_ends_with_the_birth(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        config = config_of(OTHER)
        site.linked.take_config = lambda config: [OTHER]
        async with site.linked, site.serving() as gateway:
            site.linked.start()
            await site.until(lambda: gateway.snapshot().nodes[0].state == "up" and site.delivered())
            answers = await site.ask(do="apply", node="press-1", config=config.hex())
            assert answers[0] == {"event": "sending", "sent": 0, "total": len(config)}
            assert {"event": "restarting"} in answers
            assert answers[-1] == {"done": {"revision": revision_of(config).hex()}}
            assert [row.channel for row in gateway.snapshot().rows] == ["current"]
            assert await site.ask(do="apply", node="press-1", config=config.hex()) == [answers[-1]]
            (answer,) = await site.ask(do="apply", node="press-1", config="00")
            assert "not a config" in answer["error"]
            (nodes,) = await site.ask(do="nodes")
            assert nodes["done"]["site"] == "line-3"
            assert nodes["done"]["nodes"][0]["revision"] == revision_of(config).hex()
            assert nodes["done"]["nodes"][0]["config"] == config.hex()

    run(main, tmp_path, seed)


def test_control_socket(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        async with site.linked, site.serving() as gateway:
            site.linked.start()
            await site.until(lambda: gateway.snapshot().nodes[0].state == "up")
            assert control_path(site.state).stat().st_mode & 0o777 == 0o600
            assert await site.ask(do="command", node="press-1", name="status", args=[1]) == [
                {"done": {"status": 0, "text": "done"}}
            ]
            assert site.linked.commands == [("status", [1])]
            site.linked.write(b"hello \x1b[31mworld\r\n")
            await site.until(lambda: "hello" in (site.state / "logs" / "press-1.log").read_text())
            lines = [answer["line"] for answer in (await site.ask(do="logs", node="press-1"))[:-1]]
            assert any(line.endswith("hello \\x1b[31mworld") for line in lines)
            assert "no node press-9 here" in (await site.ask(do="logs", node="press-9"))[0]["error"]
            assert "verbs: nodes, tail" in (await site.ask(do="nonsense"))[0]["error"]
            assert "verbs: nodes, tail" in (await site.ask())[0]["error"]

            with socket_address(control_path(site.state)) as address:
                reader, writer = await asyncio.open_unix_connection(address)
            writer.write(b'{"do": "tail"}\n')
            await asyncio.sleep(0.1)
            site.data(77)
            reading = json.loads(await asyncio.wait_for(reader.readline(), 5))["reading"]
            assert (reading["node"], reading["channel"], reading["value"], reading["quality"]) == (
                "press-1", "voltage", 7.7, "good",
            )  # fmt: skip
            writer.close()
            await writer.wait_closed()
            await site.until(site.delivered)

    run(main, tmp_path, seed)


def test_a_long_state_path_and_maintenance(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        async with site.linked, site.serving() as gateway:
            site.linked.start()
            await site.until(lambda: gateway.snapshot().nodes[0].state == "up")
            (answer,) = await site.ask(do="maintenance", node="press-1")
            assert answer == {"done": {"port": str(site.linked.port), "told": True}}
            assert site.linked.commands == [("maintenance", [])]
            assert gateway.snapshot().nodes[0].state == "maintenance"
            site.data(1)
            await asyncio.sleep(0.2)
            assert not site.delivered()
            assert await site.ask(do="resume", node="press-1") == [{"done": {}}]
            await site.until(site.delivered)

    folder = tmp_path / ("long" * 20) / ("longer" * 10)
    folder.mkdir(parents=True)
    run(main, folder, seed)


def test_the_port_of_a_node_that_does_not_answer_is_left_to_others(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        async with site.linked, site.serving() as gateway:
            await site.until(lambda: gateway.snapshot().nodes[0].state == "connecting")
            (answer,) = await site.ask(do="maintenance", node="press-1")
            assert answer == {"done": {"port": str(site.linked.port), "told": False}}
            assert gateway.snapshot().nodes[0].state == "maintenance"
            assert await site.ask(do="resume", node="press-1") == [{"done": {}}]
            site.linked.start()
            await site.until(lambda: gateway.snapshot().nodes[0].state == "up")
            assert site.linked.commands == []

    run(main, tmp_path, seed)


def test_another_node_on_the_port_is_named(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        site.node.node_id = bytes(8)
        async with site.linked, site.serving() as gateway:
            site.linked.start()
            await site.until(lambda: "another node (0000000000000000)" in gateway.snapshot().nodes[0].detail)

    run(main, tmp_path, seed)


def test_one_gateway_for_a_state_folder(tmp_path: Path, seed: int) -> None:
    async def main(site: Site) -> None:
        async with site.linked, site.serving() as gateway:
            site.linked.start()
            await site.until(lambda: gateway.snapshot().nodes[0].state == "up")
            with pytest.raises(TryAgainError) as caught:
                await Gateway([], state_dir=site.state, db_path=tmp_path / "b.sqlite").run(asyncio.Event())
            assert f"process {os.getpid()}" in str(caught.value)

    run(main, tmp_path, seed)


def test_a_full_disk_acknowledges_nothing_and_is_shown(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_RETRY_S", 0.02)
    monkeypatch.setattr(writer.StoreWriter.close, "__defaults__", (0.2,))

    async def main(site: Site) -> None:
        async with site.linked, site.serving() as gateway:
            site.linked.start()
            await site.until(site.delivered)
            assert gateway._writer is not None
            await gateway._writer.call(lambda ingest: ingest._db.execute("PRAGMA max_page_count = 1"))
            for i in range(8):
                for _ in range(20):
                    site.data(*range(i, i + 50))
            await site.until(lambda: gateway.snapshot().trouble is not None)
            assert "the disk is full" in (gateway.snapshot().trouble or "")
            assert not site.delivered()
            before = len(site.linked.spool)
            await asyncio.sleep(0.2)
            assert len(site.linked.spool) == before

    run(main, tmp_path, seed)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path, seed: int) -> None:
    site = Site(tmp_path, Random(seed))
    (site.state / "keys" / "press-1.key").chmod(0o644)
    with pytest.raises(UntrustedError, match="chmod 600"):
        KeyStore(site.state / "keys")
