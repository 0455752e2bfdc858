"""`gasan init`: writes a commented starter site file."""

from pathlib import Path

import click
from gasan.host.cli.options import command_options
from gasan.host.errors import InputError, TryAgainError
from gasan.host.i18n import _
from gasan.host.starter import starter_site

__all__ = ["init"]


@click.command(help=_("Write a commented starter site file."))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default=Path("site.toml"))
@click.option("--force", is_flag=True, help=_("Overwrite the file if it is there."))
@command_options
def init(file: Path, force: bool) -> None:
    try:
        if file.exists() and not force:
            raise InputError(
                _("{file} is already there; name another file, or overwrite it with --force").format(
                    file=file
                )
            )
        target = file.resolve()
        part = target.with_name(f"{target.name}.part")  # a full disk leaves what was there
        try:
            part.write_text(starter_site(str(file)), encoding="utf-8")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TryAgainError(
            _("{file} cannot be written ({reason}); name another place").format(file=file, reason=reason)
        ) from None
    click.echo(_("Wrote {file}. Next: edit it, then run gasan check {file}").format(file=file))
