"""`gasan apply`: brings a changed site file to the nodes of a running gateway."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.cli.options import command_options, state_option
from gasan.host.compile import CompiledNode, compile_site
from gasan.host.config_diff import difference
from gasan.host.control_client import ask, ask_once
from gasan.host.errors import InputError, TryAgainError
from gasan.host.i18n import _
from gasan.host.site import load
from rich.console import Console
from rich.progress import Progress

__all__ = ["apply"]


@click.command(
    help=_(
        "Send a changed site file to the nodes. Shows what changes, and waits until each node has confirmed."
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help=_("Only show what would change."))
@state_option
@command_options
def apply(file: Path, dry_run: bool, state: Path) -> int:
    site = load(file)
    wanted = compile_site(site)
    answer = ask_once(state, {"do": "nodes"})
    running = {node["name"]: node for node in answer["nodes"]}
    _check_same_nodes(file, wanted, running)
    keep = [site.keep_days, site.max_bytes]
    if answer.get("keep", keep) != keep:
        what = _("what the database keeps changes ([store])")
        raise InputError(f"{what}; {_restart(file)}")
    changed = [node for node in wanted if node.revision.hex() != running[node.name]["revision"]]
    for node in wanted:
        _show_difference(node, running[node.name]["config"], node in changed)
    if dry_run:
        return ExitCode.OK
    return max((_send(state, node) for node in changed), default=ExitCode.OK)


def _check_same_nodes(file: Path, wanted: list[CompiledNode], running: dict[str, Any]) -> None:
    """Raises InputError for what only a restart of the gateway can change: nodes, boards, links and ports."""
    mend = _restart(file)
    differing = running.keys() ^ {node.name for node in wanted}
    if differing:
        what = _("the gateway runs other nodes than {file} has ({names})").format(
            file=file, names=", ".join(sorted(differing))
        )
        raise InputError(f"{what}; {mend}")
    for node in wanted:
        before = running[node.name]
        if (node.board, node.link) != (before["board"], before["link"]):
            what = _("{node} changes its board or link").format(node=node.name)
            raise InputError(f"{what}; {mend}")
        ports = {str(number): port for number, port in node.uarts.items()}
        if (ports, node.air) != (before.get("uarts", ports), before.get("air", node.air)):
            what = _("{node} changes 'port' or 'air' of its virtual board").format(node=node.name)
            raise InputError(f"{what}; {mend}")


def _restart(file: Path) -> str:
    return _("stop the gateway and start it with gasan up --site {file}").format(file=file)


def _show_difference(node: CompiledNode, config: str | None, changed: bool) -> None:
    if not changed:
        click.echo(_("{node}: runs this config already").format(node=node.name))
        return
    click.echo(f"{node.name}:")
    if config is None:
        click.echo("  " + _("its present config is not known here"))
        return
    for change in difference(bytes.fromhex(config), node.config):
        click.echo(f"  {change}")


def _send(state: Path, node: CompiledNode) -> ExitCode:
    """Sends one config and follows it to its end."""
    answers = ask(state, {"do": "apply", "node": node.name, "config": node.config.hex()})
    try:
        result = _followed(node.name, answers)
    except TryAgainError as error:  # the other nodes get theirs all the same
        click.echo(f"gasan: {error}", err=True)
        return ExitCode.FAILED
    if "rolled_back" in result:
        click.echo(f"gasan: {result['rolled_back']}", err=True)
        return ExitCode.ROLLED_BACK
    click.echo(_("{node}: runs revision {revision}").format(node=node.name, revision=node.revision.hex()))
    return ExitCode.OK


def _followed(name: str, answers: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Shows the progress; returns what the gateway says at the end."""
    result: dict[str, Any] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(_("{node}: sending").format(node=name), total=None)
        for answer in answers:
            if answer.get("event") == "sending":
                progress.update(task, completed=answer["sent"], total=answer["total"])
            elif answer.get("event") == "restarting":
                text = _("{node}: restarting with the new config").format(node=name)
                progress.update(task, description=text, total=None)
            elif "done" in answer or "rolled_back" in answer:
                result = answer
    return result
