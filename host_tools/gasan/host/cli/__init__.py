"""The command line: ``gasan VERB …``. Exit codes are in `exit_codes`."""

import errno
import io
import sys
import traceback
from collections.abc import Sequence

import click
from gasan.host.cli.exit_codes import ExitCode
from gasan.host.errors import GasanError, InputError, UntrustedError
from gasan.host.i18n import LANGUAGES, _, set_language
from gasan.host.problems import FileError

__all__ = ["main", "run"]


def main() -> None:
    """Entry point of the `gasan` command."""
    for stream in (sys.stdout, sys.stderr):  # None where the caller has closed it
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Korean ends no command
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; whatever goes wrong is one line on stderr."""
    # The help texts are made when the commands are imported below, so the language has to be known before.
    set_language(_asked_language(arguments))
    verbose = bool({"-v", "--verbose"} & set(arguments))
    try:
        from gasan.host.cli.root import root

        result = root.main(args=list(arguments), prog_name="gasan", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except click.exceptions.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        from gasan.host.cli.usage import usage_text

        click.echo(f"gasan: {usage_text(error)}", err=True)
        return ExitCode.WRONG_INPUT
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except GasanError as error:
        if verbose:
            traceback.print_exc()
        _say(error)
        return _code(error)
    except Exception as error:
        if verbose:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            click.echo(_("gasan: the disk is full; make room and try again"), err=True)
            return ExitCode.FAILED
        if not verbose:
            reason = f"{type(error).__name__}: {error}"
            text = _("gasan: internal error ({reason}); run it again with -v and report what it prints")
            click.echo(text.format(reason=reason), err=True)
        return ExitCode.INTERNAL


def _say(error: GasanError) -> None:
    if isinstance(error, FileError):
        for problem in error.problems:
            click.echo(str(problem), err=True)
    else:
        click.echo(f"gasan: {error}", err=True)


def _code(error: GasanError) -> ExitCode:
    if isinstance(error, InputError):
        return ExitCode.WRONG_INPUT
    if isinstance(error, UntrustedError):
        return ExitCode.UNTRUSTED
    return ExitCode.FAILED


def _asked_language(arguments: Sequence[str]) -> str | None:
    """What --lang says, if it says a language."""
    for index, argument in enumerate(arguments):
        if argument.startswith("--lang="):
            asked = argument.removeprefix("--lang=")
        elif argument == "--lang" and index + 1 < len(arguments):
            asked = arguments[index + 1]
        else:
            continue
        if asked in LANGUAGES:
            return asked
    return None
