"""Where the data files of gasan are: beside the code in a checkout, inside the package otherwise."""

from functools import cache
from pathlib import Path

import gasan.wire
from gasan.host.errors import TryAgainError
from gasan.host.i18n import _

__all__ = ["profiles_folder"]


@cache
def profiles_folder() -> Path:
    """The folder of the device profiles."""
    portion = Path(next(iter(gasan.wire.__path__))).parent
    for candidate in (portion / "profiles", portion.parent / "profiles"):
        if candidate.is_dir():
            return candidate
    raise TryAgainError(
        _("the device profiles are not beside the program in {folder}; install gasan again").format(
            folder=portion
        )
    )
