"""Writes in words. Pure."""

from collections.abc import Mapping
from typing import Any

from gasan.host.i18n import _
from gasan.host.writes import Outcome

__all__ = ["outcome_text", "plan_text"]


def plan_text(told: Mapping[str, Any]) -> str:
    """What a write would do."""
    text = _(
        "{node} {device} {channel} becomes {value} {unit} (address {address} of unit {number}, function "
        "{function}, "
        "as {who})"
    )
    if told["unit"] == 0:
        text += "\n" + _("A broadcast: every device on this line gets it.")
    return text.format(
        node=told["node"],
        device=told["device"],
        channel=told["channel"],
        value=told["value"],
        unit=told["value_unit"] or "-",
        address=told["address"],
        number=told["unit"],
        function=told["function"],
        who=told["who"],
    )


def outcome_text(told: Mapping[str, Any]) -> str:
    """What became of a write, and what to do about it."""
    texts = {
        Outcome.READ_BACK: _("{channel} of {device} is {new} now (was {old})."),
        Outcome.WRITTEN: _("{device} says that it has taken {value} for {channel}; it was not read back."),
        Outcome.DIFFERS: _(
            "{device} says that it has taken {value} for {channel}, but shows {new}: it may limit the "
            "value, or be "
            "set to local operation."
        ),
        Outcome.REFUSED: _("Refused, and nothing was sent to the machine: {detail}."),
        Outcome.EXCEPTION: _("{device} refuses it: {detail}."),
        Outcome.NOT_SENT: _("Nothing was sent to the machine: {detail}."),
        Outcome.UNKNOWN: _(
            "It is unknown whether {device} has taken {value} for {channel} ({detail}): look at the machine "
            "before "
            "you write again."
        ),
    }
    new = told["new"] if told["new"] is not None else _("nothing")
    return texts[Outcome(told["outcome"])].format(
        channel=told["channel"],
        device=told["device"],
        value=told["value"],
        old=told["old"] if told["old"] is not None else "?",
        new=new,
        detail=(told["detail"] or _("no answer")).rstrip("."),
    )
