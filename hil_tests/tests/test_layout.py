"""The layout's promises: who may import whom, and that every portion of the namespace is type-checked."""

import ast
import configparser
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PORTIONS = {
    "gasan.wire": "protocols",
    "gasan.node": "firmware",
    "gasan.boards": "boards",
    "gasan.ota": "ota",
    "gasan.host": "host_tools",
    "gasan.hil": "hil_tests",
}
# portion -> the portions that it may import (gasan.hil may know everybody)
MAY_IMPORT = {
    "gasan.wire": {"gasan.wire"},
    "gasan.node": {"gasan.node", "gasan.wire", "gasan.ota"},
    "gasan.ota": {"gasan.ota", "gasan.wire"},
    "gasan.boards": {"gasan.boards", "gasan.wire"},
    "gasan.host": {"gasan.host", "gasan.wire", "gasan.boards", "gasan.ota", "gasan.hil"},
    "gasan.hil": set(PORTIONS),
}
# Modules of the outside world that a pure codec has no business with.
IMPURE = {
    "machine",
    "network",
    "bluetooth",
    "socket",
    "select",
    "asyncio",
    "time",
    "os",
    "io",
    "pathlib",
    "vfs",
    "esp32",
}


def sources(portion: str) -> Iterator[Path]:
    folder = ROOT / PORTIONS[portion] / portion.replace(".", "/")
    files = sorted(folder.rglob("*.py"))
    assert files, f"{folder} holds no Python file"
    yield from files


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            if module == "gasan":
                for alias in node.names:
                    yield node.lineno, f"gasan.{alias.name}"
            else:
                yield node.lineno, module


@pytest.mark.parametrize("portion", PORTIONS)
def test_import_rules(portion: str) -> None:
    for path in sources(portion):
        for line, module in imports(path):
            if module.startswith("gasan."):
                target = ".".join(module.split(".")[:2])
                assert target in MAY_IMPORT[portion], f"{path}:{line}: {portion} must not import {module}"


def test_wire_touches_no_clock_pin_file_or_socket() -> None:
    for path in sources("gasan.wire"):
        for line, module in imports(path):
            assert module.split(".")[0] not in IMPURE, f"{path}:{line}: a pure codec must not import {module}"


def test_host_imports_benches_only_inside_functions() -> None:
    """The gateway runs without gasan.hil; only the verbs `demo` and `bench` reach for it, when used."""
    for path in sources("gasan.host"):
        for node in ast.parse(path.read_text(), str(path)).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = node.names[0].name if isinstance(node, ast.Import) else node.module or ""
                assert not module.startswith("gasan.hil"), (
                    f"{path}:{node.lineno}: import {module} where it is used"
                )


def test_no_portion_closes_the_namespace() -> None:
    for folder in PORTIONS.values():
        assert not (ROOT / folder / "gasan" / "__init__.py").exists(), (
            f"{folder}/gasan must stay a PEP 420 portion"
        )


def test_installed_portions_are_the_checkout() -> None:
    for portion, folder in PORTIONS.items():
        where = subprocess.run(
            [sys.executable, "-c", f"import {portion}; print({portion}.__file__)"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        assert Path(where).is_relative_to(ROOT / folder)


PROBE = '\n\ndef _type_probe() -> int:\n    return "not an int"\n'


def probe_lines(output: str) -> set[str]:
    return {line.split(":")[0] for line in output.splitlines() if 'got "str", expected "int"' in line}


def planted(tmp_path: Path, portions: list[str]) -> set[str]:
    """Copies the sources and puts one type error into one file of each portion."""
    found = set()
    for portion in PORTIONS:
        shutil.copytree(ROOT / PORTIONS[portion] / "gasan", tmp_path / PORTIONS[portion] / "gasan")
        if portion in portions:
            path = tmp_path / next(iter(sources(portion))).relative_to(ROOT)
            path.write_text(path.read_text() + PROBE)
            found.add(str(path.relative_to(tmp_path)))
    return found


def test_every_host_portion_is_type_checked(tmp_path: Path) -> None:
    checked = [p for p, folder in PORTIONS.items() if f"{folder}/gasan" in mypy_files()]
    assert set(checked) == set(PORTIONS) - {"gasan.node"}
    expected = planted(tmp_path, checked)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    run = subprocess.run([sys.executable, "-m", "mypy"], cwd=tmp_path, capture_output=True, text=True)
    assert probe_lines(run.stdout) == expected, run.stdout[-2000:]


def mypy_files() -> list[str]:
    config: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
    return config


def test_device_code_is_type_checked_against_micropython(tmp_path: Path) -> None:
    typings = ROOT / ".cache" / "typings"
    if not typings.is_dir():
        pytest.skip("MicroPython's stubs are not there: make lint brings them")
    device = ["gasan.node", "gasan.wire", "gasan.ota"]
    expected = planted(tmp_path, device)
    config = configparser.ConfigParser()
    config.read(ROOT / "firmware" / "mypy.ini")
    config["mypy"]["custom_typeshed_dir"] = str(typings)
    config["mypy"]["mypy_path"] = f"{typings}:protocols:firmware:ota"
    with (tmp_path / "mypy.ini").open("w") as f:
        config.write(f)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *sorted(expected)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert probe_lines(run.stdout) == expected, run.stdout[-2000:]
