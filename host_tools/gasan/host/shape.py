"""Checks one table of a file against a pydantic model and says every mismatch in plain words, with its line.

Tables are checked one by one, so that a mistake in one does not hide those in another.
"""

import types
from collections.abc import Iterable
from typing import Any, TypeVar, Union, get_args, get_origin

from gasan.host.i18n import _
from gasan.host.problems import instead, one_of
from gasan.host.toml_file import Document, toml_text
from gasan.host.toml_lines import Path
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

__all__ = ["Table", "check", "wrong"]

_Model = TypeVar("_Model", bound="Table")


class Table(BaseModel):
    """A table of a TOML file: no unknown keys, no conversions, not changed once read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


def wrong(what: str, mend: str) -> PydanticCustomError:
    """What a validator raises: both halves of the message, already in the user's language."""
    return PydanticCustomError("gasan", "{what}; {mend}", {"what": what, "mend": mend})


def check(
    model: type[_Model], document: Document, path: Path, data: object, leave: Iterable[str] = ()
) -> _Model | None:
    """`data`, found at `path`, as a `model`; None if it does not fit, with the problems noted in `document`.

    `leave` names keys that somebody else checks: they are known, and not looked at here.
    """
    if not isinstance(data, dict):
        document.error(path, _not_a(path, "table"), _table_mend(path))
        return None
    left = set(leave)
    try:
        return model.model_validate({key: value for key, value in data.items() if key not in left})
    except ValidationError as error:
        told = set()
        for detail in error.errors(include_url=False):
            loc = detail["loc"]
            if len(loc) > 1 and _is_of_types(_fields(model, ()).get(str(loc[0]))):
                # One for each type that it might have been; none of them is a key.
                if loc[0] not in told:
                    example = _example(str(loc[0]), _fields(model, ())[str(loc[0])])
                    mend = _("write, for example, {example}").format(example=example)
                    document.error((*path, loc[0]), _not_a((*path, loc[0]), ""), mend)
                told.add(loc[0])
                continue
            document.error(path + loc, *_explain(model, path, detail, left))
        return None


def _is_of_types(field: FieldInfo | None) -> bool:
    """Whether its value may be of several types, as a number or a list of them."""
    annotation = None if field is None else field.annotation
    if get_origin(annotation) not in (Union, types.UnionType):
        return False
    return len([one for one in get_args(annotation) if one is not types.NoneType]) > 1


def _explain(model: type[Table], path: Path, detail: ErrorDetails, leave: set[str]) -> tuple[str, str]:
    loc = detail["loc"]
    context = detail.get("ctx", {})
    kind = detail["type"]
    key = next((part for part in reversed(loc) if isinstance(part, str)), "")
    if kind == "gasan":
        return context["what"], context["mend"]
    if kind == "extra_forbidden":
        known = [*_fields(model, loc[:-1]), *(sorted(leave) if len(loc) == 1 else ())]
        return _("unknown key '{key}'").format(key=key), instead(key, known)
    field = _fields(model, loc[:-1]).get(key) if loc and isinstance(loc[-1], str) else None
    example = _example(key, field)
    mend = _("write, for example, {example}").format(example=example)
    if field is not None and field.examples == ["…"]:
        mend = _table_mend((*path, *loc))
    if kind == "missing":
        return _("'{key}' is missing").format(key=key), mend
    if kind in ("literal_error", "enum"):
        allowed = context["expected"].replace(" or ", ", ").split(", ")
        words = [word.strip("'") for word in allowed]
        what = _("{key} = {value} is not known").format(key=key, value=toml_text(detail["input"]))
        numbers = words == allowed
        if numbers or not isinstance(detail["input"], str):
            return what, one_of(words)
        return what, instead(detail["input"], words)
    if kind in ("greater_than_equal", "less_than_equal"):
        low, high = _range(field)
        what = _("{key} = {value} is out of range").format(key=key, value=toml_text(detail["input"]))
        return what, _("write a number from {low} to {high}").format(low=low, high=high)
    wanted = kind.removesuffix("_type")
    if wanted in ("model", "dict"):
        return _not_a((*path, *loc), "table"), _table_mend((*path, *loc))
    if kind in ("too_short", "string_too_short"):
        return _("'{key}' is empty").format(key=key), mend
    if kind == "string_too_long":
        what = _("'{key}' is too long").format(key=key)
        return what, _("write at most {count} characters").format(count=context["max_length"])
    if field is None or not isinstance(loc[-1], str):
        return _not_a((*path, *loc), wanted), _("see its neighbours for the form")
    return _not_a((*path, *loc), wanted), _("write, for example, {example}").format(example=example)


def _fields(model: type[Table], loc: tuple[int | str, ...]) -> dict[str, FieldInfo]:
    """The fields of the table that `loc` leads to."""
    here = model
    for part in loc:
        field = here.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        for candidate in _classes(field.annotation):
            if issubclass(candidate, Table):
                here = candidate
    return here.model_fields


def _classes(annotation: Any) -> list[type]:
    if get_origin(annotation) in (Union, types.UnionType, list, dict):
        return [found for argument in get_args(annotation) for found in _classes(argument)]
    return [annotation] if isinstance(annotation, type) else []


def _example(key: str, field: FieldInfo | None) -> str:
    value = field.examples[0] if field is not None and field.examples else "…"
    return f"{key} = {toml_text(value) if value != '…' else value}"


def _range(field: FieldInfo | None) -> tuple[Any, Any]:
    low: Any = "…"
    high: Any = "…"
    for bound in field.metadata if field is not None else ():
        low = getattr(bound, "ge", low)
        high = getattr(bound, "le", high)
    return low, high


def _not_a(path: Path, wanted: str) -> str:
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    words = {
        "int": _("'{key}' must be a whole number"),
        "string": _("'{key}' must be text in quotes"),
        "bool": _("'{key}' must be true or false"),
        "list": _("'{key}' must be a list in square brackets"),
        "table": _("'{key}' must be a table"),
    }
    return words.get(wanted, _("'{key}' has the wrong form")).format(key=key)


def _table_mend(path: Path) -> str:
    names = [part for part in path if isinstance(part, str)]
    header = f"[[{'.'.join(names)}]]" if isinstance(path[-1], int) else f"[{'.'.join(names)}]"
    return _("write {header} on a line of its own, and its keys below").format(header=header)
