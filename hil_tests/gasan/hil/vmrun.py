"""Run device code on a MicroPython VM, with the sources of this checkout as its library.

    from gasan.hil import vmrun
    out = vmrun.run('from gasan.wire import cbor; print(cbor.dumps([1, 2]))', bits=32)

On a board the portions of ``gasan`` are merged into one folder, since MicroPython looks for a package in
the first matching folder of ``sys.path`` only. Here a scratch folder of links does the same.
"""

import importlib.util
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from gasan.boards.vm import Vm, VmMissing, find_vm

__all__ = ["VmFailed", "missing", "run"]

#: Portions of the namespace that a VM may import.
_PORTIONS = ("wire", "node", "ota", "hil")

#: Bytes of an argument that a VM survives: it keeps each as an interned string.
_ARGUMENT_MAX = 255


class VmFailed(Exception):
    """The VM ended with an error or not in time.

    ``stdout`` and ``stderr`` are what it printed; ``returncode`` is None when it did not end in time.
    """

    def __init__(self, what: str, stdout: str, stderr: str, returncode: int | None) -> None:
        super().__init__(f"{what}\n{stderr.strip() or stdout.strip()}")
        self.stdout = stdout
        self.stderr = stderr
        self.returncode = returncode


@cache
def _vm(bits: int) -> Vm | VmMissing:
    try:
        return find_vm(bits=bits)
    except VmMissing as error:
        return error


def missing(bits: int) -> str:
    """Why there is no VM of that word size, in a sentence; empty when there is one."""
    vm = _vm(bits)
    return str(vm) if isinstance(vm, VmMissing) else ""


def _link_portions(folder: Path) -> None:
    package = folder / "gasan"
    package.mkdir()
    for portion in _PORTIONS:
        spec = importlib.util.find_spec(f"gasan.{portion}")
        if spec is not None and spec.submodule_search_locations:
            (package / portion).symlink_to(Path(next(iter(spec.submodule_search_locations))).resolve())


def _text(output: bytes | None) -> str:
    return (output or b"").decode(errors="replace")


def run(
    program: str | Path,
    *args: object,
    bits: int = 64,
    heap: str = "2m",
    timeout: float = 60.0,
    stdin: bytes = b"",
    library: Path | None = None,
) -> str:
    """Run ``program`` on the VM and return what it printed.

    program: source text, or the Path of a file.
    args: become ``sys.argv[1:]``, as text.
    heap: as ``-X heapsize`` takes it: "96wk" counts words and so means the same on 32 and 64 bits.
    timeout: seconds.
    library: a folder with a package ``gasan`` to be taken instead of this checkout's (gasan.hil.mutants).

    Raises VmMissing when there is no VM of that word size, VmFailed when the program ends with an error.
    """
    vm = _vm(bits)
    if isinstance(vm, VmMissing):
        raise vm
    with tempfile.TemporaryDirectory(prefix="gasan-vm-") as scratch:
        folder = Path(scratch)
        if library is None:
            _link_portions(folder)
        if isinstance(program, Path):
            path = program.resolve()
        else:
            path = folder / "program.py"
            path.write_text(program, encoding="utf-8")
        command = [*vm.argv, "-X", f"heapsize={heap}", str(path), *map(str, args)]
        if max(map(len, map(os.fsencode, command[len(vm.argv) :]))) > _ARGUMENT_MAX:
            raise ValueError(f"an argument of more than {_ARGUMENT_MAX} bytes ends a VM at once; use stdin")
        environment = {**os.environ, "MICROPYPATH": f"{library or folder}:.frozen"}
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, timeout=timeout, env=environment, check=False
            )
        except subprocess.TimeoutExpired as late:
            out, err = _text(late.stdout), _text(late.stderr)
            raise VmFailed(f"{path.name} did not end within {timeout:g} s", out, err, None) from None
    out, err = _text(done.stdout), _text(done.stderr)
    if done.returncode != 0:
        what = f"{path.name} ended with status {done.returncode} on the {bits}-bit VM"
        raise VmFailed(what, out, err, done.returncode)
    return out
