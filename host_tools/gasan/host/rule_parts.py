"""What the rules of a site file have in common: unique names, lists of tables, and no secrets."""

import re
from collections.abc import Mapping
from typing import Any

from gasan.host.i18n import _
from gasan.host.toml_file import Document
from gasan.host.toml_lines import Path

__all__ = [
    "Unique",
    "check_secrets",
    "is_secret",
    "is_secret_value",
    "note_name",
    "tables",
    "without_secrets",
]

_SECRET_KEY = re.compile(
    r"(?i)pass(word|wd|phrase)|secret|psk|bindkey|api_?key|token|private|credential|^key$|_key$"
)
_SECRET_VALUE = re.compile(r"-----BEGIN |^[0-9A-Fa-f]{64}$")


class Unique:
    """Values that must be different from each other, and where each was first seen."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._seen: dict[object, int] = {}

    def add(self, path: Path, value: object, what: str, mend: str) -> None:
        """Notes an error if `value` was added before; `{value}` and `{line}` in `what` are filled in."""
        if value in self._seen:
            self._document.error(path, what.format(value=value, line=self._seen[value]), mend)
        else:
            self._seen[value] = self._document.line(path)


def note_name(document: Document, names: Unique, path: Path, data: Mapping[str, Any], kind: str) -> None:
    """Adds the name of a table to `names`; `kind` is what the table is, in the user's language."""
    name = data.get("name")
    if isinstance(name, str):
        what = _('the {kind} name "{value}" is already used in line {line}').replace("{kind}", kind)
        names.add((*path, "name"), name, what, _("give each one a name of its own"))


def tables(
    document: Document, path: Path, data: Mapping[str, Any], key: str
) -> list[tuple[Path, dict[str, Any]]]:
    """The tables of an array of tables, each with its path; what is not a table is noted and left out."""
    value = data.get(key, [])
    names = [part for part in (*path, key) if isinstance(part, str)]
    what = _("'{key}' must be a list of tables").format(key=key)
    mend = _("write {header} on a line of its own, and its keys below").format(
        header=f"[[{'.'.join(names)}]]"
    )
    if not isinstance(value, list):
        document.error((*path, key), what, mend)
        return []
    found = []
    for index, table in enumerate(value):
        here = (*path, key, index)
        if isinstance(table, dict):
            found.append((here, without_secrets(table)))
        else:
            document.error(here, what, mend)
    return found


def check_secrets(document: Document) -> None:
    """Notes every key and value that looks like a password, a key or a certificate."""
    for path, value in document.walk():
        named = isinstance(path[-1], str) and is_secret(path[-1])
        if named or is_secret_value(value):
            document.error(
                path,
                _("a site file never holds a secret"),
                _("remove this line; keys are made by gasan and stay in the state folder"),
            )


def is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def is_secret_value(value: object) -> bool:
    return isinstance(value, str) and _SECRET_VALUE.search(value) is not None


def without_secrets(table: Any) -> Any:
    """The table without the keys that `check_secrets` objects to; what is no table stays as it is."""
    if not isinstance(table, dict):
        return table
    return {key: value for key, value in table.items() if not is_secret(key)}
