"""`gasan maintenance`: frees a node for mpremote, and takes it back."""

from pathlib import Path

import click
from gasan.host.cli.options import command_options, state_option
from gasan.host.control_client import ask_once
from gasan.host.i18n import _

__all__ = ["maintenance"]


@click.command(
    help=_(
        "Leave a node to mpremote, and take it back. "
        "It restarts without its program and watchdog; --end takes it back."
    )
)
@click.argument("node")
@click.option("--end", is_flag=True, help=_("Take the node back; reset it before."))
@state_option
@command_options
def maintenance(node: str, end: bool, state: Path) -> None:
    if end:
        ask_once(state, {"do": "resume", "node": node})
        click.echo(_("{node}: the gateway uses its port again").format(node=node))
        return
    answer = ask_once(state, {"do": "maintenance", "node": node})
    port = answer["port"]
    if answer["told"]:
        click.echo(_("{node} has restarted without its program. Now you can run:").format(node=node))
    else:
        click.echo(
            _("{node} does not answer; the gateway has left its port. Now you can run:").format(node=node)
        )
    click.echo(f"  mpremote connect {port} repl")
    click.echo(_("When you are done:"))
    click.echo(f"  mpremote connect {port} reset")
    click.echo(f"  gasan maintenance {node} --end")
