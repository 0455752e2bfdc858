"""The keys of BLE sensors that encrypt: one file for each node, readable by nobody but its owner.

``keys/NODE.ble`` is the CBOR map {address: 6 bytes => key: 16 bytes}. A node gets it locked with its own key
(gasan.wire.lockbox). Keys are never shown and stand in no site file.
"""

from pathlib import Path
from typing import Final

import cbor2
from gasan.host.errors import InputError, TryAgainError
from gasan.host.i18n import _
from gasan.host.keys import NodeKey, read_secret, write_secret
from gasan.wire.lockbox import lock

__all__ = ["SENSOR_KEYS_MAX", "SENSOR_KEY_SIZE", "SensorKeys"]

SENSOR_KEY_SIZE: Final = 16
SENSOR_KEYS_MAX: Final = 64
"""Of one node: the box that holds so many is what a node takes."""

_ADDRESS_SIZE: Final = 6


class SensorKeys:
    """The keys of the sensors of one node, in the folder of the site's keys.

    Raises UntrustedError for a file that others may read, InputError for one that is damaged, TryAgainError
    when the folder cannot be used.
    """

    def __init__(self, folder: Path, node: str) -> None:
        self._path = folder / f"{node}.ble"

    def read(self) -> dict[bytes, bytes]:
        """{address: key}; empty when the node has none."""
        try:
            data = read_secret(self._path)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise TryAgainError(
                _("{path} cannot be read: {reason}; check who owns it").format(
                    path=self._path, reason=error.strerror
                )
            ) from error
        try:
            found = cbor2.loads(data)
            if all(
                len(address) == _ADDRESS_SIZE and len(key) == SENSOR_KEY_SIZE
                for address, key in found.items()
            ):
                return dict(found)
        except (cbor2.CBORDecodeError, AttributeError, TypeError):
            pass
        raise InputError(
            _(
                "{path} holds no keys of sensors; restore it from a backup, or remove it and set them again"
            ).format(path=self._path)
        )

    def change(self, address: bytes, key: bytes | None) -> None:
        """Keep the key of a sensor, or forget it (None)."""
        keys = self.read()
        if key is None:
            keys.pop(address, None)
        else:
            keys[address] = key
        if len(keys) > SENSOR_KEYS_MAX:
            raise InputError(
                _(
                    "a node takes the keys of {limit} sensors; remove one, or give sensors to another node"
                ).format(limit=SENSOR_KEYS_MAX)
            )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_secret(self._path, cbor2.dumps(keys, canonical=True))
        except OSError as error:
            raise TryAgainError(
                _("the key {path} cannot be written: {reason}; check the folder").format(
                    path=self._path, reason=error.strerror
                )
            ) from error

    def box(self, key: NodeKey) -> bytes | None:
        """What the node is sent and keeps as ``/secret/ble``; None when it never had keys of sensors."""
        if not self._path.exists():
            return None
        return lock(key.key, cbor2.dumps(self.read(), canonical=True))
