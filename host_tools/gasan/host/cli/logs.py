"""`gasan logs`: what a node says on its console and in its log."""

from collections import deque
from pathlib import Path

import click
from gasan.host.cli.options import command_options, state_option
from gasan.host.control_client import ask
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.problems import instead

__all__ = ["logs"]


@click.command(help=_("Print what a node says on its console and in its log."))
@click.argument("node")
@click.option("-f", "--follow", is_flag=True, help=_("Go on with new lines, until Ctrl-C."))
@click.option(
    "--lines", type=click.IntRange(min=1), default=100, show_default=True, help=_("So many of the last.")
)
@state_option
@command_options
def logs(node: str, follow: bool, lines: int, state: Path) -> None:
    if follow:
        for answer in ask(state, {"do": "logs", "node": node, "follow": True}):
            if "line" in answer:
                click.echo(answer["line"])
        return
    file = state / "logs" / f"{node}.log"
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            for line in deque(opened, maxlen=lines):
                click.echo(line, nl=False)
    except OSError:
        known = sorted(other.stem for other in file.parent.glob("*.log"))
        what = _('there is no log of a node "{node}" in {folder}').format(node=node, folder=file.parent)
        mend = instead(node, known) if known else _("name the gateway's folder with --state")
        raise InputError(f"{what}; {mend}") from None
