"""What changes for a node between two compiled configs, in the words of the site file."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cbor2
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.profiles import TYPES
from gasan.host.quantities import duration_text
from gasan.wire import columns
from gasan.wire.advert_extras import RSSI

__all__ = ["Change", "describe", "difference"]

_BUS_TYPES = ("modbus-rtu", "modbus-tcp", "ble", "modbus-rtu-over-tcp", "ble")
_BLE = (2, 4)
_PARITIES = ("none", "even", "odd")
_TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
_TYPES = {getattr(columns, name.upper()): name for name in TYPES}
_JOIN, _RATE, _WINDOW, _ALARM, _EXPRESSION = range(3, 8)
_RULES = ("keeps nothing", "on_change", "deadband")
_FIGURES = ("", "min", "max", "mean", "last", "count", "rms")
_FORMS = ("", "float16", "BCD", "sign and magnitude", "signed bits")


@dataclass(frozen=True)
class Change:
    """One setting: `before` is None when it is new, `after` when it is gone."""

    setting: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.setting}: {self.after}"
        if self.after is None:
            return f"- {self.setting}: {self.before}"
        return f"~ {self.setting}: {self.before} -> {self.after}"


def difference(old: bytes, new: bytes) -> list[Change]:
    """Every setting that differs, in the order of the new config, what is gone last.

    Raises InputError when one of them is not a compiled config.
    """
    before, after = describe(old), describe(new)
    changes = [
        Change(setting, before.get(setting), value)
        for setting, value in after.items()
        if before.get(setting) != value
    ]
    changes += [Change(setting, value, None) for setting, value in before.items() if setting not in after]
    return changes


def describe(config: bytes) -> dict[str, str]:
    """Every setting of a compiled config. Raises InputError when it is not one."""
    try:
        return dict(_settings(cbor2.loads(config)))
    except (ValueError, TypeError, KeyError, IndexError, cbor2.CBORDecodeError) as error:
        raise InputError(_("this is not a node's config ({reason})").format(reason=error)) from error


def _settings(config: Any) -> Iterator[tuple[str, str]]:
    _format, _name, limits, buses, meanings, *packed = config
    rules = cbor2.loads(packed[0]) if packed else [[], []]
    yield "batch.max_age", duration_text(limits[1])
    yield "batch.max_bytes", str(limits[2])
    yield "spool bytes", str(limits[3])
    yield "spool.drop", "newest" if limits.get(5) else "oldest"
    yield "spool.backlog_share", f"{limits.get(6, 50)} %"
    yield "spool.storage", "ram" if limits.get(7) else "flash"
    yield "watchdog", "true" if limits[4] else "false"
    channels = {}
    for part in meanings:
        first, described = cbor2.loads(part)
        channels.update({first + offset: meaning for offset, meaning in enumerate(described)})
    joined = {step[1]: step[2] for step in rules[1] if step[0] == _JOIN}
    for kind, name, params, devices in buses:
        yield f"bus {name}", _bus(kind, params)
        for device in devices:
            yield from _BUS_DEVICES[kind](name, device)
            wired = kind not in _BLE
            for rule in device[5].get(_WRITES, ()) if wired and len(device) > 6 else ():
                meaning = channels.get(rule[0], [device[0], f"input {rule[0]}"])
                yield f"writable {meaning[0]}/{meaning[1]}", _plain(rule[1:])
            for item in device[-1] if wired else device[4]:
                meaning = channels[joined.get(item[0], item[0])]
                yield f"channel {meaning[0]}/{meaning[1]}", f"{_place(kind, item)}, {_meaning(meaning)}"
    for step in rules[1]:
        yield from _rule(step, channels)


def _rule(step: list[Any], channels: dict[int, list[Any]]) -> Iterator[tuple[str, str]]:
    """What a step of the rules does to a channel, or how it makes one."""

    def name(number: int) -> str:
        return "/".join(channels[number][:2]) if number in channels else f"input {number}"

    kind, first, *rest = step
    if kind == _JOIN:
        yield f"channel {name(rest[0])}", f"decimals from {name(rest[1])}"
    elif kind == _WINDOW:
        for figure, out in zip(rest[1][::2], rest[1][1::2], strict=True):
            text = f"{_FIGURES[figure]} of {name(first)} over {duration_text(rest[0])}"
            yield f"channel {name(out)}", f"{text}, {_meaning(channels[out])}"
    elif kind in (_RATE, _ALARM):
        what = (
            f"rate of {name(first)} per {duration_text(rest[-1])}"
            if kind == _RATE
            else f"alarm of {name(first)}"
        )
        yield f"channel {name(rest[0])}", f"{what}, {_meaning(channels[rest[0]])}, {_plain(rest[1:])}"
    elif kind == _EXPRESSION:
        inputs = ", ".join(map(name, rest[1]))
        yield f"channel {name(first)}", f"of {inputs}, {_meaning(channels[first])}, {_plain(rest[2:])}"
    else:
        yield f"rule of {name(first)}", f"{_RULES[kind]} {_plain(rest)}".rstrip()


def _plain(values: list[Any]) -> str:
    return " ".join(
        value.hex()
        if isinstance(value, bytes)
        else f"({_plain(value)})"
        if isinstance(value, list)
        else str(value)
        for value in values
    )


def _bus(kind: int, params: dict[int, Any]) -> str:
    if kind == 0:
        line = f"{params[2]} baud, {_PARITIES[params[3]]}, {params[4]} stop"
        text = f"{_BUS_TYPES[kind]}, uart {params[1]}, {line}"
        more = {"de_re_pin": 5, "tx_pin": 6, "rx_pin": 7, "turnaround": 30, "de_delay": 31, "echo": 32}
    elif kind not in _BLE:
        text = f"{_BUS_TYPES[kind]}, {params[1]}, port {params[2]}"
        more = {"turnaround": 30}
    if kind not in _BLE:
        return ", ".join([text, *(f"{name} {params[key]}" for name, key in more.items() if key in params)])
    return f"{_BUS_TYPES[kind]}, scan {duration_text(params[2])} in {duration_text(params[1])}"


_MAX_HOLE = 1  # keys of what a device may carry before its items
_WRITES = 30


def _modbus_device(bus: str, device: list[Any]) -> Iterator[tuple[str, str]]:
    name, unit, timeout_ms, gap_ms, max_registers, *more, _items = device
    limits = f"timeout {duration_text(timeout_ms)}, gap {duration_text(gap_ms)}, {max_registers} registers"
    if more and _MAX_HOLE in more[0]:
        limits += f", holes of {more[0][_MAX_HOLE]}"
    yield f"device {name}", f"unit {unit} on {bus}, {limits}"


def _ble_device(bus: str, device: list[Any]) -> Iterator[tuple[str, str]]:
    name, address, form, timeout_ms, _items, *tables = device
    text = f"{address.hex(':')} on {bus}, timeout {duration_text(timeout_ms)}"
    text += f", format {form}" if form else ""
    yield f"device {name}", f"{text} {_plain(tables)}".rstrip()


_BUS_DEVICES = (_modbus_device, _modbus_device, _ble_device, _modbus_device, _ble_device)


def _place(kind: int, item: list[Any]) -> str:
    if kind in _BLE:
        _channel, object_id, index, _type, _period = item
        if object_id == RSSI:
            return "strength"
        return f"object 0x{object_id:02x}" + (f" number {index + 1}" if index else "")
    _channel, function, address, _type, order, period_ms = item
    text = f"{_TABLES[function]} {address}, every {duration_text(period_ms)}"
    return f"{text}, order {order}" if order else text


def _meaning(meaning: list[Any]) -> str:
    _device, _name, unit, type_, num, den, off, _period, extra = meaning
    scale = Fraction(num, den)
    text = _TYPES.get(type_) or f"text of {2 * (type_ - columns.TEXT)}"
    if 5 in extra:
        text += f" as {_FORMS[extra[5]]}"
    text += f", {unit}" if unit else ""
    if scale != 1:
        text += f", x {scale}"
    if off:
        text += f", + {Fraction(off, den)}"
    if 1 in extra or 2 in extra:
        text += f", bits >> {extra.get(1, 0)} & {extra.get(2, -1):#x}"
    if 3 in extra:
        text += ", " + "/".join(extra[3].values())
    if 6 in extra:
        text += f", no value: {', '.join(map(str, extra[6]))}"
    return text
