"""Run the simulation: ``python -m gasan.hil.simulation --runs 1000``, or one failing seed again."""

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from gasan.hil.simulation.run import Run, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m gasan.hil.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the first run (default: a fresh one, printed)")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)"
    )
    parser.add_argument("--json", action="store_true", help="the sums as JSON")
    args = parser.parse_args()
    first = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 31)
    if not args.json:
        print(f"seeds {first} to {first + args.runs - 1}, {args.days:g} days each", flush=True)
    begun = time.monotonic()
    sums: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    failed: list[int] = []
    seeds = range(first, first + args.runs)
    with ProcessPoolExecutor(min(args.jobs, args.runs)) as pool:
        one = partial(simulate, days=args.days)
        for number, run in enumerate(pool.map(one, seeds), 1):
            _add(run, sums, faults, reasons)
            if run.judgement.faults:
                failed.append(run.seed)
                print(
                    f"seed {run.seed} fails; again: {run.command}",
                    *run.judgement.faults,
                    sep="\n    ",
                    file=sys.stderr,
                    flush=True,
                )
            if not args.json and number % 50 == 0:
                print(f"{number} runs, {len(failed)} failed, {time.monotonic() - begun:.0f} s", flush=True)
    seconds = time.monotonic() - begun
    if args.json:
        told = dict(sums) | {
            "lost_reasons": reasons,
            "faults": faults,
            "failed_seeds": failed,
            "seconds": seconds,
        }
        print(json.dumps(told | {"runs": args.runs, "days": args.days}))
    else:
        print(f"{args.runs} runs of {args.days:g} days, {len(failed)} failed, {seconds:.0f} s")
        print("readings: " + ", ".join(f"{name} {n:,}" for name, n in sums.items()))
        print("lost: " + ", ".join(f"{name} {n:,}" for name, n in sorted(reasons.items())))
        print("faults: " + ", ".join(f"{name} {n:,}" for name, n in sorted(faults.items())))
    return 1 if failed else 0


def _add(run: Run, sums: Counter[str], faults: Counter[str], reasons: Counter[str]) -> None:
    for name in (
        "sampled",
        "stored",
        "dropped",
        "lost",
        "pending",
        "missed",
        "frames",
        "boots",
        "dated",
        "undated",
    ):
        sums[name] += getattr(run.judgement, name)
    faults.update(run.faults)
    reasons.update(run.judgement.lost_reasons)


if __name__ == "__main__":
    sys.exit(main())
