"""The gateway's session against a node made of the shared codec, in memory and in virtual time."""

import random
from collections import deque
from collections.abc import Callable, Iterator

import pytest
from gasan.hil import fuzz
from gasan.hil.link_bench import packets, to_gateway
from gasan.host.link import (
    NO_ANSWER,
    SESSION_ENDED,
    CommandResult,
    Event,
    FrameReceived,
    GatewaySession,
    Log,
    PutDone,
    PutProgress,
    SessionDown,
    SessionUp,
    Status,
    Stranger,
    Text,
    TimeSample,
)
from gasan.wire import cbor, link
from gasan.wire.cose import Hmac

KEY, STORE = bytes(range(32)), b"store-id"
_OLD_HELLO = b"\x02" + cbor.dumps([1, bytes(16), STORE])  # with a nonce that is not waited for any more


class Node:
    """The node's end: answers as a node does, as far as a test lets it."""

    def __init__(
        self, key: bytes = KEY, generation: int = 1, node_id: bytes = b"node-one", boot: bytes = b"boot-one"
    ):
        self.k_link = Hmac(link.link_key(key))
        self.generation, self.node_id, self.boot = generation, node_id, boot
        self.nonce = random.randbytes(16)
        self.session: link.Session | None = None

    def announce(self) -> bytes:
        return to_gateway(b"\x01" + cbor.dumps([1, self.node_id, self.generation, self.boot]))

    def reply(self, hello: bytes) -> bytes:
        _, nonce_g, store_id = link.body(link.HELLO, hello[1:])
        packet = b"\x03" + cbor.dumps([1, self.node_id, self.generation, self.boot, self.nonce])
        context = link.context(nonce_g, self.nonce, self.node_id, self.boot, store_id, self.generation)
        self.session = link.Session(self.k_link, context, True)
        return to_gateway(packet + self.k_link.tag(packet, nonce_g, store_id))

    def packet(self, kind: int, body: object = None, raw: bytes = b"") -> bytes:
        assert self.session is not None
        data = raw if body is None else cbor.dumps(body)
        buf = bytearray(link.HEAD) + data + bytes(link.MAC)
        self.session.seal(buf, 0, kind, link.HEAD + len(data))
        return bytes(buf)

    def send(self, kind: int, body: object = None, raw: bytes = b"") -> bytes:
        return to_gateway(self.packet(kind, body, raw))

    def opened(self, out: bytes) -> list[tuple[int, list[object]]]:
        """What the gateway has sent, checked."""
        assert self.session is not None
        found = []
        for packet in packets(out, armoured=True):
            if packet[0] != link.HELLO:
                found.append((packet[0], link.body(packet[0], self.session.open(packet))))
        return found


class Rig:
    """A session and its node, with a clock that the test moves."""

    def __init__(
        self,
        seed: int = 1,
        stored: Callable[[bytes], list[tuple[bytes, int, list[tuple[int, int]]]]] = lambda n: [],
    ) -> None:
        self.keys = {(b"node-one", 1): KEY}
        self.now = 1_000_000
        self.node = Node()
        self.session = GatewaySession(
            lambda node_id, generation: self.keys.get((node_id, generation)),
            STORE,
            self.now,
            random.Random(seed).randbytes,
            stored,
        )

    def feed(self, data: bytes) -> list[Event]:
        return self.session.feed(data, self.now)

    def wait(self, ms: int, step: int = 100) -> list[Event]:
        """Let time pass; what is sent meanwhile is lost."""
        events: list[Event] = []
        for _ in range(0, ms, step):
            self.now += step
            events += self.session.tick(self.now)
            self.session.take_output()
        return events

    def out(self) -> bytes:
        return self.session.take_output()

    def hello(self) -> bytes:
        self.now += 1000
        self.session.tick(self.now)
        (packet,) = packets(self.out(), armoured=True)
        return packet

    def up(self) -> list[Event]:
        """Come to a session; the WELCOME is taken by the node."""
        assert self.feed(self.node.reply(self.hello())) == []
        assert [kind for kind, _ in self.node.opened(self.out())] == [link.WELCOME]
        return self.feed(self.node.send(link.STATUS, {1: 0}))

    def refused(self, **counts: int) -> None:
        """So many were refused, for these reasons and no others, and the session stands."""
        assert dict(self.session.counters) == {name.replace("_", " "): n for name, n in counts.items()}
        assert self.session.up


@pytest.fixture
def rig(seed: int) -> Iterator[Rig]:
    rig = Rig(seed)
    assert rig.up() == [SessionUp(b"node-one", 1, b"boot-one"), Status({1: 0})]
    yield rig


# Coming up and going down


def test_hello_is_repeated_and_then_left_to_the_node(seed: int) -> None:
    """A board at its prompt is not talked at for ever; as soon as a node announces itself, it is asked."""
    rig = Rig(seed)
    count = 0
    for _ in range(600):
        rig.now += 100
        rig.session.tick(rig.now)
        count += len(packets(rig.out(), armoured=True))
    assert 9 <= count <= 11
    rig.feed(rig.node.announce())
    assert rig.hello()[0] == link.HELLO


def test_up_only_when_the_node_has_taken_the_welcome(seed: int) -> None:
    rig = Rig(seed)
    first = rig.hello()
    assert rig.feed(rig.node.reply(first)) == []
    assert not rig.session.up
    rig.out()  # the WELCOME is lost
    assert rig.wait(1500) == []
    again = rig.hello()
    assert again[0] == link.HELLO and again != first
    rig.feed(rig.node.reply(again))
    rig.node.opened(rig.out())
    assert rig.feed(rig.node.send(link.STATUS, {}))[0] == SessionUp(b"node-one", 1, b"boot-one")
    assert (rig.session.node_id, rig.session.generation, rig.session.boot) == (b"node-one", 1, b"boot-one")


def test_welcome_tells_what_is_stored_newest_boot_first_as_far_as_it_fits(seed: int) -> None:
    boots = [bytes((i,)) * 8 for i in range(1, 40)]
    rig = Rig(seed, lambda node_id: [(boot, 70_000, [(70_002, 80_000)]) for boot in boots])
    rig.feed(rig.node.reply(rig.hello()))
    out = rig.out()
    assert len(out) <= link.NODE_PACKET_MAX
    ((_, (entries,)),) = rig.node.opened(out)
    assert isinstance(entries, list) and len(entries) >= 5
    assert entries == [[boot, 70_000, [70_002, 80_000]] for boot in boots[: len(entries)]]


def test_a_silent_node_is_given_up_and_asked_for(rig: Rig) -> None:
    assert rig.wait(4900) == []
    assert rig.wait(200) == [SessionDown(b"node-one", "silent")]
    assert not rig.session.up and rig.session.boot is None
    assert rig.up() == [SessionUp(b"node-one", 1, b"boot-one"), Status({1: 0})]


def test_a_node_that_says_bye(rig: Rig) -> None:
    assert rig.feed(rig.node.send(link.BYE)) == [SessionDown(b"node-one", "bye")]


def test_bye_of_the_gateway(rig: Rig) -> None:
    assert rig.session.bye() == [SessionDown(b"node-one", "bye")]
    assert rig.node.opened(rig.out()) == [(link.BYE, [])]


def test_a_closed_port(rig: Rig) -> None:
    rig.feed(b"\x00half a li")
    rig.session.request_time()
    assert rig.session.lost(rig.now) == [SessionDown(b"node-one", "port closed")]
    assert rig.out() == b""
    assert rig.up()[0] == SessionUp(b"node-one", 1, b"boot-one")


def test_a_node_that_started_again_is_back_before_the_silence_is_over(rig: Rig) -> None:
    """Its announcement is not authentic, so it only has the node asked, once that has missed its STATUS."""
    again = Node(boot=b"boot-two")
    rig.feed(again.announce())
    assert rig.wait(1000) == [] and rig.out() == b""
    rig.now += 600
    rig.session.tick(rig.now)
    rig.node = again
    (hello,) = packets(rig.out(), armoured=True)
    assert rig.feed(again.reply(hello)) == [SessionDown(b"node-one", "replaced")]
    rig.node.opened(rig.out())
    assert rig.feed(again.send(link.STATUS, {}))[0] == SessionUp(b"node-one", 1, b"boot-two")


# What an attacker on the cable can do


def forged(rig: Rig, kind: int, body: object) -> bytes:
    assert rig.node.session is not None
    head = bytes((kind, rig.node.session.id)) + (10_000).to_bytes(4, "big")
    return to_gateway(head + cbor.dumps(body) + b"\x5a" * 8)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (link.DATA, b"frame"),
        (link.STATUS, {1: 1}),
        (link.SEEN, [10_000]),
        (link.PUT_ACK, [1, bytes(8), 1, 1]),
        (link.RESULT, [1, 0, ""]),
        (link.LOG, "text"),
        (link.BYE, None),
    ],
)
def test_a_forged_message_has_no_effect(rig: Rig, kind: int, body: object) -> None:
    assert rig.feed(forged(rig, kind, body)) == []
    rig.refused(forged=1)


def test_a_forged_time_gives_no_sample(rig: Rig) -> None:
    rig.session.request_time()
    ((_, (number, _)),) = rig.node.opened(rig.out())
    assert rig.feed(forged(rig, link.TIME_RESP, [number, 5, 5])) == []
    rig.now += 7
    assert rig.feed(rig.node.send(link.TIME_RESP, [number, 50, 51])) == [
        TimeSample(rig.now - 7, 50, 51, rig.now)
    ]
    rig.refused(forged=1)


def test_a_replayed_packet_has_no_effect(rig: Rig) -> None:
    packet = rig.node.send(link.DATA, raw=b"\xd1frame")
    assert rig.feed(packet) == [FrameReceived(b"\xd1frame")]
    assert rig.feed(packet) == []
    rig.refused(replayed=1)


def test_a_replayed_session_is_refused_whole(seed: int) -> None:
    """All that the node said in a first session, again in a second one, and again while there is none."""
    rig = Rig(seed)
    rig.up()
    recording = [rig.node.send(link.DATA, raw=bytes((0xD1, i))) for i in range(20)]
    for packet in recording:
        rig.feed(packet)
    old_reply = rig.node.reply(_OLD_HELLO)
    rig.session.lost(rig.now)
    for packet in recording:
        assert rig.feed(packet) == []
    hello = rig.hello()
    assert rig.feed(old_reply) == [] and not rig.session.up
    rig.node.nonce = random.randbytes(16)
    rig.feed(rig.node.reply(hello))
    rig.node.opened(rig.out())
    rig.feed(rig.node.send(link.STATUS, {}))
    for packet in recording:
        assert rig.feed(packet) == []
    counters = rig.session.counters
    assert counters["stale"] + counters["forged"] == 41 and counters["stale"] >= 20
    assert set(counters) <= {"stale", "forged"} and rig.session.up


def test_a_reflected_message_is_refused(rig: Rig) -> None:
    rig.session.request_time()
    rig.session.command("reboot")
    sent = packets(rig.out(), armoured=True)
    assert len(sent) == 2
    for packet in sent:
        assert rig.feed(to_gateway(packet)) == []
    rig.refused(reflected=2)
    for packet in sent:  # with the kind of an answer
        assert rig.feed(to_gateway(bytes((link.RESULT,)) + packet[1:])) == []
    rig.refused(reflected=2, forged=2)


def test_a_reply_with_another_key_is_forged(seed: int) -> None:
    rig = Rig(seed)
    rig.node = Node(key=bytes(32))
    assert rig.feed(rig.node.reply(rig.hello())) == []
    assert rig.session.counters == {"forged": 1}
    assert packets(rig.out(), armoured=True) == []


def test_a_retired_or_unknown_generation_is_a_stranger_told_of_once(seed: int) -> None:
    rig = Rig(seed)
    rig.node = Node(generation=0)
    assert rig.feed(rig.node.announce()) == [Stranger(b"node-one", 0)]
    assert rig.feed(rig.node.announce()) == []
    assert rig.feed(rig.node.reply(rig.hello())) == []
    assert rig.feed(Node(generation=300).announce()) == [Stranger(b"node-one", 300)]
    assert rig.session.counters == {"stranger": 4}


def test_announcements_do_not_disturb_a_session(rig: Rig) -> None:
    """A thousand of them: no HELLO while the session lives, no event, no memory."""
    for i in range(1000):
        rig.now += 10
        assert rig.feed(Node(boot=i.to_bytes(8, "big")).announce()) == []
        if i % 50 == 0:
            assert rig.feed(rig.node.send(link.STATUS, {})) == [Status({})]
        rig.session.tick(rig.now)
    assert all(kind == link.TIME_REQ for kind, _ in rig.node.opened(rig.out()))
    assert rig.session.up


def test_a_reply_is_taken_once(rig: Rig) -> None:
    assert rig.feed(rig.node.reply(_OLD_HELLO)) == []
    rig.refused(forged=1)


def test_an_answer_to_the_last_hello_but_one_is_late_and_not_forged(seed: int) -> None:
    """The node was slow, and the next HELLO is out already: its answer will open the session."""
    rig = Rig(seed)
    first = rig.hello()
    second = rig.hello()
    assert rig.feed(rig.node.reply(first)) == []
    assert rig.session.counters == {"stale": 1}
    rig.feed(rig.node.reply(second))
    rig.node.opened(rig.out())
    rig.feed(rig.node.send(link.STATUS, {}))
    assert rig.session.up and rig.session.counters == {"stale": 1}


@pytest.mark.parametrize("one_way_ms", [20, 400, 700, 1_100, 1_900, 2_300])
def test_a_line_slower_than_a_hello_comes_to_a_session(one_way_ms: int, seed: int) -> None:
    """Each HELLO on its way takes the answer to the one before out of force; so they become fewer."""
    rig = Rig(seed)
    start = rig.now
    down: deque[tuple[int, bytes]] = deque()
    up: deque[tuple[int, bytes]] = deque()
    told = 0
    while not rig.session.up:
        rig.now += 100
        assert rig.now - start < 30_000
        while down and down[0][0] <= rig.now:
            packet = down.popleft()[1]
            answer = b""
            if packet[0] == link.HELLO:
                answer = rig.node.reply(packet)
            elif rig.node.session and packet[1] == rig.node.session.id:
                rig.node.session.open(packet)
                answer = rig.node.send(link.STATUS, {})
                told += 1
            up.append((rig.now + one_way_ms, answer))
        while up and up[0][0] <= rig.now:
            rig.feed(up.popleft()[1])
        rig.session.tick(rig.now)
        down += [(rig.now + one_way_ms, packet) for packet in packets(rig.out(), armoured=True)]
    assert told


def test_another_version_is_told_apart(seed: int) -> None:
    rig = Rig(seed)
    rig.feed(to_gateway(b"\x01" + cbor.dumps([2, "of", "a", "later", "day"])))
    assert rig.session.counters == {"version": 1}


def test_an_authentic_message_of_a_wrong_shape_is_counted(rig: Rig) -> None:
    for kind, body in ((link.STATUS, [1]), (link.STATUS, {1: -1}), (link.LOG, 5), (link.RESULT, [1])):
        assert rig.feed(rig.node.send(kind, body)) == []
    rig.refused(malformed=4)


# Requests


def test_acknowledgements_are_merged_per_boot_and_the_newest_wins(rig: Rig) -> None:
    for i in range(50):
        rig.session.ack(b"boot-one", i, [(i + 1, i + 3)])
        rig.session.ack(b"boot-old", 7)
    assert rig.node.opened(rig.out()) == [
        (link.ACK, [b"boot-one", 49, [50, 52]]),
        (link.ACK, [b"boot-old", 7, []]),
    ]
    assert rig.out() == b""


def test_only_the_first_ranges_fit_and_wrong_ones_are_a_mistake_of_the_caller(rig: Rig) -> None:
    rig.session.ack(b"boot-one", 0, [(3 * i + 1, 3 * i + 2) for i in range(100)])
    ((_, body),) = rig.node.opened(rig.out())
    assert body[2] == [n for i in range(8) for n in (3 * i + 1, 3 * i + 2)]
    with pytest.raises(ValueError):
        rig.session.ack(b"boot-one", 5, [(4, 5)])


def test_credit_is_never_passed_and_reports_give_it_back(rig: Rig, seed: int) -> None:
    rng = random.Random(seed)
    rig.now += 1000
    rig.session.tick(rig.now)
    rig.out()
    unreported: list[tuple[int, int]] = (
        [(rig.session._peer.session.sent - 1, 100)] if rig.session._peer else []
    )
    rig.now += 1001
    unreported = []
    for _ in range(400):
        rig.now += 1
        rig.session.tick(rig.now)
        rig.session.ack(rng.randbytes(8), rng.randrange(1 << 32))
        out = rig.out()
        for piece in out.split(b"\x00"):
            if piece:
                packet = link.unarmour(piece)
                unreported.append((int.from_bytes(packet[2:6], "big"), len(piece) + 2))
                rig.node.opened(b"\x00" + piece + b"\x00")
        assert sum(size for _, size in unreported) <= link.CREDIT
        if unreported and rng.random() < 0.2:
            upto = rng.choice(unreported)[0]
            unreported = [entry for entry in unreported if entry[0] > upto]
            rig.feed(rig.node.send(link.SEEN, [upto]))
        if rng.random() < 0.02:  # no report: after a second it is taken for seen
            rig.now += 1001
            unreported = []
            rig.feed(rig.node.send(link.STATUS, {}))
    assert not rig.session.counters


def test_time_is_exchanged_by_itself_when_nothing_else_is_sent(rig: Rig) -> None:
    seen = []
    for _ in range(60):
        rig.now += 100
        rig.feed(rig.node.send(link.STATUS, {}))
        rig.session.tick(rig.now)
        seen += [kind for kind, _ in rig.node.opened(rig.out())]
    assert seen == [link.TIME_REQ] * 3


def test_an_implausible_time_is_not_believed(rig: Rig) -> None:
    for times in ([60, 50], [50, 60]):
        rig.session.request_time()
        ((_, (number, _)),) = rig.node.opened(rig.out())
        rig.now += 5
        assert rig.feed(rig.node.send(link.TIME_RESP, [number, *times])) == []
        rig.feed(rig.node.send(link.SEEN, [10_000]))
    assert rig.feed(rig.node.send(link.TIME_RESP, [77, 1, 1])) == []
    rig.refused(implausible_time=3)


def put_rig(rig: Rig, blob: bytes, answer: Callable[[int, bytes], list[object] | None]) -> list[Event]:
    """Put a blob on a node that answers each chunk with [next offset, status], or not at all."""
    digest = rig.session.put(1, blob)
    events: list[Event] = []
    for _ in range(400):
        for kind, body in rig.node.opened(rig.out()):
            if kind == link.PUT:
                assert body[:3] == [1, digest, len(blob)]
                said = answer(body[3], body[4])  # type: ignore[arg-type]
                if said is not None:
                    events += rig.feed(rig.node.send(link.PUT_ACK, [1, digest, *said]))
        if any(isinstance(event, PutDone) for event in events):
            break
        rig.now += 100
        events += rig.feed(rig.node.send(link.STATUS, {})) + rig.session.tick(rig.now)
    return [event for event in events if isinstance(event, PutDone | PutProgress)]


def test_put_goes_on_where_the_node_says_through_losses(rig: Rig, seed: int) -> None:
    rng = random.Random(seed)
    blob = rng.randbytes(1500)
    held = bytearray()

    def answer(offset: int, data: bytes) -> list[object] | None:
        if rng.random() < 0.2:
            return None  # the chunk is lost
        if offset == len(held):
            held.extend(data)
        if rng.random() < 0.2:
            return None  # the answer is lost
        return [len(held), int(len(held) == len(blob))]

    events = put_rig(rig, blob, answer)
    assert held == blob
    assert isinstance(events[-1], PutDone) and events[-1].ok
    offsets = [event.offset for event in events if isinstance(event, PutProgress)]
    assert offsets == sorted(offsets)


def test_put_of_an_empty_blob(rig: Rig) -> None:
    events = put_rig(rig, b"", lambda offset, data: [0, 1])
    assert [type(event) for event in events] == [PutDone]


def test_put_that_is_refused(rig: Rig) -> None:
    (event,) = put_rig(rig, bytes(300), lambda offset, data: [offset, 2])
    assert isinstance(event, PutDone) and not event.ok and "refused" in event.reason


def test_put_to_a_node_that_stays_where_it_is(rig: Rig) -> None:
    event = put_rig(rig, bytes(300), lambda offset, data: [0, 0])[-1]
    assert isinstance(event, PutDone) and not event.ok and "stays at byte 0" in event.reason


def test_put_goes_on_in_the_next_session(rig: Rig) -> None:
    digest = rig.session.put(1, bytes(300))
    rig.node.opened(rig.out())
    rig.feed(rig.node.send(link.PUT_ACK, [1, digest, 128, 0]))
    rig.session.lost(rig.now)
    rig.node.nonce = random.randbytes(16)
    rig.up()
    rig.feed(rig.node.send(link.SEEN, [100]))
    ((kind, body),) = rig.node.opened(rig.out())
    assert (kind, body[3]) == (link.PUT, 128)


def test_command_is_repeated_under_its_id_until_it_is_answered(rig: Rig) -> None:
    number = rig.session.command("activate", b"revision", 1)
    bodies = []
    for _ in range(50):
        rig.now += 100
        rig.feed(rig.node.send(link.STATUS, {}) + rig.node.send(link.SEEN, [1000]))
        rig.session.tick(rig.now)
        bodies += [body for kind, body in rig.node.opened(rig.out()) if kind == link.COMMAND]
    assert bodies == [[number, "activate", [b"revision", 1]]] * 3
    assert rig.feed(rig.node.send(link.RESULT, [number, 4, "no"])) == [CommandResult(number, 4, "no")]
    assert rig.feed(rig.node.send(link.RESULT, [number, 4, "no"])) == []
    assert rig.wait(3000) == [] and rig.session.up


def test_command_without_an_answer(rig: Rig) -> None:
    number = rig.session.command("activate")
    events: list[Event] = []
    for _ in range(310):
        rig.now += 100
        rig.feed(rig.node.send(link.STATUS, {}))
        events += rig.session.tick(rig.now)
    assert events == [CommandResult(number, NO_ANSWER, "the node did not answer")]


def test_command_is_not_repeated_to_another_boot(rig: Rig) -> None:
    """It may have been the cause of the restart."""
    number = rig.session.command("reboot")
    rig.node.opened(rig.out())
    waiting = rig.session.command("status")
    rig.session.lost(rig.now)
    rig.node = Node(boot=b"boot-two")
    events = rig.up()
    assert [(event.id, event.status) for event in events if isinstance(event, CommandResult)] == [
        (number, SESSION_ENDED)
    ]
    rig.feed(rig.node.send(link.SEEN, [100]))
    assert [body[0] for kind, body in rig.node.opened(rig.out()) if kind == link.COMMAND] == [waiting]


def test_command_that_no_packet_holds(rig: Rig) -> None:
    with pytest.raises(ValueError, match="a packet holds"):
        rig.session.command("x", bytes(170))


# Text and noise


def test_text_lines_come_whole_across_packets(rig: Rig) -> None:
    events = rig.feed(b"boot: ok\r\nhalf a " + rig.node.send(link.STATUS, {}) + b"line, \xea\xb0\x80\n")
    assert events == [Text("boot: ok"), Status({})]
    assert rig.feed(rig.node.send(link.LOG, "kept")) == [Text("half a line, 가"), Log("kept")]
    assert not rig.session.counters


def test_text_of_a_program_that_died_comes_without_a_packet_behind_it(rig: Rig) -> None:
    assert rig.feed(b"Traceback (most recent call last):\r\nValueError: x") == []
    assert rig.wait(1200) == [Text("Traceback (most recent call last):"), Text("ValueError: x")]


def test_text_behind_a_packet_that_was_cut_short(rig: Rig) -> None:
    cut = rig.node.send(link.DATA, raw=bytes(range(128, 256)))[:90]
    assert rig.feed(cut + b"MemoryError: no\r\n\x00") == [Text("MemoryError: no")]
    rig.refused(noise=1)


def test_a_packet_that_comes_byte_by_byte(rig: Rig) -> None:
    events: list[Event] = []
    for byte in rig.node.send(link.DATA, raw=b"\xd1" + bytes(300)):
        rig.now += 10
        events += rig.feed(bytes((byte,))) + rig.session.tick(rig.now)
    assert events == [FrameReceived(b"\xd1" + bytes(300))]


def test_noise_is_bounded(rig: Rig) -> None:
    for _ in range(300):
        rig.feed(b"\xfe\x01" * 500)
    assert len(rig.session._chunks._rest) < 5000
    assert rig.session.counters["noise"] >= 100
    rig.feed(b"A" * 100_000)
    assert len(rig.session._lines._line) < 5000


def test_fuzz_the_line(seed: int, fuzz_count: int) -> None:
    """Whatever comes, nothing is raised, nothing is believed, nothing grows."""
    rig = Rig(seed)
    rig.up()
    corpus = [
        rig.node.send(link.STATUS, {1: 1}),
        rig.node.send(link.DATA, raw=bytes(300)),
        rig.node.announce(),
    ]
    corpus += [rig.node.reply(_OLD_HELLO), b"text\r\n"]
    fuzzer = fuzz.Fuzzer(seed, corpus)
    rig.feed(b"".join(corpus[:2]))

    def feed(data: bytes) -> None:
        for event in rig.session.feed(data, rig.now):
            assert isinstance(event, Text | Stranger)

    fuzz.run(feed, (), fuzzer, fuzz_count)
    assert rig.session.up
    assert len(rig.session._strangers) <= 100
    assert len(rig.session._chunks._rest) + len(rig.session._lines._line) < 20_000
