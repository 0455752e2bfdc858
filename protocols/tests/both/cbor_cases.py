"""Cases of the CBOR codec that run on CPython and on the MicroPython VM alike."""

from gasan.wire import cbor

INFINITY = float("inf")

# What the standard's vectors say in diagnostic notation only.
DIAGNOSTIC = {
    "f97c00": INFINITY,
    "f9fc00": -INFINITY,
    "fa7f800000": INFINITY,
    "faff800000": -INFINITY,
    "fb7ff0000000000000": INFINITY,
    "fbfff0000000000000": -INFINITY,
    "c074323031332d30332d32315432303a30343a30305a": cbor.Tag(0, "2013-03-21T20:04:00Z"),
    "c11a514b67b0": cbor.Tag(1, 1363896240),
    "c1fb41d452d9ec200000": cbor.Tag(1, 1363896240.5),
    "d74401020304": cbor.Tag(23, b"\x01\x02\x03\x04"),
    "d818456449455446": cbor.Tag(24, b"dIETF"),
    "d82076687474703a2f2f7777772e6578616d706c652e636f6d": cbor.Tag(32, "http://www.example.com"),
    "40": b"",
    "4401020304": b"\x01\x02\x03\x04",
    "a201020304": {1: 2, 3: 4},
    "5f42010243030405ff": b"\x01\x02\x03\x04\x05",
}
NAN = ("f97e00", "fa7fc00000", "fb7ff8000000000000")

# Well-formed CBOR that the codec says it does not take: undefined and unassigned simple values.
NOT_TAKEN = ("f7", "f0", "f818", "f8ff")


def check_vectors(vectors):
    """Decode, compare and encode again every vector of RFC 8949, appendix A; returns what was refused."""
    refused = []
    for vector in vectors:
        encoded = bytes.fromhex(vector["hex"])
        try:
            value = cbor.loads(encoded)
        except cbor.CBORError:
            refused.append(vector["hex"])
            continue
        if vector["hex"] in NAN:
            assert value != value, vector
        else:
            expected = vector["decoded"] if "decoded" in vector else DIAGNOSTIC[vector["hex"]]
            assert type(value) is type(expected) and value == expected, vector
        if vector["roundtrip"]:
            assert cbor.dumps(value) == encoded, vector
    return refused


# Each must be refused, and without allocating what its lengths say.
HOSTILE = (
    "18", "1c", "1f", "3f", "5f", "7f", "9f", "bf", "df", "ff", "c2", "fe", "f9", "fb00", "81",
    "a1", "a101", "1800", "1817", "190000", "1900ff", "1a0000ffff", "1b00000000ffffffff", "5800",
    "9817", "b90017", "5bffffffffffffffff", "7bffffffffffffffff", "9bffffffffffffffff",
    "bbffffffffffffffff", "5a7fffffff", "9a00ffffff", "ba00ffffff", "99ffff00",
    "9bffffffffffffffffff", "dbffffffffffffffff", "81ff", "a1ff", "bf01ff", "a201010102", "a1f400",
    "a18000", "a1a000", "a1c24101", "5f6161ff", "5f5f4101ffff", "7f7f6161ffff", "7f4101ff", "61ff",
    "62c328", "7f61c361a9ff", "c200", "c24101", "c2490001020304050607", "c34a00010203040506070809",
    "f800", "f814", "f81f", "f8ff", "f7", "e0", "0000", "8101ff",
    "", "9f" * 40, "81" * 17 + "00", "c1" * 17 + "00", "a100" * 17 + "00",
)  # fmt: skip


def check_hostile():
    for text in HOSTILE:
        try:
            value = cbor.loads(bytes.fromhex(text))
        except cbor.CBORError:
            continue
        raise AssertionError(f"taken: {text} as {value!r}")


def random_value(rng, depth):
    """Any value that the codec takes; rng: a gasan.hil.fuzz.Fuzzer."""
    kind = rng.below(12 if depth else 8)
    if kind == 0:
        return (None, True, False)[rng.below(3)]
    if kind < 4:
        number = int.from_bytes(rng.noise(rng.below(9)), "big")
        return number if rng.below(2) else -1 - number
    if kind == 4:
        return int.from_bytes(b"\x01" + rng.noise(8 + rng.below(8)), "big") * (1 - 2 * rng.below(2))
    if kind == 5:
        return rng.noise(rng.below(40))
    if kind == 6:
        return "".join([chr(32 + rng.below(0x2000)) for _ in range(rng.below(20))])
    if kind == 7:
        return (rng.below(1 << 20) - (1 << 19)) / (1 << rng.below(24))
    if kind == 8:
        return cbor.Tag(24 + rng.below(1 << 20), random_value(rng, depth - 1))
    if kind == 9:
        return {rng.below(1000): random_value(rng, depth - 1) for _ in range(rng.below(6))}
    return [random_value(rng, depth - 1) for _ in range(rng.below(6))]


def check_round_trips(rng, count):
    for _ in range(count):
        value = random_value(rng, 4)
        encoded = cbor.dumps(value)
        assert cbor.loads(encoded) == value, encoded
        assert cbor.dumps(cbor.loads(memoryview(encoded))) == encoded, encoded
