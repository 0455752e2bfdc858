"""Secrets beside the node's own key: those of BLE sensors, in /secret/ble. Loaded only where they are used.

The file is what the gateway sends: CBOR {address: key}, locked with the node's key (gasan.wire.lockbox). The
app drops this module after the start; the next order imports it again.
"""

import hashlib

from gasan.node import log
from gasan.wire import cbor, lockbox
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.app import Node

folder = "/secret"  # a test has another one
_MAX = const(2048)  # bytes of the file: some 80 keys

# Answers to a received piece, as on the link.
_MORE = const(0)
_COMPLETE = const(1)
_REFUSED = const(2)


def keys() -> dict:
    """{address of 6 bytes: key of 16 bytes}; empty when there are none, or none that can be read."""
    try:
        with open(folder + "/ble", "rb") as f:
            return _unlock(f.read(_MAX + 1))
    except OSError:
        return {}
    except ValueError as e:
        log.error("%s/ble: %s" % (folder, e))
        return {}


class Incoming:
    """Takes another file piece by piece, into memory; it is written whole or not at all."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._name = b""
        self._data = bytearray()

    async def put(self, name: bytes, total: int, offset: int, data: bytes) -> "tuple[int, int]":
        """(offset wanted next, answer as for a config); new keys are given to the sensors. Raises OSError."""
        wanted, answer, new = await self._node.batcher.quietly(self._receive, name, total, offset, data)
        if new:
            from gasan.node import ble_formats

            for _, source in self._node.sources:
                for sensor in getattr(source, "sensors", ()):
                    ble_formats.take_key(sensor.name, sensor.advert, sensor.address)
        return wanted, answer

    def _receive(self, name: bytes, total: int, offset: int, data: bytes) -> "tuple[int, int, bool]":
        """(offset wanted next, answer, whether there are other keys now)."""
        if not 0 < total <= _MAX:
            return 0, _REFUSED, False
        try:
            with open(folder + "/ble", "rb") as f:
                if _name(f.read(_MAX + 1)) == name:
                    return total, _COMPLETE, False
        except OSError:
            pass  # there are no keys yet
        if name != self._name:
            self._name = bytes(name)
            self._data = bytearray()
        if offset == len(self._data):
            self._data.extend(data)
        if len(self._data) < total:
            return len(self._data), _MORE, False
        box = bytes(self._data)
        self._name, self._data = b"", bytearray()
        try:
            if _name(box) != name:
                raise ValueError("another hash")
            _unlock(box)
        except ValueError as e:
            log.error("keys of sensors: %s" % e)
            return 0, _REFUSED, False
        from gasan.ota.slots import replace

        replace(folder + "/ble", box)
        return total, _COMPLETE, True


def _name(box: bytes) -> bytes:
    return hashlib.sha256(box).digest()[:8]


def _unlock(box: bytes) -> "dict[bytes, Any]":
    with open(folder + "/key", "rb") as f:
        key = cbor.loads(f.read())[2]
    found = cbor.loads(lockbox.unlock(key, box))
    if not isinstance(found, dict):
        raise ValueError("no keys")
    for address, secret in found.items():
        if not isinstance(address, bytes) or not isinstance(secret, bytes):
            raise ValueError("no keys")
        if len(address) != 6 or len(secret) != 16:
            raise ValueError("no keys")
    return found
