"""The profile bthome/sensor has every object of BTHome, and a node makes of each what bthome-ble does."""

import json
import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from gasan.hil import vmrun
from gasan.hil.bthome_judge import COMMAND, MEAS_TYPES, advert, an_object, reference
from gasan.host.compile import CompiledNode, compile_site
from gasan.host.profiles import BthomePlace, load
from gasan.host.site import load as load_site
from gasan.host.store.meaning import Meaning
from gasan.wire import bthome, columns

PROFILE = load("bthome/sensor")
TEXT, RAW, BUTTON, DIMMER = 0x53, 0x54, 0x3A, 0x3C
BINARY = {i for i in MEAS_TYPES if 0x0F <= i <= 0x2D and i not in (0x12, 0x13, 0x14)}
PER_SENSOR = 16
# What one of bthome-ble's units is in the profile's.
UNITS = {
    "lb": ("kg", Fraction("0.45359237")),
    "mL": ("l", Fraction(1, 1000)),
    "m³/h": ("m3/s", Fraction(1, 3600)),
    "°/s": ("1/min", Fraction(1, 6)),
    "µS/cm": ("S/m", Fraction(1, 10000)),
    "mbar": ("hPa", Fraction(1)),
    "°C": ("Cel", Fraction(1)),
    "µg/m³": ("ug/m3", Fraction(1)),
    "m³": ("m3", Fraction(1)),
    "m/s²": ("m/s2", Fraction(1)),
    "°": ("deg", Fraction(1)),
    "L": ("l", Fraction(1)),
    "rpm": ("1/min", Fraction(1)),
}

NODE = """
import json, sys
from binascii import hexlify, unhexlify
from gasan.node import ble_formats
from gasan.wire import cbor, columns
with open(sys.argv[1]) as f:
    cases = json.load(f)
value = bytearray(32)
for config, adverts in cases:
    spec = cbor.loads(unhexlify(config))[3][0][3][0]
    view = ble_formats.advert(spec)
    for advert in adverts:
        data = unhexlify(advert) + b"\\xc4"
        state = view.open(data, 0, len(data) - 1)
        said = []
        for _, what, index, code, _ in spec[4]:
            at = view.find(what, index)
            width = columns.width(code)
            good = at >= 0 and view.widen(what, at, value, width)
            said.append(None if at < 0 else [good, hexlify(value[:width]).decode()])
        print(json.dumps([state, said]))
"""


def compiled(folder: Path, channels: Sequence[str]) -> CompiledNode:
    file = folder / "site.toml"
    file.write_text(
        '[site]\nname = "t"\n[[node]]\nname = "n"\nboard = "virtual"\n'
        '[[node.bus]]\nname = "air"\ntype = "ble"\n[[node.bus.device]]\nname = "s"\n'
        f'address = "A4:C1:38:11:22:33"\nprofile = "bthome/sensor"\nchannels = {json.dumps(list(channels))}\n'
    )
    return compile_site(load_site(file))[0]


def test_every_object_that_the_decoder_knows_is_a_channel() -> None:
    known = set()
    for object_id in range(256):
        data = advert(bytes((0x40, object_id)) + bytes(8))
        view = bthome.Advert()
        assert view.open(data, 0, len(data)) == bthome.READABLE
        if view.find(object_id, 0) >= 0:
            known.add(object_id)
    places = [it.place for it in PROFILE.channels.values()]
    assert {it.object for it in places if isinstance(it, BthomePlace)} == known == set(MEAS_TYPES)


def test_a_node_reads_of_every_object_what_bthome_ble_does(tmp_path: Path, bits: int, seed: int) -> None:
    rng = random.Random(seed)
    names = list(PROFILE.channels)
    cases, asked = [], []
    for first in range(0, len(names), PER_SENSOR):
        chosen = names[first : first + PER_SENSOR]
        node = compiled(tmp_path, chosen)
        told = []
        for name in chosen:
            place = PROFILE.channels[name].place
            assert isinstance(place, BthomePlace)
            for _ in range(6):
                data = b"\x40" + an_object(rng, place.object)
                told.append(advert(data).hex())
                asked.append((name, data, node.channels[chosen.index(name)], chosen.index(name)))
        cases.append([node.config.hex(), told])
    (tmp_path / "cases").write_text(json.dumps(cases))
    lines = vmrun.run(NODE, tmp_path / "cases", bits=bits).splitlines()
    assert len(lines) == len(asked) == 6 * len(names)
    for line, (name, data, channel, column) in zip(lines, asked, strict=True):
        state, said = json.loads(line)
        place = PROFILE.channels[name].place
        assert state == bthome.READABLE and isinstance(place, BthomePlace)
        if place.object not in (COMMAND, DIMMER):  # of which there are two channels
            assert [k for k, one in enumerate(said) if one is not None] == [column], name
        good, text = said[column]
        assert good
        assert_same(name, place.object, data, channel.meaning(), bytes.fromhex(text))


def assert_same(name: str, object_id: int, data: bytes, meant: list[Any], raw: bytes) -> None:
    device, channel, unit, code, num, den, off, _period, extra = meant
    number: int | bytes = raw
    if code < columns.TEXT:
        number = int.from_bytes(raw, signed=columns.TYPE[code].startswith("i"))
    meaning = Meaning(
        0, device, channel, unit, code, num, den, off, 0, extra.get(1, 0), extra.get(2, -1),
        extra.get(3, {}), "", extra.get(5, 0), (),
    )  # fmt: skip
    (theirs,) = [*reference(data).values()] or [None]
    where = f"{name}: {data.hex()}"
    if object_id in (TEXT, RAW):
        assert isinstance(number, bytes) and number.rstrip(b"\0") == data[3:].rstrip(b"\0"), where
        if object_id == TEXT:
            assert (meaning.text(number) or "") == (theirs or ""), where
        return
    assert isinstance(number, int)
    if object_id in BINARY:
        assert meaning.text(number & 1) and bool(number) == theirs, where
    elif object_id in (BUTTON, DIMMER, COMMAND):
        if theirs is None:  # an event that bthome-ble does not know, or none
            assert meaning.text(number) in (None, "none") or name.endswith(("steps", "arguments")), where
            return
        assert isinstance(theirs, tuple)
        kind, properties = theirs
        if name == "dimmer_steps":
            assert {"steps": meaning.value(number)} == properties, where
        elif name == "command_arguments":
            size = data[2] & 0x1F
            assert int(meaning.value(number) or 0).to_bytes(size, "little").hex() == properties["args"], where
        else:
            assert str(meaning.text(number)).replace(" ", "_") == kind, where
    elif object_id in (0xF1, 0xF2):
        assert ".".join(str(it) for it in raw[-MEAS_TYPES[object_id].data_length :]) == theirs, where
    elif object_id == 0x50:
        assert theirs is not None and theirs.timestamp() == meaning.value(number), where  # type: ignore[attr-defined]
    else:
        kind = MEAS_TYPES[object_id]
        sent = str(getattr(kind.meas_format, "native_unit_of_measurement", "") or "")
        _ours, factor = UNITS.get(sent, (sent, Fraction(1)))
        value = meaning.exact(number)
        assert value is not None and isinstance(theirs, int | float), where
        # bthome-ble rounds to the places of the factor's leading digit.
        assert abs(value / factor - Fraction(theirs)) <= Fraction(kind.factor) / 4, where


def test_units_are_those_of_bthome_ble() -> None:
    for channel in PROFILE.channels.values():
        assert isinstance(channel.place, BthomePlace)
        kind = MEAS_TYPES[channel.place.object].meas_format
        sent = str(getattr(kind, "native_unit_of_measurement", "") or "")
        if sent == "%":
            assert channel.unit.startswith("%")
        elif sent:
            assert channel.unit == UNITS.get(sent, (sent,))[0], channel.name
