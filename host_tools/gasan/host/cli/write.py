"""`gasan write`: one value into one machine, where the site file allows it."""

import json
from pathlib import Path
from typing import Any

import click
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.cli.options import command_options, json_option, state_option
from gasan.host.control_client import ask_once
from gasan.host.i18n import _
from gasan.host.write_text import outcome_text, plan_text
from gasan.host.writes import Outcome

__all__ = ["write"]


@click.command(
    context_settings={"ignore_unknown_options": True},  # a value may be negative
    help=_(
        "Write VALUE to CHANNEL of DEVICE, if the site file allows it, and say what came of it. Asks before "
        "it acts. "
        "VALUE is in the channel's unit, or one of its words."
    ),
)
@click.argument("node")
@click.argument("device")
@click.argument("channel")
@click.argument("value")
@click.option("--dry-run", is_flag=True, help=_("Say what would be written, and send nothing."))
@click.option("--yes", is_flag=True, help=_("Do not ask."))
@json_option
@state_option
@command_options
def write(
    node: str, device: str, channel: str, value: str, dry_run: bool, yes: bool, as_json: bool, state: Path
) -> int:
    request: dict[str, Any] = {
        "do": "write",
        "node": node,
        "device": device,
        "channel": channel,
        "value": value,
    }
    if dry_run or not yes:
        plan = ask_once(state, {**request, "dry_run": True})
        if dry_run:
            _say(plan, as_json, plan_text(plan))
            return ExitCode.OK
        click.echo(plan_text(plan), err=as_json)
        click.confirm(_("Write it?"), abort=True, err=as_json)
    done = ask_once(state, {**request, "dry_run": False})
    _say(done, as_json, outcome_text(done))
    return ExitCode.OK if Outcome(done["outcome"]).done else ExitCode.FAILED


def _say(answer: dict[str, Any], as_json: bool, text: str) -> None:
    click.echo(json.dumps(answer, ensure_ascii=False) if as_json else text)
