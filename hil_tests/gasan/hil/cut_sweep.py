"""Power cuts at every flash operation of a node, on the flash of each board: for tests and ``make sweep``.

What is done and what must hold stands in ``firmware/tests/vm/cut_sweep.py``, which runs on a MicroPython VM.
"""

import random
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gasan.boards import facts
from gasan.boards.places import FIRMWARE, STANDINS
from gasan.hil import vmrun
from gasan.hil.mutants import MUTANTS, Mutant, mutated

__all__ = ["PAIRS", "ROT", "SCENARIOS", "Broken", "Geometry", "Swept", "geometries", "notices", "sweep"]

SCENARIOS = (
    "first_boot",
    "normal_run",
    "full",
    "acknowledged",
    "config_change",
    "key_change",
    "drop_newest",
    "in_memory",
    "learned",
)
PAIRS = ("bounded", "wrapping", "refusing")
ROT = ("normal_run", "full", "acknowledged", "drop_newest")
_PROGRAM = FIRMWARE / "tests" / "vm" / "cut_sweep.py"
_HEAP = "6m"


class Broken(Exception):
    """An invariant did not hold; the message says after which cut, and the seed."""


@dataclass(frozen=True, order=True)
class Geometry:
    """Bytes of a program and of an erase."""

    program: int
    erase: int


@dataclass(frozen=True)
class Swept:
    """A scenario: its flash operations, and the cuts after which the node was started and looked at; of rot:
    the records and files of the spool, and the starts.
    """

    scenario: str
    operations: int
    cuts: int


def geometries() -> dict[Geometry, list[str]]:
    """The flash of all boards: {geometry: boards}."""
    found: dict[Geometry, list[str]] = {}
    for name in facts.names():
        chip = facts.load(name).flash
        found.setdefault(Geometry(chip.program, chip.block), []).append(name)
    return found


def sweep(
    geometry: Geometry,
    scenarios: Sequence[str],
    seed: int,
    work: str = "cuts",
    step: int = 1,
    library: Path | None = None,
) -> list[Swept]:
    """Sweep these scenarios. work: "cuts", "pairs" or "rot". step: only every so manyth operation is cut.

    Raises Broken, and VmFailed when the sweep itself fails.
    """
    said = vmrun.run(
        _PROGRAM,
        STANDINS,
        seed % (1 << 30),
        geometry.program,
        geometry.erase,
        work,
        step,
        *scenarios,
        heap=_HEAP,
        timeout=3600,
        library=library,
    )
    if "broken: " in said:
        raise Broken(said[said.index("broken: ") + 8 :].strip())
    lines = [line.split() for line in said.splitlines()]
    return [Swept(name, int(operations), int(cuts)) for name, operations, cuts in lines]


def notices(mutant: Mutant, geometry: Geometry, seed: int) -> str:
    """What the sweep says to a mistake; empty when it notices nothing."""
    with tempfile.TemporaryDirectory(prefix="gasan-") as folder:
        library = mutated(Path(folder), mutant)
        try:
            sweep(geometry, [mutant.scenario], seed, mutant.work, library=library)
        except (Broken, vmrun.VmFailed) as error:
            return str(error)
    return ""


def main() -> int:
    """Every pair of cuts and every mutant, on each geometry; the counts are printed."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed} (python -m gasan.hil.cut_sweep {seed} repeats this)")
    failed = total = 0
    jobs = [(geometry, scenario) for geometry in geometries() for scenario in PAIRS]
    with ThreadPoolExecutor(2) as pool:
        running = [(job, pool.submit(sweep, job[0], [job[1]], seed, "pairs")) for job in jobs]
        for (geometry, scenario), job in running:
            where = f"programs of {geometry.program}, erases of {geometry.erase}"
            try:
                for one in job.result():
                    total += one.cuts
                    print(
                        f"pairs, {where}, {scenario}: {one.operations} operations, {one.cuts} pairs",
                        flush=True,
                    )
            except Broken as error:
                failed += 1
                print(f"pairs, {where}, {scenario}: BROKEN {error}", flush=True)
        print(f"{total} pairs of cuts, {failed} scenarios broken")
        tried = [(mutant, geometry) for mutant in MUTANTS for geometry in geometries()]
        for (mutant, geometry), said in zip(
            tried, pool.map(lambda one: notices(one[0], one[1], seed), tried), strict=True
        ):
            failed += not said
            print(
                f"mutant, programs of {geometry.program}, {mutant.name}: "
                + (said.split("\n")[0] if said else "NOT NOTICED"),
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
