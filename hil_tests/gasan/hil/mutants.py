"""Deliberate mistakes in the node's code, for the test of the power-cut sweep: it must fail for each.

A mutant is a patch of one shipped file: a text that stands there exactly once, and what takes its place. It
is applied to a copy of the sources. A patch that no longer fits raises, so that no mutant is quietly lost
when the code changes.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from gasan.boards.places import FIRMWARE

__all__ = ["MUTANTS", "Mutant", "PatchError", "mutated"]

_ROOT = FIRMWARE.parent
_PORTIONS = {"node": FIRMWARE, "ota": _ROOT / "ota", "wire": _ROOT / "protocols"}


class PatchError(Exception):
    """The text that a mutant replaces does not stand in its file exactly once."""


@dataclass(frozen=True)
class Mutant:
    """A mistake. file: as on a node. scenario: of the sweep, which notices it; by ``work``."""

    name: str
    file: str
    old: str
    new: str
    scenario: str
    work: str = "cuts"


MUTANTS = (
    Mutant(
        "a frame is not synced",
        "node/spool.py",
        "            self._tail.flush()\n",
        "",
        "normal_run",
    ),
    Mutant(
        "a segment goes when only part of it is acknowledged",
        "node/spool.py",
        "return segment[DONE] + 1 == 1 << segment[COUNT]",
        "return segment[DONE] > 0",
        "acknowledged",
    ),
    Mutant(
        "an acknowledgement takes one frame too many",
        "node/spool.py",
        "_mask(segment, 0, upto - 1)",
        "_mask(segment, 0, upto)",
        "acknowledged",
    ),
    Mutant(
        "the newest segment is swept too: where the boot ended is forgotten",
        "node/spool.py",
        "for segment in self.segments[:-1]:",
        "for segment in self.segments[:]:",
        "acknowledged",
    ),
    Mutant(
        "the oldest segment goes before its loss is told",
        "node/losses.py",
        """\
    for item in items:
        write(frame.TOMBSTONE, None, content(item))
    _pay(spool, write)  # what had rotted
    log.warn("spool: full, dropped %d frames with %d readings" % (segment[COUNT], lost))
    spool.remove(segment)
""",
        """\
    log.warn("spool: full, dropped %d frames with %d readings" % (segment[COUNT], lost))
    spool.remove(segment)
    for item in items:
        write(frame.TOMBSTONE, None, content(item))
""",
        "full",
    ),
    Mutant(
        "a dropped segment takes the meaning of later frames with it",
        "node/losses.py",
        "if head[0] == frame.BIRTH and has_heirs:",
        "if False:",
        "wrapping",
    ),
    Mutant(
        "the spool is not taken in after the first segment",
        "node/recover.py",
        "        if not whole:\n",
        "        break\n        if not whole:\n",
        "normal_run",
    ),
    Mutant(
        "the last record of a segment is not taken in",
        "node/recover.py",
        "        segment[COUNT] = i + 1\n",
        "        segment[COUNT] = i or 1\n",
        "normal_run",
    ),
    Mutant(
        "the checksum of a frame is not looked at",
        "node/spool.py",
        "return size if f.readinto(view) == size and crc32(view) == crc else -1",
        "return size if f.readinto(view) == size else -1",
        "normal_run",
        "rot",
    ),
    Mutant(
        "what lies behind a rotten frame is given up",
        "node/recover.py",
        "            at = losses.find(spool, segment, segment[COUNT], at, buf)\n",
        "            at = -1\n",
        "normal_run",
        "rot",
    ),
    Mutant(
        "what a full spool has refused is not kept in flash",
        "node/losses.py",
        "    if spool.refuses:\n        path",
        "    if False:\n        path",
        "drop_newest",
    ),
    Mutant(
        "what is owed is forgotten before it is told",
        "node/losses.py",
        "    for _ in range(len(spool.debts)):\n        item = spool.debts.pop(0)\n",
        "    try:\n        os.remove(spool.folder + _OWED)\n    except OSError:\n        pass\n"
        "    for _ in range(len(spool.debts)):\n        item = spool.debts.pop(0)\n",
        "drop_newest",
    ),
    Mutant(
        "a spool in memory stands on flash",
        "node/begin.py",
        "        folder = ramdisk.mount(limits.spool_bytes)\n",
        "        slots.mkdir(folder)\n",
        "in_memory",
    ),
    Mutant(
        "the number of the boot is not kept",
        "node/begin.py",
        "        slots.replace(_ORDINAL, cbor.dumps([ordinal, boot]))\n",
        "        pass\n",
        "acknowledged",
    ),
    Mutant(
        "a small file is written in place",
        "ota/slots.py",
        """\
    with open(path + ".new", "wb") as f:
        f.write(content)
    os.rename(path + ".new", path)
""",
        """\
    with open(path, "wb") as f:
        f.write(content)
""",
        "key_change",
    ),
    Mutant(
        "a small file is renamed before it is written",
        "ota/slots.py",
        """\
        f.write(content)
    os.rename(path + ".new", path)
""",
        """\
        os.rename(path + ".new", path)
        f.write(content)
""",
        "key_change",
    ),
    Mutant(
        "a trial is not noted before it begins",
        "ota/slots.py",
        "        if state != STABLE and kept != (active, self._name, state):\n",
        "        if False:\n",
        "config_change",
    ),
    Mutant(
        "a config is confirmed in memory only",
        "ota/slots.py",
        "            self._save(self._active, self._name, STABLE)\n            self.state = STABLE\n",
        "            self.state = STABLE\n",
        "config_change",
    ),
    Mutant(
        "a config is received into the slot in use",
        "ota/slots.py",
        "        return 0 if self._active is None else 1 - self._active\n",
        "        return self._active or 0\n",
        "config_change",
    ),
    Mutant(
        "what was learned goes before the new is there",
        "node/keeper.py",
        """            os.rename(_FILE + ".new", _FILE)""",
        """            if _read():
                os.remove(_FILE)
            os.rename(_FILE + ".new", _FILE)""",
        "learned",
    ),
    Mutant(
        "what was learned takes its name before its end is written",
        "node/keeper.py",
        """                f.write(data)
            os.rename(_FILE + ".new", _FILE)""",
        """                f.write(data[:-9])
            os.rename(_FILE + ".new", _FILE)
            with open(_FILE, "ab") as f:
                f.write(data[-9:])""",
        "learned",
    ),
)


def mutated(folder: Path, mutant: Mutant) -> Path:
    """Copy the node's sources into ``folder`` and make the mistake there; returns the library for vmrun.

    Raises PatchError.
    """
    package = folder / "gasan"
    for portion, home in _PORTIONS.items():
        shutil.copytree(
            home / "gasan" / portion, package / portion, ignore=shutil.ignore_patterns("__pycache__")
        )
    path = package / mutant.file
    text = path.read_text()
    found = text.count(mutant.old)
    if found != 1:
        raise PatchError(f"{mutant.name}: its text stands {found} times in {mutant.file}, not once")
    path.write_text(text.replace(mutant.old, mutant.new))
    return folder
