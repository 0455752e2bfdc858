"""`gasan account`: what nodes sampled, and what became of it."""

from pathlib import Path

import click
from gasan.host.account import account as draw_up
from gasan.host.cli.options import command_options, database, database_options, json_option
from gasan.host.cli.output import print_account
from gasan.host.i18n import _

__all__ = ["account"]


@click.command(
    help=_(
        "Say what became of all readings. "
        "What nodes sampled is stored, dropped by rule, lost (and why) or pending."
    )
)
@click.option("--node", help=_("Only of this node."))
@database_options
@json_option
@command_options
def account(node: str | None, state: Path, db: Path | None, as_json: bool) -> None:
    print_account(draw_up(database(state, db), node), as_json)
