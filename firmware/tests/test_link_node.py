"""The node's end of the link on a real VM, with an attacker on the cable, or a gateway that is gone."""

import os
import random
import re
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gasan.hil.link_bench import KEY, NODE_ID, STORE_ID, LinkBench, NodeOnPty, packets, to_gateway, to_node
from gasan.host.link import FrameReceived, Log, SessionDown, SessionUp, Text, TimeSample
from gasan.wire import cbor, cobs, link, session
from gasan.wire.cose import Hmac


@pytest.fixture
def bench() -> Iterator[LinkBench]:
    """In session with a node that holds 5 frames, of which none is acknowledged."""
    with NodeOnPty(frames=5) as node:
        bench = LinkBench(node, acknowledge=False)
        bench.connect()
        bench.until(lambda: len(bench.frames) == 5)
        yield bench


def test_the_numbers_of_the_protocol_are_the_same_everywhere() -> None:
    """A node has them as constants of its own, so that they cost no memory."""
    node = Path(__file__).parents[1] / "gasan" / "node"
    wire = Path(__file__).parents[2] / "protocols" / "gasan" / "wire"
    known = 0
    for path in (node / "link.py", node / "jobs.py", wire / "session.py"):
        for name, value in re.findall(r"^_(\w+) = const\((\w+)\)", path.read_text(), re.MULTILINE):
            if hasattr(link, name):
                assert getattr(link, name) == int(value, 0), (path, name)
                known += 1
    assert known >= 24
    assert set(session._TO_NODE) == set(link.TO_NODE)
    assert set(session._TO_GATEWAY) == set(link.TO_GATEWAY)


def sent(bench: LinkBench, kind: int) -> list[bytes]:
    """The packets of a kind that the gateway has sent."""
    return [packet for packet in packets(bytes(bench.sent), armoured=True) if packet[0] == kind]


def forged(bench: LinkBench, kind: int, body: object) -> bytes:
    """A packet with the right session and a counter to come, of somebody who has not the key."""
    number = sent(bench, link.WELCOME)[-1][1]
    return bytes((kind, number)) + (10_000).to_bytes(4, "big") + cbor.dumps(body) + b"\x5a" * 8


def refused(bench: LinkBench, reason: str, count: int = 1) -> None:
    """The node has refused so many packets for that reason and none for another, and the session stands."""
    assert bench.look("refused") == {reason: count}
    assert bench.session.up
    assert len(bench.of(SessionUp)) == 1 and not bench.of(SessionDown)


def test_a_forged_acknowledgement_deletes_nothing(bench: LinkBench) -> None:
    boot = bench.of(SessionUp)[0].boot
    bench.write(to_node(forged(bench, link.ACK, [boot, 5, []])))
    assert bench.look()["left"] == 5
    refused(bench, "forged")


def test_a_forged_time_request_is_not_answered(bench: LinkBench) -> None:
    bench.write(to_node(forged(bench, link.TIME_REQ, [1, 1])))
    bench.session.request_time()
    bench.until(lambda: bool(bench.of(TimeSample)))
    answers = [p for p in packets(bytes(bench.heard), armoured=False) if p[0] == link.TIME_RESP]
    assert len(answers) == 1
    refused(bench, "forged")


def test_a_forged_command_is_not_done(bench: LinkBench) -> None:
    bench.write(to_node(forged(bench, link.COMMAND, [1, "frames", [50]])))
    look = bench.look()
    assert (look["left"], look["done"]) == (5, 1)
    refused(bench, "forged")


def test_a_forged_put_stores_nothing(bench: LinkBench) -> None:
    bench.write(to_node(forged(bench, link.PUT, [1, bytes(8), 100, 0, bytes(100)])))
    assert bench.look()["blob"] == 0
    refused(bench, "forged")


def test_a_forged_bye_does_not_end_the_session(bench: LinkBench) -> None:
    bench.write(to_node(forged(bench, link.BYE, None)[:6] + bytes(8)))
    refused(bench, "forged")


def test_a_replayed_packet_has_no_effect(bench: LinkBench) -> None:
    bench.ask("frames", 1)
    command = sent(bench, link.COMMAND)[-1]
    bench.write(to_node(command))
    bench.write(to_node(command))
    assert bench.look()["left"] == 6
    refused(bench, "replayed", 2)


def test_a_replayed_session_is_refused_whole(bench: LinkBench) -> None:
    """All that the gateway ever sent, once more: its HELLO is answered, and the keys are others."""
    bench.ask("frames", 1)
    first = packets(bytes(bench.sent), armoured=True)
    assert first[0][0] == link.HELLO and first[1][0] == link.WELCOME
    time.sleep(0.6)  # past the gap in which HELLOs are not answered
    replies = bench.heard.count(NODE_ID)
    for packet in first:
        bench.write(to_node(packet))
    bench.until(lambda: bench.heard.count(NODE_ID) > replies)
    assert bench.look()["left"] == 6
    reasons = bench.look("refused")
    assert set(reasons) <= {"replayed", "stale", "forged"} and sum(reasons.values()) == len(first) - 1
    assert len(bench.of(SessionUp)) == 1 and not bench.of(SessionDown)


def test_a_replayed_session_is_refused_by_a_node_without_one() -> None:
    """The recording of one node's session, played to the same node after it has started again."""
    with NodeOnPty(frames=5) as node:
        bench = LinkBench(node)
        bench.connect()
        bench.ask("frames", 1)
        recording = packets(bytes(bench.sent), armoured=True)
    with NodeOnPty(frames=5) as node:
        bench = LinkBench(node, acknowledge=False)
        for packet in recording:
            bench.write(to_node(packet))
        bench.until(lambda: any(p[0] == link.REPLY for p in packets(bytes(bench.heard), armoured=False)))
        assert not bench.session.up
        bench.connect()
        look = bench.look()
        assert (look["left"], look["done"]) == (5, 1)
        reasons = bench.look("refused")
        assert reasons["stale"] >= 1 and set(reasons) <= {"stale", "forged", "spam"}


def test_a_reflected_message_is_refused(bench: LinkBench) -> None:
    """What the node itself has said, back to it: as it was, and dressed as the gateway's."""
    own = packets(bytes(bench.heard), armoured=False)
    assert {packet[0] for packet in own} >= {link.ANNOUNCE, link.REPLY, link.STATUS, link.DATA}
    for packet in own:
        if len(packet) < 180:
            bench.write(to_node(packet))
    count = sum(len(packet) < 180 for packet in own)
    refused(bench, "reflected", count)
    bench.write(to_gateway(next(packet for packet in own if packet[0] == link.STATUS)))
    assert sum(bench.look("refused").values()) == count + 1
    assert bench.look()["left"] == 5


def test_a_gateway_with_another_generation_of_the_key_gets_no_session() -> None:
    """It does not even believe the node; made to go on all the same, the node does not believe it."""
    with NodeOnPty(generation=2, key=bytes(32)) as node:
        bench = LinkBench(node, keys=lambda node_id, generation: KEY)
        bench.until(lambda: bench.session.counters["forged"] > 0)
        assert not bench.session.up
        reply = next(p for p in packets(bytes(bench.heard), armoured=False) if p[0] == link.REPLY)
        _, node_id, generation, boot, nonce_n = link.body(link.REPLY, reply[1:-8])
        nonce_g = link.body(link.HELLO, sent(bench, link.HELLO)[-1][1:])[1]
        context = link.context(nonce_g, nonce_n, node_id, boot, STORE_ID, generation)
        wrong = link.Session(Hmac(link.link_key(KEY)), context, False)
        buf = bytearray(link.HEAD) + cbor.dumps([[[boot, 5, []]]]) + bytes(8)
        wrong.seal(buf, 0, link.WELCOME, len(buf) - 8)
        bench.write(to_node(bytes(buf)))
        bench.run(0.3)
        assert not bench.session.up
        bench.session = LinkBench(node, keys=lambda node_id, generation: bytes(32)).session
        bench.connect()
        assert set(bench.look("refused")) & {"stale", "forged"}


def test_hellos_do_not_disturb_a_session(bench: LinkBench, seed: int) -> None:
    """They cost an answer each half second; the session and its frames go on."""
    rng = random.Random(seed)
    replies = len([p for p in packets(bytes(bench.heard), armoured=False) if p[0] == link.REPLY])
    bench.acknowledge = True
    for _ in range(100):
        bench.write(to_node(bytes((link.HELLO,)) + cbor.dumps([1, rng.randbytes(16), rng.randbytes(8)])))
        bench.turn()
    bench.ask("frames", 20)
    bench.until(lambda: len(bench.frames) == 25)
    bench.until(lambda: bench.look()["left"] == 0)
    answered = len([p for p in packets(bytes(bench.heard), armoured=False) if p[0] == link.REPLY]) - replies
    assert 1 <= answered <= 20
    refused(bench, "spam", 100 - answered)
    assert bench.look()["rewinds"] == 1  # that of the WELCOME


def test_a_session_of_another_boot_or_store_takes_over_only_with_a_welcome(bench: LinkBench) -> None:
    """A second gateway with the key says HELLO: until its WELCOME the first one's session stands."""
    second = LinkBench(bench.node)
    time.sleep(0.6)
    second.session.tick(second.now_ms())
    hello = second.session.take_output()
    bench.write(hello)
    bench.until(lambda: bench.heard.count(NODE_ID) >= 3)  # announcement, two replies
    assert bench.look()["left"] == 5
    second.session.feed(bytes(bench.heard), second.now_ms())
    bench.write(second.session.take_output())  # the WELCOME
    second.until(lambda: second.session.up)
    assert second.look()["done"] == 2


def test_oversize_and_broken_packets_are_counted_and_skipped(bench: LinkBench, seed: int) -> None:
    rng = random.Random(seed)
    bench.write(b"\x00" + b"A" * 5000 + b"\x00")  # longer than the buffer
    bench.write(b"\x00" + b"A" * 301 + b"\x00")
    bench.write(b"\x00QUJ\x00")  # no base64
    bench.write(b"\x00====\x00")  # nothing inside
    bench.write(to_node(sent(bench, link.WELCOME)[0][:13]))  # cut short
    assert bench.look("refused") == {"oversize": 2, "malformed": 3}
    for _ in range(50):
        bench.write(rng.randbytes(rng.randrange(600)))
        bench.turn()
    bench.write(b"\x00")
    assert bench.look()["left"] == 5


def test_a_fuzzed_line_leaves_the_node_alive(seed: int, fuzz_count_vm: int, bits: int) -> None:
    """Mutated packets of a real session, a megabyte of them, and the spool is untouched."""
    rng = random.Random(seed)
    with NodeOnPty(frames=5, bits=bits) as node:
        bench = LinkBench(node, acknowledge=False)
        bench.connect()
        bench.ask("look")
        corpus = [to_node(packet) for packet in packets(bytes(bench.sent), armoured=True)]
        for _ in range(fuzz_count_vm // 10):
            data = bytearray(rng.choice(corpus))
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            bench.write(bytes(data))
            bench.turn(0)
        assert bench.look()["left"] == 5
        assert len(bench.look("refused")) >= 3


def test_a_node_whose_gateway_is_gone_announces_itself_again() -> None:
    with NodeOnPty() as node:
        bench = LinkBench(node)
        bench.connect()
        silent_from = time.monotonic()
        heard = b""
        while not any(packet[0] == link.ANNOUNCE for packet in packets(heard, armoured=False)):
            assert time.monotonic() < silent_from + 9
            if select.select([node.fd], [], [], 0.1)[0]:
                heard += os.read(node.fd, 4096)
        assert 5 < time.monotonic() - silent_from < 8
        bench.session.lost(bench.now_ms())
        bench.connect()


def test_a_host_that_does_not_read_does_not_stop_the_node() -> None:
    """The cable is full and nobody reads: the node's other tasks go on, and later every frame arrives."""
    with NodeOnPty(frames=1) as node:
        bench = LinkBench(node)
        bench.connect()
        bench.session.command("frames", 40, 1900)
        until = time.monotonic() + 6
        while time.monotonic() < until:
            bench.session.tick(bench.now_ms())
            bench.write(bench.session.take_output())
            time.sleep(0.05)
        bench.until(lambda: len(bench.frames) == 41, 30)
        assert bench.look("refused")["stalled"] >= 1
        assert bench.look()["late_ms"] < 500
        bench.until(lambda: bench.look()["left"] == 0)


def test_text_travels_between_packets(bench: LinkBench) -> None:
    bench.ask("log", "first line", "second line: 안녕")
    bench.ask("print", "printed by somebody else")
    bench.until(lambda: len(bench.of(Text)) >= 3)
    texts = [event.line for event in bench.of(Text)]
    assert [text.split(" I ")[-1] for text in texts] == [
        "first line",
        "second line: 안녕",
        "printed by somebody else",
    ]
    assert not bench.session.counters


def test_text_on_a_stream_that_is_no_console_travels_in_packets() -> None:
    with NodeOnPty(console=False) as node:
        bench = LinkBench(node)
        bench.connect()
        bench.ask("log", "one", "two")
        bench.until(lambda: len(bench.of(Log)) == 2)
        assert [event.text.split(" I ")[-1] for event in bench.of(Log)] == ["one", "two"]


def test_what_there_is_no_room_for_is_dropped_counted_and_asked_for_again(bench: LinkBench) -> None:
    bench.session.command("slow", 1500)
    bench.run(0.2)
    assert bench.session._peer is not None
    gateway = bench.session._peer.session
    for i in range(6):  # the gateway's own session would send one after the other
        buf = bytearray(link.HEAD) + cbor.dumps([i, "frames", [1]]) + bytes(link.MAC)
        gateway.seal(buf, 0, link.COMMAND, len(buf) - link.MAC)
        bench.write(to_node(bytes(buf)))
    bench.run(2)
    assert bench.look("refused") == {"dropped": 3}
    assert bench.look()["left"] == 8


def test_a_gateway_of_another_version_is_counted(bench: LinkBench) -> None:
    bench.write(to_node(bytes((link.HELLO,)) + cbor.dumps([2, "something", "new"])))
    refused(bench, "version")


def test_a_command_that_raises_is_answered(bench: LinkBench) -> None:
    result = bench.ask("raise")
    assert result.status > 0 and "OSError" in result.text
    assert bench.ask("no such command").status == 1


def test_a_command_is_done_once_though_memory_ran_out_after_it(bench: LinkBench) -> None:
    """Nobody asks for it again in vain, since a write that is done twice is worse than one that is unsure."""
    done = bench.look()["done"]
    assert bench.ask("starved").status == 3
    assert bench.look()["done"] == done + 2


def test_a_command_that_takes_long_is_answered_when_it_is_done(bench: LinkBench) -> None:
    """The gateway asks again meanwhile."""
    asked = len(sent(bench, link.COMMAND))
    assert bench.ask("slow", 4500).status == 0
    assert len(sent(bench, link.COMMAND)) > asked + 1


def test_an_orderly_end_says_bye() -> None:
    with NodeOnPty() as node:
        bench = LinkBench(node)
        bench.connect()
        bench.ask("farewell")
        bench.until(lambda: bool(bench.of(SessionDown)), 3)
        assert [event.reason for event in bench.of(SessionDown)] == ["bye"]
        node.process.wait(5)


def test_no_control_byte_ever_goes_to_a_node(bench: LinkBench) -> None:
    """0x03 would interrupt a program, 0x04 reset a board at its prompt, 0x01 change the prompt's mode."""
    bench.session.put(1, bytes(range(256)) * 2)
    bench.ask("look")
    bench.session.request_time()
    bench.run(1.5)
    assert {byte for byte in bench.sent if byte < 0x20 or byte > 0x7E} == {0x00}


def test_frames_arrive_as_they_are(bench: LinkBench) -> None:
    for event in bench.of(FrameReceived):
        packet = to_gateway(event.data)
        buf = bytearray(packet.strip(b"\x00"))
        assert bytes(buf[1 : cobs.decode(buf, 0, len(buf))]) == event.data
    assert sorted(seq for _, seq in bench.frames) == [0, 1, 2, 3, 4]
