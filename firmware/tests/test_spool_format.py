"""Spools that earlier versions have written can still be read (protocols/spool.md)."""

import json
from pathlib import Path

import pytest
from gasan.hil import vmrun

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_SAMPLES = json.loads((_ROOT / "protocols" / "vectors" / "spool.json").read_text())
_READ = """
import os, sys
sys.path.insert(0, sys.argv[2])
from scratch import Spool, blank, frame, frames, mount, recover
mount(blank(32))
for line in sys.stdin:
    name, data = line.split()
    with open("/f/spool/" + name, "wb") as f:
        f.write(bytes.fromhex(data))
spool = Spool("/f/spool", 65536)
found = recover.recover(spool)
for data in frames(spool):
    print(data.hex())
print(found.ordinal, found.last[:3], spool.frames, spool.debts)
for name in sorted(os.listdir("/f/spool")):
    print(name)
"""


@pytest.mark.parametrize("version", _SAMPLES["versions"])
def test_a_sample_of_each_version_is_read_whole(version: str, bits: int) -> None:
    files = _SAMPLES["versions"][version]["files"]
    stdin = "".join(f"{name} {data}\n" for name, data in files.items()).encode()
    folders = (_ROOT / "boards" / "standins", _HERE / "vm")
    out = vmrun.run(_READ, *folders, bits=bits, heap="1500wk", stdin=stdin).splitlines()
    count = len(_SAMPLES["frames"])
    assert out[:count] == _SAMPLES["frames"]
    assert out[count] == f"8 (b'boot-two', 0, 0) {count} []"
    assert out[count + 1 :] == sorted(_SAMPLES["versions"]["2"]["files"]), "old files get their new names"
