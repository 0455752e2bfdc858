"""What is wrong with a command line, in one sentence and in the user's language: Click's own is English."""

import click
from gasan.host.i18n import N_, _
from gasan.host.problems import instead

__all__ = ["usage_text"]

# Click's words about a path, and ours.
_PATHS = {
    "does not exist": N_("{file} does not exist; check the name"),
    "is a directory": N_("{file} is a folder; name a file"),
    "is a file": N_("{file} is a file; name a folder"),
}


def usage_text(error: click.ClickException) -> str:
    """What is wrong, and where to read on."""
    what = _what(error)
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return what
    return _("{what}; see {command} --help").format(what=what, command=context.command_path)


def _what(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):
        known = list(error.possibilities or ())
        what = _("there is no option {option}").format(option=error.option_name)
        return f"{what}; {instead(error.option_name, known)}" if known else what
    if isinstance(error, click.BadParameter):
        return _parameter(error)
    if isinstance(error, click.BadOptionUsage) and "requires an argument" in error.message:
        return _("{name} needs a value").format(name=error.option_name)
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None and isinstance(context.command, click.Group):
        verbs = ", ".join(context.command.list_commands(context))
        if error.message.startswith("No such command"):  # older Clicks have no exception of its own for it
            verb = error.message.split("'")[1]
            return _('there is no "{verb}"; one of {verbs}').format(verb=verb, verbs=verbs)
        return _("what is to be done is missing; one of {verbs}").format(verbs=verbs)
    if error.message.startswith("Got unexpected extra argument"):
        return _("that is too much: {given}").format(given=error.message.partition("(")[2].rstrip(")"))
    return error.format_message().rstrip(".")


def _parameter(error: click.BadParameter) -> str:
    param = error.param
    if param is None:
        return error.format_message().rstrip(".")
    name = param.opts[-1] if isinstance(param, click.Option) else param.human_readable_name
    if isinstance(error, click.MissingParameter):
        return _("{name} is missing").format(name=name)
    kind = param.type
    if isinstance(kind, click.Choice):
        return _("{name} is one of {choices}").format(name=name, choices=", ".join(map(str, kind.choices)))
    if isinstance(kind, click.IntRange | click.FloatRange) and None not in (kind.min, kind.max):
        return _("{name} is a number from {low} to {high}").format(name=name, low=kind.min, high=kind.max)
    if isinstance(kind, click.IntRange | click.FloatRange) and kind.min is not None:
        return _("{name} is a number of at least {low}").format(name=name, low=kind.min)
    if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        return _("{name} is a number").format(name=name)
    if isinstance(kind, click.Path):
        file = error.message.partition("'")[2].rpartition("'")[0]
        for ending, what in _PATHS.items():
            if error.message.rstrip(".").endswith(ending):
                return f"{name}: {_(what).format(file=file)}"
    return f"{name}: {error.message.rstrip('.')}"
