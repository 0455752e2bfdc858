"""Cases that hold on CPython and on the VM alike: modules in a folder `both` beside the tests."""

import importlib.util
from pathlib import Path
from types import ModuleType

from gasan.hil import vmrun

__all__ = ["load", "on_vm"]


def load(file: Path) -> ModuleType:
    """The module at `file`, which is in no package, since a VM imports it too."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def on_vm(file: Path, bits: int, program: str, heap: str = "2m", timeout: float = 280) -> str:
    """What `program` prints on the VM, where the module at `file` is `cases`."""
    start = f"import sys; sys.path.append({str(file.parent)!r})\nimport {file.stem} as cases\n"
    return vmrun.run(start + program, bits=bits, heap=heap, timeout=timeout)
