"""`gasan logs`: what a node says on its console and in its log, and what it left behind when it crashed."""

from collections import deque
from contextlib import closing, suppress
from pathlib import Path

import click
from gasan.host.cli.options import command_options, database, database_options
from gasan.host.cli.times import local_time
from gasan.host.control_client import ask
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.store import crashes, open_reader
from gasan.host.store.errors import reading

__all__ = ["logs"]


@click.command(help=_("Print what a node says on its console and in its log."))
@click.argument("node")
@click.option("-f", "--follow", is_flag=True, help=_("Go on with new lines, until Ctrl-C."))
@click.option(
    "--lines",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    help=_("So many of the last."),
)
@click.option(
    "--crash", is_flag=True, help=_("Print the tracebacks that the node left behind when it crashed.")
)
@database_options
@command_options
def logs(node: str, follow: bool, lines: int, crash: bool, state: Path, db: Path | None) -> None:
    if crash:
        _print_crashes(node, database(state, db))
        return
    if follow:
        with suppress(KeyboardInterrupt):
            for answer in ask(state, {"do": "logs", "node": node, "follow": True}):
                if "line" in answer:
                    click.echo(answer["line"])
        return
    file = state / "logs" / f"{node}.log"
    last: deque[str] = deque(maxlen=lines)
    with (
        suppress(OSError),
        file.with_name(file.name + ".1").open(encoding="utf-8", errors="replace") as former,
    ):
        last.extend(former)
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            last.extend(opened)
        for line in last:
            click.echo(line, nl=False)
    except OSError:
        known = sorted(other.stem for other in file.parent.glob("*.log"))
        what = _('there is no log of a node "{node}" in {folder}').format(node=node, folder=file.parent)
        mend = instead(node, known) if known else _("name the gateway's folder with --state")
        raise InputError(f"{what}; {mend}") from None


def _print_crashes(node: str, db: Path) -> None:
    with closing(open_reader(db)) as connection, reading(db):
        known = sorted(name for (name,) in connection.execute("SELECT name FROM node"))
        if node not in known:
            what = _('nothing is stored of a node "{name}"').format(name=node)
            mend = instead(node, known) if known else _("the gateway has to run first")
            raise InputError(f"{what}; {mend}")
        found = crashes(connection, node)
    if not found:
        click.echo(_("{node} has left no crash behind.").format(node=node))
    for crash in found:
        start = _("start {ordinal}").format(ordinal="?" if crash.ordinal is None else crash.ordinal)
        click.echo(f"{local_time(crash.time_ms)}  {start} ({crash.boot})")
        for line in crash.text.splitlines():
            click.echo(f"  {''.join(c if c.isprintable() else chr(0xFFFD) for c in line)}")
