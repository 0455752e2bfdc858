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

__all__ = ["Change", "describe", "difference"]

_BUS_TYPES = ("modbus-rtu", "modbus-tcp", "ble")
_PARITIES = ("none", "even", "odd")
_TABLES = {3: "holding", 4: "input"}
_TYPES = {getattr(columns, name.upper()): name for name in TYPES}


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
    _format, _name, limits, buses, meanings = config
    yield "batch.max_age", duration_text(limits[1])
    yield "batch.max_bytes", str(limits[2])
    yield "spool bytes", str(limits[3])
    yield "watchdog", "true" if limits[4] else "false"
    channels = {}
    for part in meanings:
        first, described = cbor2.loads(part)
        channels.update({first + offset: meaning for offset, meaning in enumerate(described)})
    for kind, name, params, devices in buses:
        yield f"bus {name}", _bus(kind, params)
        for device in devices:
            yield from _BUS_DEVICES[kind](name, device)
            for item in device[-1]:
                meaning = channels[item[0]]
                yield f"channel {meaning[0]}/{meaning[1]}", f"{_place(kind, item)}, {_meaning(meaning)}"


def _bus(kind: int, params: dict[int, Any]) -> str:
    if kind == 0:
        line = f"{params[2]} baud, {_PARITIES[params[3]]}, {params[4]} stop"
        text = f"{_BUS_TYPES[kind]}, uart {params[1]}, {line}"
        pins = {"de_re_pin": 5, "tx_pin": 6, "rx_pin": 7}
        return ", ".join([text, *(f"{name} {params[key]}" for name, key in pins.items() if key in params)])
    if kind == 1:
        return f"{_BUS_TYPES[kind]}, {params[1]}, port {params[2]}"
    return f"{_BUS_TYPES[kind]}, scan {duration_text(params[2])} in {duration_text(params[1])}"


def _modbus_device(bus: str, device: list[Any]) -> Iterator[tuple[str, str]]:
    name, unit, timeout_ms, gap_ms, max_registers, _items = device
    limits = f"timeout {duration_text(timeout_ms)}, gap {duration_text(gap_ms)}, {max_registers} registers"
    yield f"device {name}", f"unit {unit} on {bus}, {limits}"


def _ble_device(bus: str, device: list[Any]) -> Iterator[tuple[str, str]]:
    name, address, _form, timeout_ms, _items = device
    yield f"device {name}", f"{address.hex(':')} on {bus}, timeout {duration_text(timeout_ms)}"


_BUS_DEVICES = (_modbus_device, _modbus_device, _ble_device)


def _place(kind: int, item: list[Any]) -> str:
    if kind == 2:
        _channel, object_id, index, _type, _period = item
        return f"object 0x{object_id:02x}" + (f" number {index + 1}" if index else "")
    _channel, function, address, _type, order, period_ms = item
    text = f"{_TABLES[function]} {address}, every {duration_text(period_ms)}"
    return f"{text}, order {order}" if order else text


def _meaning(meaning: list[Any]) -> str:
    _device, _name, unit, type_, num, den, off, _period, extra = meaning
    scale = Fraction(num, den)
    text = _TYPES.get(type_, f"type {type_}") + (f", {unit}" if unit else "")
    if scale != 1:
        text += f", x {scale}"
    if off:
        text += f", + {Fraction(off, den)}"
    if 1 in extra or 2 in extra:
        text += f", bits >> {extra.get(1, 0)} & {extra.get(2, -1):#x}"
    if 3 in extra:
        text += ", " + "/".join(extra[3].values())
    return text
