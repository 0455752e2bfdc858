"""Advertisements other than plain BTHome: what decodes them, and the keys of sensors that encrypt.

Loaded only where a sensor of the config needs it.
"""

from gasan.node import log
from gasan.wire import bthome, ccm, columns
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

# Formats of a sensor, as a config has them.
_BTHOME = const(0)
_BTHOME_SEALED = const(1)
_LAYOUT = const(2)
_MIBEACON = const(3)
_MIBEACON_SEALED = const(4)
_GATT = const(5)  # gasan.node.ble_central
_EXTRAS = const(0x10)  # added to a format: gasan.wire.advert_extras
_OPEN = const(0x20)  # added as well: gasan.node.ble_open
_LONGEST = const(32)  # bytes of a value: a text
_WIDTH = const(0x0F)  # of a field's form: bytes of its value

_ccm: "list[ccm.Ccm]" = []  # one for all sensors, when there is any that encrypts
_layouts: "list[tuple[int, list, Any]]" = []  # by format and table: sensors of a kind share one


def advert(spec: list) -> "Any":
    """What decodes the advertisements of a sensor: [name, address, format, timeout_ms, items, ...].

    Raises ValueError for what this firmware does not take.
    """
    form = spec[2] & ~_EXTRAS & ~_OPEN
    made: "Any" = None
    fields: "Any" = ()
    extras: "Any" = None
    if spec[2] & _EXTRAS:
        from gasan.wire import advert_extras as extras
    if form == _BTHOME:
        made = _class(bthome.Advert, extras)()
    elif form == _BTHOME_SEALED:
        from gasan.wire.bthome_sealed import Sealed

        made = _class(Sealed, extras)(spec[1], None)
    elif form == _LAYOUT or form == _GATT:
        from gasan.wire.layout import Layout

        matches, fields, counted = spec[5]
        for kind, table, layout in _layouts:
            if kind == spec[2] and table == spec[5]:
                made = layout
        if not made:
            made = _class(Layout, extras)(matches, fields, counted)
            _layouts.append((spec[2], spec[5], made))
    elif form == _MIBEACON or form == _MIBEACON_SEALED:
        from gasan.wire.mibeacon import MiBeacon

        fields = spec[5]
        made = _class(MiBeacon, extras)(spec[1], fields, form == _MIBEACON_SEALED)
    else:
        raise ValueError("a BLE format that this firmware does not know")
    for item in spec[4]:
        if extras and extras.is_extra(item[1]):
            width = 1
        else:
            width = fields[item[1]][2] & _WIDTH if fields else bthome.width(item[1])
        if not width <= columns.width(item[3]) <= _LONGEST:
            raise ValueError("a value that does not fit its channel")
    take_key(spec[0], made, spec[1])
    return made


def _class(base: "Any", extras: "Any") -> "Any":
    return extras.extended(base) if extras else base


def take_key(name: str, decoder: "Any", address: bytes) -> None:
    """Give a decoder that wants one the sensor's key from flash; with another key the counter begins anew."""
    if not getattr(decoder, "sealed", False):
        return
    from cryptolib import aes
    from gasan.node import secrets

    key = secrets.keys().get(address)
    seal = decoder.seal
    if key is None:
        log.warn("ble: %s has no key on this node: gasan ble key" % name)
        decoder.seal = None
    elif seal is None or seal.key != key:
        if not _ccm:
            _ccm.append(ccm.Ccm(lambda key: aes(key, 1).encrypt))
        decoder.seal = ccm.Seal(_ccm[0], key)
