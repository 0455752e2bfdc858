"""A VM is looked for in the stated order, probed, and what is missing is said in one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from gasan.boards import vm as finder
from gasan.boards import vm32
from gasan.boards.vm import Vm, VmMissing, find_vm, probe


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no $MICROPYTHON."""
    monkeypatch.delenv("MICROPYTHON", raising=False)
    monkeypatch.setattr(finder, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def program(path: Path, says: str, status: int = 0) -> tuple[str, ...]:
    """A program that answers the probe."""
    path.write_text(f"#!/bin/sh\necho {says}\nexit {status}\n")
    path.chmod(0o755)
    return (str(path),)


def test_a_vm_runs_what_it_is_given(vm: Vm) -> None:
    done = subprocess.run(
        vm.command("-c", "import sys, gc; print(sys.maxsize, gc.mem_free() + gc.mem_alloc())", heap="96wk"),
        capture_output=True,
        text=True,
        check=True,
    )
    largest, heap = done.stdout.split()
    assert int(largest) == (1 << vm.bits - 1) - 1
    assert 0.9 < int(heap) / (98304 * vm.bits // 32) < 1


def test_the_order(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VmMissing, match="install Debian's package"):
        find_vm(64)
    with pytest.raises(VmMissing, match="make vm32"):
        find_vm(32)

    for name, bits in (("vm", 64), ("vm32", 32)):
        argv = program(tmp_path / f"{name}-unpacked", f"gasan {bits} 1 26 1")
        (cache / name).mkdir(parents=True)
        (cache / name / "stamp.json").write_text(json.dumps({"argv": argv}))
    assert find_vm(64).origin == "the cache (vm)"
    assert find_vm(32).origin == "the cache (vm32)"
    assert find_vm(None).bits == 64

    # A script called micropython is the wheel's launcher; a program of that name comes before the cache.
    program(tmp_path / "micropython", "gasan 64 1 29 0")
    assert find_vm(64).origin == "the cache (vm)"
    monkeypatch.setattr(finder, "_is_script", lambda _: False)
    assert find_vm(64).origin == "the PATH"
    program(tmp_path / "micropython", "gasan 64 1 24 1")
    assert find_vm(64).origin == "the cache (vm)"

    monkeypatch.setenv("MICROPYTHON", " ".join(program(tmp_path / "mine", "gasan 64 1 27 0")) + " -O")
    found = find_vm(64)
    assert (found.origin, found.version, found.argv[1]) == ("$MICROPYTHON", (1, 27, 0), "-O")
    assert find_vm(32).origin == "the cache (vm32)"


def test_the_micropython_asked_for_must_work(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for says, why in (("gasan 64 1 24 9", "is MicroPython 1.24.9"), ("no", "cannot run device code")):
        program(tmp_path / "mine", says, status=says == "no")
        monkeypatch.setenv("MICROPYTHON", str(tmp_path / "mine"))
        with pytest.raises(VmMissing, match=why):
            find_vm(64)
    monkeypatch.setenv("MICROPYTHON", "/no/such/program")
    with pytest.raises(VmMissing, match="there is no program"):
        find_vm(64)


def test_a_probe_is_remembered_until_the_program_changes(cache: Path, tmp_path: Path) -> None:
    counter = tmp_path / "count"
    argv = (str(tmp_path / "mine"),)

    def write(version: str) -> None:
        (tmp_path / "mine").write_text(f"#!/bin/sh\necho run >> {counter}\necho gasan 64 {version}\n")
        (tmp_path / "mine").chmod(0o755)

    write("1 26 1")
    assert probe(argv, "test").version == probe(argv, "test").version == (1, 26, 1)
    assert counter.read_text() == "run\n"
    write("1 27 10")
    assert probe(argv, "test").version == (1, 27, 10)
    assert counter.read_text() == "run\nrun\n"


def test_bringing_a_vm_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VmMissing, match="has no apt-get"):
        vm32.bring("i386", tmp_path)
    with pytest.raises(VmMissing, match="has no dpkg"):
        vm32.bring_native()
    monkeypatch.setattr(vm32.platform, "machine", lambda: "riscv64")
    assert vm32.main(["--arch", "32"]) == 1


def test_the_command_says_which_vm_it_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gasan.boards.vm"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("MicroPython 1.")
