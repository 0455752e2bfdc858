"""Build what the emulated RP2040 runs: ``python -m gasan.boards.rp2040`` (``make rp2040``).

MicroPython's rp2 port and mpy-cross from Debian's source packages, a stand-in for the boot ROM, and the
emulator with npm. All of it goes into the cache; the second time it is only looked at. It is not the binary
that users flash: floats come from the compiler's library, TLS and AES are absent (their sources are not in
Debian's package).
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gasan.boards import apt
from gasan.boards.places import BOARDS, CACHE

__all__ = ["FOLDER", "Built", "Rp2040Missing", "build", "built", "main"]

FOLDER = BOARDS / "rp2040"
"""Sources of the boot ROM, patches, harness."""

_FIRMWARE = FOLDER / "firmware"
_MODULES = FOLDER / "node_modules"
_COMPILER = "arm-none-eabi-gcc"
_PROGRAMS = {
    _COMPILER: "gcc-arm-none-eabi",
    "cmake": "cmake",
    "ninja": "ninja-build",
    "gcc": "gcc",
    "make": "make",
    "patch": "patch",
    "node": "nodejs",
    "npm": "npm",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
}
_OLDEST_NODE = 18


class Rp2040Missing(Exception):
    """The emulated RP2040 is not built or cannot be; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Built:
    """What ``build`` has made. ``firmware_sha256`` and ``toolchain`` say whether two builds are equal."""

    firmware: str
    bootrom: str
    micropython: str
    firmware_sha256: str
    toolchain: str
    emulator: str
    inputs: str

    @property
    def version(self) -> tuple[int, int, int]:
        major, minor, micro = (int(word) for word in self.micropython.split("."))
        return major, minor, micro


def built() -> Built:
    """What is in the cache. Raises Rp2040Missing."""
    try:
        made = Built(**json.loads(_stamp().read_text()))
    except (OSError, ValueError, TypeError):
        raise Rp2040Missing("The emulated RP2040 is not built: run `make rp2040`.") from None
    if made.inputs != _inputs() or not (_MODULES / "rp2040js").is_dir():
        raise Rp2040Missing("The emulated RP2040 was built from other sources: run `make rp2040` again.")
    return made


def build() -> Built:
    """Build what is not there yet. Raises Rp2040Missing."""
    folder = CACHE / "rp2040"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return built()
        except Rp2040Missing:
            _stamp().unlink(missing_ok=True)
        _check_programs()
        _emulator()
        bootrom = _bootrom(folder)
        micropython, firmware = _firmware(folder)
        made = Built(
            firmware=str(firmware),
            bootrom=str(bootrom),
            micropython=micropython,
            firmware_sha256=hashlib.sha256(firmware.read_bytes()).hexdigest(),
            toolchain=_first_line(_COMPILER, "--version"),
            emulator=json.loads((_MODULES / "rp2040js" / "package.json").read_text())["version"],
            inputs=_inputs(),
        )
        new = folder / "stamp.new"
        new.write_text(json.dumps(asdict(made), indent=1))
        new.replace(_stamp())
        return made


def _stamp() -> Path:
    return CACHE / "rp2040" / "stamp.json"


def _inputs() -> str:
    """Digest of all that the result depends on, save the machine's own programs."""
    digest = hashlib.sha256()
    for path in (*sorted(_FIRMWARE.iterdir()), FOLDER / "package-lock.json"):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _check_programs() -> None:
    packages = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
    if _PROGRAMS[_COMPILER] in packages or not _has_newlib():
        packages.append("libnewlib-arm-none-eabi")
    if packages:
        raise Rp2040Missing(
            f"To build the emulated RP2040, install with apt: {' '.join(dict.fromkeys(packages))}."
        )
    if int(_first_line("node", "--version").lstrip("v").split(".")[0]) < _OLDEST_NODE:
        raise Rp2040Missing(f"The emulated RP2040 needs Node.js {_OLDEST_NODE} or newer.")


def _has_newlib() -> bool:
    """Whether the compiler has its C library: it answers with a path only for files that are there."""
    return "/" in _first_line(_COMPILER, "-print-file-name=nosys.specs")


def _first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _run(command: Sequence[str], log: Path, cwd: Path | None = None, env: Mapping[str, str] = {}) -> None:
    """Run one step of the build; its output goes to ``log``. Raises Rp2040Missing."""
    with log.open("ab") as f:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", **env},
            stdin=subprocess.DEVNULL,
            stdout=f,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise Rp2040Missing(f"The emulated RP2040 could not be built: {command[0]} failed, see {log}.")


def _emulator() -> None:
    """rp2040js, from the package registry that npm is set up with."""
    log = CACHE / "rp2040" / "npm.log"
    log.unlink(missing_ok=True)
    _say("fetching the emulator with npm")
    _run(["npm", "ci", "--no-fund", "--no-audit", "--loglevel=error"], log, cwd=FOLDER)


def _bootrom(folder: Path) -> Path:
    work = folder / "bootrom"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    log = folder / "bootrom.log"
    log.unlink(missing_ok=True)
    core = ("-mcpu=cortex-m0plus", "-mthumb")
    options = ("-O2", "-ffreestanding", "-fno-tree-loop-distribute-patterns", "-Wall", "-Werror")
    for command in (
        [_COMPILER, *core, *options, "-c", str(_FIRMWARE / "romlib.c"), "-o", "romlib.o"],
        [_COMPILER, *core, "-c", str(_FIRMWARE / "bootrom.S"), "-o", "bootrom.o"],
        ["arm-none-eabi-ld", "-Ttext=0", "-e", "0", "bootrom.o", "romlib.o", "-o", "bootrom.elf"],
        ["arm-none-eabi-objcopy", "-O", "binary", "-j", ".text", "bootrom.elf", "bootrom.bin"],
    ):
        _run(command, log, cwd=work)
    return (work / "bootrom.bin").replace(folder / "bootrom.bin")


def _firmware(folder: Path) -> tuple[str, Path]:
    """MicroPython's version and the firmware's image."""
    complaint = ""
    for sources in tomllib.loads((_FIRMWARE / "sources.toml").read_text())["set"]:
        try:
            files = _fetch(sources, folder)
        except apt.AptError as e:
            complaint = complaint or str(e).rstrip(".")
            continue
        return sources["micropython"], _compile(sources, files, folder)
    raise Rp2040Missing(f"The sources of the emulated RP2040's firmware cannot be had: {complaint}.")


def _fetch(sources: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """The packages' files, verified. Raises apt.AptError."""
    downloads = folder / "downloads"
    downloads.mkdir(exist_ok=True)
    packages: dict[str, dict[str, str]] = sources["packages"]
    files = {name: downloads / package["file"] for name, package in packages.items()}
    complaint: apt.AptError | None = None
    if not all(_is_right(files[name], package["sha256"]) for name, package in packages.items()):
        for mirror in apt.mirrors():
            for suite in sources["suites"]:
                _say(f"fetching MicroPython {sources['micropython']}'s sources from Debian {suite}")
                arch = _first_line("dpkg", "--print-architecture")
                source = apt.PrivateApt(folder / "apt", mirror, apt.keyring(), suite, arch, sources=True)
                try:
                    source.update()
                    for name, package in packages.items():
                        what = f"{name}={package['version']}"
                        if package["file"].endswith(".deb"):
                            source.get("download", what, folder=downloads)
                        else:
                            source.get("source", "--download-only", "--tar-only", what, folder=downloads)
                except apt.AptError as e:
                    complaint = complaint or e
                    continue
                finally:
                    source.remove()
                return _checked(packages, files)
        raise complaint or apt.AptError("no suite has them")
    return files


def _checked(packages: Mapping[str, Mapping[str, str]], files: dict[str, Path]) -> dict[str, Path]:
    for name, package in packages.items():
        if not _is_right(files[name], package["sha256"]):
            raise apt.AptError(f"{files[name].name} is not the file that sources.toml names (SHA-256)")
    return files


def _is_right(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _compile(sources: Mapping[str, Any], files: Mapping[str, Path], folder: Path) -> Path:
    """Build mpy-cross and the firmware in a tree of their own, which is removed when all went well."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    log = folder / "build.log"
    log.unlink(missing_ok=True)
    with tarfile.open(files["micropython"]) as tar:
        tar.extractall(work, filter="data")
    tree = next(work.glob("micropython-*")).rename(work / "micropython")
    for name in ("pico-sdk-source", "tinyusb-source"):
        apt.unpack(files[name], work / "packages")
    packages = work / "packages" / "usr" / "src"
    shutil.rmtree(tree / "lib" / "tinyusb", ignore_errors=True)
    (packages / "tinyusb").rename(tree / "lib" / "tinyusb")
    (tree / "lib" / "micropython-lib" / "README.md").touch()  # the build looks for it
    _run(["patch", "-p1", "-i", str(_FIRMWARE / sources["patch"])], log, cwd=tree)
    jobs = str(os.cpu_count() or 1)
    # Builds are equal: the date is given, the commit of the repository that this stands in is not asked for,
    # and generated tables (of pin names) have the same order each time.
    version = {
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": str(sources["epoch"]),
        "MICROPY_GIT_TAG": f"v{sources['micropython']}",
        "MICROPY_GIT_HASH": "<no hash>",
    }
    env = {
        **version,
        "CFLAGS": f"-ffile-prefix-map={work}=.",
        "CXXFLAGS": f"-ffile-prefix-map={work}=.",
    }
    _say("building mpy-cross and the firmware (a minute or two)")
    _run(["make", "-C", "mpy-cross", "-j", jobs], log, cwd=tree, env=version)
    _run(
        [
            *("cmake", "-G", "Ninja", "-S", "ports/rp2", "-B", str(work / "build")),
            f"-DPICO_SDK_PATH_OVERRIDE={packages / 'pico-sdk'}",
            f"-DMICROPY_FROZEN_MANIFEST={_FIRMWARE / 'manifest.py'}",
            *("-DMICROPY_BOARD=RPI_PICO", "-DPICO_NO_PICOTOOL=1", "-DPICO_CLIB=newlib"),
        ],
        log,
        cwd=tree,
        env=env,
    )
    _run(["ninja", "-C", str(work / "build"), "-j", jobs], log, env=env)
    firmware = (work / "build" / "firmware.bin").replace(folder / "firmware.bin")
    shutil.rmtree(work)
    return firmware


def _say(what: str) -> None:
    print(f"gasan: {what}", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gasan.boards.rp2040", description="Build the emulated RP2040 into the cache."
    )
    parser.parse_args(argv)
    try:
        made = build()
    except (Rp2040Missing, apt.AptError) as e:
        print(f"gasan: {e}", file=sys.stderr)
        return 1
    print(
        f"emulated RP2040: MicroPython {made.micropython}, firmware {made.firmware_sha256[:12]}, "
        f"rp2040js {made.emulator}, {made.toolchain}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
