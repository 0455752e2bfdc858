"""A TOML file that a person wrote: its values, and the line of each for messages."""

import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Any

from gasan.host.errors import InputError
from gasan.host.i18n import N_, _
from gasan.host.problems import FileError, Problem, Severity
from gasan.host.toml_lines import Lines, Path

__all__ = ["Document", "read", "toml_text"]

_SIZE_MAX = 4 * 1024 * 1024
_BITS_MAX = 1024
_DIGITS = re.compile(r"\d[\d_]{4000}|[eE][+-]?\d[\d_]{17}")
_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")

# tomllib's words for the usual slips, and ours.
_SYNTAX = [
    (
        r"Cannot overwrite a value",
        N_("this name is here twice"),
        N_("remove one of them, or for a list of tables write [[name]] in double brackets"),
    ),
    (
        r"Cannot (declare .* twice|mutate .*|define .*|redefine .*)",
        N_("this table is here twice"),
        N_("remove one of them, or for a list of tables write [[name]] in double brackets"),
    ),
    (r"Expected '=' after a key", N_("there is no '=' after the key"), N_("write key = value")),
    (
        r"Invalid value|Expected newline or end of document after a statement",
        N_("this is not a value of TOML"),
        N_("write text in double quotes, numbers without, and one key = value on a line"),
    ),
    (r"Unterminated string|Illegal character .*\\n", N_("the text has no end"), N_('close it with "')),
    (r"Unclosed (array|inline table)", N_("the list has no end"), N_("close it with ] or }")),
    (
        r"Invalid initial character for a key part|Invalid statement|Expected '\]+'",
        N_("this is not a key of TOML"),
        N_("use letters, digits, '_' and '-', and one [ or [[ with its ] or ]]"),
    ),
]


class Document:
    """A parsed file and the problems found in it so far.

    `data`: the values; numbers with a point are `Decimal`, exact. `problems` collects; nothing is raised
    until `raise_errors`.
    """

    def __init__(self, name: str, text: str, data: dict[str, Any]) -> None:
        self.name = name
        self.data = data
        self.problems: list[Problem] = []
        self._lines = Lines(text)

    def line(self, path: Path) -> int:
        return self._lines.of(path)

    def error(self, path: Path, what: str, mend: str) -> None:
        self.problems.append(Problem(self.name, self.line(path), Severity.ERROR, what, mend))

    def warning(self, path: Path, what: str, mend: str) -> None:
        self.problems.append(Problem(self.name, self.line(path), Severity.WARNING, what, mend))

    @property
    def warnings(self) -> list[Problem]:
        return sorted(problem for problem in self.problems if problem.severity is Severity.WARNING)

    @property
    def has_errors(self) -> bool:
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    def raise_errors(self) -> None:
        """Raises FileError with errors and warnings if there is at least one error."""
        if self.has_errors:
            raise FileError(self.problems)

    def walk(self) -> Iterator[tuple[Path, Any]]:
        """Every path and its value, outer ones first."""
        stack: list[tuple[Path, Any]] = [((), self.data)]
        while stack:
            path, value = stack.pop()
            if path:
                yield path, value
            if isinstance(value, dict):
                stack.extend(((*path, key), child) for key, child in value.items())
            elif isinstance(value, list):
                stack.extend(((*path, index), child) for index, child in enumerate(value))


def read(file: FilePath, name: str | None = None) -> Document:
    """Reads and parses `file`; `name` is what messages call it.

    Raises InputError when it cannot be read, FileError when it is not TOML in UTF-8.
    """
    name = str(file) if name is None else name
    try:
        with file.open("rb") as opened:
            raw = opened.read(_SIZE_MAX + 1)
    except FileNotFoundError:
        raise InputError(_("{file} does not exist; check the name").format(file=name)) from None
    except IsADirectoryError:
        raise InputError(_("{file} is a folder; name a file").format(file=name)) from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            _("{file} cannot be read ({reason}); check its permissions").format(file=name, reason=reason)
        ) from None
    if len(raw) > _SIZE_MAX:
        raise InputError(_("{file} is larger than 4 MB; name a text file").format(file=name))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = _("this is not UTF-8 text"), _("save the file as UTF-8 in your editor")
        raise FileError([Problem(name, line, Severity.ERROR, *problem)]) from None
    try:
        data = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise FileError([_syntax_problem(name, text, str(error))]) from None
    except (ValueError, ArithmeticError):  # more digits than Python reads, or an exponent of more
        raise FileError([_digits_problem(name, _line_of_digits(text))]) from None
    except RecursionError:
        problem = _("lists or tables are nested too deep"), _("remove the inner ones")
        raise FileError([Problem(name, 1, Severity.ERROR, *problem)]) from None
    document = Document(name, text, data)
    document.problems += [
        _digits_problem(name, document.line(path))
        for path, value in document.walk()
        if isinstance(value, int) and value.bit_length() > _BITS_MAX
    ]
    document.raise_errors()  # further messages would have to show the number, which Python refuses
    return document


def _digits_problem(name: str, line: int) -> Problem:
    return Problem(name, line, Severity.ERROR, _("this number has too many digits"), _("write fewer digits"))


def _line_of_digits(text: str) -> int:
    place = _DIGITS.search(text)
    return text.count("\n", 0, place.start()) + 1 if place else 1


def _syntax_problem(name: str, text: str, message: str) -> Problem:
    position = _POSITION.search(message)
    line = int(position[1]) if position and position[1] else max(1, len(text.splitlines()))
    message = _POSITION.sub("", message)
    for pattern, what, mend in _SYNTAX:
        if re.match(pattern, message):
            return Problem(name, line, Severity.ERROR, _(what), _(mend))
    return Problem(
        name,
        line,
        Severity.ERROR,
        _("not valid TOML ({reason})").format(reason=message),
        _("write key = value, with text in double quotes"),
    )


def toml_text(value: object) -> str:
    """A short value the way that it is written in a file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value[:40]}…"' if len(value) > 40 else f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(toml_text(item) for item in value[:4]) + (", …]" if len(value) > 4 else "]")
    if isinstance(value, dict):
        return "{…}"
    return str(value)
