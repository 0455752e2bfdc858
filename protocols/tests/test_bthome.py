"""BTHome: the decoder agrees with bthome-ble, takes hostile bytes, and allocates nothing on a board."""

import itertools
import random
from dataclasses import dataclass

import pytest
from bleak.backends.device import BLEDevice
from bthome_ble.const import MEAS_TYPES
from bthome_ble.parser import BTHomeBluetoothDeviceData
from gasan.hil import fuzz, vmrun
from gasan.wire import bthome
from habluetooth import BluetoothServiceInfoBleak
from sensor_state_data.description import BaseBinarySensorDescription

ADDRESS = "A4:C1:38:11:22:33"
UUID = "0000fcd2-0000-1000-8000-00805f9b34fb"
COUNTED = {0x53, 0x54}
COMMAND = 0x3B
UNKNOWN = sorted(set(range(256)) - set(MEAS_TYPES))


def advert(service_data: bytes) -> bytes:
    """Advertising data: flags, BTHome's service data, a name."""
    name = b"\x03\x09ab"
    return b"\x02\x01\x06" + bytes([len(service_data) + 3]) + b"\x16\xd2\xfc" + service_data + name


def reference(service_data: bytes) -> dict[str, object]:
    """What bthome-ble makes of it: name -> value, events as (type, properties), device information."""
    device = BTHomeBluetoothDeviceData()
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
    objects = []
    out = bytearray(8)
    for object_id in range(256):
        for index in itertools.count():
            at = view.find(object_id, index)
            if at < 0:
                break
            raw = data[at : at + view.width]
            if len(raw) <= 8:
                view.widen(object_id, at, out, 8)
            objects.append((at, object_id, raw, int.from_bytes(out, "big", signed=True)))
    assert len(objects) == view.objects
    return [(object_id, raw, value) for _, object_id, raw, value in sorted(objects)]


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


def assert_same(service_data: bytes) -> None:
    ours, theirs = named(decoded(service_data)), reference(service_data)
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
                _, properties = other  # type: ignore[misc]
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


@pytest.mark.parametrize("object_id", sorted(MEAS_TYPES))
def test_agrees_with_bthome_ble_on_object(object_id: int, seed: int) -> None:
    rng = random.Random(seed + object_id)
    for _ in range(16):
        data = b"\x40" + an_object(rng, object_id)
        assert [i for i, raw, _ in decoded(data)] == [object_id]
        assert_same(data)


def test_no_other_object_id_is_known() -> None:
    for object_id in UNKNOWN:
        assert decoded(b"\x40\x01\x61" + bytes([object_id]) + bytes(8)) == [(0x01, b"\x61", 0x61)]
        with pytest.raises(bthome.BTHomeError):
            bthome.width(object_id)
    for object_id, kind in MEAS_TYPES.items():
        if object_id in COUNTED or object_id == COMMAND:
            with pytest.raises(bthome.BTHomeError):
                bthome.width(object_id)
        else:
            assert bthome.width(object_id) == kind.data_length
            lowest = b"\x40" + bytes([object_id]) + bytes(kind.data_length - 1) + b"\x80"
            negative = decoded(lowest)[0][2] < 0
            assert negative == (kind.data_format == "signed_integer")


def test_agrees_with_bthome_ble_on_generated_adverts(seed: int) -> None:
    rng = random.Random(seed)
    known = sorted(MEAS_TYPES)
    for _ in range(3000):
        ids = sorted(rng.choices(known, k=rng.randrange(1, 9)))
        if rng.random() < 0.2:  # an id that a newer specification may bring
            ids.insert(rng.randrange(len(ids) + 1), rng.choice(UNKNOWN))
        if rng.random() < 0.1:
            rng.shuffle(ids)
        body = b"".join(an_object(rng, i) for i in ids)
        if rng.random() < 0.2:
            body = body[: rng.randrange(len(body) + 1)]
        information, address = rng.choice([(0x40, b""), (0x44, b""), (0x42, rng.randbytes(6))])
        if body:
            assert_same(bytes([information]) + address + body)


def test_an_unknown_object_hides_only_what_follows() -> None:
    # temperature 25.06, an id of no specification, humidity 50.55
    assert decoded(bytes.fromhex("40 02ca09 37ffff 03bf13")) == [(0x02, b"\xca\x09", 0x09CA)]


def test_two_objects_of_one_id_are_told_apart() -> None:
    data = advert(bytes.fromhex("40 0005 02ca09 0229f6"))
    view = bthome.Advert()
    assert view.open(data, 0, len(data)) == bthome.READABLE
    assert view.packet_id == 5
    out = bytearray(4)
    view.widen(0x02, view.find(0x02, 1), out, 4)
    assert int.from_bytes(out, "big", signed=True) == -2519
    assert view.find(0x02, 2) == -1
    assert view.find(0x03, 0) == -1


@pytest.mark.parametrize(
    ("what", "data", "state"),
    [
        ("encrypted", advert(bytes.fromhex("41a47266c95f730011223378237214")), bthome.ENCRYPTED),
        ("version 1", advert(bytes.fromhex("2002ca09")), bthome.FOREIGN),
        ("no service data", bytes.fromhex("020106 03095048"), bthome.FOREIGN),
        ("another service", bytes.fromhex("0416 d1fc 40"), bthome.FOREIGN),
        ("service data of the UUID alone", bytes.fromhex("0316 d2fc"), bthome.FOREIGN),
        ("a structure that claims too much", bytes.fromhex("0a16 d2fc 40 02ca09"), bthome.FOREIGN),
        ("zeros after the end", advert(bytes.fromhex("4002ca09")) + bytes(4), bthome.READABLE),
        ("a structure of length 0 before", b"\x00" + advert(bytes.fromhex("4002ca09")), bthome.READABLE),
        ("nothing", b"", bthome.FOREIGN),
    ],
)
def test_open_tells(what: str, data: bytes, state: int) -> None:
    assert bthome.Advert().open(data, 0, len(data)) == state, what


CORPUS = [
    advert(bytes.fromhex("40 0005 0161 02ca09 03bf13 0c100b")),
    advert(bytes.fromhex("44 0009 3a01 5303414243 540412345678 f0d204")),
    advert(bytes.fromhex("42 a4c138112233 02ca09 0229f6 3b6201 0102")),
    advert(bytes.fromhex("41a47266c95f730011223378237214")),
]

DECODE = """
def decode(data):
    state = view.open(data, 0, len(data))
    if state == 1:
        for object_id in WANTED:
            at = view.find(object_id, 0)
            if at >= 0:
                if not view.start < at or at + view.width > view.end or view.end > len(data):
                    raise AssertionError("outside")
                if view.width:
                    view.widen(object_id, at, out, 8)
        if not 0 < view.objects + 1 <= 33:
            raise AssertionError("unbounded")
    elif state not in (0, 2):
        raise AssertionError("undocumented")
"""
WANTED = (0x00, 0x01, 0x02, 0x3B, 0x53, 0x54, 0x5C, 0xF1, 0x37)


def test_hostile_bytes_on_cpython(seed: int, fuzz_count: int) -> None:
    space = {"view": bthome.Advert(), "out": bytearray(8), "WANTED": WANTED}
    exec(DECODE, space)
    accepted, refused = fuzz.run(space["decode"], bthome.BTHomeError, fuzz.Fuzzer(seed, CORPUS), fuzz_count)
    assert accepted == fuzz_count and refused == 0


@pytest.mark.parametrize("bits", [64, 32])
def test_hostile_bytes_on_the_vm_without_allocation(bits: int, seed: int, fuzz_count_vm: int) -> None:
    if why := vmrun.missing(bits):
        pytest.skip(why)
    program = (
        "import sys, gc, micropython\n"
        "from gasan.hil import fuzz\n"
        "from gasan.wire import bthome, columns\n"
        f"view, out, WANTED, CORPUS = bthome.Advert(), bytearray(8), {WANTED}, {CORPUS}\n"
        + DECODE
        + """
group = columns.Group((0,), bytes([columns.I64]), 2, 0)
def locked(data):
    micropython.heap_lock()
    try:
        decode(data)
        group.start(0)
        group.put(0, out, 0)
        group.finish()
        group.clear()
    finally:
        micropython.heap_unlock()
locked(CORPUS[0])
gc.collect()
before = gc.mem_alloc()
print(fuzz.run(locked, bthome.BTHomeError, fuzz.Fuzzer(int(sys.argv[1]), CORPUS), int(sys.argv[2])))
gc.collect()
print(gc.mem_alloc() - before)
"""
    )
    out = vmrun.run(program, seed, fuzz_count_vm, bits=bits, heap="128wk", timeout=120)
    counts, grown = out.split("\n")[:2]
    assert counts == f"({fuzz_count_vm}, 0)"
    assert int(grown) < 512
