"""A node on the VM, a line with real faults, a gateway and its database: what `gasan modbus health` says."""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from gasan.boards.vm import VmMissing, find_vm
from gasan.hil.rs485 import Fault, Kind, Line, Relay, Responder
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode
from gasan.hil.waiting import until
from gasan.host import cli, i18n
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.compile import compile_site
from gasan.host.gateway.service import Gateway
from gasan.host.site import load
from gasan.host.store import open_store
from gasan.host.store.dating import NodeMapping
from gasan.host.store.ingest import Ingest
from gasan.wire import columns
from gasan.wire.quality import BAD_CRC, TIMEOUT

PROFILE = """\
[profile]
maker = "test"
model = "mixed"
kind = "modbus"
verified = "simulated"
default = [{names}]
max_registers = 125
timeout = "120ms"
gap = "0ms"
period = "100ms"
[profile.source]
title = "test"
revision = "1"
pages = "1"
"""
CHANNEL = """
[channel.{name}]
table = "holding"
address = {address}
type = "u16"
unit = ""
label_en = "a"
label_ko = "a"
"""
# Two registers, and, far away, forty.
ADDRESSES = {f"count_{at}": at for at in (0, 1, *range(1000, 1040))}


def site(folder: Path, port: str, units: Sequence[int]) -> Path:
    names = ", ".join(f'"{name}"' for name in ADDRESSES)
    channels = "".join(CHANNEL.format(name=name, address=at) for name, at in ADDRESSES.items())
    (folder / "mixed.toml").write_text(PROFILE.format(names=names) + channels)
    text = (
        '[site]\nname = "t"\n[[node]]\nname = "press-1"\nboard = "virtual"\n[node.batch]\nmax_age = "300ms"\n'
    )
    text += f'[[node.bus]]\nname = "cabinet"\ntype = "modbus-rtu"\nport = "{port}"\nbaudrate = 115200\n'
    for unit in units:
        text += f'[[node.bus.device]]\nname = "unit-{unit}"\nunit = {unit}\nprofile = "mixed.toml"\n'
        text += 'period = "150ms"\n'
    (folder / "site.toml").write_text(text)
    return folder / "site.toml"


async def gather(folder: Path, port: str, units: Sequence[int], readings: int) -> None:
    """Run the site until so many readings are stored, then restart the node, which then tells of itself."""
    (node,) = compile_site(load(site(folder, port, units)))
    gateway = Gateway([node], state_dir=folder / "state", db_path=folder / "a.sqlite")
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    await until(lambda: gateway.snapshot().counters.readings >= readings)
    link = gateway._services["press-1"].link
    boot = link.running.boot if link.running is not None else b""
    assert (await link.command("reboot")).status == 0
    await until(lambda: link.up and link.running is not None and link.running.boot != boot)
    stop.set()
    await running


@dataclass(frozen=True)
class Scene:
    """What is wrong; findings: (cause, devices); words: what the sentences say, in English and Korean."""

    findings: list[tuple[str, list[str]]]
    words: tuple[str, str]
    responder: Responder = field(default_factory=lambda: Responder(units=(1, 7)))
    faults: tuple[Fault, ...] = ()
    readings: int = 2000


# Unit, function, length: an answer without them is none, and what is due while the device then rests says
# timeout as well, so that a few seconds of damage there look like a loose wire.
_HEAD = 3
ALL = ["unit-1", "unit-7"]
SCENES = {
    "one is silent": Scene(
        [("silent", ["unit-7"])],
        ("check its power, its unit number and its baud rate", "unit-7만 응답하지 않"),
        Responder(units=(1,)),
        readings=1500,
    ),
    "nobody answers": Scene(
        [("all_silent", ALL)],
        ("A and B are swapped", "A와 B가 바뀌었거나"),
        Responder(units=(3,)),
        readings=1500,
    ),
    "one, in long answers": Scene(
        [("crc_long", ["unit-7"])],
        ("check its termination", "종단 저항"),
        faults=(Fault(Kind.FLIP, rate=6e-4, unit=7, least_bytes=60, spared=_HEAD),),
        readings=3500,
    ),
    "noise": Scene(
        [("noise", ALL)],
        ("120 ohm at both ends only", "양 끝에만 120"),
        faults=(Fault(Kind.FLIP, rate=8e-4, spared=_HEAD),),
        readings=4000,
    ),
    "echo": Scene(
        [("echo", [])],
        ("(echo). It does no harm", "에코"),
        faults=(Fault(Kind.ECHO, rate=1.0, on="request"),),
    ),
    "another master": Scene(
        [("foreign_master", [])],
        ("another master polls this line", "다른 마스터가 이 선로를 폴링"),
        faults=(Fault(Kind.FOREIGN, rate=0.25, on="request", high=30),),
        readings=4000,
    ),
    "one is late": Scene(
        [("late", ["unit-7"])],
        ("raise its timeout", "timeout을 늘리"),
        faults=(Fault(Kind.DELAY, rate=0.4, unit=7, low=100, high=260),),
        readings=3500,
    ),
    "a loose wire": Scene(
        [("intermittent", ["unit-7"])],
        ("look for a loose wire", "느슨"),
        faults=(Fault(Kind.TRUNCATE, rate=0.2, unit=7, on="request"),),
    ),
    "busy, and without a register": Scene(
        [("busy", ["unit-1"]), ("refused", ["unit-7"])],
        ("give it a longer period or gap", "period나 gap을 늘리"),
        Responder(units=(1, 7), refuses={1: (6, 0, 3), 7: (2, 1038, 1)}),
    ),
    "refused for its data": Scene(
        [("refused", ["unit-7"])],
        ("refuses count_1039 (exception 2, 3): the profile does not fit", "count_1039"),
        Responder(units=(1, 7), refuses={7: (3, 1039, 1)}),
    ),
    "all at one time": Scene(
        [("together", ALL)],
        ("look for what starts then", "함께 실패합니다"),
        faults=(Fault(Kind.FLIP, frames=frozenset(range(80, 110)), spared=_HEAD),),
        readings=5000,
    ),
}


def told(*options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """What `gasan modbus health` says, and its exit code."""
    capsys.readouterr()
    code = cli.run(["modbus", "health", *options])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("scene", SCENES)
def test_what_is_wrong_is_told(
    scene: str, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        find_vm()
    except VmMissing as error:
        pytest.skip(str(error))
    it = SCENES[scene]
    start = datetime.now().astimezone().isoformat()
    with Relay(Line(115200), responder=it.responder, faults=it.faults, seed=seed) as relay:
        asyncio.run(gather(tmp_path, relay.master, (1, 7), it.readings))
    options = ("press-1", "--db", str(tmp_path / "a.sqlite"), "--since", start)
    code, out = told(*options, "--lang", "en", "--json", capsys=capsys)
    node: dict[str, Any] = json.loads(out)["nodes"]["press-1"]
    assert [(one["cause"], sorted(one["devices"])) for one in node["findings"]] == it.findings, out
    assert code == (ExitCode.OK if scene == "echo" else ExitCode.FAILED)
    devices = {one["device"]: one for one in node["devices"]}
    assert devices["unit-7"]["unit"] == 7 and devices["unit-7"]["setting"] == "115200 8N1"
    assert devices["unit-7"]["requests"] > 20
    answers = [sum(one["turnaround"].values()) for one in devices.values()]
    assert len(it.responder.units) < 2 or max(answers) > 20
    for language, words in zip(("en", "ko"), it.words, strict=True):
        assert told(*options, "--lang", language, capsys=capsys)[0] == code
        out = told(*options, "--lang", language, capsys=capsys)[1]
        assert "cabinet: " in out and "unit-7" in out and words in out
    i18n.set_language("en")


def test_an_hour_of_each_day_is_named(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Half a day of frames as a node makes them, health frames among them; at nine something is started."""
    (node,) = compile_site(load(site(tmp_path, "/dev/null", (1, 7))))
    scripted = ScriptedNode(random.Random(seed))
    scripted.revision = node.revision
    store = open_store(tmp_path / "a.sqlite")
    ingest = Ingest(store, ScriptedKeys(scripted))
    begin = round(datetime(2026, 3, 2, 7).timestamp() * 1000)
    ingest.store([scripted.start()])
    with ingest.transaction():
        ingest.learn_config(scripted.node_id, node.revision, node.config)
        gateway = ingest.set_gateway_clock("machine", 0, begin, True)
        ingest.set_node_clock(scripted.node_id, scripted.boot, NodeMapping(0, gateway, 0, 3))
    rng = random.Random(seed)
    good, unheard = [0, 0], [0, 0]
    for minute in range(12 * 60):
        frames = []
        for at in range(2):
            marks = {}
            for row in range(6):
                if 120 <= minute < 130 or rng.random() < 0.005:  # 9:00 to 9:10, and a spark now and then
                    marks |= {(0, row): rng.choice((TIMEOUT, BAD_CRC))}
            good[at] += 6 - len(marks)
            unheard[at] += TIMEOUT in marks.values()  # and the rest of a minute's it rested
            # The first channel of each device stands for all of its first block.
            frames.append(
                scripted.data(
                    [(columns.U16, list(range(6)))],
                    mono=60_000 * minute,
                    period_ms=10_000,
                    first_channel=42 * at,
                    marks=marks,
                )
            )
        turn = minute % 2
        health = {55: 42 * turn, **dict.fromkeys(range(56, 70), 0), 56: unheard[turn], 62: good[turn]}
        ingest.store([*frames, scripted.health(health, 60_000 * (minute + 1))])
    store.close()
    options = (
        "--db",
        str(tmp_path / "a.sqlite"),
        "--since",
        "2026-03-02T07:00",
        "--until",
        "2026-03-02T19:00",
    )
    code, out = told(*options, "--lang", "en", capsys=capsys)
    assert code == ExitCode.FAILED
    sentences = [line for line in out.splitlines() if line.startswith("  cabinet")]
    assert sentences == ["  cabinet: all units fail together at 09:00-09:10: look for what starts then."]
    assert "turnaround [8ms 100 %]" in out and "failed over the time: " in out
    devices = json.loads(told(*options, "--json", capsys=capsys)[1])["nodes"]["press-1"]["devices"]
    for device, count in zip(devices, unheard, strict=True):
        assert count - 1 <= device["sent"]["timeouts"] <= count < device["timeouts"]
        assert not device["sent"]["crc_errors"]
    out = told(*options, "--lang", "ko", capsys=capsys)[1]
    assert "cabinet: 모든 기기가 09:00-09:10에 함께 실패합니다." in out
    i18n.set_language("en")
