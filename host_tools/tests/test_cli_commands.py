"""The command line without a gateway: exit codes, one-line errors, JSON that is nothing but JSON."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from gasan.host import cli, i18n
from gasan.host.cli import root
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.cli.times import local_time, parse_moment
from gasan.host.errors import InputError, TryAgainError, UntrustedError
from gasan.host.store import open_store

VERBS = (
    "demo",
    "init",
    "check",
    "modbus",
    "up",
    "apply",
    "tail",
    "readings",
    "write",
    "writes",
    "logs",
    "account",
    "db",
    "maintenance",
    "ble",
    "bench",
)


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    yield
    i18n.set_language("en")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    file = tmp_path / "site.toml"
    assert cli.run(["init", str(file)]) == ExitCode.OK
    return file


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Three frames' worth of readings: a float, a scaled integer with a label, one of unknown time."""
    path = tmp_path / "gasan.sqlite"
    with open_store(path) as store:
        _fill(store.connection)
    return path


def _fill(connection: sqlite3.Connection) -> None:
    connection.executescript("""
        INSERT INTO node (id, node_id, name, current) VALUES (1, x'0102030405060708', 'press-1', NULL);
        INSERT INTO boot (id, node, boot, ordinal, sampled, committed)
            VALUES (1, 1, x'a1a2a3a4a5a6a7a8', 1, 5, 5);
        INSERT INTO revision (id, node, revision) VALUES (1, 1, x'b1b2b3b4b5b6b7b8');
        INSERT INTO channel VALUES (1, 1, 0, 'meter', 'voltage', 'V', 7, 1, 1, 0, 1000, 0, -1, '', '', NULL);
        INSERT INTO channel
            VALUES (2, 1, 1, 'drive', 'running_state', '', 1, 1, 1, 0, 1000, 0, -1, '', '', NULL);
        INSERT INTO label (channel, value, text) VALUES (2, 1, 'running');
        INSERT INTO gateway_clock VALUES (1, 'machine', 0, 1790000000000, 1, NULL);
        INSERT INTO node_clock VALUES (1, 1, 0, 0, 1, 0, 10, 0, 100, 0, NULL);
        INSERT INTO frame VALUES (1, 1, 0, 0, 0, 2, 0, 1000, 1, 100, x'00', 1, NULL);
        INSERT INTO frame VALUES (2, 1, 1, 0, 2, 2, 60000, 1000, 1, 100, x'01', 1, NULL);
        INSERT INTO frame VALUES (3, 1, 2, 0, 4, 1, 70000, 0, 1, 50, x'02', NULL, NULL);
        INSERT INTO sample VALUES ((1 << 16), 1, 0, x'43663333', 0, 230.2);
        INSERT INTO sample VALUES ((1 << 16) + 1, 2, 1000, 1, 0, NULL);
        INSERT INTO sample VALUES ((2 << 16), 1, 0, NULL, 64, NULL);
        INSERT INTO sample VALUES ((2 << 16) + 1, 2, 1000, 0, 0, NULL);
        INSERT INTO sample VALUES ((3 << 16), 2, 0, 1, 2, NULL);
    """)


def _python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own."""
    cleaned = {
        name: value for name, value in os.environ.items() if name not in ("LC_ALL", "LC_MESSAGES", "LANG")
    }
    code = "from gasan.host.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=cleaned | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )


def test_help_lists_every_verb_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == ExitCode.OK
    text = capsys.readouterr().out
    positions = [text.index(f"\n  {verb} ") for verb in VERBS]
    assert positions == sorted(positions)
    assert root.VERBS == VERBS
    for code in ExitCode:
        assert str(code.value) in text


@pytest.mark.parametrize("verb", [*VERBS, "bench frame"])
def test_help_of_each_verb(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert cli.run([*verb.split(), "--help"]) == ExitCode.OK
    text = capsys.readouterr().out
    assert "--lang" in text
    assert "-v" in text


def test_help_in_korean() -> None:
    assert "오래된 기계" in _python("--help", LANG="ko_KR.UTF-8").stdout
    assert "현장 파일" in _python("check", "--lang", "ko", "--help").stdout
    assert "old machines" in _python("--lang=en", "--help", LANG="ko_KR.UTF-8").stdout


def test_a_terminal_without_korean() -> None:
    assert "\\uc624" in _python("--lang=ko", "--help", PYTHONIOENCODING="latin1").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["check"],
        ["up"],
        ["readings", "--format", "xml"],
        ["demo", "--seconds", "-1"],
        ["demo", "--seconds", "nan"],
        ["up", "--site", "site.toml", "--seconds", "nan"],
        ["--lang", "de"],
    ],
)
def test_wrong_command_lines(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert cli.run(arguments) == ExitCode.WRONG_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gasan: ") and captured.err.count("\n") == 1


def test_init_writes_a_site_that_check_accepts(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.run(["check", str(site)]) == ExitCode.OK
    text = capsys.readouterr().out
    assert "press-1 (virtual)" in text
    assert "no mistakes" in text
    assert "Not yet tried on hardware: autonics/tk4" in text


def test_init_does_not_overwrite(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site.write_text("mine", encoding="utf-8")
    capsys.readouterr()
    assert cli.run(["init", str(site)]) == ExitCode.WRONG_INPUT
    assert capsys.readouterr().err.count("\n") == 1
    assert site.read_text(encoding="utf-8") == "mine"
    assert cli.run(["init", "--force", str(site)]) == ExitCode.OK
    assert site.read_text(encoding="utf-8") != "mine"


def test_init_on_a_full_disk_leaves_what_was_there(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write_text("mine", encoding="utf-8")
    real = Path.open

    def full(self: Path, *args: Any, **kwargs: Any) -> Any:
        opened = real(self, *args, **kwargs)
        if "w" in str(args[:1]) + kwargs.get("mode", "") or "x" in str(args[:1]):
            opened.close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened

    monkeypatch.setattr(Path, "open", full)
    assert cli.run(["init", "--force", str(site)]) == ExitCode.FAILED
    assert cli.run(["init", str(tmp_path / "new.toml")]) == ExitCode.FAILED
    monkeypatch.undo()
    assert site.read_text(encoding="utf-8") == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["site.toml"]


def test_writes_of_a_node_that_nobody_knows(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO write_request (time_ms, node, device, channel, who, value)"
            " VALUES (1, 'press-2', 'oven', 'set_value', 'kim', '60')"
        )
    command = ["writes", "--db", str(database), "--since", "100000w"]
    assert cli.run([*command, "--node", "press-3"]) == ExitCode.WRONG_INPUT
    assert 'nothing is stored of a node "press-3"; did you mean' in capsys.readouterr().err
    assert cli.run([*command, "--node", "press-1"]) == ExitCode.OK
    assert "Nothing was written" in capsys.readouterr().out
    assert cli.run([*command, "--node", "press-2", "--lang", "ko"]) == ExitCode.OK
    assert "게이트웨이가 결과를 알기 전에 끝났습니다" in capsys.readouterr().out
    i18n.set_language("en")


def test_init_into_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["init", str(tmp_path / "none" / "site.toml")]) == ExitCode.FAILED
    assert "cannot be written" in capsys.readouterr().err


def test_init_in_korean_says_the_same(tmp_path: Path) -> None:
    english, korean = tmp_path / "en.toml", tmp_path / "ko.toml"
    assert _python("init", str(english)).returncode == 0
    assert _python("init", str(korean), "--lang", "ko").returncode == 0
    assert "현장 파일" in korean.read_text(encoding="utf-8")
    assert tomllib.loads(english.read_text("utf-8")) == tomllib.loads(korean.read_text("utf-8"))


def test_check_tells_every_mistake(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = site.read_text(encoding="utf-8").replace("baudrate = 9600", "baudrate = 9601").replace('"1s"', "1")
    site.write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert cli.run(["check", str(site)]) == ExitCode.WRONG_INPUT
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(line.startswith(f"{site}:") for line in lines[:-1])
    assert lines[-1] == f"4 mistakes in {site}"


def test_check_as_json(site: Path) -> None:
    result = _python("check", "--json", str(site))
    assert result.returncode == 0
    assert result.stderr == ""
    told = json.loads(result.stdout)
    assert (told["ok"], told["problems"], told["site"]) == (True, [], "line-1")
    assert told["nodes"][0]["name"] == "press-1"
    assert 0 < told["lines"][0]["occupation"] < 1
    site.write_text(site.read_text(encoding="utf-8").replace("[site]", "[sight]"), encoding="utf-8")
    result = _python("check", "--json", str(site), "--lang", "ko")
    assert result.returncode == 2
    told = json.loads(result.stdout)
    assert told["ok"] is False
    assert told["problems"][0]["line"] == 1
    assert told["problems"][0]["what"] == "[site]가 없습니다"


def test_check_of_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[profile]\nmaker = 1\n", encoding="utf-8")
    assert cli.run(["check", str(file)]) == ExitCode.WRONG_INPUT
    assert f"{file}:2: 'maker' must be text in quotes" in capsys.readouterr().out


def test_check_in_korean(site: Path) -> None:
    site.write_text(site.read_text(encoding="utf-8").replace("parity", "partiy"), encoding="utf-8")
    result = _python("check", str(site), LANG="ko_KR.UTF-8")
    assert "알 수 없는 키입니다: 'partiy'; 혹시 'parity'인가요?" in result.stdout
    assert "틀린 곳 1개" in result.stdout


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", str(tmp_path / "none.toml")]) == ExitCode.WRONG_INPUT
    error = capsys.readouterr().err
    assert error == f"gasan: {tmp_path}/none.toml does not exist; check the name\n"


def test_up_says_what_is_wrong_with_the_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "site.toml"
    file.write_text("[site]\n", encoding="utf-8")
    assert cli.run(["up", "--site", str(file), "--state", str(tmp_path / "state")]) == ExitCode.WRONG_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith(f"{file}:1: ")
    assert not (tmp_path / "state").exists()


def test_up_says_which_port_is_missing(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write_text(
        site.read_text(encoding="utf-8").replace("/dev/ttyUSB0", str(tmp_path / "no-port")), encoding="utf-8"
    )
    capsys.readouterr()
    assert cli.run(["up", "--site", str(site), "--state", str(tmp_path / "state")]) == ExitCode.FAILED
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == (
        f"gasan: press-1: the port {tmp_path}/no-port is not there; "
        f"plug in the adapter, or change 'port' in {site}"
    )


@pytest.mark.parametrize("verb", [["demo"], ["up", "--site", "SITE"]])
def test_no_virtual_machine(site: Path, tmp_path: Path, verb: list[str]) -> None:
    arguments = [str(site) if argument == "SITE" else argument for argument in verb]
    result = _python(*arguments, "--state", str(tmp_path / "state"), "--json", MICROPYTHON="/no/micropython")
    assert (result.returncode, result.stdout) == (ExitCode.FAILED, "")
    assert result.stderr.splitlines()[-1] == (
        "gasan: a virtual node needs MicroPython: $MICROPYTHON: there is no program /no/micropython"
    )
    assert not (tmp_path / "state").exists()


def test_readings_as_json(database: Path) -> None:
    result = _python("readings", "--db", str(database), "--format", "json")
    assert result.returncode == 0
    rows = json.loads(result.stdout)
    assert [row["time_ms"] for row in rows] == [
        None,
        1790000000000,
        1790000001000,
        1790000060000,
        1790000061000,
    ]
    assert rows[1]["value"] == 230.2
    assert rows[1]["raw"] == "43663333"
    assert (rows[2]["raw"], rows[2]["text"]) == (1, "running")
    assert rows[3]["quality"] == "bad/timeout"
    assert list(rows[0]) == [
        *("node", "device", "channel", "time_ms", "time_err_ms", "value"),
        *("raw", "text", "unit", "quality", "boot", "seq"),
    ]
    nothing = _python("readings", "--db", str(database), "--format", "json", "--until", "2000-01-01")
    assert json.loads(nothing.stdout) == []


def test_readings_as_csv(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "readings",
        "--db",
        str(database),
        "--format",
        "csv",
        "--device",
        "meter",
        "--channel",
        "voltage",
    ]
    assert cli.run(arguments) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "node,device,channel,time_ms,time_err_ms,value,raw,text,unit,quality,boot,seq"
    assert lines[1] == "press-1,meter,voltage,1790000000000,10,230.2,43663333,,V,good,a1a2a3a4a5a6a7a8,0"
    assert len(lines) == 3


def test_readings_as_a_table(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["readings", "--db", str(database), "--limit", "3"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["time", "node", "device", "channel", "value", "quality"]
    assert lines[1].startswith(local_time(1790000001000))
    assert lines[1].endswith("running  good")
    assert lines[2].endswith("-  no answer")


def test_readings_since(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["readings", "--db", str(database), "--format", "csv"]
    since = ["--since", "2026-09-21T14:14:00Z"]
    assert parse_moment(since[1]) == 1790000040000
    assert cli.run([*arguments, *since]) == ExitCode.OK
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert cli.run([*arguments, *since, "--until", "2026-09-21T14:14:21Z"]) == ExitCode.OK
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("--node", "press-2", "nothing is stored of a node \"press-2\"; did you mean 'press-1'?"),
        ("--device", "pump", 'nothing is stored of a device "pump"; write one of drive, meter'),
        ("--channel", "volts", "nothing is stored of a channel \"volts\"; did you mean 'voltage'?"),
        ("--since", "yesterday", '"yesterday" is not a time; write for example 2h, 2026-03-01'),
    ],
)
def test_readings_that_cannot_be(
    database: Path, capsys: pytest.CaptureFixture[str], option: str, name: str, words: str
) -> None:
    assert cli.run(["readings", "--db", str(database), option, name]) == ExitCode.WRONG_INPUT
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["readings", "account"])
def test_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert cli.run([verb, "--state", str(tmp_path / "none")]) == ExitCode.WRONG_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "there is no database" in captured.err


def test_account_in_words(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["account", "--db", str(database)]) == ExitCode.OK
    text = capsys.readouterr().out
    assert text.splitlines()[0].startswith("press-1 lost nothing since 20")
    assert ": 5 of 5 readings are stored." in text.splitlines()[0]
    assert f"The readings are in {database}" in text
    assert cli.run(["account", "--db", str(database), "--lang", "ko"]) == ExitCode.OK
    assert "부터 잃은 측정값이 없습니다. 5개 가운데 5개가 저장되어 있습니다." in capsys.readouterr().out


def test_account_as_json(database: Path) -> None:
    result = _python("account", "--db", str(database), "--json")
    told = json.loads(result.stdout)
    assert list(told) == [
        *("nodes", "readings_sampled", "readings_stored", "readings_dropped_by_rule", "readings_lost"),
        *("readings_pending", "readings_missed", "readings_duplicated", "conflicts", "lost_reasons"),
        *("bytes_per_reading", "frames", "seconds", "db", "agrees", "by_node"),
    ]
    assert (told["nodes"], told["readings_stored"], told["lost_reasons"]) == (1, 5, {})


def test_bench_of_a_workload(tmp_path: Path) -> None:
    workloads = Path(__file__).parents[2] / "protocols" / "workloads"
    result = _python("bench", "frame", "--workload", str(workloads / "w1_meter_10x12.json"), "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert list(told) == ["readings", "bytes_per_reading", "us_per_reading", "allocated_bytes", "exact"]
    assert (told["readings"], told["exact"]) == (120, True)
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}", encoding="utf-8")
    result = _python("bench", "frame", "--workload", str(wrong), "--json")
    assert result.returncode == ExitCode.WRONG_INPUT
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)


@pytest.mark.parametrize("verb", [["tail"], ["logs", "press-1", "-f"], ["maintenance", "press-1"]])
def test_no_gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: list[str]) -> None:
    assert cli.run([*verb, "--state", str(tmp_path)]) == ExitCode.FAILED
    assert capsys.readouterr().err == (
        f"gasan: no gateway runs on {tmp_path}; start it with gasan up, or name its folder with --state\n"
    )


def test_logs_without_a_gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "press-1.log").write_text("one\ntwo\nthree\n", encoding="utf-8")
    assert cli.run(["logs", "press-1", "--lines", "2", "--state", str(tmp_path)]) == ExitCode.OK
    assert capsys.readouterr().out == "two\nthree\n"
    assert cli.run(["logs", "press-2", "--state", str(tmp_path)]) == ExitCode.WRONG_INPUT
    assert "did you mean 'press-1'?" in capsys.readouterr().err
    (tmp_path / "logs" / "press-1.log.1").write_text("none\nzero\n", encoding="utf-8")
    assert cli.run(["logs", "press-1", "--lines", "4", "--state", str(tmp_path)]) == ExitCode.OK
    assert capsys.readouterr().out == "zero\none\ntwo\nthree\n"
    assert cli.run(["logs", "press-1", "--lines", "9" * 20, "--state", str(tmp_path)]) == ExitCode.WRONG_INPUT


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), ExitCode.WRONG_INPUT),
        (TryAgainError("x"), ExitCode.FAILED),
        (UntrustedError("x"), ExitCode.UNTRUSTED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (ZeroDivisionError("x"), ExitCode.INTERNAL),
        (OSError(errno.EBADF, "x"), ExitCode.INTERNAL),
        (OSError(errno.ENOSPC, "x"), ExitCode.FAILED),
    ],
)
def test_errors_and_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: ExitCode
) -> None:
    def fail(_text: str) -> int:
        raise error

    monkeypatch.setattr("gasan.host.cli.readings.parse_moment", fail)
    monkeypatch.setattr("gasan.host.cli.readings.open_reader", lambda _path: sqlite3.connect(":memory:"))
    assert cli.run(["readings", "--since", "2h"]) == code
    assert "Traceback" not in capsys.readouterr().err
    assert cli.run(["readings", "--since", "2h", "-v"]) == code
    assert ("Traceback" in capsys.readouterr().err) == (code != ExitCode.INTERRUPTED)


def test_a_reader_that_has_seen_enough(database: Path) -> None:
    code = "from gasan.host.cli import main; main()"
    arguments = [sys.executable, "-c", code, "readings", "--db", str(database), "--format", "csv"]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        result = subprocess.run(arguments, stdout=closed, stderr=subprocess.PIPE, timeout=60)
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2h", 1_000_000_000_000 - 7_200_000),
        ("90s", 1_000_000_000_000 - 90_000),
        ("15 min", 1_000_000_000_000 - 900_000),
        ("1w", 1_000_000_000_000 - 604_800_000),
        ("2026-03-01T06:00:00Z", 1_772_344_800_000),
        ("2026-03-01T15:00:00+09:00", 1_772_344_800_000),
        ("2026-03-01T06:00:00.250Z", 1_772_344_800_250),
    ],
)
def test_moments(text: str, milliseconds: int) -> None:
    assert parse_moment(text, now_ms=1_000_000_000_000) == milliseconds


@pytest.mark.parametrize("text", ["", "h", "2 fortnights", "2026-13-01", "12:00", "-2h", "9" * 30 + "h"])
def test_not_moments(text: str) -> None:
    with pytest.raises(InputError):
        parse_moment(text)


@pytest.mark.parametrize(
    ("arguments", "english", "korean"),
    [
        ("modbus", "what is to be done is missing; one of ", "무엇을 할지 적지 않았습니다; 다음 중 하나: "),
        ("modbus dig", 'there is no "dig"; one of ', '"dig" 명령은 없습니다; 다음 중 하나: '),
        ("modbus explore /dev/x", "--unit is missing", "--unit 옵션이나 인수가 빠졌습니다"),
        (
            "modbus explore /dev/x --unit 300",
            "--unit is a number from 1 to 255",
            "--unit: 1부터 255까지의 수",
        ),
        ("modbus explore /dev/x --unit one", "--unit is a number", "--unit: "),
        (
            "modbus explore /dev/x --unit 1 --table coils",
            "--table is one of holding, input",
            "--table: 다음 중",
        ),
        ("readings --limit 0", "--limit is a number of at least 1", "--limit: 1 이상의 수"),
        ("demo --seconds -1", "--seconds is a number of at least 0", "--seconds: 0 이상의 수"),
        ("init /tmp", "/tmp is a folder; name a file", "/tmp에는 파일이 와야 하는데 폴더입니다"),
        ("db restore none", "none does not exist; check the name", "none 파일이 없습니다"),
        ("tail --state /etc/passwd", "/etc/passwd is a file; name a folder", "/etc/passwd은(는) 파일입니다"),
        ("modbus scan /dev/x --unit 1", "there is no option --unit", "--unit 옵션은 없습니다"),
        ("modbus scan /dev/x /dev/y", "that is too much: /dev/y", "너무 많습니다: /dev/y"),
        ("modbus scan /tmp", "/tmp is not a serial port", "/tmp은(는) 시리얼 포트가 아닙니다"),
        ("modbus explore /dev/x --unit 1 --seen abc", "write it as it is displayed", "표시된 대로 쓰십시오"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    arguments: str, english: str, korean: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for language, words in (("en", english), ("ko", korean)):
        assert cli.run([*arguments.split(), "--lang", language]) == ExitCode.WRONG_INPUT
        out, err = capsys.readouterr()
        assert not out and words in err and err.startswith("gasan: ") and err.count("\n") == 1, err
    i18n.set_language("en")


def test_an_option_without_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["readings", "--lang", "ko", "--node"]) == ExitCode.WRONG_INPUT
    assert capsys.readouterr().err.startswith("gasan: --node 옵션에는 값이 필요합니다")
    i18n.set_language("en")


@pytest.mark.parametrize(
    "command",
    [["readings"], ["writes", "--since", "1d"], ["logs", "press-1", "--crash"], ["modbus", "health"]],
)
def test_a_rotten_page_is_told_in_a_sentence(
    database: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        roots = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name IN"
            " ('node', 'frame', 'sample', 'modbus_device', 'revision', 'write_request')"
        ).fetchall()
    with database.open("r+b") as file:
        for (page,) in roots:
            file.seek((page - 1) * size)
            file.write(bytes(size))
    assert cli.run([*command, "--db", str(database)]) == ExitCode.WRONG_INPUT
    assert "is damaged or is no database" in capsys.readouterr().err
