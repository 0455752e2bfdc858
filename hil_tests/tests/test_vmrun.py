"""Running device code on a VM: its library, its limits and its failures."""

from pathlib import Path

import pytest
from gasan.boards.vm import VmMissing
from gasan.hil import vmrun


def test_the_vm_has_the_word_size_and_the_sources(bits: int, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "import gasan.wire, gasan.node, gasan.ota, gasan.hil\n"
        "print(sys.maxsize.bit_length() + 1 if hasattr(int, 'bit_length') else sys.maxsize, sys.argv[1:])\n"
        "print(sys.stdin.read())\n"
    )
    out = vmrun.run(program, "one", 2, bits=bits, stdin=b"three").splitlines()
    assert out == [f"{(1 << (bits - 1)) - 1} ['one', '2']", "three"]


def test_the_heap_is_limited(bits: int) -> None:
    with pytest.raises(vmrun.VmFailed, match="MemoryError"):
        vmrun.run("x = bytearray(200000)", bits=bits, heap="32wk")


def test_a_failure_tells_status_output_and_traceback() -> None:
    with pytest.raises(vmrun.VmFailed, match="ended with status 1 on the 64-bit VM") as failure:
        vmrun.run("print('before')\n1 / 0")
    # Some builds write tracebacks to standard output.
    assert "ZeroDivisionError" in str(failure.value)
    assert failure.value.stdout.startswith("before\n")
    assert failure.value.returncode == 1


def test_a_program_that_does_not_end_is_stopped() -> None:
    with pytest.raises(vmrun.VmFailed, match=r"did not end within 0\.5 s") as failure:
        vmrun.run("print('before')\nwhile True: pass", timeout=0.5)
    assert failure.value.returncode is None


def test_an_argument_that_would_end_the_vm_is_refused() -> None:
    assert vmrun.run("import sys; print(len(sys.argv[1]))", "x" * 255) == "255\n"
    with pytest.raises(ValueError, match="use stdin"):
        vmrun.run("pass", "x" * 256)


def test_a_vm_that_nobody_has_is_missing() -> None:
    assert vmrun.missing(16)
    with pytest.raises(VmMissing):
        vmrun.run("pass", bits=16)
