"""The rules of a site file for devices: units, addresses, profiles, channels and periods."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from gasan.host import advert_rules, profiles
from gasan.host.edge_rules import Rules, check_rules, made_by, rules_of
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.problems import FileError, instead, one_of
from gasan.host.profile_tables import PERIOD_MIN_MS
from gasan.host.profiles import RSSI, Field, ModbusPlace, Profile
from gasan.host.quantities import duration_text
from gasan.host.rule_parts import Unique, note_name
from gasan.host.shape import check
from gasan.host.site import BleDevice, ModbusDevice, Sender, SiteChannel
from gasan.host.site_tables import BleDeviceTable, ModbusDeviceTable
from gasan.host.toml_file import Document
from gasan.host.toml_lines import Path as Key
from gasan.host.write_rules import check_writes

__all__ = ["DeviceRules"]

_WAIT_MAX_MS = 20_000  # of a node for one answer (gasan.node.plan): it wants a sign of life every 30 s
_ON_CHANGE = Rules(None, True, 3_600_000, None, None, None)
_KINDS_OF_BUS = {
    "modbus-rtu": ("modbus",),
    "modbus-tcp": ("modbus",),
    "modbus-rtu-over-tcp": ("modbus",),
    "ble": ("bthome", "advert", "mibeacon", "gatt"),
}
_SENSOR_CHANNELS_MAX = 16  # that a node takes of one sensor
_SENSOR_BYTES_MAX = 30
_OPEN_MAX = 8  # sensors without an address: each costs the node's interrupt a look at every advertisement
_STATIC_RANDOM = 0xC0  # first byte of such an address, and above (Core 5.4, Vol 6, Part B, 1.3.2.1)
_VISIT_MIN_MS = 1000

_T = TypeVar("_T")
_Found = Iterable[tuple[Key, Mapping[str, Any]]]


class DeviceRules:
    """Builds devices and notes what is wrong with them. `folder` is where the site file is."""

    def __init__(self, document: Document, folder: Path) -> None:
        self._document = document
        self._folder = folder
        self._profiles: dict[str, Profile | InputError | None] = {}

    def modbus(
        self, kind: str, found: Iterable[tuple[Key, Mapping[str, Any]]], names: Unique
    ) -> tuple[ModbusDevice, ...]:
        units = Unique(self._document)
        devices = []
        for path, data in found:
            table = check(ModbusDeviceTable, self._document, path, data, leave=["rules"])
            note_name(self._document, names, path, data, _("device"))
            unit = data.get("unit")
            if isinstance(unit, int) and not isinstance(unit, bool):
                if kind != "modbus-tcp" and (unit == 0 or 247 < unit <= 255):
                    self._document.error(
                        (*path, "unit"),
                        _("unit = {unit} cannot be a device on an RTU line").format(unit=unit),
                        _("write a number from {low} to {high}").format(low=1, high=247),
                    )
                what = _("unit {value} is already used on this bus in line {line}")
                units.add((*path, "unit"), unit, what, _("write the unit that is set on this device"))
            profile = self._profile(path, data, kind)
            if profile is None:
                continue
            periods = table.periods if table is not None else {}
            for group in periods.keys() - profile.groups.keys():
                self._document.error(
                    (*path, "periods", group),
                    _('the profile {profile} has no group "{name}"').format(profile=profile.name, name=group),
                    instead(group, profile.groups),
                )
            channels = self._channels(path, data, profile)
            if table is None:
                continue
            self._check_periods(path, table)
            device = ModbusDevice(
                name=table.name,
                unit=table.unit,
                profile=profile,
                timeout_ms=_first(table.timeout, profile.timeout_ms),
                gap_ms=_first(table.gap, profile.gap_ms),
                max_registers=_first(table.max_registers, profile.max_registers),
                max_hole=_first(table.max_hole, profile.max_hole),
                channels=self._chosen(
                    path, data, profile, {name: _period(table, profile, name) for name in channels}
                ),
                writes=check_writes(
                    self._document,
                    path,
                    profile,
                    table.write,
                    list(channels),
                    line=kind != "modbus-tcp",
                    forced=table.write_function,
                ),
            )
            self._check_limits(path, kind, device)
            devices.append(device)
        return tuple(devices)

    def _check_limits(self, path: Key, kind: str, device: ModbusDevice) -> None:
        """What no node keeps, or no request within the device's limit can read."""
        most = _('write at most "{most}"').format(most=duration_text(_WAIT_MAX_MS))
        if device.timeout_ms > _WAIT_MAX_MS:
            what = _("a timeout of {time} is longer than the watchdog of a node allows")
            self._document.error((*path, "timeout"), what.format(time=duration_text(device.timeout_ms)), most)
        if (
            device.timeout_ms == 0 and kind != "modbus-rtu"
        ):  # of a line it is told by what its baud rate needs
            self._document.error(
                (*path, "timeout"),
                _("a timeout of 0 ms leaves no time for an answer"),
                _("write, for example, {example}").format(example='timeout = "500ms"'),
            )
        if device.gap_ms > _WAIT_MAX_MS:
            what = _("a gap of {time} is longer than a node can keep")
            self._document.error((*path, "gap"), what.format(time=duration_text(device.gap_ms)), most)
        for channel in device.channels:
            place = channel.profile.place
            assert isinstance(place, ModbusPlace)  # a Modbus device has only such channels
            if place.function > 2 and channel.profile.words > device.max_registers:
                self._document.error(
                    (*path, "max_registers"),
                    _("the channel {name} has {count} registers, more than a request may ask for").format(
                        name=channel.profile.name, count=channel.profile.words
                    ),
                    _("write max_registers = {count}, or leave the channel out").format(
                        count=channel.profile.words
                    ),
                )

    def _check_periods(self, path: Key, table: ModbusDeviceTable) -> None:
        given: list[tuple[Key, int | None]] = [((*path, "period"), table.period)]
        given += [((*path, "periods", group), period) for group, period in table.periods.items()]
        for here, period in given:
            if period is not None and period < PERIOD_MIN_MS:
                self._document.error(
                    here,
                    _("a period of {period} ms is too short").format(period=period),
                    _('write at least "{least}ms"').format(least=PERIOD_MIN_MS),
                )

    def sensors(self, found: Iterable[tuple[Key, Mapping[str, Any]]], names: Unique) -> tuple[BleDevice, ...]:
        addresses = Unique(self._document)
        devices: list[BleDevice] = []
        for path, data in found:
            table = check(BleDeviceTable, self._document, path, data, leave=["rules"])
            note_name(self._document, names, path, data, _("device"))
            if table is not None and table.address is not None:
                what = _("this address is already used in line {line}")
                addresses.add((*path, "address"), table.address, what, _("write the address of this sensor"))
            profile = self._profile(path, data, "ble")
            if profile is None:
                continue
            if profile.kind != "gatt" and RSSI.name not in profile.channels:
                profile = replace(profile, channels={**profile.channels, RSSI.name: RSSI})
            channels = self._channels(path, data, profile)
            self._check_sensor(path, table, profile, channels)
            if table is not None:
                sender = self._sender(path, table, profile, devices)
                address = table.address or bytes(6)
                chosen = self._chosen(path, data, profile, dict.fromkeys(channels, 0))
                timeout = _first(table.timeout, profile.timeout_ms)
                encrypted = _first(table.encrypted, profile.encrypted)
                period = _first(table.period, profile.period_ms)
                random = table.address_type == "random"
                if table.address_type is None:
                    random = address[0] >= _STATIC_RANDOM
                devices.append(
                    BleDevice(
                        table.name,
                        address,
                        profile,
                        timeout,
                        encrypted,
                        chosen,
                        period,
                        random,
                        table.pair,
                        sender,
                    )
                )
        return tuple(devices)

    def _sender(
        self, path: Key, table: BleDeviceTable, profile: Profile, before: Iterable[BleDevice]
    ) -> Sender | None:
        """By what a sensor is known that has no address; what does not go without one is noted."""
        if (table.address is None) == (table.match is None):
            self._document.error(
                path,
                _("a sensor needs either an address or a match"),
                _('write address = "A4:C1:38:01:02:03"; gasan ble sniff shows it'),
            )
            return None
        if table.match is None:
            return None
        encrypted = _first(table.encrypted, profile.encrypted)
        if profile.kind not in ("bthome", "advert") or encrypted:
            self._document.error(
                (*path, "match"),
                _("a sensor of this profile, or one that encrypts, is known by its address only"),
                _("write its address"),
            )
            return None
        sender = advert_rules.sender(self._document, (*path, "match"), table.match, profile)
        others = [it for it in before if it.sender is not None]
        if len(others) >= _OPEN_MAX:
            self._document.error(
                (*path, "match"),
                _("{count} sensors of a bus are without an address").format(count=len(others) + 1),
                _("write at most {count}").format(count=_OPEN_MAX),
            )
        for other in others:
            if sender is not None and other.sender is not None and sender.may_be(other.sender):
                self._document.error(
                    (*path, "match"),
                    _("one advertisement could be of {one} and of {other}").format(
                        one=table.name, other=other.name
                    ),
                    _("write names or prefixes that differ, or an address"),
                )
        return sender

    def _chosen(
        self, path: Key, data: Mapping[str, Any], profile: Profile, periods: Mapping[str, int]
    ) -> tuple[SiteChannel, ...]:
        """The channels of a device with their periods and rules, and those that they need besides."""
        found = rules_of(data)
        if "rules" in data and not isinstance(data["rules"], dict):
            self._document.error(
                (*path, "rules"),
                _("'{key}' must be a table").format(key="rules"),
                _("write [node.bus.device.rules.CHANNEL] and the rules below"),
            )
        for name in found.keys() - periods.keys():
            self._document.error(
                (*path, "rules", name),
                _('channel "{name}" is not read').format(name=name),
                instead(name, periods) if name not in profile.channels else _("name it in 'channels' too"),
            )
        chosen = []
        names: set[str] = set(periods)
        for name, period in periods.items():
            rules = None
            if name in found:
                here = (*path, "rules", name)
                rules = check_rules(self._document, here, found[name], profile.channels[name], period)
            for made in made_by(name, rules):
                if made in names:
                    self._document.error(
                        (*path, "rules", name),
                        _('there is already a channel "{name}"').format(name=made),
                        _("leave it out of 'channels', or remove the rule"),
                    )
                names.add(made)
            chosen.append(SiteChannel(profile.channels[name], period, rules))
        for channel in tuple(chosen):
            needed = channel.profile.decimals
            if needed is not None and needed not in names:
                names.add(needed)
                place = profile.channels[needed]
                chosen.append(SiteChannel(place, channel.period_ms, _ON_CHANGE))
        return tuple(chosen)

    def _check_sensor(
        self, path: Key, table: BleDeviceTable | None, profile: Profile, channels: list[str]
    ) -> None:
        """What a node cannot do: too much of one sensor, or encryption where there is none."""
        fields = [place for name in channels if isinstance(place := profile.channels[name].place, Field)]
        size = sum(field.width for field in [*fields, *([profile.counter] if profile.counter else [])])
        if len(channels) > _SENSOR_CHANNELS_MAX or size > _SENSOR_BYTES_MAX:
            self._document.error(
                path,
                _("these are too many channels of one sensor"),
                _("name at most {count} in channels, of {size} bytes together").format(
                    count=_SENSOR_CHANNELS_MAX, size=_SENSOR_BYTES_MAX
                ),
            )
        if table is not None and profile.kind != "gatt":
            for key in ("period", "address_type", "pair"):
                if key in table.model_fields_set:
                    self._document.error(
                        (*path, key),
                        _("'{key}' is only for sensors that are connected to").format(key=key),
                        _("remove it: this sensor advertises when it likes"),
                    )
        if table is not None and table.encrypted and profile.kind == "gatt":
            self._document.error(
                (*path, "encrypted"),
                _("'encrypted' is only for sensors that advertise"),
                _("remove it, or write pair = true"),
            )
        if table is not None and profile.kind == "gatt":
            period = _first(table.period, profile.period_ms)
            if period < _VISIT_MIN_MS:
                self._document.error(
                    (*path, "period"),
                    _("a period of {period} ms is too short").format(period=period),
                    _('write at least "{least}ms"').format(least=_VISIT_MIN_MS),
                )
        if table is not None and table.encrypted and profile.kind == "advert":
            self._document.error(
                (*path, "encrypted"),
                _("advertisements of a fixed layout are not encrypted"),
                _("remove it"),
            )

    def _profile(self, path: Key, data: Mapping[str, Any], bus_type: str) -> Profile | None:
        name = data.get("profile")
        if not isinstance(name, str) or not name:
            return None
        here = (*path, "profile")
        wanted = _KINDS_OF_BUS[bus_type]
        if name not in self._profiles:
            self._profiles[name] = self._load(name)
        profile = self._profiles[name]
        if isinstance(profile, InputError):
            what, _semicolon, mend = str(profile).partition("; ")
            self._document.error(
                here, what, mend if name.endswith(".toml") else instead(name, _names(wanted))
            )
            return None
        if profile is not None and profile.kind not in wanted:
            self._document.error(
                here,
                _("the profile {profile} is for {kind}, not for a {type} bus").format(
                    profile=name, kind=profile.kind, type=bus_type
                ),
                one_of(_names(wanted)),
            )
            return None
        return profile

    def _load(self, name: str) -> Profile | InputError | None:
        """The profile; what is wrong with its name; or None when its file has mistakes, which are noted."""
        try:
            return profiles.load(name, self._folder)
        except FileError as error:
            self._document.problems.extend(error.problems)
            return None
        except InputError as error:
            return error

    def _channels(self, path: Key, data: Mapping[str, Any], profile: Profile) -> list[str]:
        wanted = data.get("channels")
        if not isinstance(wanted, list):
            return list(profile.default)
        kept: list[str] = []
        for index, name in enumerate(wanted):
            here = (*path, "channels", index)
            if not isinstance(name, str):
                continue
            if name not in profile.channels:
                what = _('the profile {profile} has no channel "{name}"').format(
                    profile=profile.name, name=name
                )
                self._document.error(here, what, instead(name, profile.channels))
            elif name in kept:
                self._document.error(
                    here, _('channel "{name}" is named twice').format(name=name), _("remove one")
                )
            else:
                kept.append(name)
        return kept


def _names(kinds: tuple[str, ...]) -> list[str]:
    """The names of the profiles that come with gasan, of these kinds."""
    return [name for name in profiles.names() if profiles.load(name).kind in kinds]


def _period(table: ModbusDeviceTable, profile: Profile, channel: str) -> int:
    group = profile.channels[channel].group
    if group is not None and group in table.periods:
        return table.periods[group]
    if table.period is not None:
        return table.period
    return profile.groups[group] if group is not None else profile.period_ms


def _first(given: _T | None, otherwise: _T) -> _T:
    return otherwise if given is None else given
