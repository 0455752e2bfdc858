"""`gasan up`: runs the gateway of a site, and its virtual nodes."""

import asyncio
from pathlib import Path

import click
from gasan.host.cli.options import command_options, database, database_options, json_option, seconds_option
from gasan.host.cli.output import print_account
from gasan.host.compile import compile_site
from gasan.host.i18n import _
from gasan.host.run import Run, check_surroundings, run_site
from gasan.host.site import load
from gasan.host.store.retention import Keep

__all__ = ["up"]


@click.command(
    help=_("Run the gateway of a site, and its virtual nodes. Until Ctrl-C; the account comes at the end.")
)
@click.option(
    "--site", "file", type=click.Path(path_type=Path), required=True, help=_("Site file; see gasan init.")
)
@database_options
@seconds_option
@json_option
@command_options
def up(file: Path, state: Path, db: Path | None, seconds: float | None, as_json: bool) -> None:
    site = load(file)
    for problem in site.warnings:
        click.echo(str(problem), err=True)
    nodes = compile_site(site)
    check_surroundings(nodes, file)
    run = Run(
        site.name, nodes, state, database(state, db), seconds, keep=Keep(site.keep_days, site.max_bytes)
    )
    print_account(asyncio.run(run_site(run)), as_json)
