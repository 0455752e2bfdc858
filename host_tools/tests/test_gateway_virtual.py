"""The gateway with a real node on the virtual board, which it makes, starts, configures and ends itself."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gasan.boards.vm import VmMissing, find_vm
from gasan.host.account import account
from gasan.host.compile import CompiledNode, compile_site
from gasan.host.gateway.control import control_path, socket_address
from gasan.host.gateway.service import Gateway
from gasan.host.site import load
from gasan.host.store import open_reader, readings

SITE = """\
[site]
name = "test"

[[node]]
name = "press-1"
board = "virtual"

[node.batch]
max_age = "300ms"

[[node.bus]]
name = "lan"
type = "modbus-tcp"
host = "127.0.0.1"
port = {port}

[[node.bus.device]]
name = "nobody"
unit = 1
profile = "sim/counter"
period = "{period_ms}ms"
"""


def compiled(folder: Path, port: int, period_ms: int) -> CompiledNode:
    file = folder / f"{period_ms}.toml"
    file.write_text(SITE.format(port=port, period_ms=period_ms))
    (node,) = compile_site(load(file))
    return node


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


async def ask(state: Path, **request: Any) -> list[dict[str, Any]]:
    with socket_address(control_path(state)) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    writer.write(json.dumps(request).encode() + b"\n")
    answers = [json.loads(line) async for line in reader]
    writer.close()
    await writer.wait_closed()
    return answers


def test_two_runs_a_config_and_an_account_that_settles(tmp_path: Path) -> None:
    try:
        find_vm()
    except VmMissing as error:
        pytest.skip(str(error))
    db, state = tmp_path / "a.sqlite", tmp_path / "state"
    with socket.socket() as nobody:  # bound and not listening: every read is answered by a refusal
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]

        async def first() -> None:
            gateway = Gateway([compiled(tmp_path, port, 100)], state_dir=state, db_path=db)
            stop = asyncio.Event()
            running = asyncio.create_task(gateway.run(stop))
            await until(lambda: gateway.snapshot().counters.readings > 20)
            assert {row.quality for row in gateway.snapshot().rows} <= {64, 68}
            other = compiled(tmp_path, port, 150)
            answers = await ask(state, do="apply", node="press-1", config=other.config.hex())
            assert answers[-1] == {"done": {"revision": other.revision.hex()}}
            before = gateway.snapshot().counters.readings
            await until(lambda: gateway.snapshot().counters.readings > before + 10)
            stop.set()
            await running

        async def second() -> None:
            gateway = Gateway([compiled(tmp_path, port, 150)], state_dir=state, db_path=db)
            stop = asyncio.Event()
            running = asyncio.create_task(gateway.run(stop))
            await until(lambda: gateway.snapshot().counters.readings > 10)
            stop.set()
            await running

        asyncio.run(first())
        one = account(db).as_dict()
        asyncio.run(second())
        two = account(db).as_dict()

    for drawn in (one, two):
        assert drawn["readings_pending"] == drawn["readings_lost"] == drawn["readings_duplicated"] == 0, drawn
        assert drawn["readings_sampled"] == drawn["readings_stored"] > 30
        assert drawn["conflicts"] == 0
    assert two["readings_stored"] > one["readings_stored"]
    connection = open_reader(db)
    try:
        rows = list(readings(connection))
    finally:
        connection.close()
    assert len(rows) == two["readings_stored"]
    assert {row.device for row in rows} == {"nobody"}
    assert all(
        row.time_ms is not None and row.value is None and row.quality.startswith("bad/") for row in rows
    )
    assert len({row.boot for row in rows}) == 3
    key = state / "keys" / "press-1.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_bytes()[-32:] not in (state / "logs" / "press-1.log").read_bytes()
