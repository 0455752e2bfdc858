"""Advertisements other than plain BTHome: what decodes them, and the keys of sensors that encrypt.

Loaded only where a sensor of the config needs it.
"""

from gasan.node import log
from gasan.wire import ccm
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

# Formats of a sensor, as a config has them; 0 is BTHome without encryption.
_BTHOME_SEALED = const(1)

_WHY = {
    ccm.REPLAYED: "an old advertisement came again",
    ccm.FORGED: "an advertisement was not made with its key",
    ccm.PLAIN: "an advertisement was not encrypted",
}


def advert(spec: list) -> "Any":
    """What decodes the advertisements of a sensor: [name, address, format, timeout_ms, items, ...].

    Raises ValueError for what this firmware does not take.
    """
    form = spec[2]
    if form == _BTHOME_SEALED:
        from gasan.wire.bthome_sealed import Sealed

        return Sealed(spec[1], None)
    raise ValueError("a BLE format that this firmware does not know")


def take_keys(sensors: list) -> None:
    """Give those sensors that encrypt their keys; each counter begins anew."""
    from cryptolib import aes
    from gasan.node import secrets

    keys = secrets.keys()
    for sensor in sensors:
        if not hasattr(sensor.advert, "seal"):
            continue
        key = keys.get(sensor.address)
        if key is None:
            log.warn("ble: %s has no key on this node: gasan ble key" % sensor.name)
        else:
            sensor.advert.seal = ccm.Seal(aes(key, 1).encrypt)


def why(state: int) -> str:
    """Why an advertisement is refused."""
    return _WHY[state]
