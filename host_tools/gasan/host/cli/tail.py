"""`gasan tail`: prints readings as the gateway stores them."""

import json
from contextlib import suppress
from pathlib import Path

import click
from gasan.host.cli.options import command_options, json_option, state_option
from gasan.host.cli.times import local_time
from gasan.host.control_client import ask, ask_once
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.store.meaning import config_meanings
from gasan.host.wording import quality_text, unit_text, value_text

__all__ = ["tail"]


@click.command(help=_("Print readings as they are stored, until Ctrl-C."))
@click.option("--node", help=_("Only of this node."))
@click.option("--device", help=_("Only of this device."))
@click.option("--channel", help=_("Only of this channel."))
@state_option
@json_option
@command_options
def tail(node: str | None, device: str | None, channel: str | None, state: Path, as_json: bool) -> None:
    wanted = {"device": device, "channel": channel}
    if device is not None or channel is not None:
        _check_names(state, node, device, channel)
    with suppress(KeyboardInterrupt):
        for answer in ask(state, {"do": "tail", "node": node}):
            if "dropped" in answer:
                said = _("gasan: this terminal is too slow; {n} readings are not shown here, but stored")
                click.echo(said.format(n=answer["dropped"]), err=True)
            reading = answer.get("reading")
            if reading is None or any(name not in (None, reading[key]) for key, name in wanted.items()):
                continue
            if as_json:
                click.echo(json.dumps(reading, ensure_ascii=False))
                continue
            value = reading["text"] if reading["text"] is not None else value_text(reading["value"])
            unit = f" {unit_text(reading['unit'])}".rstrip() if reading["value"] is not None else ""
            place = f"{reading['node']}/{reading['device']}/{reading['channel']}"
            time, mark = local_time(reading["time_ms"]), quality_text(reading["quality"])
            click.echo(f"{time}  {place}  {value}{unit}  {mark}")


def _check_names(state: Path, node: str | None, device: str | None, channel: str | None) -> None:
    """Raises InputError for a name that no node is configured with: nothing would ever be printed."""
    running = ask_once(state, {"do": "nodes"})["nodes"]
    configs = [bytes.fromhex(each["config"]) for each in running if node in (None, each["name"])]
    meanings = [meaning for config in configs for meaning in config_meanings(config)]
    for name, known, what in (
        (device, {meaning.device for meaning in meanings}, _('no node here has a device "{name}"')),
        (channel, {meaning.name for meaning in meanings}, _('no node here has a channel "{name}"')),
    ):
        if name is not None and known and name not in known:
            raise InputError(f"{what.format(name=name)}; {instead(name, sorted(known))}")
