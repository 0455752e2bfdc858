"""Keys of sensors: kept apart from the site file, readable by their owner only, never shown."""

import io
import stat
from pathlib import Path

import cbor2
import pytest
from gasan.host import cli
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.compile import compile_site
from gasan.host.errors import InputError, UntrustedError
from gasan.host.keys import KeyStore
from gasan.host.sensor_keys import SENSOR_KEYS_MAX, SensorKeys
from gasan.host.site import load
from gasan.wire.lockbox import unlock

ADDRESS = bytes.fromhex("a4c138010203")
KEY = "231d39c1d7cc1ab1aee224cd096db932"
SITE = """\
[site]
name = "hall"
[[node]]
name = "press-1"
board = "virtual"
[[node.bus]]
name = "air"
type = "ble"
[[node.bus.device]]
name = "climate"
address = "A4:C1:38:01:02:03"
profile = "bthome/thermo_hygrometer"
encrypted = true
[[node.bus.device]]
name = "open"
address = "A4:C1:38:01:02:04"
profile = "bthome/thermo_hygrometer"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    file = tmp_path / "site.toml"
    file.write_text(SITE)
    return file


def run(site: Path, *arguments: str) -> int:
    return cli.run(["ble", "key", *arguments, "--site", str(site), "--state", str(site.parent / "state")])


def test_a_key_from_a_pipe(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(KEY.upper() + "\n"))
    assert run(site, "press-1", "climate") == ExitCode.OK
    shown = capsys.readouterr()
    assert KEY not in (shown.out + shown.err).lower()
    file = site.parent / "state" / "keys" / "press-1.ble"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    keys = SensorKeys(file.parent, "press-1")
    assert keys.read() == {ADDRESS: bytes.fromhex(KEY)}
    assert run(site, "press-1", "climate", "--forget") == ExitCode.OK
    assert keys.read() == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["press-2", "climate"], "has no node press-2"),
        (["press-1", "nobody"], "has no sensor nobody that encrypts"),
        (["press-1", "open"], "has no sensor open that encrypts"),
        (["press-1", "climate"], "32 hexadecimal digits"),
    ],
)
def test_what_is_wrong(
    site: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(KEY[:-1] + "\n"))
    assert run(site, *arguments) == ExitCode.WRONG_INPUT
    shown = capsys.readouterr()
    assert words in shown.err and KEY[:-1] not in shown.err


def test_a_config_tells_that_a_sensor_encrypts_and_no_key(site: Path) -> None:
    config = cbor2.loads(compile_site(load(site))[0].config)
    assert config[3][0][2] == {1: 100, 2: 50}
    climate, plain = config[3][0][3]
    assert (climate[0], climate[1], climate[2]) == ("climate", ADDRESS, 1)
    assert (plain[0], plain[2]) == ("open", 0)


def test_a_config_tells_of_an_active_scan(site: Path) -> None:
    site.write_text(SITE.replace('type = "ble"', 'type = "ble"\nactive = true'))
    assert cbor2.loads(compile_site(load(site))[0].config)[3][0][2] == {1: 100, 2: 50, 3: 1}


def test_the_box_for_a_node(tmp_path: Path) -> None:
    node = KeyStore(tmp_path).obtain("press-1")
    keys = SensorKeys(tmp_path, "press-1")
    assert keys.box(node) is None
    keys.change(ADDRESS, bytes.fromhex(KEY))
    box = keys.box(node)
    assert box is not None and bytes.fromhex(KEY) not in box
    assert cbor2.loads(unlock(node.key, box)) == {ADDRESS: bytes.fromhex(KEY)}
    assert keys.box(node) == box  # so that its hash tells whether the node has it
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".key"] == ["press-1.key"]


def test_a_file_that_is_not_safe_or_not_whole(tmp_path: Path) -> None:
    keys = SensorKeys(tmp_path, "press-1")
    keys.change(ADDRESS, bytes(16))
    file = tmp_path / "press-1.ble"
    file.chmod(0o640)
    with pytest.raises(UntrustedError, match="chmod 600"):
        keys.read()
    file.chmod(0o600)
    for damaged in (b"", b"\xa1", b"\x80", cbor2.dumps({ADDRESS: b"short"}), cbor2.dumps({1: bytes(16)})):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="restore it"):
            keys.read()


def test_there_is_an_end_to_the_keys_of_a_node(tmp_path: Path) -> None:
    node = KeyStore(tmp_path).obtain("press-1")
    keys = SensorKeys(tmp_path, "press-1")
    for n in range(SENSOR_KEYS_MAX):
        keys.change(n.to_bytes(6, "big"), bytes(16))
    with pytest.raises(InputError, match="another node"):
        keys.change(ADDRESS, bytes(16))
    box = keys.box(node)
    assert box is not None and len(box) <= 2048  # what a node takes
