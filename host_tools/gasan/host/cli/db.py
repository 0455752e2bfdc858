"""`gasan db`: copies of the database, and whether it is whole."""

import json
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.cli.options import command_options, database, database_options, json_option
from gasan.host.cli.progress import progress_bar
from gasan.host.gateway.lock import state_lock
from gasan.host.i18n import _
from gasan.host.store import StoreDamagedError, open_reader, open_store
from gasan.host.store.backup import backup as make_backup
from gasan.host.store.backup import restore as put_back
from gasan.host.store.check import Report, examine
from gasan.host.wording import count_text

__all__ = ["db"]


@click.group(help=_("Copy the database, put a copy back, check that it is whole."))
@command_options
def db() -> None:
    pass


@db.command(help=_("Copy the database to FILE (or into a folder), also while a gateway runs."))
@click.argument("file", type=click.Path(path_type=Path))
@database_options
@json_option
@command_options
def backup(file: Path, state: Path, db: Path | None, as_json: bool) -> None:
    if file.is_dir():
        file /= f"gasan-{datetime.now().astimezone():%Y%m%d-%H%M%S}.sqlite"
    with _progress(_("copying")) as step:
        report = make_backup(database(state, db), file, step)
    _print(as_json, report, _("{path}: {frames} frames with {readings} readings"), path=file)


@db.command(help=_("Put a backup in the place of the database. Not while a gateway runs."))
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@database_options
@json_option
@command_options
def restore(file: Path, state: Path, db: Path | None, as_json: bool) -> None:
    path = database(state, db)
    with state_lock(state), _progress(_("copying")) as step:
        report, former = put_back(file, path, step)
    _print(as_json, report, _("{path} holds {frames} frames with {readings} readings again"), path=path)
    if former is not None and not as_json:
        click.echo(
            _("What was there before is {former}; delete it when you are content.").format(former=former)
        )


@db.command(help=_("Look at every page and every reading of the database, and say what is damaged."))
@click.option("--mend", is_flag=True, help=_("Put a damaged one aside, and keep what can be read of it."))
@database_options
@json_option
@command_options
def check(mend: bool, state: Path, db: Path | None, as_json: bool) -> int:
    path = database(state, db)
    try:
        with closing(open_reader(path)) as connection, _progress(_("checking")) as step:
            report = examine(connection, progress=step)
    except StoreDamagedError as error:
        report = Report([str(error)])
    if report.sound:
        _print(as_json, report, _("{path} is whole: {frames} frames with {readings} readings"), path=path)
        return ExitCode.OK
    if as_json:
        _print(as_json, report, "")
    else:
        for problem in report.problems:
            click.echo(problem, err=True)
    if not mend:
        said = _("{path} is damaged; --mend keeps what can be read of it, and names the rest")
        click.echo(said.format(path=path), err=True)
        return ExitCode.FAILED
    with state_lock(state):
        open_store(path, suspect=True).close()
    click.echo(_("{path} is mended; gasan account says what is lost").format(path=path), err=True)
    return ExitCode.OK


def _print(as_json: bool, report: Report, text: str, **more: Any) -> None:
    if as_json:
        figures = {"sound": report.sound, "frames": report.frames, "readings": report.readings}
        paths = {name: str(value) for name, value in more.items()}
        click.echo(json.dumps({**figures, "problems": report.problems, **paths}, ensure_ascii=False))
    else:
        figures_text = {"frames": count_text(report.frames), "readings": count_text(report.readings)}
        click.echo(text.format(**figures_text, **more))


class _progress:
    """A bar; `step` is called with what is done and how much there is."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar = progress_bar()

    def __enter__(self) -> Any:
        self._bar.start()
        task = self._bar.add_task(self._what)
        return lambda done, total: self._bar.update(task, completed=done, total=max(1, total))

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
