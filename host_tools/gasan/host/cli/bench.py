"""`gasan bench`: measures this version on this machine."""

import json
from pathlib import Path

import click
from gasan.boards.vm import VmMissing
from gasan.host.cli.options import command_options, json_option
from gasan.host.errors import InputError, TryAgainError
from gasan.host.i18n import _

__all__ = ["bench"]


@click.group(help=_("Measure sizes and speed."))
@command_options
def bench() -> None:
    pass


@bench.command(
    help=_("Encode a workload file on the MicroPython VM: bytes and time per reading, memory, exactness.")
)
@click.option(
    "--workload",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help=_("Workload file."),
)
@json_option
@command_options
def frame(workload: Path, as_json: bool) -> None:
    # The bench belongs to the test side, which only this command needs.
    from gasan.hil.bench.frame import WorkloadError, measure

    try:
        measured = measure(workload)
    except WorkloadError as error:
        raise InputError(str(error)) from error
    except VmMissing as error:
        raise TryAgainError(str(error)) from error
    if as_json:
        click.echo(json.dumps(measured))
        return
    for key, value in measured.items():
        click.echo(f"{key:18} {value}")
