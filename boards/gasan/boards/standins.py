"""The stand-ins as they run: compiled into the cache, and what they take of the heap."""

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from gasan.boards.image import compile_mpy
from gasan.boards.places import CACHE, STANDINS
from gasan.boards.vm import Vm

__all__ = ["compiled", "heap_used"]


def compiled() -> Path:
    """A folder with all stand-ins as .mpy, so that starting a board compiles nothing on its heap."""
    sources = sorted(STANDINS.glob("*.py"))
    contents = {source.stem: compile_mpy(source, source.name) for source in sources}
    key = hashlib.sha256(b"".join(name.encode() + code for name, code in contents.items())).hexdigest()[:16]
    folder = CACHE / "standins" / key
    if not folder.is_dir():
        new = folder.with_name(f".{key}.{id(folder)}")
        new.mkdir(parents=True)
        for name, code in contents.items():
            (new / f"{name}.mpy").write_bytes(code)
        try:
            new.rename(folder)
        except OSError:  # another process was faster
            for path in new.iterdir():
                path.unlink()
            new.rmdir()
    return folder


def heap_used(vm: Vm, standins: Path, arguments: Mapping[str, object], folder: Path) -> int:
    """Bytes of the heap that the stand-ins take with these arguments in the board's folder."""
    words = {**arguments, "mode": "measure", "out_fd": 1, "wait_fd": 0}
    done = subprocess.run(
        vm.command("-m", "run", *(f"{name}={value}" for name, value in words.items()), heap="4m"),
        cwd=folder,
        env={"MICROPYPATH": f"{standins}:.frozen", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("H "):
            return int(line.split()[1])
    raise RuntimeError(f"the stand-ins do not start on {vm}: {(done.stderr or done.stdout).strip()}")
