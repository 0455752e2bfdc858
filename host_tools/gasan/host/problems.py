"""What is wrong with a file that a person wrote: where, what, and what to write instead."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from enum import StrEnum

from gasan.host.errors import InputError
from gasan.host.i18n import _

__all__ = ["FileError", "Problem", "Severity", "instead", "one_of"]

_LISTED = 12  # names listed in full when none of them is close


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake: `what` is wrong and `mend` says what to write instead, both in the user's language."""

    file: str
    line: int
    severity: Severity
    what: str
    mend: str

    def __str__(self) -> str:
        mark = _("warning: ") if self.severity is Severity.WARNING else ""
        return f"{self.file}:{self.line}: {mark}{self.what}; {self.mend}"

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


class FileError(InputError):
    """A file cannot be used; `problems` has every mistake in it, in the order of the lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def instead(written: object, known: Iterable[str]) -> str:
    """What to write in place of a word that is not known: the nearest known one, or all of them."""
    names = list(known)
    lowered = {name.lower(): name for name in names}
    close = get_close_matches(str(written).lower(), lowered, n=1, cutoff=0.6)
    if close:
        return _("did you mean {name}?").format(name=f"'{lowered[close[0]]}'")
    return one_of(names)


def one_of(known: Iterable[str]) -> str:
    """The words that may be written."""
    names = list(known)
    if not names:
        return _("remove it")
    shown = ", ".join(names[:_LISTED])
    if len(names) > _LISTED:
        return _("write one of {names} and {more} more").format(names=shown, more=len(names) - _LISTED)
    return _("write one of {names}").format(names=shown)
