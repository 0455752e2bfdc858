"""Options of commands that ask a line through a node instead of an adapter of this machine."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
from gasan.host.cli.options import state_option
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.modbus.node_line import LONGEST_MS

__all__ = ["check_where", "node_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def node_options(command: _Command) -> _Command:
    """--node, --line and --state as the arguments `node`, `bus` and `state`."""
    command = click.option(
        "--line", "bus", help=_("Which line of the node, by its name in the site file; else its only one.")
    )(command)
    command = click.option(
        "--node",
        help=_("Ask through this node of the running gateway, which goes on with its polls in between."),
    )(command)
    return state_option(command)


def check_where(where: str | None, node: str | None, timeout_ms: int | None) -> None:
    """One of both is needed; a node waits only so long."""
    if (where is None) == (node is None):
        raise InputError(_("name a port, an address, or a node with --node, and only one of them"))
    if node is not None and timeout_ms is not None and timeout_ms > LONGEST_MS:
        raise InputError(
            _("a node waits at most {most} ms for an answer; write --timeout {most} or less").format(
                most=LONGEST_MS
            )
        )
