"""Messages in the user's language: English in the code, Korean from ``locale/ko/LC_MESSAGES/gasan.po``.

The catalogue is compiled in memory when it is first needed, so no binary ``.mo`` file exists. One
language holds for the whole process; the command line sets it before anything is said.
"""

import gettext
import io
import os
from functools import cache
from pathlib import Path

__all__ = ["LANGUAGES", "N_", "_", "catalogue_path", "language", "ngettext", "set_language"]

LANGUAGES = ("en", "ko")
_ENVIRONMENT = ("LC_ALL", "LC_MESSAGES", "LANG")

_language = "en"


def N_(message: str) -> str:
    """Marks a message that is translated later, where it is shown."""
    return message


def _(message: str) -> str:
    """The message in the language that is set."""
    return _translations(_language).gettext(message)


def ngettext(singular: str, plural: str, count: int) -> str:
    """The form for `count` in the language that is set."""
    return _translations(_language).ngettext(singular, plural, count)


def language() -> str:
    return _language


def set_language(name: str | None) -> str:
    """Sets the language: `name`, or what LC_ALL, LC_MESSAGES or LANG ask for, or English. Returns it."""
    global _language
    _language = name if name is not None else _from_environment()
    return _language


def catalogue_path(name: str) -> Path:
    return Path(__file__).parent / "locale" / name / "LC_MESSAGES" / "gasan.po"


def _from_environment() -> str:
    for variable in _ENVIRONMENT:
        value = os.environ.get(variable, "")
        if value:
            code = value.replace("-", "_").split(".")[0].split("_")[0].lower()
            return code if code in LANGUAGES else "en"
    return "en"


@cache
def _translations(name: str) -> gettext.NullTranslations:
    if name == "en":
        return gettext.NullTranslations()
    # Only now: English users need not wait for babel.
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    with catalogue_path(name).open("rb") as file:
        catalogue = read_po(file, locale=name, abort_invalid=True)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
