"""`gasan account`: what nodes sampled, and what became of it."""

from pathlib import Path

import click
from gasan.host.account import account as draw_up
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.cli.options import command_options, database, database_options, json_option
from gasan.host.cli.output import print_account
from gasan.host.cli.progress import progress_bar
from gasan.host.cli.times import parse_moment
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.problems import instead

__all__ = ["account"]


@click.command(
    help=_(
        "Say what became of all readings. "
        "What nodes sampled is stored, dropped by rule, lost (and why) or pending."
    )
)
@click.option("--node", help=_("Only of this node."))
@click.option("--since", help=_("From then on: 2h (ago), 2026-03-01, 2026-03-01T06:00."))
@database_options
@json_option
@command_options
def account(node: str | None, since: str | None, state: Path, db: Path | None, as_json: bool) -> ExitCode:
    since_ms = None if since is None else parse_moment(since)
    path = database(state, db)
    with progress_bar() as progress:
        progress.add_task(_("reading the database"), total=None)
        drawn = draw_up(path, node, since_ms=since_ms, gaps=True)
    if node is not None and not drawn.nodes:
        known = sorted(each.node for each in draw_up(path, channels=False).nodes)
        mend = instead(node, known) if known else _("the gateway has to run first")
        said = _('nothing is stored of a node "{name}"').format(name=node)
        raise InputError(f"{said}; {mend}")
    print_account(drawn, as_json, details=True)
    return ExitCode.OK if drawn.agrees else ExitCode.CONTRADICTION
