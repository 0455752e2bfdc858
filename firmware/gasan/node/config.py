"""A node's config and key, as they come out of flash: CBOR that the gateway compiled from the site file.

config = [2, node name, limits, [* bus], [+ meaning], ? rules]; bus = [type, name, params, [* device]]. What
stands in a bus is for its source to check, and the rules for `gasan.node.edge_make`; a meaning is the tail of
a birth frame and is passed on as it is.
"""

from gasan.wire import cbor
from micropython import const

_VERSION = const(2)
EMPTY = b"\x85\x02\x60\xa0\x80\x80"  # no bus, no channel

# Keys of the limits.
_MAX_AGE = const(1)
_MAX_BYTES = const(2)
_SPOOL = const(3)
_WATCHDOG = const(4)
_NEWEST = const(5)
_SHARE = const(6)
_IN_RAM = const(7)
_LINK = const(15)  # 0 console, 1 BLE


class ConfigError(ValueError):
    """The bytes are not a config, or not a key, that this firmware takes."""


class Config:
    """What the app needs of a config; the meanings are left in flash (see ``births``).

    name: the node's; max_age_ms and max_bytes: when a batch is closed; spool_bytes: what frames may take of
    flash, or of memory if in_ram; newest: a full spool drops these, not the oldest; share: percent of the
    link for the backlog; watchdog: False for a bench without one; buses: [type, name, params, devices] each;
    channels: their number; rules: as they are, None without any.
    """

    def __init__(self, data: bytes) -> None:
        self.name, limits, self.buses, _, self.rules = _open(data)
        try:
            self.max_age_ms = _limit(limits, _MAX_AGE, 10000, 100, 1 << 28)
            self.max_bytes = _limit(limits, _MAX_BYTES, 2048, 128, 2048)
            self.spool_bytes = _limit(limits, _SPOOL, 262144, 16384, 1 << 29)
            self.watchdog = _limit(limits, _WATCHDOG, 1, 0, 1) == 1
            self.newest = _limit(limits, _NEWEST, 0, 0, 1) == 1
            self.share = _limit(limits, _SHARE, 50, 5, 100)
            self.in_ram = _limit(limits, _IN_RAM, 0, 0, 1) == 1
            self.link = _limit(limits, _LINK, 0, 0, 1)
            self.channels = 0
            for _, _, _, devices in self.buses:
                for device in devices:
                    self.channels += len(device[-1])
        except (ValueError, TypeError, AttributeError, LookupError) as e:
            raise e if isinstance(e, ConfigError) else ConfigError("a config of the wrong shape")


def births(data: bytes) -> list[bytes]:
    """The contents of the birth frames of a config, encoded: [part, parts, first channel, channels]."""
    reader = cbor.Reader(data, len(data), 1)
    for _ in range(4):  # passed over one by one, since the whole is large
        reader.value(16)
    meanings = reader.value(16)
    parts = len(meanings)
    return [b"\x84" + cbor.dumps(i) + cbor.dumps(parts) + meanings[i][1:] for i in range(parts)]


def key(data: bytes) -> tuple[bytes, int, bytes]:
    """(node id, key generation, key) of the file /secret/key. Raises ConfigError."""
    try:
        node_id, generation, secret = cbor.loads(data)
        if len(node_id) == 8 and 0 <= generation <= 255 and len(secret) == 32:
            return node_id, generation, secret
    except (ValueError, TypeError):
        pass
    raise ConfigError("not CBOR of [node id of 8 bytes, generation, key of 32 bytes]")


def _open(data: bytes) -> list:
    try:
        version, name, limits, buses, meanings, *rules = cbor.loads(data)
        if version == _VERSION and all(meaning[0] == 0x82 for meaning in meanings):
            if len(rules) < 2:
                return [name, limits, buses, meanings, rules[0] if rules else None]
    except (ValueError, TypeError, LookupError):
        pass
    raise ConfigError("not CBOR of a config of version %d" % _VERSION)


def _limit(limits: dict, number: int, default: int, least: int, most: int) -> int:
    value = limits.get(number, default)
    if not isinstance(value, int) or not least <= value <= most:
        raise ConfigError("limit %d is not %d to %d" % (number, least, most))
    return value
