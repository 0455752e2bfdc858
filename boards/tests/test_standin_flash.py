"""The flash stand-in does what flash does, tears where it is told to, and littlefs lives through it all."""

import json
from collections.abc import Callable

OnVm = Callable[..., str]


def test_erase_sets_and_program_clears(on_vm: OnVm) -> None:
    on_vm("flash_semantics.py")


def test_every_kind_of_cut(on_vm: OnVm) -> None:
    on_vm("flash_cuts.py")


def test_flash_does_not_allocate(on_vm: OnVm) -> None:
    on_vm("flash_heap.py")


def test_littlefs_survives_a_cut_at_every_operation(on_vm: OnVm) -> None:
    operations, found = json.loads(on_vm("flash_sweep.py", "rename"))
    assert operations > 20
    assert found["old"] and found["new"] and not found["neither"]


def test_the_sweep_notices_a_careless_write(on_vm: OnVm) -> None:
    """The check on the check: remove and write anew leaves nothing at some of the cuts."""
    _, found = json.loads(on_vm("flash_sweep.py", "remove"))
    assert found["neither"] > 0
