"""The node's parts on both VMs; the tests themselves are in vm/units.py."""

import re
from pathlib import Path

import pytest
from gasan.hil import vmrun

_PROGRAM = Path(__file__).parent / "vm" / "units.py"
_STANDINS = _PROGRAM.parents[3] / "boards" / "standins"
_NAMES = re.findall(r"^def (test_\w+)", _PROGRAM.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", _NAMES)
def test_on_the_vm(name: str, bits: int) -> None:
    assert vmrun.run(_PROGRAM, _STANDINS, name, bits=bits, heap="2500wk").endswith(f"ok {name}\n")
