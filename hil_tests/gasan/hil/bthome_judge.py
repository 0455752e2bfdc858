"""BTHome by two decoders: bthome-ble (Home Assistant's) says what gasan.wire.bthome must say."""

import itertools
import random
from dataclasses import dataclass

from bleak.backends.device import BLEDevice
from bthome_ble.const import MEAS_TYPES
from bthome_ble.parser import BTHomeBluetoothDeviceData
from gasan.wire import bthome
from habluetooth import BluetoothServiceInfoBleak
from sensor_state_data.description import BaseBinarySensorDescription

__all__ = [
    "ADDRESS",
    "COMMAND",
    "COUNTED",
    "MEAS_TYPES",
    "UNKNOWN",
    "advert",
    "an_object",
    "assert_same",
    "body",
    "decoded",
    "objects",
    "reference",
]

ADDRESS = "A4:C1:38:11:22:33"
UUID = "0000fcd2-0000-1000-8000-00805f9b34fb"
COUNTED = {0x53, 0x54}
COMMAND = 0x3B
UNKNOWN = sorted(set(range(256)) - set(MEAS_TYPES))


def advert(service_data: bytes) -> bytes:
    """Advertising data: flags, BTHome's service data, a name."""
    name = b"\x03\x09ab"
    return b"\x02\x01\x06" + bytes([len(service_data) + 3]) + b"\x16\xd2\xfc" + service_data + name


def reference(service_data: bytes, bindkey: bytes | None = None) -> dict[str, object]:
    """What bthome-ble makes of it: name -> value, events as (type, properties), device information."""
    device = BTHomeBluetoothDeviceData(bindkey)
    info = BluetoothServiceInfoBleak(
        name="x",
        address=ADDRESS,
        rssi=-60,
        manufacturer_data={},
        service_data={UUID: service_data},
        service_uuids=[],
        source="",
        device=BLEDevice(ADDRESS, "x", {}),
        advertisement=None,
        time=0.0,
        connectable=False,
        tx_power=None,
    )
    update = device.update(info)
    found: dict[str, object] = {}
    for key, value in update.entity_values.items():
        if key.key != "signal_strength":
            found[key.key] = value.native_value
    for key, state in update.binary_entity_values.items():
        found[f"binary {key.key}"] = state.native_value
    for key, event in update.events.items():
        found[f"event {key.key}"] = (event.event_type, event.event_properties)
    if device.device_type_id is not None:
        found["device type"] = device.device_type_id
    if (version := update.devices[None].sw_version) and "BTHome" not in version:
        found["firmware"] = version
    return found


def decoded(service_data: bytes) -> list[tuple[int, bytes, int]]:
    """What `bthome` makes of it: (object id, value as sent, value as an integer), in the order of sending."""
    data = advert(service_data)
    view = bthome.Advert()
    if view.open(data, 0, len(data)) != bthome.READABLE:
        return []
    return objects(view)


def objects(view: bthome.Advert) -> list[tuple[int, bytes, int]]:
    """The objects of an opened advert, as `decoded` has them."""
    found = []
    out = bytearray(8)
    for object_id in range(256):
        for index in itertools.count():
            at = view.find(object_id, index)
            if at < 0:
                break
            raw = bytes(view.buf[at : at + view.width])
            if len(raw) <= 8:
                view.widen(object_id, at, out, 8)
            found.append((at, object_id, raw, int.from_bytes(out, "big", signed=True)))
    assert len(found) == view.objects
    return [(object_id, raw, value) for _, object_id, raw, value in sorted(found)]


@dataclass
class Scaled:
    """A value as sent and its factor; equal to what lies nearer to it than to its neighbours."""

    value: int
    factor: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (int, float)) and abs(self.value * self.factor - other) < self.factor / 4


def named(objects: list[tuple[int, bytes, int]]) -> dict[str, object]:
    """The objects under the names and with the scales of bthome-ble, to be compared with `reference`."""
    formats = [MEAS_TYPES[i].meas_format for i, raw, _ in objects if raw]
    counts: dict[object, int] = {}
    found: dict[str, object] = {}
    for object_id, raw, value in objects:
        kind = MEAS_TYPES[object_id]
        if object_id == 0xF0:
            found["device type"] = value
        elif object_id in (0xF1, 0xF2):
            found["firmware"] = ".".join(str(b) for b in reversed(raw))
        if kind.meas_format is None or not raw:
            continue
        key = str(getattr(kind.meas_format, "device_class", kind.meas_format))
        if formats.count(kind.meas_format) > 1:
            counts[kind.meas_format] = counts.get(kind.meas_format, 0) + 1
            key += f"_{counts[kind.meas_format]}"
        if object_id in (0x3A, 0x3C, COMMAND):
            found[f"event {key}"] = raw
        elif object_id == 0x53:
            found[key] = raw
        elif object_id == 0x54:
            found[key] = raw.hex()
        elif isinstance(kind.meas_format, BaseBinarySensorDescription):
            found[f"binary {key}"] = bool(value)
        else:
            # bthome-ble rounds to the places of the factor's leading digit: 0.35 to one place.
            found[key] = Scaled(value, kind.factor)
    return found


def assert_same(
    service_data: bytes, ours_read: list[tuple[int, bytes, int]] | None = None, bindkey: bytes | None = None
) -> None:
    """Both decoders say the same; `ours_read` is what ours has made of an encrypted one."""
    ours = named(decoded(service_data) if ours_read is None else ours_read)
    theirs = reference(service_data, bindkey)
    for key in set(ours) | set(theirs):
        mine, other = ours.get(key), theirs.get(key)
        where = f"{key} of {service_data.hex()}"
        if isinstance(mine, bytes):
            if key.startswith("text"):
                try:
                    assert mine.decode() == other, where
                except UnicodeDecodeError:
                    assert other is None, where
            elif other is not None:  # bthome-ble leaves out events whose type it does not know
                assert isinstance(other, tuple)
                properties = other[1]
                if "dimmer" in key:
                    assert properties == {"steps": mine[1]}, where
                elif "command" in key:
                    assert properties == {"args": mine[1:].hex()}, where
        elif key.startswith("timestamp"):
            assert other is not None and other.timestamp() == mine.value, where  # type: ignore[attr-defined]
        else:
            assert mine == other, where


def an_object(rng: random.Random, object_id: int) -> bytes:
    kind = MEAS_TYPES.get(object_id)
    if kind is None:
        return bytes([object_id]) + rng.randbytes(rng.randrange(4))
    if object_id in COUNTED:
        n = rng.randrange(6)
        return bytes([object_id, n]) + (rng.randbytes(n) if object_id == 0x54 else b"abcdef"[:n])
    if object_id == COMMAND:
        n = rng.randrange(4)
        return bytes([object_id, n | rng.randrange(8) << 5, rng.randrange(6)]) + rng.randbytes(n)
    return bytes([object_id]) + rng.randbytes(kind.data_length)


def body(rng: random.Random) -> bytes:
    """Objects as sensors send them and as they do not: out of order, of an unknown id, cut short."""
    ids = sorted(rng.choices(sorted(MEAS_TYPES), k=rng.randrange(1, 9)))
    if rng.random() < 0.2:  # an id that a newer specification may bring
        ids.insert(rng.randrange(len(ids) + 1), rng.choice(UNKNOWN))
    if rng.random() < 0.1:
        rng.shuffle(ids)
    made = b"".join(an_object(rng, i) for i in ids)
    if rng.random() < 0.2:
        made = made[: rng.randrange(len(made) + 1)]
    return made
