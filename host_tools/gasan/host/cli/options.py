"""Options that several commands share."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from gasan.host.i18n import LANGUAGES, _, set_language

__all__ = [
    "STATE_DEFAULT",
    "command_options",
    "database",
    "database_options",
    "json_option",
    "seconds_option",
    "state_option",
]

STATE_DEFAULT = Path("gasan-state")
DATABASE_NAME = "gasan.sqlite"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _set_language(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value is not None:
        set_language(value)


def command_options(command: _Command) -> _Command:
    """--lang and -v, which every command takes."""
    command = click.option(
        "--lang",
        type=click.Choice(LANGUAGES),
        callback=_set_language,
        expose_value=False,
        is_eager=True,
        help=_("Language of messages; otherwise LANG decides."),
    )(command)
    # `run` looks for it: it acts on what happens outside of any command.
    return click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, help=_("Show a traceback on errors.")
    )(command)


def json_option(command: _Command) -> _Command:
    """--json as the argument `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help=_("Print JSON on stdout, and nothing else there.")
    )(command)


def _number(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    """A range holds what is not smaller than its bound, so also a NaN."""
    if value is not None and math.isnan(value):
        raise click.BadParameter(_("nan is no number of seconds"))
    return value


def seconds_option(command: _Command) -> _Command:
    """--seconds as the argument `seconds`."""
    return click.option(
        "--seconds", type=click.FloatRange(min=0), callback=_number, help=_("End after so many seconds.")
    )(command)


def state_option(command: _Command) -> _Command:
    """--state as the argument `state`."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        default=STATE_DEFAULT,
        show_default=True,
        help=_("Folder of keys, images and the database."),
    )(command)


def database_options(command: _Command) -> _Command:
    """--state and --db as the arguments `state` and `db`; `database` makes one path of them."""
    command = click.option(
        "--db",
        type=click.Path(path_type=Path, dir_okay=False),
        help=_("Database file; otherwise {name} in the state folder.").format(name=DATABASE_NAME),
    )(command)
    return state_option(command)


def database(state: Path, db: Path | None) -> Path:
    return state / DATABASE_NAME if db is None else db
