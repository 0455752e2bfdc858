"""`gasan readings`: prints stored readings as a table, CSV or JSON."""

import csv
import json
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from gasan.host.cli.options import command_options, database, database_options
from gasan.host.cli.times import local_time, parse_moment
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.store import Reading, open_reader
from gasan.host.store import readings as select
from gasan.host.store.errors import reading
from gasan.host.wording import aligned, quality_text, unit_text, value_text

__all__ = ["readings"]

_TABLE_LIMIT = 100


@click.command(help=_("Print stored readings."))
@click.option("--node", help=_("Only of this node."))
@click.option("--device", help=_("Only of this device."))
@click.option("--channel", help=_("Only of this channel."))
@click.option("--since", help=_("From then on: 2h (ago), 2026-03-01, 2026-03-01T06:00."))
@click.option("--until", help=_("Until then; the same forms."))
@click.option(
    "--limit", type=click.IntRange(min=1), help=_("At most so many, the newest. A table shows 100.")
)
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True
)
@database_options
@command_options
def readings(
    node: str | None,
    device: str | None,
    channel: str | None,
    since: str | None,
    until: str | None,
    limit: int | None,
    form: str,
    state: Path,
    db: Path | None,
) -> None:
    if limit is None and form == "table":
        limit = _TABLE_LIMIT
    path = database(state, db)
    with closing(open_reader(path)) as connection, reading(path):
        _check_names(connection, node, device, channel)
        rows = select(
            connection,
            node=node,
            device=device,
            channel=channel,
            since_ms=None if since is None else parse_moment(since),
            until_ms=None if until is None else parse_moment(until),
            limit=limit,
        )
        if form == "csv":
            _write_csv(rows)
        elif form == "json":
            _write_json(rows)
        else:
            _write_table(rows)


def _check_names(
    connection: sqlite3.Connection, node: str | None, device: str | None, channel: str | None
) -> None:
    """Raises InputError when nothing at all is stored under one of the names."""
    for name, sql, what in (
        (node, "SELECT name FROM node", _('nothing is stored of a node "{name}"')),
        (device, "SELECT DISTINCT device FROM channel", _('nothing is stored of a device "{name}"')),
        (channel, "SELECT DISTINCT name FROM channel", _('nothing is stored of a channel "{name}"')),
    ):
        known = sorted(row[0] for row in connection.execute(sql)) if name is not None else []
        if name is not None and name not in known:
            mend = instead(name, known) if known else _("the gateway has to run first")
            raise InputError(f"{what.format(name=name)}; {mend}")


def _plain(value: Any) -> Any:
    """Raw bytes of floats as hexadecimal text."""
    return value.hex() if isinstance(value, bytes) else value


def _write_csv(rows: Iterable[Reading]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(Reading._fields)
    writer.writerows([_plain(value) for value in row] for row in rows)


def _write_json(rows: Iterable[Reading]) -> None:
    """One array, an object on a line each, so that it can be read as a whole and line by line."""
    opening = "["
    for row in rows:
        reading = {name: _plain(value) for name, value in row._asdict().items()}
        click.echo(opening)
        click.echo(json.dumps(reading, ensure_ascii=False, allow_nan=False), nl=False)
        opening = ","
    click.echo("[]" if opening == "[" else "\n]")


def _write_table(rows: Iterable[Reading]) -> None:
    cells = [[_("time"), _("node"), _("device"), _("channel"), _("value"), _("quality")]]
    for row in rows:
        value = row.text if row.text is not None else value_text(row.value)
        if row.value is not None:
            value = f"{value} {unit_text(row.unit)}".rstrip()
        time = local_time(row.time_ms)
        cells.append([time, row.node, row.device, row.channel, value, quality_text(row.quality)])
    if len(cells) == 1:
        click.echo(_("No readings."))
        return
    for line in aligned(cells, right={4}):
        click.echo(line)
