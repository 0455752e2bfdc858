"""The rules of a site file for devices: units, addresses, profiles, channels and periods."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gasan.host import profiles
from gasan.host.errors import InputError
from gasan.host.i18n import _
from gasan.host.problems import FileError, instead, one_of
from gasan.host.profiles import Field, Profile
from gasan.host.rule_parts import Unique, note_name
from gasan.host.shape import check
from gasan.host.site import BleDevice, ModbusDevice, SiteChannel
from gasan.host.site_tables import BleDeviceTable, ModbusDeviceTable
from gasan.host.toml_file import Document
from gasan.host.toml_lines import Path as Key

__all__ = ["DeviceRules"]

_PERIOD_MIN_MS = 10
_KINDS_OF_BUS = {
    "modbus-rtu": ("modbus",),
    "modbus-tcp": ("modbus",),
    "ble": ("bthome", "advert", "mibeacon"),
}
_SENSOR_CHANNELS_MAX = 16  # that a node takes of one sensor
_SENSOR_BYTES_MAX = 30

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
            table = check(ModbusDeviceTable, self._document, path, data)
            note_name(self._document, names, path, data, _("device"))
            unit = data.get("unit")
            if isinstance(unit, int) and not isinstance(unit, bool):
                if kind == "modbus-rtu" and (unit == 0 or 247 < unit <= 255):
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
            devices.append(
                ModbusDevice(
                    name=table.name,
                    unit=table.unit,
                    profile=profile,
                    timeout_ms=_first(table.timeout, profile.timeout_ms),
                    gap_ms=_first(table.gap, profile.gap_ms),
                    max_registers=_first(table.max_registers, profile.max_registers),
                    channels=tuple(
                        SiteChannel(profile.channels[name], _period(table, profile, name))
                        for name in channels
                    ),
                )
            )
        return tuple(devices)

    def _check_periods(self, path: Key, table: ModbusDeviceTable) -> None:
        given: list[tuple[Key, int | None]] = [((*path, "period"), table.period)]
        given += [((*path, "periods", group), period) for group, period in table.periods.items()]
        for here, period in given:
            if period is not None and period < _PERIOD_MIN_MS:
                self._document.error(
                    here,
                    _("a period of {period} ms is too short").format(period=period),
                    _('write at least "{least}ms"').format(least=_PERIOD_MIN_MS),
                )

    def sensors(self, found: Iterable[tuple[Key, Mapping[str, Any]]], names: Unique) -> tuple[BleDevice, ...]:
        addresses = Unique(self._document)
        devices = []
        for path, data in found:
            table = check(BleDeviceTable, self._document, path, data)
            note_name(self._document, names, path, data, _("device"))
            if table is not None:
                what = _("this address is already used in line {line}")
                addresses.add((*path, "address"), table.address, what, _("write the address of this sensor"))
            profile = self._profile(path, data, "ble")
            if profile is None:
                continue
            channels = self._channels(path, data, profile)
            self._check_sensor(path, table, profile, channels)
            if table is not None:
                chosen = tuple(SiteChannel(profile.channels[name], 0) for name in channels)
                timeout = _first(table.timeout, profile.timeout_ms)
                encrypted = _first(table.encrypted, profile.encrypted)
                devices.append(BleDevice(table.name, table.address, profile, timeout, encrypted, chosen))
        return tuple(devices)

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
