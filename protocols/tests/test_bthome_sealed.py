"""Encrypted BTHome: agrees with bthome-ble and the published example, and takes no forged or old advert."""

import random

import pytest
from gasan.hil import fuzz, vmrun
from gasan.hil.aes_peer import ecb, encipher
from gasan.hil.bthome_judge import ADDRESS, advert, assert_same, body, objects
from gasan.wire import bthome, ccm
from gasan.wire.bthome_sealed import Sealed

SENDER = bytes.fromhex(ADDRESS.replace(":", ""))
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
OBJECTS = bytes.fromhex("02ca09 03bf13")


def sealed(
    objects: bytes,
    counter: int,
    key: bytes = KEY,
    information: int = 0x41,
    sender: bytes = SENDER,
    address: bytes = b"",
) -> bytes:
    """Service data that a sensor with this key sends; `address` when it says its address inside."""
    count = counter.to_bytes(4, "little")
    nonce = (address or sender) + b"\xd2\xfc" + bytes([information]) + count
    made = encipher(key, nonce, objects)
    return bytes([information]) + address[::-1] + made[:-4] + count + made[-4:]


def receiver(key: bytes | None = KEY, sender: bytes = SENDER) -> Sealed:
    return Sealed(sender, None if key is None else ccm.Seal(ccm.Ccm(ecb), key), 256)


def heard(view: Sealed, service_data: bytes) -> int:
    data = advert(service_data)
    return view.open(data, 0, len(data))


def test_the_example_of_the_specification() -> None:
    """bthome.io/encryption, and bthome_v2_encryption.py of bthome-ble."""
    view = receiver(sender=bytes.fromhex("5448e68f80a5"))
    assert heard(view, bytes.fromhex("41 e445f3c9962b 33221100 6c7c4519")) == bthome.READABLE
    assert objects(view) == [(0x02, b"\xca\x09", 2506), (0x03, b"\xbf\x13", 5055)]


def test_agrees_with_bthome_ble_on_10_000_generated_adverts(seed: int) -> None:
    rng = random.Random(seed)
    count = 0
    while count < 10_000:
        made = body(rng)
        if len(made) < 2:  # bthome-ble wants two bytes
            continue
        key = rng.randbytes(16)
        information, address = rng.choice([(0x41, b""), (0x45, b""), (0x43, rng.randbytes(6))])
        data = sealed(made, rng.randrange(1 << 32), key, information, address=address)
        view = receiver(key)
        assert heard(view, data) == bthome.READABLE
        assert_same(data, objects(view), key)
        count += 1


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 32, 33, 200, 239])
@pytest.mark.parametrize("nonce_size", [11, 12, 13])
@pytest.mark.parametrize("more", [-1, 0x11])
def test_ccm_agrees_with_cryptography(size: int, nonce_size: int, more: int, seed: int) -> None:
    rng = random.Random(seed)
    key, nonce, text = rng.randbytes(16), rng.randbytes(nonce_size), rng.randbytes(size)
    made = encipher(key, nonce, text, None if more < 0 else bytes([more]))
    one, out = ccm.Ccm(ecb), bytearray(size + 3)
    assert one.open(key, nonce, more, made, 0, size, size, out, 2)
    assert out == bytes(2) + text + bytes(1)
    for at in range(0, len(made), 7):
        changed = bytearray(made)
        changed[at] ^= 1 << rng.randrange(8)
        assert not one.open(key, nonce, more, changed, 0, size, size, out, 2)
        assert out == bytes(size + 3)  # nothing of what is not genuine is left


def test_the_same_advert_again_is_no_news_and_an_older_one_a_replay() -> None:
    view = receiver()
    assert heard(view, sealed(OBJECTS, 1000)) == bthome.READABLE
    assert heard(view, sealed(OBJECTS, 1000)) == ccm.REPEATED
    assert heard(view, sealed(b"\x02\x00\x00", 1000)) == ccm.REPLAYED  # the same counter, other content
    assert heard(view, sealed(OBJECTS, 999)) == ccm.REPLAYED
    assert heard(view, sealed(OBJECTS, 5)) == ccm.REPLAYED
    assert heard(view, sealed(OBJECTS, 1001)) == bthome.READABLE
    assert heard(view, sealed(OBJECTS, 0xFFFFFFFF)) == bthome.READABLE
    assert heard(view, sealed(OBJECTS, 1002)) == ccm.REPLAYED


def test_a_counter_starts_again_only_after_silence_and_low() -> None:
    view = receiver()
    assert view.seal is not None
    assert heard(view, sealed(OBJECTS, 70_000)) == bthome.READABLE
    view.seal.fell_silent()
    assert heard(view, sealed(OBJECTS, 69_999)) == ccm.REPLAYED
    assert heard(view, sealed(OBJECTS, 100)) == ccm.REPLAYED
    assert heard(view, sealed(OBJECTS, 3, key=bytes(16))) == ccm.FORGED
    assert heard(view, sealed(OBJECTS, 3)) == bthome.READABLE
    assert heard(view, sealed(OBJECTS, 2)) == ccm.REPLAYED


def test_what_is_not_encrypted_any_more_is_not_believed() -> None:
    view = receiver()
    assert heard(view, b"\x40" + OBJECTS) == ccm.PLAIN
    assert view.objects == 0
    assert heard(view, sealed(OBJECTS, 1)) == bthome.READABLE
    assert heard(view, b"\x40" + OBJECTS) == ccm.PLAIN
    assert view.objects == 0 and view.find(0x02, 0) == -1


def test_what_is_not_made_with_the_key() -> None:
    view = receiver()
    assert heard(view, sealed(OBJECTS, 7, key=bytes(16))) == ccm.FORGED
    assert heard(view, sealed(OBJECTS, 7, sender=bytes(6))) == ccm.FORGED
    good = sealed(OBJECTS, 7)
    for at in range(len(good)):
        changed = bytearray(good)
        changed[at] ^= 0x10 if at else 0x04
        assert heard(view, bytes(changed)) == ccm.FORGED, at
    for size in range(1, len(good)):
        assert heard(view, good[:size]) == ccm.FORGED, size
    assert heard(view, sealed(OBJECTS, 7, information=0x43, address=SENDER)[:14]) == ccm.FORGED
    assert view.objects == 0
    assert heard(view, good) == bthome.READABLE  # none of these has moved the counter
    assert heard(view, b"") == bthome.FOREIGN
    assert heard(view, b"\x21" + good[1:]) == bthome.FOREIGN


def test_more_than_there_is_room_for() -> None:
    view = Sealed(SENDER, ccm.Seal(ccm.Ccm(ecb), KEY))
    assert heard(view, sealed(b"\x01\x61" * 16, 1)) == ccm.FORGED
    assert heard(view, sealed(b"\x01\x61" * 15, 1)) == bthome.READABLE
    assert view.objects == 15


def test_without_a_key_nothing_is_read() -> None:
    view = receiver(None)
    assert heard(view, sealed(OBJECTS, 7)) == bthome.ENCRYPTED
    assert heard(view, b"\x40" + OBJECTS) == ccm.PLAIN
    assert view.objects == 0


CORPUS = [
    advert(sealed(OBJECTS, 7)),
    advert(sealed(OBJECTS, 0xFFFFFFF0)),
    advert(sealed(b"", 9)),
    advert(sealed(OBJECTS, 8, information=0x43, address=SENDER)),
    advert(b"\x40" + OBJECTS),
]

DECODE = """
def decode(data):
    view.seal.fell_silent()  # the counter is no obstacle
    state = view.open(data, 0, len(data))
    if state == 1:
        if bytes(view.buf[view.start : view.end]) not in GENUINE:
            raise AssertionError("forged")
        for object_id in (2, 3):
            at = view.find(object_id, 0)
            if at >= 0:
                view.widen(object_id, at, out, 8)
    elif not 0 <= state <= 6 or view.objects:
        raise AssertionError("undocumented")
"""
GENUINE = [b"\x41" + OBJECTS, b"\x43" + OBJECTS, b"\x41"]


def test_hostile_bytes_on_cpython(seed: int, fuzz_count: int) -> None:
    space = {"view": receiver(), "out": bytearray(8), "GENUINE": GENUINE}
    exec(DECODE, space)
    accepted, refused = fuzz.run(space["decode"], bthome.BTHomeError, fuzz.Fuzzer(seed, CORPUS), fuzz_count)
    assert accepted == fuzz_count and refused == 0


def test_hostile_bytes_on_the_vm(bits: int, seed: int, fuzz_count_vm: int) -> None:
    program = (
        "import sys, gc, cryptolib\n"
        "from gasan.hil import fuzz\n"
        "from gasan.wire import bthome, ccm\n"
        "from gasan.wire.bthome_sealed import Sealed\n"
        f"GENUINE, CORPUS = {GENUINE}, {CORPUS}\n"
        "one = ccm.Ccm(lambda key: cryptolib.aes(key, 1).encrypt)\n"
        f"view, out = Sealed({SENDER}, ccm.Seal(one, {KEY})), bytearray(8)\n"
        + DECODE
        + """
decode(CORPUS[0])
gc.collect()
before = gc.mem_alloc()
print(fuzz.run(decode, bthome.BTHomeError, fuzz.Fuzzer(int(sys.argv[1]), CORPUS), int(sys.argv[2])))
gc.collect()
print(gc.mem_alloc() - before)
"""
    )
    out = vmrun.run(program, seed, fuzz_count_vm, bits=bits, heap="128wk", timeout=120)
    counts, grown = out.split("\n")[:2]
    assert counts == f"({fuzz_count_vm}, 0)"
    assert int(grown) < 512
