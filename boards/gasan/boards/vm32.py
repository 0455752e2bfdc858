"""Bring Debian's MicroPython with its libraries into the cache: ``python -m gasan.boards.vm32``.

Debian builds MicroPython for 32-bit architectures too; there the heap and the integers are those of a board.
apt's own tools find the mirror (the one that the machine's apt sources name), fetch and verify, with a state
of their own: nothing is installed and the system's lists stay as they are. The packages are unpacked beside
each other and run by the dynamic linker that comes with them. ``--arch native`` does the same for the
machine's own architecture, where neither a package nor a wheel is at hand.
"""

import argparse
import contextlib
import fcntl
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gasan.boards.vm import Vm, VmMissing, probe, unpacked

__all__ = ["bring", "bring_native", "main"]

SUITES = ("sid", "testing", "stable", "trixie")
"""Where to look, newest first."""

_KEYRINGS = ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp")
_KEYRING_FOLDER = Path("/usr/share/keyrings")
_TOOLS = ("apt-get", "apt-config", "dpkg", "dpkg-deb")
_32_BITS = {"x86_64": "i386", "i686": "i386", "aarch64": "armhf", "armv7l": "armhf"}


@dataclass(frozen=True)
class _Apt:
    """apt with a state folder and a source of its own, for one suite and one architecture."""

    state: Path
    mirror: str
    keyring: str
    suite: str
    arch: str

    def prepare(self) -> None:
        for folder in ("lists/partial", "cache/archives/partial", "etc"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        (self.state / "status").touch()
        options = f"arch={self.arch} signed-by={self.keyring} target=Packages"
        self._sources.write_text(f"deb [{options}] {self.mirror} {self.suite} main\n")

    def get(self, *args: str) -> None:
        """Run apt-get; raises VmMissing with its first complaint."""
        settings = {
            "Dir::State": self.state,
            "Dir::State::lists": self.state / "lists",
            "Dir::State::status": self.state / "status",
            "Dir::Cache": self.state / "cache",
            "Dir::Etc::sourcelist": self._sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Architecture": self.arch,
            "APT::Architectures::": self.arch,
            "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Debug::NoLocking": "1",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        done = subprocess.run(
            ["apt-get", "-q", *options, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
        if done.returncode != 0:
            lines = [line[3:] for line in done.stderr.splitlines() if line.startswith(("E: ", "W: "))]
            raise VmMissing(lines[0] if lines else f"apt-get ended with status {done.returncode}")

    def packages(self) -> list[Path]:
        """MicroPython and what it depends on, fetched and verified."""
        self.get("update")
        self.get("install", "--yes", "--download-only", "--no-install-recommends", "micropython")
        return sorted((self.state / "cache" / "archives").glob("*.deb"))

    @property
    def _sources(self) -> Path:
        return self.state / "etc" / "sources.list"


def bring(arch: str, folder: Path) -> Vm:
    """The VM for a Debian architecture in ``folder``, fetched when it is not there. Raises VmMissing."""
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        stamp = folder / "stamp.json"
        if stamp.is_file():
            known = json.loads(stamp.read_text())
            if known["arch"] == arch:
                with contextlib.suppress(VmMissing):
                    return probe(tuple(known["argv"]), f"the cache ({folder.name})")
            stamp.unlink()
        missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
        if missing:
            raise VmMissing(
                f"A MicroPython VM for {arch} is brought with apt, and this system has no {missing[0]}: "
                "build MicroPython's unix port for it and set $MICROPYTHON."
            )
        mirrors, keyring = _mirrors(), _keyring()
        complaint = ""
        for mirror, suite in itertools.product(mirrors, SUITES):
            apt = _Apt(folder / "apt" / suite, mirror, keyring, suite, arch)
            print(f"looking for MicroPython ({arch}) in Debian {suite} …", file=sys.stderr, flush=True)
            try:
                apt.prepare()
                packages = apt.packages()
                argv = _unpack(packages, folder / "root")
                vm = probe(argv, f"Debian {suite}")
            except VmMissing as e:
                complaint = complaint or str(e)
                continue
            finally:
                shutil.rmtree(apt.state, ignore_errors=True)
            names = [package.name for package in packages]
            made = {"arch": arch, "suite": suite, "argv": argv, "packages": names}
            new = folder / "stamp.new"
            new.write_text(json.dumps(made, indent=1))
            new.replace(stamp)
            return vm
        raise VmMissing(
            f"No MicroPython VM for {arch} could be brought from Debian's archive: {complaint.rstrip('.')}."
        )


def bring_native() -> Vm:
    """The VM for the machine's own architecture. Raises VmMissing."""
    if shutil.which("dpkg") is None:
        raise VmMissing("This system has no dpkg: build MicroPython's unix port and set $MICROPYTHON.")
    done = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return bring(done.stdout.strip(), unpacked("vm"))


def _mirrors() -> list[str]:
    """The Debian archives that the machine's own apt sources name; what they are is checked by signature."""
    targets = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)|$(ORIGIN)|$(LABEL)",
        "Identifier: Packages",
    ]
    found = []
    for extra in (
        [],
        ["--no-release-info"],
    ):  # without lists, as on a fresh image, only the addresses are known
        done = subprocess.run([*targets, *extra], capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            uri, origin, label = line.rsplit("|", 2)
            known = (origin, label) == ("Debian", "Debian")
            if known or (origin.startswith("$") and "security" not in uri):
                found.append(uri)
        if found:
            return list(dict.fromkeys(found))
    raise VmMissing(
        "This machine's apt knows no Debian archive: add one to its sources, "
        "or set $MICROPYTHON to a unix build of MicroPython."
    )


def _keyring() -> str:
    for name in _KEYRINGS:
        if (_KEYRING_FOLDER / name).is_file():
            return str(_KEYRING_FOLDER / name)
    raise VmMissing("Debian's signatures cannot be checked: install the package `debian-archive-keyring`.")


def _unpack(packages: list[Path], root: Path) -> tuple[str, ...]:
    """Unpack the packages beside each other; the command line that runs MicroPython from there."""
    shutil.rmtree(root, ignore_errors=True)
    for package in packages:
        done = subprocess.run(
            ["dpkg-deb", "-x", str(package), str(root)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise VmMissing(f"dpkg-deb could not unpack {package.name}: {done.stderr.strip()}")
    program = root / "usr" / "bin" / "micropython"
    linkers = sorted(root.glob("**/ld-linux*.so.*"), key=lambda path: len(path.parts))
    if not program.is_file() or not linkers:
        raise VmMissing("the packages hold no MicroPython that runs by itself")
    libraries = sorted({str(path.parent) for path in root.glob("**/lib*.so.*")})
    return str(linkers[0]), "--library-path", ":".join(libraries), str(program)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the second one finds the work done."""
    with (folder / "lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gasan.boards.vm32", description="Bring Debian's MicroPython into the cache."
    )
    parser.add_argument(
        "--arch",
        default="32",
        help="Debian's name of an architecture; '32' (the default): the 32-bit one that this machine runs; "
        "'native': the machine's own",
    )
    arch = parser.parse_args(argv).arch
    machine = platform.machine()
    try:
        if arch == "native":
            print(bring_native())
            return 0
        if arch == "32":
            if machine not in _32_BITS:
                raise VmMissing(f"Debian builds no 32-bit MicroPython that a {machine} machine runs.")
            arch = _32_BITS[machine]
        print(bring(arch, unpacked("vm32")))
    except VmMissing as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
