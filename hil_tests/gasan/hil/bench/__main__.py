"""``make bench``: every figure of the project in one table, each beside its bar and its peer of the same run.

A bench reports; it never fails a build. The exit status is 0 unless a bench itself could not run. Timings
on a shared machine vary: the rows say how often they were taken, and ratios are of the same run.
"""

import argparse
import importlib
import json
import sys
from dataclasses import asdict

from gasan.hil.bench.row import Row
from rich.console import Console
from rich.table import Table

BENCHES = ("frame", "memory", "spool", "rtu_line", "modbus_tcp", "ingest", "clock", "ble", "rp2040")
_MARK = {True: "met", False: "MISSED", None: ""}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gasan.hil.bench", description=__doc__.splitlines()[0])
    parser.add_argument("bench", nargs="*", metavar="BENCH", help=f"{', '.join(BENCHES)} (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON array on stdout")
    args = parser.parse_args(argv)
    unknown = sorted(set(args.bench) - set(BENCHES))
    if unknown:
        parser.error(f"no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")

    rows: list[tuple[str, Row]] = []
    failed = []
    for name in args.bench or BENCHES:
        print(f"bench {name} ...", file=sys.stderr, flush=True)
        try:
            rows += [(name, row) for row in importlib.import_module(f"gasan.hil.bench.{name}").rows()]
        except Exception as error:  # one bench that cannot run must not hide the others
            failed.append(f"{name}: {type(error).__name__}: {error}")

    if args.json:
        print(json.dumps([{"bench": bench, **asdict(row)} for bench, row in rows]))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(_table(rows))
    for line in failed:
        print(f"could not run: {line}", file=sys.stderr)
    return 1 if failed else 0


def _table(rows: list[tuple[str, Row]]) -> Table:
    table = Table(title="gasan bench")
    for heading in ("bench", "what", "figure", "bar", "", "peer or limit", "note"):
        table.add_column(heading, justify="right" if heading == "figure" else "left", overflow="fold")
    for bench, row in rows:
        figure = f"{row.figure:,.3g}" if isinstance(row.figure, float) else str(row.figure)
        table.add_row(
            bench, row.name, f"{figure} {row.unit}".strip(), row.bar, _MARK[row.met], row.peer, row.note
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
