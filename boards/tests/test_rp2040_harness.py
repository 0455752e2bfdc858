"""The harness' own tests, and its types, as node and tsc see them."""

import shutil
import subprocess

import pytest
from gasan.boards.rp2040 import FOLDER
from gasan.hil import on_rp2040

pytestmark = pytest.mark.skipif(bool(on_rp2040.missing()), reason=on_rp2040.missing())


@pytest.mark.parametrize("script", ["check", "test"])
def test_harness(script: str) -> None:
    npm = shutil.which("npm")
    assert npm
    done = subprocess.run(
        [npm, "run", "--silent", script], cwd=FOLDER, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_file_names_no_registry() -> None:
    assert "resolved" not in (FOLDER / "package-lock.json").read_text()
