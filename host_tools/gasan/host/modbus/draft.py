"""A draft of a device profile from what was found: `gasan check` accepts it, a person finishes it. Pure."""

import json
from collections.abc import Sequence
from fractions import Fraction

from gasan.host.modbus.identify import Identity
from gasan.host.modbus.seen import Candidate, Seen

__all__ = ["choose", "draft"]


def choose(seens: Sequence[Seen], ranked: Sequence[Sequence[Candidate]]) -> list[Candidate | None]:
    """One candidate for each value, so that no register serves two: the surest value chooses first.

    None where nothing fits that is not taken.
    """
    chosen: list[Candidate | None] = [None] * len(seens)
    order = sorted(range(len(seens)), key=lambda index: -ranked[index][0].score if ranked[index] else 0.0)
    for index in order:
        taken = [one for one in chosen if one is not None]
        free = [one for one in ranked[index] if not any(one.overlaps(other) for other in taken)]
        if free:
            chosen[index] = free[0]
    return chosen


def draft(
    seens: Sequence[Seen],
    chosen: Sequence[Candidate | None],
    *,
    identity: Identity | None,
    limit: int,
    day: str,
) -> str:
    """The text of the profile; at least one of `chosen` must be there.

    limit: registers that one request may ask for, as far as is known. day: when the display was read.
    """
    pairs = [(seen, one) for seen, one in zip(seens, chosen, strict=True) if one is not None]
    names = _names(pairs)
    lines = [
        "# Draft by gasan modbus explore: addresses, types and scales are those that fit what was displayed.",
        "# Before use: fill in maker, model, source; compare each channel with the manual, also its unit.",
        "",
        "[profile]",
        f"maker = {_text(identity.maker if identity and identity.maker else 'unknown')}",
        f"model = {_text(identity.product if identity and identity.product else 'unknown')}",
        'kind = "modbus"',
        'verified = "simulated"',
        f"default = [{', '.join(map(_text, names))}]",
        f"max_registers = {max(limit, *(one.form.words for _seen, one in pairs))}",
        "",
        "[profile.source]",
        'title = "the display of the device"',
        f"revision = {_text(f'read on {day}')}",
        'pages = "-"',
    ]
    for (seen, one), name in zip(pairs, names, strict=True):
        scale = one.scale * seen.factor
        label = name.replace("_", " ").capitalize()
        lines += [
            "",
            f"# displayed {' '.join(seen.text.split())}, read {float(one.value):g} ({one.fit.value})",
            f"[channel.{name}]",
            f"table = {_text(one.table)}",
            f"address = {one.address}",
            f"type = {_text(one.form.type)}",
            *([f"order = {_text(one.form.order)}"] if one.form.order != "ABCD" else []),
            *([f"scale = {_number(scale)}"] if scale != 1 else []),
            f"unit = {_text(seen.unit)}",
            f"label_en = {_text(label)}",
            f"label_ko = {_text(label)}",
        ]
    return "\n".join(lines) + "\n"


def _names(pairs: Sequence[tuple[Seen, Candidate]]) -> list[str]:
    """A name for each, none twice."""
    names: list[str] = []
    for seen, one in pairs:
        name = seen.name or f"value_{one.address}"
        number = 2
        while name in names:
            name = f"{seen.name or f'value_{one.address}'}_{number}"
            number += 1
        names.append(name)
    return names


def _text(text: str) -> str:
    """As TOML: its basic strings are JSON's, for printable text."""
    return json.dumps(text, ensure_ascii=False)


def _number(number: Fraction) -> str:
    """An exact scale: an integer, a decimal, or a fraction in quotes."""
    if number.denominator == 1:
        return str(number.numerator)
    for places in range(1, 10):
        if (number * 10**places).denominator == 1:
            return f"{float(number):.{places}f}"
    return f'"{number.numerator}/{number.denominator}"'
