"""Damaged site files and profiles: whatever is written, the answer is mistakes in lines that exist."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from gasan.host import profiles
from gasan.host.compile import compile_site
from gasan.host.errors import InputError
from gasan.host.problems import FileError
from gasan.host.site import load
from gasan.host.starter import starter_site

VALUES = [
    *(
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "1e400",
        "99999999999999999999",
        "true",
        '""',
        '"x"',
        '"1s"',
        '"0s"',
        "[]",
        "[1]",
    ),
    *(
        '["voltage"]',
        "{}",
        "{a = 1}",
        "1979-05-27",
        "07:32:00",
        "'''\nx\n'''",
        '[["a"]]',
        '"modbus-rtu"',
        '"ble"',
    ),
    *(
        '"virtual"',
        '"eastron/sdm120"',
        '"./x.toml"',
        '"../../../etc/passwd"',
        '"serial:/dev/x"',
        '"\\u0000"',
        "0x1F",
    ),
]
KEYS = [
    "name",
    "type",
    "unit",
    "profile",
    "device",
    "bus",
    "node",
    "site",
    "period",
    "x",
    '"a b"',
    "a.b",
    "password",
]


_PLACEHOLDER = re.compile(r"\{\w+\}")


def _damage(rng: random.Random, text: str) -> str:
    lines = text.splitlines()
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(lines))
        form = rng.randrange(8)
        if form == 0:
            del lines[at]
        elif form == 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif form == 2:
            lines[at] = f"{lines[at].partition('=')[0]}= {rng.choice(VALUES)}"
        elif form == 3:
            lines.insert(at, f"{rng.choice(KEYS)} = {rng.choice(VALUES)}")
        elif form == 4:
            lines.insert(at, rng.choice(["[{}]", "[[{}]]"]).format(rng.choice(KEYS)))
        elif form == 5:
            lines[at] = lines[at].replace("[[", "[").replace("]]", "]")
        elif form == 6 and lines[at]:
            cut = rng.randrange(len(lines[at]))
            lines[at] = (
                lines[at][:cut]
                + rng.choice(['"', "]", "}", "#", "=", "", "\x00", "가"])
                + lines[at][cut + 1 :]
            )
        else:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        if not lines:
            return ""
    return "\n".join(lines)


def _try(file: Path, text: str, use: Callable[[], object]) -> bool:
    """Whether the file was right; if not, what is told of it must make sense."""
    file.write_text(text, encoding="utf-8")
    try:
        use()
    except FileError as error:
        assert error.problems
        for problem in error.problems:
            if problem.file == str(file):
                assert 1 <= problem.line <= max(1, text.count("\n") + 1), (problem, text)
            assert problem.what and problem.mend, problem
            assert not _PLACEHOLDER.search(problem.what + problem.mend), problem
        return False
    except InputError as error:
        assert str(error)
        return False
    return True


def test_damaged_site_files(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    file = tmp_path / "site.toml"
    good = starter_site("site.toml")
    lines = "\n".join(line for line in good.splitlines() if line and not line.startswith("#"))
    right = sum(_try(file, _damage(rng, lines), lambda: compile_site(load(file))) for _ in range(1500))
    assert 0 < right < 1000


@pytest.mark.parametrize("name", ["eastron/sdm120", "bthome/thermo_hygrometer"])
def test_damaged_profiles(tmp_path: Path, seed: int, name: str) -> None:
    rng = random.Random(seed)
    file = tmp_path / "profile.toml"
    good = (profiles.profiles_folder() / f"{name}.toml").read_text(encoding="utf-8")
    lines = "\n".join(line for line in good.splitlines() if line and not line.startswith("#"))
    right = sum(
        _try(file, _damage(rng, lines), lambda: profiles.read_profile(file, "own")) for _ in range(700)
    )
    assert 0 < right < 500
