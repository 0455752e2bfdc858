"""What goes on a node: complete, compiled, small files; each module can be loaded by itself on both VMs."""

import ast
from pathlib import Path

import pytest
from gasan.boards.image import compile_mpy, firmware_files
from gasan.boards.places import FIRMWARE
from gasan.hil import vmrun

_ROOT = FIRMWARE.parent
_FOLDERS = {"node": FIRMWARE, "wire": _ROOT / "protocols", "ota": _ROOT / "ota"}
#: Loaded only for what a node has no use for: floats, bignums, names of qualities.
_NEVER_NEEDED = {"gasan.wire.cbor_rare", "gasan.wire.quality_names"}
_MODULES = sorted(
    name.removeprefix("/lib/").removesuffix(".mpy").replace("/", ".")
    for name in firmware_files()
    if name.startswith("/lib/") and not name.endswith("__init__.mpy")
)


def _source(module: str) -> Path:
    return _FOLDERS[module.split(".")[1]] / (module.replace(".", "/") + ".py")


def _imports(tree: ast.AST) -> set[str]:
    """What a module imports of gasan at run time, anywhere in it."""
    found = set()
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            nodes += node.orelse
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gasan."):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        nodes += ast.iter_child_nodes(node)
    return {name for name in found if name.count(".") == 2 and _source(name).exists()}


def test_all_that_a_node_imports_is_there() -> None:
    needed = set().union(*(_imports(ast.parse(_source(m).read_text())) for m in _MODULES)) - _NEVER_NEEDED
    assert needed <= set(_MODULES), f"missing in manifest.py: {sorted(needed - set(_MODULES))}"


def test_every_module_of_the_node_is_there() -> None:
    assert {f"gasan.node.{p.stem}" for p in (FIRMWARE / "gasan/node").glob("[!_]*.py")} <= set(_MODULES)


@pytest.mark.parametrize("module", _MODULES)
def test_a_file_has_about_300_lines_at_most(module: str) -> None:
    lines = _source(module).read_text().count("\n")
    assert lines <= 320


@pytest.mark.parametrize("name", ["boot.py", "main.py"])
def test_what_starts_a_board_compiles(name: str) -> None:
    assert compile_mpy(FIRMWARE / name, name)


def test_each_module_can_be_loaded_by_itself(bits: int) -> None:
    program = f"""
import sys
class Hardware:
    pass
Hardware.UART = Hardware.Pin = Hardware.BLE = Hardware.WDT = Hardware
sys.modules["machine"] = sys.modules["bluetooth"] = Hardware
there = set(sys.modules)
for name in {_MODULES!r}:
    for other in set(sys.modules) - there:
        if other.startswith("gasan."):
            del sys.modules[other]
    __import__(name)
    print(name)
"""
    assert vmrun.run(program, bits=bits).split() == _MODULES
