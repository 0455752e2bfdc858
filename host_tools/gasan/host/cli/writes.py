"""`gasan writes`: who has written what to which machine, and what became of it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import click
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.cli.options import command_options, database, database_options, json_option
from gasan.host.cli.times import local_time, parse_moment
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.store import open_reader
from gasan.host.store.errors import reading
from gasan.host.wording import aligned

__all__ = ["writes"]

_SQL = (
    "SELECT write_request.time_ms, node, device, channel, who, value, raw,"
    " coalesce(outcome, 'unknown'), old, new,"
    " detail, write_outcome.time_ms"
    " FROM write_request LEFT JOIN write_outcome ON write_outcome.request = write_request.id"
    " WHERE write_request.time_ms >= ? AND (? IS NULL OR node = ?) ORDER BY write_request.id"
)
_KEYS = (
    "time_ms",
    "node",
    "device",
    "channel",
    "who",
    "value",
    "registers",
    "outcome",
    "old",
    "new",
    "detail",
    "end_ms",
)


@click.command(
    help=_("List the writes to machines: when, who, what, and what became of it. Nothing is ever removed.")
)
@click.option("--node", help=_("Only of this node."))
@click.option("--since", default="30d", show_default=True, help=_("From then on: 2h (ago), 2026-03-01."))
@json_option
@database_options
@command_options
def writes(node: str | None, since: str, as_json: bool, state: Path, db: Path | None) -> int:
    path = database(state, db)
    with closing(open_reader(path)) as connection, reading(path):
        _check_node(connection, node)
        rows = connection.execute(_SQL, (parse_moment(since), node, node)).fetchall()
    found = [dict(zip(_KEYS, row, strict=True)) for row in rows]
    for one in found:
        if one["detail"] is None:
            one["detail"] = _("the gateway ended before it knew")
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    elif found:
        titles = [_("time"), _("node"), _("device"), _("channel"), _("who"), _("value"), _("old")]
        titles += [_("outcome"), ""]
        keys = ("node", "device", "channel", "who", "value", "old", "outcome")
        table = [
            [local_time(one["time_ms"]), *(one[key] or "?" for key in keys), one["detail"]] for one in found
        ]
        for line in aligned([titles, *table]):
            click.echo(line)
    else:
        click.echo(_("Nothing was written in this time."))
    return ExitCode.OK


def _check_node(connection: sqlite3.Connection, node: str | None) -> None:
    """Raises InputError when neither readings nor writes are known of the node."""
    sql = "SELECT name FROM node UNION SELECT node FROM write_request ORDER BY 1"
    known = [name for (name,) in connection.execute(sql)]
    if node is not None and node not in known:
        mend = instead(node, known) if known else _("the gateway has to run first")
        said = _('nothing is stored of a node "{name}"').format(name=node)
        raise InputError(f"{said}; {mend}")
