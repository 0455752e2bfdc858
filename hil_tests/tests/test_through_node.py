"""Scan and explore through a node: real reads between its polls, and nothing but reads."""

import asyncio
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from gasan.boards.vm import VmMissing, find_vm
from gasan.hil.rs485 import Line, Relay, Responder
from gasan.hil.waiting import until
from gasan.host import cli, i18n
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.compile import compile_site
from gasan.host.gateway.service import Gateway
from gasan.host.site import load

SITE = """\
[site]
name = "t"
[[node]]
name = "press-1"
board = "virtual"
[node.batch]
max_age = "300ms"
[[node.bus]]
name = "cabinet"
type = "modbus-rtu"
port = "{port}"
baudrate = 38400
[[node.bus.device]]
name = "counter"
unit = 1
profile = "sim/counter"
period = "{period}"
"""


def run(
    folder: Path, relay: Relay, scene: Callable[[Gateway], Awaitable[None]], period: str = "200ms"
) -> None:
    try:
        find_vm()
    except VmMissing as error:
        pytest.skip(str(error))
    i18n.set_language("en")
    (folder / "site.toml").write_text(SITE.format(port=relay.master, period=period))
    (node,) = compile_site(load(folder / "site.toml"))

    async def main() -> None:
        gateway = Gateway([node], state_dir=folder / "state", db_path=folder / "a.sqlite")
        stop = asyncio.Event()
        running = asyncio.create_task(gateway.run(stop))
        try:
            await until(lambda: gateway.snapshot().counters.readings >= 6)
            await scene(gateway)
        finally:
            stop.set()
            await running

    asyncio.run(main())


async def gasan(folder: Path, *arguments: str) -> int:
    return await asyncio.to_thread(
        cli.run, ["modbus", *arguments, "--state", str(folder / "state"), "--json"]
    )


def test_scan_and_explore_while_polls_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    responder = Responder(units=(1, 3), limit=100)

    async def scene(gateway: Gateway) -> None:
        before = gateway.snapshot().counters.readings
        capsys.readouterr()
        scan = ("scan", "--node", "press-1", "--baud", "38400", "--parity", "none", "--units", "1-5")
        assert await gasan(tmp_path, *scan) == ExitCode.OK
        told = json.loads(capsys.readouterr().out)
        assert told["setting"] == {"baudrate": 38400, "parity": "none", "stop_bits": 1}
        assert [one["unit"] for one in told["devices"]] == [1, 3] and told["complete"]
        explore = ("explore", "--node", "press-1", "--line", "cabinet", "--unit", "3", "--to", "119")
        assert await gasan(tmp_path, *explore, "--table", "holding") == ExitCode.OK
        (table,) = json.loads(capsys.readouterr().out)["tables"]
        assert [one["address"] for one in table["registers"]] == list(range(100))
        assert table["refused"] == list(range(100, 120)) and not table["silent"]
        after = gateway.snapshot()
        assert after.counters.readings > before + 10, "the polls went on"
        # At another setting nobody answers, and the line has its own again at once.
        other = ("scan", "--node", "press-1", "--baud", "9600", "--parity", "even", "--units", "3,9")
        assert await gasan(tmp_path, *other, "--timeout", "50") in (ExitCode.OK, ExitCode.FAILED)
        good = [row for row in gateway.snapshot().rows if row.device == "counter"]
        assert good and all(row.quality == 0 for row in good)
        for wrong in (
            ("scan",),
            ("scan", "/dev/ttyS9", "--node", "press-1"),
            ("scan", "--node", "nobody"),
            ("scan", "--node", "press-1", "--line", "hall"),
        ):
            assert await gasan(tmp_path, *wrong) not in (ExitCode.OK, ExitCode.INTERNAL), wrong

    with Relay(Line(38400), responder=responder) as relay:
        run(tmp_path, relay, scene)


def test_a_node_asks_nothing_but_reads(tmp_path: Path, seed: int) -> None:
    async def scene(gateway: Gateway) -> None:
        link = gateway._services["press-1"].link
        rng = random.Random(seed)
        writes: list[list[Any]] = [
            ["cabinet", 1, bytes((function, 0, 0, 0, 1)), 100, []]
            for function in (0, 5, 6, 7, 8, 15, 16, 22, 23, 90, 0x83, 255)
        ]
        odd: list[list[Any]] = [
            ["cabinet", 0, b"\x03\x00\x00\x00\x01", 100, []],
            ["cabinet", 256, b"\x03\x00\x00\x00\x01", 100, []],
            ["hall", 1, b"\x03\x00\x00\x00\x01", 100, []],
            ["cabinet", 1, b"", 100, []],
            ["cabinet", 1, b"\x03", 100, []],
            ["cabinet", 1, b"\x03\x00\x00\x00\x00", 100, []],
            ["cabinet", 1, b"\x03\x00\x00\x01\x00", 100, []],
            ["cabinet", 1, b"\x2b\x0d\x01\x00", 100, []],
            ["cabinet", 1, b"\x03\x00\x00\x00\x01", 0, []],
            ["cabinet", 1, b"\x03\x00\x00\x00\x01", 60000, []],
            ["cabinet", 1, b"\x03\x00\x00\x00\x01", 100, [9600, 5, 1]],
            ["cabinet", 1, b"\x03\x00\x00\x00\x01", 100, [0, 0, 1]],
            ["cabinet", 1, b"\x03\x00\x00\x00\x01", 100, ["9600", 0, 1]],
            [], [1], [None] * 5,
        ]  # fmt: skip
        odd += [[rng.choice(["cabinet", 1, b"\x03", None, [], -5]) for _ in range(5)] for _ in range(8)]
        for args in writes + odd:
            result = await link.command("ask", *args)
            assert result.status == 12, (args, result)
        result = await link.command("ask", "cabinet", 1, b"\x03\x00\x00\x00\x01", 200, [])
        assert result.status == 0

    with Relay(Line(38400), responder=Responder(units=(1,))) as relay:
        run(tmp_path, relay, scene)
        assert {one.unit for one in relay.served()} == {1}


def test_a_question_does_not_wait_for_the_next_poll(tmp_path: Path) -> None:
    """Beside a command without a line, in the same run: the poller naps up to 250 ms when nothing is due."""

    async def scene(gateway: Gateway) -> None:
        link = gateway._services["press-1"].link
        took: dict[str, list[float]] = {"status": [], "ask": []}
        for _ in range(15):
            for name, args in (("status", []), ("ask", ["cabinet", 3, b"\x03\x00\x00\x00\x01", 200, []])):
                start = time.monotonic()
                assert (await link.command(name, *args)).status == 0
                took[name].append(time.monotonic() - start)
        assert statistics.median(took["ask"]) < statistics.median(took["status"]) + 0.1, took

    with Relay(Line(38400), responder=Responder(units=(1, 3))) as relay:
        run(tmp_path, relay, scene, "3s")
        asked = [one for one in relay.served() if one.unit == 3]
        assert len(asked) == 15
