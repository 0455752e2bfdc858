"""The verbs, and what `gasan --help` says."""

from importlib import import_module
from importlib.metadata import version

import click
from gasan.host.cli.options import command_options
from gasan.host.i18n import _

__all__ = ["VERBS", "root"]

# In the order in which one needs them; each is a module of this package with a command of the same name.
VERBS = (
    "demo",
    "init",
    "check",
    "modbus",
    "up",
    "apply",
    "tail",
    "readings",
    "write",
    "writes",
    "logs",
    "account",
    "db",
    "maintenance",
    "ble",
    "bench",
)


class _Verbs(click.Group):
    """Imports a verb only when it is asked for: a small computer starts faster."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = getattr(import_module(f"gasan.host.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help=_(
        "Sensor gateway for old machines: nodes that read them, and the gateway that keeps what they read."
    ),
    epilog=_(
        "Exit codes: 0 done, 1 failed for now, 2 wrong input, 3 not authentic, 4 rolled back, "
        "5 an account that does not add up, 70 internal error, 130 interrupted."
    ),
)
@click.version_option(version("gasan"), "--version", prog_name="gasan")
@command_options
def root() -> None:
    pass
