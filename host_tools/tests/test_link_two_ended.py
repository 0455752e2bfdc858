"""The gateway's session and the node's link on a real VM, over a pty, through cables of all kinds."""

import random

from gasan.hil.link_bench import Faults, LinkBench, NodeOnPty, packets
from gasan.host.link import CommandResult, FrameReceived, PutDone, SessionUp, Status, Text, TimeSample
from gasan.host.link.clock import ClockEstimator
from gasan.wire import link


def test_a_backlog_arrives_in_order_once_over_a_good_cable(bits: int) -> None:
    with NodeOnPty(frames=300, bits=bits) as node:
        bench = LinkBench(node)
        boot = bench.connect().boot
        bench.until(lambda: len(bench.frames) == 300)
        assert list(bench.frames) == [(boot, seq) for seq in range(300)]
        assert bench.duplicates == 0 and not bench.session.counters
        bench.until(lambda: bench.look()["left"] == 0)
        assert bench.look()["rewinds"] == 1
        assert bench.look("refused") == {}


def test_everything_arrives_over_a_bad_cable(seed: int) -> None:
    """Bytes lost, flipped, cut off and made up both ways, text in between; nothing wrong is stored."""
    rng = random.Random(seed)
    with NodeOnPty(frames=150) as node:
        faults = Faults(rng, 0.05)
        bench = LinkBench(node, to_node=faults, to_gateway=faults)
        bench.connect()
        blob = rng.randbytes(1000)
        bench.session.put(1, blob)
        bench.session.command("print", "a line from somewhere else")
        bench.until(lambda: len(bench.frames) == 150 and bool(bench.of(PutDone)), 60)
        assert faults.done >= 5
        bench.to_node = bench.to_gateway = lambda data: data
        bench.until(lambda: bench.session.up and bench.look()["left"] == 0, 60)
        assert [event.ok for event in bench.of(PutDone)] == [True]
        assert bench.look()["blob"] == 1000
        assert bench.session.counters or bench.look("refused")


class LosesOneFrame:
    """A cable that carries whole packets, but for one of the frames."""

    def __init__(self, number: int) -> None:
        self.seen = 0
        self._number = number
        self._rest = b""

    def __call__(self, data: bytes) -> bytes:
        *chunks, self._rest = (self._rest + data).split(b"\x00")
        out = b""
        for chunk in chunks:
            self.seen += chunk[1:2] == bytes((link.DATA,))
            if self.seen != self._number or chunk[1:2] != bytes((link.DATA,)):
                out += chunk + b"\x00"
        return out


def test_a_lost_frame_is_sent_again_at_once_when_later_ones_arrive() -> None:
    with NodeOnPty(frames=0) as node:
        bench = LinkBench(node)
        bench.connect()
        bench.run(3.1)  # past the time in which a WELCOME's rewind forbids another
        bench.to_gateway = cable = LosesOneFrame(7)
        start = bench.now_ms()
        bench.session.command("frames", 60)
        bench.until(lambda: len(bench.frames) == 60)
        assert cable.seen > 60 and bench.now_ms() - start < 2500
        bench.until(lambda: bench.look()["left"] == 0)
        assert bench.look()["rewinds"] == 2


def test_frames_whose_acknowledgement_is_lost_come_again_after_three_seconds() -> None:
    with NodeOnPty(frames=20) as node:
        bench = LinkBench(node, acknowledge=False)
        bench.connect()
        bench.until(lambda: len(bench.frames) == 8)
        bench.run(1.5)
        assert len(bench.frames) == 8 and bench.duplicates == 0  # the window
        bench.until(lambda: bench.duplicates == 8, 5)
        bench.acknowledge = True
        bench.until(lambda: len(bench.frames) == 20, 10)
        bench.until(lambda: bench.look()["left"] == 0)


def test_the_welcome_spares_what_the_store_has() -> None:
    """The cable is pulled and comes back: what was stored meanwhile is not sent again."""
    with NodeOnPty(frames=40) as node:
        bench = LinkBench(node)
        bench.connect()
        bench.until(lambda: len(bench.frames) == 40)
        bench.session.lost(bench.now_ms())
        bench.connect()
        bench.run(0.3)
        assert bench.duplicates == 0
        assert len(bench.of(SessionUp)) == 2
        assert bench.look()["left"] == 0


def test_a_command_is_done_once_though_its_answer_is_lost() -> None:
    """The gateway asks again under the same id, and is told the result again."""
    with NodeOnPty() as node:
        bench = LinkBench(node)
        bench.connect()
        bench.to_gateway = lambda data: b""
        number = bench.session.command("frames", 1)
        bench.run(2.5)
        assert [kind[0] for kind in packets(bytes(bench.sent), armoured=True)].count(link.COMMAND) == 2
        bench.to_gateway = lambda data: data
        bench.until(lambda: any(result.id == number for result in bench.of(CommandResult)))
        assert bench.session.up and len(bench.of(SessionUp)) == 1
        look = bench.look()
        assert look["done"] == 2 and len(bench.frames) == 1


def test_a_slow_command_does_not_hold_up_the_frames() -> None:
    with NodeOnPty() as node:
        bench = LinkBench(node)
        bench.connect()
        number = bench.session.command("slow", 1000)
        bench.session.command("frames", 5)
        bench.run(0.5)
        assert any(isinstance(event, Status) for event in bench.events[-20:])
        bench.until(lambda: len(bench.frames) == 5)
        assert bench.ask("look").status == 0
        assert [event for event in bench.events if getattr(event, "id", None) == number]


def test_a_node_tells_at_once_that_it_has_sampled() -> None:
    """Between two full ones comes a status of two figures, so that a power cut hides nothing but a moment."""
    with NodeOnPty() as node:
        bench = LinkBench(node)
        bench.connect()
        assert bench.ask("sample", 7).status == 0
        bench.until(lambda: any(event.values.keys() == {1, 11} for event in bench.of(Status)))
        assert [event.values[1] for event in bench.of(Status) if event.values.keys() == {1, 11}] == [7]


def test_text_and_packets_share_the_cable(seed: int) -> None:
    """The log waits for the end of a packet. What others print may break one: that is sent again."""
    rng = random.Random(seed)
    with NodeOnPty(frames=50) as node:
        bench = LinkBench(node)
        bench.connect()
        lines = [f"line {i} of {rng.randrange(10**6)}: 온도" for i in range(20)]
        for line in lines:
            bench.ask("log", line)
            bench.ask("frames", 2)
            bench.ask("print", "printed")
        bench.until(lambda: len(bench.frames) == 90)
        bench.until(lambda: bench.look()["left"] == 0)
        texts = [event.line for event in bench.of(Text)]
        assert [text.split(" I ")[-1] for text in texts if " I " in text] == lines
        assert texts.count("printed") + bench.session.counters.total() >= 20


def test_the_time_of_the_node_is_known_within_its_bound() -> None:
    """The node's uptime in its STATUS, seen through the estimate, is never later than its arrival here."""
    with NodeOnPty() as node:
        bench = LinkBench(node)
        bench.connect()
        clock = ClockEstimator()
        checked = 0
        for _ in range(12):
            bench.session.request_time()
            before = len(bench.of(TimeSample))
            bench.until(lambda before=before: len(bench.of(TimeSample)) > before)  # type: ignore[misc]
            clock.add(bench.of(TimeSample)[-1])
            seen = len(bench.events)
            bench.run(0.2)
            for event in bench.events[seen:]:
                if isinstance(event, Status):
                    mapped = clock.map(event.values[11])
                    assert mapped is not None
                    ours, error = mapped
                    assert ours - error <= bench.now_ms() and ours + error >= bench.now_ms() - 300
                    assert error <= 20
                    checked += 1
        assert checked >= 2 and clock.steps == 0


def test_overhead_of_a_frame(seed: int) -> None:
    """What link.md says: 17 bytes, and one more for each 254 bytes without a zero."""
    with NodeOnPty(frames=60) as node:
        bench = LinkBench(node)
        bench.connect()
        bench.until(lambda: len(bench.frames) == 60)
        frames = [event.data for event in bench.of(FrameReceived)]
        pieces = [piece for piece in bytes(bench.heard).split(b"\x00") if len(piece) > 2 and piece[1] == 0x10]
        assert len(pieces) == len(frames)
        for frame, piece in zip(frames, pieces, strict=True):
            assert 17 <= len(piece) + 2 - len(frame) <= 17 + (len(frame) + 14) // 254
