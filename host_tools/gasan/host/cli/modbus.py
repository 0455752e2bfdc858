"""`gasan modbus`: commissioning of Modbus devices."""

from importlib import import_module

import click
from gasan.host.cli.options import command_options
from gasan.host.i18n import _

__all__ = ["modbus"]

# Each is a module modbus_NAME of this package with a command of that name.
_VERBS = ("scan", "explore", "health")


class _Verbs(click.Group):
    """Imports a command only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command = getattr(import_module(f"gasan.host.cli.modbus_{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=_Verbs, help=_("Find Modbus devices, what stands in them, and what is wrong with a line. Only reads.")
)
@command_options
def modbus() -> None:
    pass
