"""The verbs that ask a running gateway, against its real control socket with answers made up here."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import ANY

import pytest
from gasan.hil.scripted_node import ScriptedKeys, ScriptedNode
from gasan.host import cli, i18n
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.compile import compile_site
from gasan.host.control_client import ask, ask_once
from gasan.host.errors import InputError, TryAgainError
from gasan.host.gateway.control import Answers, ControlServer, control_path
from gasan.host.site import load
from gasan.host.starter import starter_site
from gasan.host.store import open_store
from gasan.host.store.ingest import Ingest

Request = dict[str, Any]


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    yield
    i18n.set_language("en")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    file = tmp_path / "site.toml"
    file.write_text(starter_site("site.toml"), encoding="utf-8")
    return file


@contextmanager
def _gateway(state: Path, answer: Callable[[Request], list[Request]]) -> Iterator[list[Request]]:
    """Answers every request with what `answer` says, and gives the requests that came."""
    requests: list[Request] = []

    async def verb(request: Request) -> Answers:
        requests.append(request)
        for answered in answer(request):
            yield answered

    loop = asyncio.new_event_loop()
    verbs = ("nodes", "tail", "logs", "apply", "command", "maintenance", "resume")
    server = ControlServer(control_path(state), dict.fromkeys(verbs, verb))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield requests
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _nodes(site: Path, **changed: object) -> Request:
    """What a gateway says that runs `site`."""
    (node,) = compile_site(load(site))
    running: Request = {
        "name": node.name,
        "state": "up",
        "board": node.board,
        "link": node.link,
        "uarts": {str(number): port for number, port in node.uarts.items()},
        "air": node.air,
        "revision": node.revision.hex(),
        "config": node.config.hex(),
    }
    return {"done": {"site": "line-1", "keep": [None, None], "nodes": [running | changed]}}


READING: Request = {
    "node": "press-1",
    "device": "oven",
    "channel": "process_value",
    "time_ms": 1790000000000,
    "time_err_ms": 3,
    "value": 107.4,
    "raw": 1074,
    "text": None,
    "unit": "Cel",
    "quality": "good",
    "boot": "a1a2a3a4a5a6a7a8",
    "seq": 3,
}


def test_tail(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = READING | {"device": "meter", "channel": "voltage", "value": None, "quality": "bad/timeout"}
    answers = [{"reading": READING}, {"reading": other}, {"dropped": 7}, {"done": {}}]
    with _gateway(state, lambda request: answers):
        assert cli.run(["tail", "--state", str(state)]) == ExitCode.OK
        captured = capsys.readouterr()
        assert [line.split("  ", 1)[1] for line in captured.out.splitlines()] == [
            "press-1/oven/process_value  107.4 °C  good",
            "press-1/meter/voltage  -  no answer",
        ]
        assert "7 readings are not shown here" in captured.err


def test_tail_of_one_device(site: Path, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = READING | {"device": "main-meter", "channel": "voltage"}
    answers = [{"reading": READING}, {"reading": other}, {"done": {}}]
    running = [_nodes(site)]
    capsys.readouterr()
    command = ["tail", "--state", str(state), "--json"]
    with _gateway(state, lambda request: running if request["do"] == "nodes" else answers):
        assert cli.run([*command, "--device", "oven"]) == ExitCode.OK
        assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [READING]
        assert cli.run([*command, "--device", "ovn"]) == ExitCode.WRONG_INPUT
        assert capsys.readouterr().err == "gasan: no node here has a device \"ovn\"; did you mean 'oven'?\n"
        assert cli.run([*command, "--channel", "volt"]) == ExitCode.WRONG_INPUT
        assert "did you mean 'voltage'?" in capsys.readouterr().err


def test_logs_follow(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _gateway(state, lambda request: [{"line": "one"}, {"line": "두 번째"}, {"done": {}}]) as requests:
        assert cli.run(["logs", "press-1", "-f", "--state", str(state)]) == ExitCode.OK
    assert capsys.readouterr().out == "one\n두 번째\n"
    assert requests == [{"do": "logs", "node": "press-1", "follow": True, "who": ANY}]


def test_maintenance(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _gateway(
        state, lambda request: [{"done": {"port": "/dev/pts/9", "told": len(requests) > 1}}]
    ) as requests:
        assert cli.run(["maintenance", "press-1", "--state", str(state)]) == ExitCode.OK
        assert "press-1 does not answer; the gateway has left its port" in capsys.readouterr().out
        assert cli.run(["maintenance", "press-1", "--state", str(state)]) == ExitCode.OK
        text = capsys.readouterr().out
        assert "press-1 has restarted without its program" in text
        assert "  mpremote connect /dev/pts/9 repl\n" in text
        assert cli.run(["maintenance", "press-1", "--end", "--state", str(state)]) == ExitCode.OK
    assert [request["do"] for request in requests] == ["maintenance", "maintenance", "resume"]


def test_what_the_gateway_refuses(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _gateway(state, lambda request: [{"error": "no node press-7 here"}]):
        assert cli.run(["maintenance", "press-7", "--state", str(state)]) == ExitCode.FAILED
    assert capsys.readouterr().err == "gasan: no node press-7 here\n"


def test_a_gateway_that_ends(state: Path) -> None:
    with _gateway(state, lambda request: [{"line": "one"}]):
        answers = ask(state, {"do": "logs", "node": "press-1"})
        assert next(answers) == {"line": "one"}
        with pytest.raises(TryAgainError, match="the gateway ended before"):
            next(answers)


def test_a_state_folder_with_a_very_long_name(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 20) / ("name" * 20)
    state.mkdir(parents=True)
    with _gateway(state, lambda request: [{"done": {"answer": 42}}]):
        assert ask_once(state, {"do": "nodes"}) == {"answer": 42}


def test_apply_shows_the_difference_and_follows(
    site: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = _nodes(site)
    site.write_text(site.read_text("utf-8").replace('max_age = "60s"', 'max_age = "10s"'), encoding="utf-8")
    (wanted,) = compile_site(load(site))
    progress = [
        {"event": "sending", "sent": 0, "total": 900},
        {"event": "sending", "sent": 900, "total": 900},
        {"event": "restarting"},
        {"done": {"revision": wanted.revision.hex()}},
    ]
    with _gateway(state, lambda request: [running] if request["do"] == "nodes" else progress) as requests:
        assert cli.run(["apply", str(site), "--state", str(state), "--dry-run"]) == ExitCode.OK
        assert capsys.readouterr().out == "press-1:\n  ~ batch.max_age: 1m -> 10s\n"
        assert [request["do"] for request in requests] == ["nodes"]
        assert cli.run(["apply", str(site), "--state", str(state)]) == ExitCode.OK
    assert capsys.readouterr().out.endswith(f"press-1: runs revision {wanted.revision.hex()}\n")
    assert requests[-1] == {"do": "apply", "node": "press-1", "config": wanted.config.hex(), "who": ANY}


def test_apply_says_that_a_node_went_back(
    site: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = _nodes(site, revision="0000000000000000")
    end = [{"rolled_back": "press-1 went back to the old config"}]
    with _gateway(state, lambda request: [running] if request["do"] == "nodes" else end):
        assert cli.run(["apply", str(site), "--state", str(state)]) == ExitCode.ROLLED_BACK
    assert capsys.readouterr().err.endswith("gasan: press-1 went back to the old config\n")


def test_apply_of_what_runs_already(site: Path, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _gateway(state, lambda request: [_nodes(site)]) as requests:
        assert cli.run(["apply", str(site), "--state", str(state)]) == ExitCode.OK
    assert capsys.readouterr().out == "press-1: runs this config already\n"
    assert [request["do"] for request in requests] == ["nodes"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "press-2"}, "other nodes"),
        ({"board": "rpi_pico_w", "link": "serial:/dev/x"}, "board or link"),
        ({"uarts": {"1": "/dev/other"}}, "'port' or 'air' of its virtual board"),
        ({"air": "127.0.0.1:1"}, "'port' or 'air' of its virtual board"),
    ],
)
def test_apply_of_what_needs_a_restart(
    site: Path, state: Path, capsys: pytest.CaptureFixture[str], changed: Request, words: str
) -> None:
    with _gateway(state, lambda request: [_nodes(site, **changed)]):
        assert cli.run(["apply", str(site), "--state", str(state)]) == ExitCode.WRONG_INPUT
    error = capsys.readouterr().err
    assert words in error
    assert "stop the gateway and start it with gasan up --site" in error


def test_apply_of_what_the_database_keeps_needs_a_restart(
    site: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = _nodes(site)
    site.write_text(site.read_text("utf-8") + "[store]\nkeep_days = 30\n", encoding="utf-8")
    with _gateway(state, lambda request: [running]):
        assert cli.run(["apply", str(site), "--state", str(state)]) == ExitCode.WRONG_INPUT
    assert "what the database keeps changes ([store]); stop the gateway" in capsys.readouterr().err


def test_apply_goes_on_with_the_next_node(
    site: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = site.read_text("utf-8")
    node = text[text.index("[[node]]") :].replace('"press-1"', '"press-2"').replace("USB0", "USB1")
    site.write_text(text + node, encoding="utf-8")
    first, second = compile_site(load(site))
    nodes = [
        {
            "name": each.name,
            "board": each.board,
            "link": each.link,
            "uarts": {str(number): port for number, port in each.uarts.items()},
            "air": each.air,
            "revision": "00",
            "config": each.config.hex(),
        }
        for each in (first, second)
    ]

    def answer(request: Request) -> list[Request]:
        if request["do"] == "nodes":
            return [{"done": {"site": "line-1", "keep": [None, None], "nodes": nodes}}]
        if request["node"] == "press-1":
            return [{"error": "press-1 is not connected"}]
        return [{"done": {"revision": second.revision.hex()}}]

    with _gateway(state, answer):
        assert cli.run(["apply", str(site), "--state", str(state)]) == ExitCode.FAILED
    captured = capsys.readouterr()
    assert "gasan: press-1 is not connected\n" in captured.err
    assert captured.out.endswith(f"press-2: runs revision {second.revision.hex()}\n")


@pytest.mark.parametrize("command", [["tail"], ["logs", "press-1", "-f"]])
def test_ctrl_c_is_the_usual_end_of_what_runs_until_then(
    state: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    def interrupted(_state: Path, _request: Request) -> Iterator[Request]:
        raise KeyboardInterrupt
        yield {}

    monkeypatch.setattr(f"gasan.host.cli.{command[0]}.ask", interrupted)
    assert cli.run([*command, "--state", str(state)]) == ExitCode.OK


def test_apply_of_a_wrong_file_asks_nobody(site: Path, state: Path) -> None:
    site.write_text("[site]\n", encoding="utf-8")
    with _gateway(state, lambda request: [{"error": "asked"}]) as requests:
        assert cli.run(["apply", str(site), "--state", str(state)]) == ExitCode.WRONG_INPUT
    assert requests == []


def test_a_node_that_is_not_there_is_wrong_input(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(request: Request) -> list[Request]:
        raise InputError("no node press-7 here; there are: press-1")

    with _gateway(state, refuse):
        assert cli.run(["logs", "press-7", "-f", "--state", str(state)]) == ExitCode.WRONG_INPUT
        assert cli.run(["maintenance", "press-7", "--state", str(state)]) == ExitCode.WRONG_INPUT
    assert capsys.readouterr().err.splitlines() == ["gasan: no node press-7 here; there are: press-1"] * 2


def test_crashes_are_read_from_the_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node, calm = ScriptedNode(Random(1)), ScriptedNode(Random(2), "calm")
    db = tmp_path / "a.sqlite"
    with open_store(db) as store:
        trace = 'Traceback:\n  File "\x1b[2Japp.py"\nValueError: x'
        Ingest(store, ScriptedKeys(node, calm)).store([node.start(), node.crash(trace), calm.start()])
    assert cli.run(["logs", "press-1", "--crash", "--db", str(db)]) == ExitCode.OK
    head, *lines = capsys.readouterr().out.splitlines()
    assert "start 1" in head and node.boot.hex() in head
    assert lines == ["  Traceback:", '    File "\ufffd[2Japp.py"', "  ValueError: x"]
    assert cli.run(["logs", "calm", "--crash", "--db", str(db)]) == ExitCode.OK
    assert capsys.readouterr().out == "calm has left no crash behind.\n"
    assert cli.run(["logs", "pres-1", "--crash", "--db", str(db)]) == ExitCode.WRONG_INPUT
    assert 'did you mean "press-1"' in capsys.readouterr().err.replace("'", '"')
