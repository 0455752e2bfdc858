"""The link's packets, keys, shapes and window, without any stream."""

import hashlib
import hmac
import json
import random
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from gasan.hil import fuzz, vmrun
from gasan.hil.link_bench import LinkBench, NodeOnPty, packets, to_gateway, to_node
from gasan.wire import cbor, link
from gasan.wire.cose import Hmac

KEY = bytes(range(32))
NODE, BOOT, STORE = b"node-one", b"boot-one", b"storeone"
NONCE_G, NONCE_N = bytes(16), b"\xff" * 16
_GOLDEN = Path(__file__).parents[1] / "vectors" / "link.json"


def session(is_node: bool, key: bytes = KEY, generation: int = 1, nonce_n: bytes = NONCE_N) -> link.Session:
    context = link.context(NONCE_G, nonce_n, NODE, BOOT, STORE, generation)
    return link.Session(Hmac(link.link_key(key)), context, is_node)


def sealed(end: link.Session, kind: int, body: bytes) -> bytes:
    buf = bytearray(link.HEAD) + body + bytes(link.MAC)
    assert end.seal(buf, 0, kind, link.HEAD + len(body)) == len(buf)
    return bytes(buf)


def refusal(end: link.Session, packet: bytes) -> str:
    with pytest.raises(link.LinkError) as caught:
        end.open(packet)
    return str(caught.value)


def test_packets_pass_both_ways_in_order() -> None:
    node, gateway = session(True), session(False)
    for body in (b"", b"\x81\x01", bytes(2048)):
        assert gateway.open(sealed(node, link.DATA, body)) == body
        assert node.open(sealed(gateway, link.ACK, body)) == body
    assert (node.sent, node.seen, gateway.sent, gateway.seen) == (3, 2, 3, 2)


def test_keys_and_packet_are_what_the_spec_says() -> None:
    """Recomputed with the standard library alone."""

    def mac(key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, hashlib.sha256).digest()

    k_link = mac(KEY, b"gasan link 1")
    context = NONCE_G + NONCE_N + NODE + BOOT + STORE + b"\x01"
    head = bytes((link.ACK, mac(k_link, b"sid" + context)[0])) + (0).to_bytes(4, "big")
    gateway = session(False)
    packet = sealed(gateway, link.ACK, b"body")
    assert packet == head + b"body" + mac(mac(k_link, b"g2n" + context), head + b"body")[:8]
    packet = sealed(session(True), link.DATA, b"body")
    assert packet[-8:] == mac(mac(k_link, b"n2g" + context), packet[:-8])[:8]


def vectors() -> list[dict[str, Any]]:
    """The golden packets: made of the values at the top of this file, see `link.json`."""
    made = []
    for is_node, kind, body in (
        (False, link.WELCOME, [[[BOOT, 5, [7, 9]]]]),
        (False, link.ACK, [BOOT, 300, []]),
        (False, link.TIME_REQ, [1, 123456789]),
        (False, link.PUT, [1, BOOT, 300, 0, bytes(128)]),
        (False, link.COMMAND, [4_000_000_000, "reboot", []]),
        (True, link.STATUS, {1: 70000, 5: 0}),
        (True, link.DATA, None),
        (True, link.TIME_RESP, [1, 5000, 5001]),
        (True, link.PUT_ACK, [1, BOOT, 128, 0]),
        (True, link.RESULT, [4_000_000_000, 0, "done"]),
    ):
        data = bytes(range(256)) * 3 if body is None else cbor.dumps(body)
        end = session(is_node)
        end.sent = 0x01020304
        packet = sealed(end, kind, data)
        wire = to_gateway(packet) if is_node else to_node(packet)
        names = {"from": "node" if is_node else "gateway", "kind": kind, "body": data.hex()}
        made.append({**names, "packet": packet.hex(), "wire": wire.hex()})
    return made


def test_golden_packets() -> None:
    golden = json.loads(_GOLDEN.read_text())
    assert golden["packets"] == vectors()
    inputs = (KEY, NODE, BOOT, STORE, NONCE_G, NONCE_N)
    names = ("key", "node_id", "boot", "store_id", "nonce_g", "nonce_n")
    assert {name: golden[name] for name in names} == dict(zip(names, map(bytes.hex, inputs), strict=True))


def test_golden_packets_on_the_vm() -> None:
    program = """
import json, sys
from gasan.wire import cobs, link
from gasan.wire.cose import Hmac
golden = json.load(open(sys.argv[1]))
value = lambda name: bytes.fromhex(golden[name])
k_link = Hmac(link.link_key(value("key")))
for case in golden["packets"]:
    names = ("nonce_g", "nonce_n", "node_id", "boot", "store_id")
    context = link.context(*[value(name) for name in names], 1)
    ends = [link.Session(k_link, context, is_node) for is_node in (False, True)]
    sender = ends[case["from"] == "node"]
    receiver = ends[case["from"] == "gateway"]
    body, packet, wire = [bytes.fromhex(case[name]) for name in ("body", "packet", "wire")]
    sender.sent = 0x01020304
    buf = bytearray(6) + body + bytearray(8)
    sender.seal(buf, 0, case["kind"], 6 + len(body))
    assert buf == packet
    buf = bytearray(wire[1:-1])
    if case["from"] == "node":
        carried = bytes(buf[1:cobs.decode(buf, 0, len(buf))])
    else:
        carried = link.unarmour(bytes(buf))
    assert carried == packet and receiver.open(carried) == body
print(len(golden["packets"]))
"""
    assert vmrun.run(program, _GOLDEN) == "10\n"


def test_refuses_each_for_its_reason() -> None:
    node, gateway = session(True), session(False)
    first, second = sealed(gateway, link.ACK, b"1"), sealed(gateway, link.ACK, b"2")
    assert node.open(second) == b"2"
    assert refusal(node, first) == link.REPLAYED  # late is as bad as twice
    assert refusal(node, second) == link.REPLAYED
    assert refusal(node, sealed(node, link.DATA, b"")) == link.REFLECTED
    assert refusal(node, bytes((0x7F,)) + first[1:]) == link.MALFORMED
    assert refusal(node, first[:13]) == link.MALFORMED
    third = sealed(gateway, link.ACK, b"3")
    for i in range(len(third)):
        if i != 1:
            changed = third[:i] + bytes((third[i] ^ 1,)) + third[i + 1 :]
            assert refusal(node, changed) in (link.FORGED, link.REFLECTED, link.MALFORMED)
    assert refusal(node, third[:1] + bytes((third[1] ^ 1,)) + third[2:]) == link.STALE
    assert node.open(third) == b"3"  # what was refused has left no trace


def test_a_message_turned_around_does_not_pass_under_a_kind_that_goes_both_ways() -> None:
    node = session(True)
    assert refusal(node, sealed(node, link.BYE, b"")) == link.FORGED


@pytest.mark.parametrize("other", [{"key": bytes(32)}, {"generation": 2}, {"nonce_n": bytes(16)}])
def test_another_session_is_refused(other: dict[str, Any]) -> None:
    packet = bytearray(sealed(session(False, **other), link.COMMAND, b"body"))
    assert refusal(session(True), bytes(packet)) in (link.STALE, link.FORGED)
    packet[1] = session(True).id
    assert refusal(session(True), bytes(packet)) == link.FORGED


def test_armour_leaves_no_control_byte() -> None:
    for size in range(200):
        packet = bytes(range(256))[:size]
        text = link.armour(packet)
        assert link.unarmour(text) == packet
        assert all(0x2B <= byte <= 0x7A for byte in text)
        assert size > 186 or len(text) + 2 <= link.NODE_PACKET_MAX


GOOD: list[tuple[int, Any]] = [
    (link.ANNOUNCE, [1, NODE, 255, BOOT]),
    (link.HELLO, [1, NONCE_G, STORE]),
    (link.REPLY, [1, NODE, 0, BOOT, NONCE_N]),
    (link.WELCOME, [[]]),
    (link.WELCOME, [[[BOOT, 5, []], [NODE, 0, [1, 1, 3, 9]]]]),
    (link.ACK, [BOOT, 2**32, []]),
    (link.ACK, [BOOT, 0, [n for i in range(8) for n in (3 * i + 1, 3 * i + 2)]]),
    (link.TIME_REQ, [1, 2**41]),
    (link.TIME_RESP, [1, 0, 0]),
    (link.PUT, [1, BOOT, 300, 128, bytes(128)]),
    (link.PUT_ACK, [1, BOOT, 128, 0]),
    (link.COMMAND, [7, "reboot", []]),
    (link.COMMAND, [7, "activate", [BOOT, 1, "x", [1, [2]]]]),
    (link.RESULT, [7, 0, "done"]),
    (link.SEEN, [77]),
]
BAD: list[tuple[int, Any]] = [
    (link.ANNOUNCE, [1, NODE, 255]),
    (link.ANNOUNCE, [1, NODE[:7], 255, BOOT]),
    (link.ANNOUNCE, {}),
    (link.HELLO, [True, NONCE_G, STORE]),
    (link.HELLO, []),
    (link.WELCOME, [[[BOOT, 5]]]),
    (link.WELCOME, [[[BOOT, 5, [5, 6]]]]),
    (link.WELCOME, [[5]]),
    (link.ACK, [BOOT, -1, []]),
    (link.ACK, [BOOT, 0, [2]]),
    (link.ACK, [BOOT, 0, [2, 1]]),
    (link.ACK, [BOOT, 0, [0, 1]]),  # would be next = 2
    (link.ACK, [BOOT, 0, [1, 2, 3, 4]]),  # would be one range
    (link.ACK, [BOOT, 0, [1, "2"]]),
    (link.ACK, [BOOT, 0, [n for i in range(9) for n in (3 * i + 1, 3 * i + 2)]]),
    (link.ACK, [BOOT, False, []]),
    (link.TIME_REQ, [1, 2.0]),
    (link.PUT, [1, BOOT, 300, 128, "text"]),
    (link.COMMAND, [7, b"reboot", []]),
    (link.COMMAND, [7, "reboot", None]),
    (link.RESULT, [7, 0, None]),
    (link.SEEN, [[77]]),
]


@pytest.mark.parametrize(("kind", "body"), GOOD)
def test_takes_bodies_of_the_right_shape(kind: int, body: Any) -> None:
    assert link.body(kind, cbor.dumps(body)) == body


@pytest.mark.parametrize(("kind", "body"), BAD)
def test_refuses_bodies_of_another_shape(kind: int, body: Any) -> None:
    with pytest.raises(link.LinkError):
        link.body(kind, cbor.dumps(body))


def test_tells_another_version_from_a_mistake() -> None:
    with pytest.raises(link.LinkError, match="version"):
        link.body(link.HELLO, cbor.dumps([2, "whatever", "comes", "then"]))
    with pytest.raises(link.LinkError, match="malformed"):
        link.body(link.ACK, b"\x83")
    with pytest.raises(link.LinkError, match="malformed"):
        link.body(link.BYE, b"\x80\x80")
    assert link.body(link.BYE, b"") == []


class TestSettle:
    A, B = b"boot-aaa", b"boot-bbb"

    def flying(self) -> list[list[Any]]:
        return [[self.A, 7, 0], [self.A, 8, 0], [self.B, 0, 0], [self.B, 1, 0], [self.B, 2, 0]]

    def test_everything_before_next_is_done(self) -> None:
        flying = self.flying()
        assert not link.settle(flying, self.A, 9, [])
        assert flying == self.flying()[2:]
        assert not link.settle(flying, self.B, 2, [])
        assert flying == self.flying()[4:]

    def test_a_hole_before_something_held_is_a_loss(self) -> None:
        flying = self.flying()
        assert link.settle(flying, self.B, 0, [1, 2])
        assert flying == self.flying()[:3]
        assert link.settle(flying, self.A, 7, [8, 8])
        assert flying == [[self.A, 7, 0], [self.B, 0, 0]]

    def test_what_comes_behind_a_held_one_is_only_late(self) -> None:
        flying = self.flying()
        assert not link.settle(flying, self.B, 1, [])
        assert not link.settle(flying, self.A, 8, [])
        assert flying == [[self.A, 8, 0], [self.B, 1, 0], [self.B, 2, 0]]

    def test_another_boot_says_nothing_about_order(self) -> None:
        flying = self.flying()
        assert not link.settle(flying, self.B, 3, [])
        assert flying == self.flying()[:2]

    def test_what_is_held_twice_or_was_never_sent_does_no_harm(self) -> None:
        flying = self.flying()
        for _ in range(2):
            assert not link.settle(flying, self.A, 8, [])
        assert not link.settle(flying, self.A, 100, [200, 300])
        assert not link.settle(flying, b"boot-ccc", 100, [])
        assert flying == self.flying()[2:]

    def test_any_acknowledgement_against_a_plain_set(self, seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(2000):
            seqs = sorted(rng.sample(range(20), 8))
            upto = rng.randrange(20)
            edges = sorted(rng.sample(range(upto + 1, 60), 2 * rng.randrange(5)))
            held = {
                *range(upto),
                *(n for i in range(0, len(edges), 2) for n in range(edges[i], edges[i + 1] + 1)),
            }
            flying: list[list[Any]] = [[self.A, seq, 0] for seq in seqs]
            lost = link.settle(flying, self.A, upto, edges)
            assert [entry[1] for entry in flying] == [seq for seq in seqs if seq not in held]
            assert lost == any(a not in held and b in held for a, b in pairwise(seqs))


CORPUS = [bytes((kind,)) + cbor.dumps(body) for kind, body in GOOD]
ARMOURED = [link.armour(data + bytes(13)) for data in CORPUS]


def test_fuzz_bodies(seed: int, fuzz_count: int) -> None:
    known = {kind for kind, _ in GOOD}

    def decode(data: bytes) -> None:
        kind = data[0] if data and data[0] in known else link.ACK
        assert len(link.body(kind, data[1:])) < 8

    accepted, refused = fuzz.run(decode, link.LinkError, fuzz.Fuzzer(seed, CORPUS), fuzz_count)
    assert accepted and refused


def test_fuzz_packets(seed: int, fuzz_count: int) -> None:
    """Nothing that was not sealed is ever opened."""
    node, gateway = session(True), session(False)
    corpus = [sealed(gateway, data[0], data[1:]) for data in CORPUS] + [sealed(node, link.DATA, bytes(300))]
    node.seen = gateway.sent
    accepted, _ = fuzz.run(node.open, link.LinkError, fuzz.Fuzzer(seed, corpus), fuzz_count)
    assert not accepted


_FUZZ_VM = f"""
import sys
from gasan.hil import fuzz
from gasan.wire import link
from gasan.wire.cose import Hmac
known = {sorted({kind for kind, _ in GOOD})!r}

def decode(data):
    kind = data[0] if data and data[0] in known else link.ACK
    assert len(link.body(kind, data[1:])) < 8

session = link.Session(Hmac(bytes(32)), bytes(57), True)

def opened(data):
    session.open(link.unarmour(data))

seed, count = int(sys.argv[1]), int(sys.argv[2])
print(*fuzz.run(decode, link.LinkError, fuzz.Fuzzer(seed, {CORPUS!r}), count))
print(*fuzz.run(opened, link.LinkError, fuzz.Fuzzer(seed, {ARMOURED!r}), count))
"""


def test_fuzz_on_the_vm(seed: int, fuzz_count_vm: int, bits: int) -> None:
    bodies, opened = vmrun.run(_FUZZ_VM, seed, fuzz_count_vm, bits=bits, heap="1m", timeout=200).splitlines()
    accepted, refused = map(int, bodies.split())
    assert accepted and refused
    assert opened.split() == ["0", str(fuzz_count_vm)]


def test_shapes_on_the_vm() -> None:
    lines = [f"good({kind}, {cbor.dumps(body)!r})" for kind, body in GOOD]
    lines += [f"bad({kind}, {cbor.dumps(body)!r})" for kind, body in BAD]
    program = """
from gasan.wire import link
def good(kind, data):
    link.body(kind, data)
def bad(kind, data):
    try:
        link.body(kind, data)
    except link.LinkError:
        return
    raise AssertionError(data)
"""
    assert vmrun.run(program + "\n".join(lines) + "\nprint('all')") == "all\n"


def test_cddl_against_bodies_that_were_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of message that a gateway and a node on the VM exchange is what link.cddl says."""
    kinds = (link.ANNOUNCE, link.HELLO, link.REPLY, link.WELCOME, link.ACK, link.TIME_REQ, link.TIME_RESP)
    kinds += (link.STATUS, link.PUT, link.PUT_ACK, link.COMMAND, link.RESULT, link.SEEN)
    words = "announce hello reply welcome ack time-req time-resp status put put-ack command result seen"
    names = dict(zip(kinds, words.split(), strict=True))
    seen: dict[str, list[bytes]] = {name: [] for name in names.values()}
    opened, body, seal = link.Session.open, link.body, link.Session.seal

    def spy_open(self: link.Session, packet: bytes) -> bytes:
        data = opened(self, packet)
        if packet[0] == link.STATUS:
            seen["status"].append(data)
        return data

    def spy_seal(self: link.Session, buf: bytearray, start: int, kind: int, end: int) -> int:
        if kind in names:
            seen[names[kind]].append(bytes(buf[start + link.HEAD : end]))
        return seal(self, buf, start, kind, end)

    def spy_body(kind: int, data: bytes) -> list[Any]:
        seen.setdefault(names[kind], []).append(data)
        return body(kind, data)

    monkeypatch.setattr(link.Session, "open", spy_open)
    monkeypatch.setattr(link.Session, "seal", spy_seal)
    monkeypatch.setattr(link, "body", spy_body)
    with NodeOnPty(frames=20) as node:
        bench = LinkBench(node)
        bench.connect()
        bench.session.request_time()
        bench.session.put(1, bytes(500))
        bench.ask("look")
        bench.until(lambda: all(seen[name] for name in seen if name != "hello"))
        seen["hello"] = [
            packet[1:] for packet in packets(bytes(bench.sent), armoured=True) if packet[0] == link.HELLO
        ]
    zcbor = shutil.which("zcbor", path=str(Path(sys.executable).parent))
    assert zcbor
    cddl = Path(__file__).parents[1] / "link.cddl"
    for name, bodies in seen.items():
        for data in {bodies[0], bodies[-1]}:
            done = subprocess.run(
                [zcbor, "validate", "-c", str(cddl), "-t", name, "-i", "-", "--input-as", "cborhex"],
                input=data.hex(),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (name, data.hex(), done.stderr)
