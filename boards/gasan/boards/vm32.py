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
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gasan.boards import apt
from gasan.boards.vm import Vm, VmMissing, probe, unpacked

__all__ = ["bring", "bring_native", "main"]

SUITES = ("sid", "testing", "stable", "trixie")
"""Where to look, newest first."""

_32_BITS = {"x86_64": "i386", "i686": "i386", "aarch64": "armhf", "armv7l": "armhf"}


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
        if missing := apt.missing_tools():
            raise VmMissing(
                f"A MicroPython VM for {arch} is brought with apt, and this system has no {missing[0]}: "
                "build MicroPython's unix port for it and set $MICROPYTHON."
            )
        try:
            mirrors, keyring = apt.mirrors(), apt.keyring()
        except apt.AptError as e:
            raise VmMissing(f"{e}, or set $MICROPYTHON to a unix build of MicroPython.") from None
        complaint = ""
        for mirror, suite in itertools.product(mirrors, SUITES):
            source = apt.PrivateApt(folder / "apt" / suite, mirror, keyring, suite, arch)
            print(f"looking for MicroPython ({arch}) in Debian {suite} …", file=sys.stderr, flush=True)
            try:
                source.update()
                packages = source.fetch_with_dependencies("micropython")
                argv = _unpack(packages, folder / "root")
                vm = probe(argv, f"Debian {suite}")
            except (VmMissing, apt.AptError) as e:
                complaint = complaint or str(e)
                continue
            finally:
                source.remove()
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


def _unpack(packages: list[Path], root: Path) -> tuple[str, ...]:
    """Unpack the packages beside each other; the command line that runs MicroPython from there."""
    shutil.rmtree(root, ignore_errors=True)
    for package in packages:
        apt.unpack(package, root)
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
