"""The rules of a site file for what a node does with samples: what goes with what, channel by channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from gasan.host import units
from gasan.host.edge_tables import DerivedTable, RulesTable
from gasan.host.expression import Expression, ExpressionError, parse_expression
from gasan.host.i18n import _
from gasan.host.problems import instead
from gasan.host.profiles import COMPLEMENT, MAGNITUDE, ProfileChannel
from gasan.host.quantities import check_quantity
from gasan.host.rule_parts import without_secrets
from gasan.host.shape import check
from gasan.host.toml_file import Document
from gasan.host.toml_lines import Path as Key

__all__ = ["Alarm", "Derived", "Rate", "Rules", "Window", "check_derived", "check_rules", "made_by"]

_DEPTH_MAX = 4  # of channels made of channels that are made
_RESERVED = frozenset(("and", "or", "not", "if", "else", "abs", "min", "max", "sqrt"))


@dataclass(frozen=True)
class Rate:
    """wrap: the count that is 0 again, or 0. most: value per `per_ms`, above which a count was reset."""

    per_ms: int
    unit: str
    wrap: int
    most: Fraction | None
    resolution: Fraction | None


@dataclass(frozen=True)
class Window:
    length_ms: int
    figures: tuple[str, ...]
    keep: bool


@dataclass(frozen=True)
class Alarm:
    high: Fraction | None
    low: Fraction | None
    hysteresis: Fraction
    delay_ms: int
    hold_off_ms: int


@dataclass(frozen=True)
class Rules:
    """What a node does with the samples of a channel. deadband: (width, whether that is a share of the value)
    or None.
    """

    deadband: tuple[Fraction, bool] | None
    on_change: bool
    max_silence_ms: int
    rate: Rate | None
    window: Window | None
    alarm: Alarm | None


@dataclass(frozen=True)
class Derived:
    """A channel that is made of others. inputs: (device, channel) of each of the expression's inputs."""

    name: str
    device: str
    expression: Expression
    inputs: tuple[tuple[str, str], ...]
    unit: str
    resolution: Fraction | None
    label_en: str
    label_ko: str
    rules: Rules | None


def made_by(name: str, rules: Rules | None) -> list[str]:
    """The names of the channels that the rules of a channel make."""
    if rules is None:
        return []
    names = [f"{name}_{figure}" for figure in rules.window.figures] if rules.window else []
    names += [f"{name}_rate"] if rules.rate else []
    names += [f"{name}_alarm"] if rules.alarm else []
    return names


def check_rules(
    document: Document, path: Key, data: object, channel: ProfileChannel | None, period_ms: int
) -> Rules | None:
    """The rules at `path` of a channel of a device, or of a derived one (None)."""
    table = check(RulesTable, document, path, data)
    if table is None:
        return None
    _check_kind(document, path, table, channel)
    rate = None
    if table.rate is not None:
        rate = _rate(document, (*path, "rate"), table, channel)
    window = None
    if table.aggregate is not None:
        window = Window(
            table.aggregate.window, tuple(dict.fromkeys(table.aggregate.of)), table.aggregate.keep
        )
        if table.aggregate.window < max(2 * period_ms, 100):
            document.error(
                (*path, "aggregate", "window"),
                _("a window of {window} ms has no two samples in it").format(window=table.aggregate.window),
                _('write at least "{least}ms"').format(least=max(2 * period_ms, 100)),
            )
        if (table.deadband or table.on_change) and not window.keep:
            document.error(
                (*path, "aggregate"),
                _("'aggregate' leaves out the samples that 'deadband' or 'on_change' would keep"),
                _("write keep = true in it, or remove the other"),
            )
    alarm = None
    if table.alarm is not None:
        given = table.alarm
        alarm = Alarm(given.high, given.low, given.hysteresis, given.delay, given.hold_off)
        if given.high is None and given.low is None:
            document.error(
                (*path, "alarm"), _("an alarm needs 'high' or 'low'"), _("write, for example, high = 80")
            )
        if given.hysteresis < 0:
            document.error(
                (*path, "alarm", "hysteresis"), _("a hysteresis below 0"), _("write hysteresis = 0")
            )
        if (
            given.high is not None
            and given.low is not None
            and given.low + given.hysteresis > given.high - given.hysteresis
        ):
            document.error(
                (*path, "alarm", "low"),
                _("'low' and 'high' are so close that both would hold"),
                _("write limits that are further apart, or a smaller hysteresis"),
            )
    return Rules(table.deadband, table.on_change, table.max_silence, rate, window, alarm)


def _check_kind(document: Document, path: Key, table: RulesTable, channel: ProfileChannel | None) -> None:
    """What does not go with the channel, or with another rule."""
    given = [key for key in ("deadband", "on_change", "rate", "aggregate", "alarm") if getattr(table, key)]
    if not given:
        document.error(
            path, _("there is no rule here"), _("write deadband, on_change, rate, aggregate or alarm")
        )
    if table.deadband is not None and table.on_change:
        document.error(
            (*path, "on_change"), _("'on_change' and 'deadband' exclude each other"), _("remove one")
        )
    if channel is None:
        return
    numeric = [key for key in given if key != "on_change"]
    if channel.type == "text":
        for key in given:
            document.error((*path, key), _("'{key}' does not go with a text").format(key=key), _("remove it"))
    elif channel.enum and numeric:
        document.error(
            (*path, numeric[0]),
            _("'{key}' does not go with 'enum'").format(key=numeric[0]),
            _("write on_change = true for a state"),
        )


def _rate(document: Document, path: Key, table: RulesTable, channel: ProfileChannel | None) -> Rate:
    given = table.rate
    assert given is not None
    signed = channel is None or channel.type[0] in "if" or channel.form in (1, MAGNITUDE, COMPLEMENT)
    if channel is None or signed or channel.type == "text" or channel.decimals:
        document.error(path, _("'rate' is for unsigned counters"), _("remove it"))
        return Rate(given.per, given.unit, 0, None, None)
    _check_unit(document, (*path, "unit"), given.unit)
    for key in ("max", "resolution"):
        number = getattr(given, key)
        if number is not None and number <= 0:
            document.error((*path, key), _("'{key}' must be above 0").format(key=key), _("remove it"))
    if given.per == 0:
        document.error((*path, "per"), _("a rate per no time"), _('write per = "1s"'))
    wrap = given.wrap
    if wrap is None:
        if channel.form == 2:
            wrap = 10 ** (2 * (channel.mask or 0).bit_length() // 8)
        else:
            mask = channel.mask
            wrap = 1 << (
                {"u8": 8, "u16": 16, "u32": 32, "u64": 64}[channel.type]
                if mask is None
                else mask.bit_length()
            )
    return Rate(given.per, given.unit, wrap, given.max, given.resolution)


def _check_unit(document: Document, path: Key, unit: str) -> None:
    if unit and unit not in units.UNITS:
        better = units.mend(unit)
        mend = (
            _('write unit = "{unit}"').format(unit=better[0])
            if better
            else instead(unit, sorted(units.UNITS))
        )
        document.error(path, _('unit "{unit}" is not in the SenML registry').format(unit=unit), mend)


def check_derived(
    document: Document, found: list[tuple[Key, dict[str, Any]]], known: Mapping[str, tuple[str, str]]
) -> tuple[Derived, ...]:
    """The [[node.derived]] tables of a node, each behind those that it is made of.

    known: "device.channel" -> (device, channel) of all that the node's devices have, made ones included.
    """
    depths = dict.fromkeys(known, 0)
    made: dict[str, tuple[str, str]] = dict(known)
    derived = []
    for path, data in found:
        table = check(DerivedTable, document, path, data, leave=["rules"])
        if table is None:
            continue
        rules = None
        if "rules" in data:
            rules = check_rules(document, (*path, "rules"), data["rules"], None, 0)
        one = _derived(document, path, table, rules, made)
        depth = 1 + max((depths.get(place, 0) for place in table.inputs.values()), default=0)
        if depth + (rules is not None) > _DEPTH_MAX:
            document.error(
                (*path, "inputs"),
                _("channels are derived from derived ones too often"),
                _("make one expression of some of them"),
            )
        for name in (table.name, *made_by(table.name, rules)):
            place = f"{table.device}.{name}"
            if place in made:
                document.error(
                    (*path, "name"),
                    _('there is already a channel "{name}"').format(name=place),
                    _("give each one a name of its own"),
                )
            made[place] = table.device, name
            depths[place] = depth + (name != table.name)
        if one is not None:
            derived.append(one)
    return tuple(derived)


def _derived(
    document: Document,
    path: Key,
    table: DerivedTable,
    rules: Rules | None,
    known: Mapping[str, tuple[str, str]],
) -> Derived | None:
    try:
        check_quantity(table.name)
    except ValueError as error:
        context = getattr(error, "context", None) or {}
        document.error((*path, "name"), str(context.get("what", error)), str(context.get("mend", "")))
    _check_unit(document, (*path, "unit"), table.unit)
    if table.resolution is not None and table.resolution <= 0:
        document.error(
            (*path, "resolution"), _("'{key}' must be above 0").format(key="resolution"), _("remove it")
        )
    for name, place in table.inputs.items():
        if not name.isidentifier() or not name.isascii() or name in _RESERVED:
            document.error(
                (*path, "inputs", name),
                _('"{name}" cannot be the name of an input').format(name=name),
                _("use letters, digits and '_'"),
            )
        if place not in known:
            document.error(
                (*path, "inputs", name),
                _('there is no channel "{name}" of this node, or it comes further below').format(name=place),
                instead(place, known),
            )
    try:
        expression = parse_expression(table.expression, list(table.inputs))
    except ExpressionError as error:
        document.error((*path, "expression"), error.what, error.mend)
        return None
    if any(table.inputs[name] not in known for name in expression.inputs):
        return None
    for name in table.inputs:
        if name not in expression.inputs:
            document.warning(
                (*path, "inputs", name),
                _('the expression does not use "{name}"').format(name=name),
                _("remove it"),
            )
    return Derived(
        name=table.name,
        device=table.device,
        expression=expression,
        inputs=tuple(known[table.inputs[name]] for name in expression.inputs),
        unit=table.unit,
        resolution=table.resolution,
        label_en=table.label_en or table.name.replace("_", " "),
        label_ko=table.label_ko or table.label_en or table.name.replace("_", " "),
        rules=rules,
    )


def rules_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The tables below `rules` of a device, by channel."""
    found = data.get("rules", {})
    return without_secrets(found) if isinstance(found, dict) else {}
