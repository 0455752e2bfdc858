"""Collects the messages of `gasan.host` for translation: ``python -m gasan.host.catalogue``.

Writes ``locale/gasan.pot`` and brings ``locale/ko/LC_MESSAGES/gasan.po`` up to date: new messages come
without a translation, gone ones go, and nothing is guessed.
"""

import io
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po
from gasan.host.i18n import LANGUAGES, catalogue_path

__all__ = ["main", "template", "text", "updated"]

_HOST = Path(__file__).parent
_TEMPLATE = _HOST / "locale" / "gasan.pot"
_KEYWORDS = {"_": None, "N_": None, "ngettext": (1, 2)}
_DATE = datetime(2026, 1, 1, tzinfo=UTC)  # the same messages make the same file
_GENERATOR = '"Generated-By:'  # names a version of babel, which says nothing about the messages
_WIDTH = 110


def template() -> Catalog:
    """Every message of the package, with the files in which it stands."""
    catalogue = Catalog(
        header_comment="# Messages of gasan. Made by: python -m gasan.host.catalogue",
        project="gasan",
        version="0.1",
        msgid_bugs_address="",
        last_translator="gasan",
        language_team="gasan",
        charset="utf-8",
        creation_date=_DATE,
        revision_date=_DATE,
        fuzzy=False,
    )
    for file in sorted(_HOST.rglob("*.py")):
        name = file.relative_to(_HOST).as_posix()
        for _line, message, comments, _context in extract_from_file("python", file, _KEYWORDS):
            catalogue.add(message, locations=[(name, 1)], auto_comments=comments)
    return catalogue


def updated(language: str) -> Catalog:
    """The translations of a language, for exactly the messages of `template`."""
    with catalogue_path(language).open("rb") as opened:
        catalogue = read_po(opened, locale=language)
    catalogue.update(template(), no_fuzzy_matching=True)
    for message in catalogue:
        if message.id and message.fuzzy:  # its form has changed
            message.flags.discard("fuzzy")
            message.string = ""
    catalogue.creation_date = catalogue.revision_date = _DATE
    return catalogue


def text(catalogue: Catalog) -> str:
    """The text of a catalogue's file."""
    written = io.BytesIO()
    write_po(written, catalogue, width=_WIDTH, sort_output=True, ignore_obsolete=True, include_lineno=False)
    lines = written.getvalue().decode("utf-8").rstrip("\n").split("\n")
    return "\n".join(line for line in lines if not line.startswith(_GENERATOR)) + "\n"


def main() -> None:
    _TEMPLATE.write_text(text(template()), encoding="utf-8")
    for language in LANGUAGES:
        if language != "en":
            catalogue_path(language).write_text(text(updated(language)), encoding="utf-8")


if __name__ == "__main__":
    main()
