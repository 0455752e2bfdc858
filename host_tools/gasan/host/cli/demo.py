"""`gasan demo`: the main job with simulated equipment."""

import asyncio
from pathlib import Path

import click
from gasan.host.cli.options import command_options, json_option, seconds_option
from gasan.host.cli.output import print_account
from gasan.host.demo import Demo, run_demo
from gasan.host.i18n import _

__all__ = ["demo"]


@click.command(
    help=_(
        "Run the main job with simulated equipment. "
        "A virtual node polls it until Ctrl-C; the account comes at the end."
    )
)
@seconds_option
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help=_("Folder of keys, images and the database; otherwise a temporary one."),
)
@click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    help=_("Database file; otherwise in the state folder."),
)
@click.option(
    "--screenshot",
    type=click.Path(path_type=Path, dir_okay=False),
    help=_("Write the last picture to this SVG file."),
)
@json_option
@command_options
def demo(
    seconds: float | None, state: Path | None, db: Path | None, screenshot: Path | None, as_json: bool
) -> None:
    print_account(asyncio.run(run_demo(Demo(state, db, seconds, screenshot))), as_json)
