"""A whole node on the virtual board: the files that go on a board, littlefs, console, a real session."""

import contextlib
import itertools
import os
import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
from gasan.boards.image import firmware_files, write_files
from gasan.boards.places import FIRMWARE
from gasan.boards.virtual import Cut, VirtualBoard
from gasan.hil import vmrun
from gasan.hil.bare_gateway import BareGateway
from gasan.ota.slots import digest, pack
from gasan.wire import cbor
from gasan.wire.frame import BIRTH, BOOT, CRASH, DATA, HEALTH
from gasan.wire.frame_reader import Frame, expand

NODE_ID = b"node-id!"
GENERATION = 1
KEY = bytes(range(32))
SECRET = cbor.dumps([NODE_ID, GENERATION, KEY])
CONFIG = 1  # kind of a put
STABLE, TRIAL, ROLLED_BACK = 0, 1, 2
POWER_ON, RESET, WATCHDOG = 1, 2, 3


class CountingServer(socketserver.ThreadingTCPServer):
    """Modbus TCP: each answer holds a count that no other answer has; ``served`` keeps them."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.served: list[int] = []
        self.counts = itertools.count(1)
        self.port = int(self.server_address[1])


class _Connection(socketserver.StreamRequestHandler):
    server: CountingServer

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while head := self.rfile.read(12):
                transaction, _, _, unit, function, _, registers = struct.unpack(">HHHBBHH", head)
                count = next(self.server.counts)
                values = [(count + 1000 * i) & 0xFFFF for i in range(registers)]
                body = struct.pack(f">BBB{registers}H", unit, function, 2 * registers, *values)
                self.server.served.append(count)
                self.wfile.write(struct.pack(">HHH", transaction, 0, len(body)) + body)


@pytest.fixture
def server() -> Iterator[CountingServer]:
    with CountingServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def config(
    server: CountingServer | None = None, *, name: str = "press-1", max_age_ms: int = 300, channels: int = 3
) -> bytes:
    """A compiled config: one device on Modbus TCP, or no bus at all."""
    buses: list[Any] = []
    if server:
        items = [[i, 3, i, 1, 0, 100] for i in range(channels)]
        buses = [[1, "lan", {1: "127.0.0.1", 2: server.port}, [["drive", 1, 500, 0, 125, items]]]]
    meaning = [["drive", f"count_{i}", "1", 1, 1, 1, 0, 100, {}] for i in range(channels)]
    limits = {1: max_age_ms, 2: 2048, 3: 65536, 4: 1}
    return cbor.dumps([2, name, limits, buses, [cbor.dumps([0, meaning])]])


class Nodes:
    """Makes boards with the firmware on them, and gateways; stops them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._number = 0

    def board(
        self, files: Mapping[str, bytes], bits: int = 64, start: bool = True, kind: str = "virtual"
    ) -> VirtualBoard:
        if missing := vmrun.missing(bits):
            pytest.skip(missing)
        self._number += 1
        board = VirtualBoard(self._folder / f"board{self._number}", kind, bits=bits)
        board.install({**firmware_files(), **files})
        self._stack.callback(board.stop)
        if start:
            board.start()
        return board

    def gateway(self, board: VirtualBoard) -> BareGateway:
        return self._stack.enter_context(BareGateway(board.console_path, NODE_ID, GENERATION, KEY))

    def node(
        self, compiled: bytes, files: Mapping[str, bytes] | None = None, bits: int = 64
    ) -> tuple[VirtualBoard, BareGateway]:
        """A provisioned node with a config, and a gateway on its console."""
        provisioned = {"/secret/key": SECRET, "/cfg/a": pack(compiled), **(files or {})}
        board = self.board(provisioned, bits)
        return board, self.gateway(board)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    nodes.close()


def readings(frames: list[Frame]) -> list[tuple[int, ...]]:
    """The rows of all data frames, in order: (time, values...)."""
    rows = []
    for frame in frames:
        for _, times, values, _ in expand(frame):
            rows += list(zip(times, *values, strict=True))
    return rows


@pytest.mark.parametrize("bits", [64, 32])
def test_a_node_tells_who_it_is_then_what_it_reads(nodes: Nodes, server: CountingServer, bits: int) -> None:
    compiled = config(server)
    board, gateway = nodes.node(compiled, bits=bits)
    gateway.wait(lambda: gateway.readings() >= 30)
    first, second = gateway.frames[:2]
    assert (first.kind, first.seq, first.count, first.rev) == (BOOT, 0, 0, digest(compiled))
    assert first.content[1] == 1 and first.content[2] is None
    assert first.content[5] == POWER_ON and first.content[8] == STABLE
    assert (second.kind, second.seq) == (BIRTH, 1)
    assert [channel[1] for channel in second.content[3]] == ["count_0", "count_1", "count_2"]
    data = gateway.of(DATA)
    assert [f.seq for f in data] == list(range(2, 2 + len(data)))
    rows = readings(data)
    counts = [row[1] for row in rows]
    assert counts == server.served[: len(counts)], "each answer is there once, in order"
    assert all(row[2:] == (row[1] + 1000, row[1] + 2000) for row in rows)
    assert all(later[0] > earlier[0] for earlier, later in itertools.pairwise(rows))
    total = 0
    for frame in data:
        assert frame.count == total
        total += frame.n_readings
    gateway.wait(lambda: gateway.status[2] >= total)
    assert gateway.status[1] >= gateway.status[2] and gateway.status[3] == 0
    assert board.status()["watchdog"]


def test_a_node_without_a_key_says_so_and_waits(nodes: Nodes) -> None:
    board = nodes.board({})
    gateway = nodes.gateway(board)
    gateway.wait(lambda: any("no key" in line for line in gateway.text))
    assert board.status()["boots"] == 1 and not board.status()["watchdog"]
    board = nodes.board({"/secret/key": b"rubbish"})
    gateway = nodes.gateway(board)
    gateway.wait(lambda: any("no key" in line for line in gateway.text))


def test_a_node_without_a_config_takes_one(nodes: Nodes, server: CountingServer) -> None:
    board = nodes.board({"/secret/key": SECRET})
    gateway = nodes.gateway(board)
    gateway.wait(lambda: gateway.frames)
    assert gateway.frames[0].rev == bytes(8) and not board.status()["watchdog"]
    compiled = config(server)
    assert gateway.put(CONFIG, compiled).ok
    assert gateway.command("activate", digest(compiled)).status == 0
    gateway.wait(lambda: gateway.readings() > 0, 20)
    boot = gateway.of(BOOT)[-1]
    assert (boot.rev, boot.content[8], boot.content[1]) == (digest(compiled), STABLE, 2)
    assert boot.content[2] == gateway.frames[0].boot


def test_a_new_config_is_tried_and_confirmed(nodes: Nodes, server: CountingServer) -> None:
    old, new = config(server), config(server, name="press-2", channels=2)
    board, gateway = nodes.node(old)
    gateway.wait(lambda: gateway.readings())
    assert gateway.command("activate", digest(new)).status == 1, "it is not there yet"
    assert gateway.put(CONFIG, new).ok
    assert gateway.command("activate", digest(new)).status == 0
    gateway.wait(lambda: len(gateway.of(BOOT)) == 2 and gateway.of(DATA, gateway.of(BOOT)[1].boot), 20)
    boot = gateway.of(BOOT)[1]
    assert (boot.rev, boot.content[5], boot.content[8]) == (digest(new), RESET, TRIAL)
    gateway.wait(lambda: any("confirmed" in line for line in gateway.text))
    board.reset()
    gateway.wait(lambda: len(gateway.of(BOOT)) == 3, 20)
    assert (gateway.of(BOOT)[2].rev, gateway.of(BOOT)[2].content[8]) == (digest(new), STABLE)
    assert gateway.command("activate", digest(new)).text == "in use already"
    assert len(board.events()) > 0


def test_a_config_on_trial_that_is_reset_goes_back(nodes: Nodes, server: CountingServer) -> None:
    old, new = config(server), config(server, name="press-2")
    board, gateway = nodes.node(old)
    gateway.wait(lambda: gateway.readings())
    assert gateway.put(CONFIG, new).ok
    gateway.acknowledge = False
    assert gateway.command("activate", digest(new)).status == 0
    gateway.wait(lambda: len(gateway.of(BOOT)) == 2, 20)
    assert gateway.of(BOOT)[1].content[8] == TRIAL
    assert not gateway.put(CONFIG, config(name="another")).ok, "the way back must stay"
    board.kill()
    gateway.acknowledge = True
    gateway.wait(lambda: len(gateway.of(BOOT)) == 3, 20)
    assert (gateway.of(BOOT)[2].rev, gateway.of(BOOT)[2].content[8]) == (digest(old), ROLLED_BACK)


def test_what_is_no_config_does_not_stay(nodes: Nodes) -> None:
    old, rubbish = config(), cbor.dumps([2, "name", {1: 5}, [], []])
    _, gateway = nodes.node(old)
    gateway.wait(lambda: gateway.frames)
    assert gateway.put(CONFIG, rubbish).ok and gateway.command("activate", digest(rubbish)).status == 0
    gateway.wait(lambda: len(gateway.of(BOOT)) == 2, 20)
    assert (gateway.of(BOOT)[1].rev, gateway.of(BOOT)[1].content[8]) == (digest(old), ROLLED_BACK)
    assert any("limit 1" in line for line in gateway.text)


def test_orders_that_make_no_sense_are_refused(nodes: Nodes) -> None:
    _, gateway = nodes.node(config())
    gateway.wait(lambda: gateway.frames)
    assert not gateway.put(7, b"something else").ok
    assert gateway.command("dance").status == 2
    assert gateway.command("activate").status == 2
    assert gateway.command("activate", b"unknown!").status == 1
    assert "1" in gateway.command("status").text


def test_a_kill_costs_at_most_the_open_batch(nodes: Nodes, server: CountingServer) -> None:
    board, gateway = nodes.node(config(server, max_age_ms=1500))
    gateway.wait(lambda: gateway.readings() >= 30)
    gateway.acknowledge = False
    frames = len(gateway.frames)
    gateway.wait(lambda: len(gateway.frames) > frames)
    before = gateway.frames[0].boot
    board.kill()
    gateway.acknowledge = True
    gateway.wait(lambda: len(gateway.of(BOOT)) == 2 and gateway.of(DATA, gateway.of(BOOT)[1].boot), 20)
    boot = gateway.of(BOOT)[1]
    last = [f for f in gateway.frames if f.boot == before][-1]
    ended = (before, last.seq, last.count + last.n_readings)
    assert (boot.content[2], boot.content[3], boot.content[4]) == ended
    counts = [row[1] for row in readings(gateway.of(DATA, before))]
    assert counts == server.served[: len(counts)], "what was committed is there"
    again = [row[1] for row in readings(gateway.of(DATA, boot.boot))]
    cut = again[0] - counts[-1] - 1
    assert 0 <= cut <= 1500 // 100 + 2, "the open batch, no more"
    assert again == list(range(again[0], again[0] + len(again)))


def test_a_reboot_in_order_loses_nothing(nodes: Nodes, server: CountingServer) -> None:
    _, gateway = nodes.node(config(server, max_age_ms=60000))
    gateway.wait(lambda: gateway.status.get(1, 0) >= 30)
    assert gateway.command("reboot").status == 0
    gateway.wait(lambda: len(gateway.of(BOOT)) == 2, 20)
    first = gateway.frames[0].boot
    last = [f for f in gateway.frames if f.boot == first][-1]
    assert last.kind == HEALTH and last.content[1] == last.content[2] == last.count
    rows = readings(gateway.of(DATA, first))
    assert 3 * len(rows) == last.count and [r[1] for r in rows] == server.served[: len(rows)]
    assert gateway.of(BOOT)[1].content[5] == RESET


def test_maintenance_leaves_the_board_alone_until_the_next_reset(
    nodes: Nodes, server: CountingServer
) -> None:
    board, gateway = nodes.node(config(server))
    gateway.wait(lambda: gateway.frames)
    assert gateway.command("maintenance").status == 0
    status = board.wait(lambda status: status["phase"] == "repl")
    assert not status["watchdog"] and status["boots"] == 2
    gateway.wait(lambda: any("maintenance" in line for line in gateway.text))
    board.reset()
    gateway.wait(lambda: len(gateway.of(BOOT)) == 2, 20)


def test_a_slot_that_has_rotted_is_replaced_by_the_other_and_reported(nodes: Nodes) -> None:
    good = config(name="good")
    rotten = bytearray(pack(config(name="rotten")))
    rotten[-1] ^= 1
    state = cbor.dumps([0, bytes(rotten[:8]), STABLE])
    _, gateway = nodes.node(good, {"/cfg/a": bytes(rotten), "/cfg/b": pack(good), "/cfg/state": state})
    gateway.wait(lambda: gateway.frames)
    assert (gateway.frames[0].rev, gateway.frames[0].content[8]) == (digest(good), ROLLED_BACK)


@pytest.mark.parametrize("rotten", [b"", cbor.dumps([1]), cbor.dumps(["x", 7])])
def test_a_boot_counter_that_has_rotted_goes_on_from_the_spool(nodes: Nodes, rotten: bytes) -> None:
    board, gateway = nodes.node(config())
    gateway.wait(lambda: gateway.status.get(5) == 0)
    board.off()
    write_files(board.image, {"/boot.n": rotten}, board.settings.facts)
    board.on()
    gateway.wait(lambda: len(gateway.of(BOOT)) == 2, 20)
    assert gateway.of(BOOT)[1].content[1] == 2
    assert gateway.of(BOOT)[1].content[2] == gateway.frames[0].boot


BROKEN_SOURCE = """
from asyncio import sleep_ms
from time import ticks_add, ticks_ms
class Source:
    lock = None
    def __init__(self, bus, sampler, clock):
        self.counters = {}
        self.beat = ticks_ms()
        if %d: raise ValueError("no such hardware")
    async def run(self):
        %s
"""


def broken(body: str, at_once: bool = False) -> bytes:
    return (BROKEN_SOURCE % (at_once, body)).encode()


def with_ble(compiled: bytes) -> bytes:
    """The config with a radio beside the other buses."""
    value = cbor.loads(compiled)
    value[3].append([2, "radio", {1: 100, 2: 100}, []])
    return cbor.dumps(value)


def test_a_source_that_cannot_start_is_left_out(nodes: Nodes, server: CountingServer) -> None:
    files = {"/lib/gasan/node/ble.py": broken("pass", True), "/lib/gasan/node/ble.mpy": b""}
    _, gateway = nodes.node(with_ble(config(server)), files)
    gateway.wait(lambda: gateway.readings() > 0)
    gateway.wait(lambda: any("radio is left out" in line for line in gateway.text))


def test_a_task_that_raises_is_started_again_and_the_others_go_on(
    nodes: Nodes, server: CountingServer
) -> None:
    _, gateway = nodes.node(with_ble(config(server)), {"/lib/gasan/node/ble.py": broken("1 / 0")})
    gateway.wait(lambda: gateway.status.get(20, 0) >= 2)
    assert any("ZeroDivisionError" in line for line in gateway.text)
    readings = gateway.readings()
    gateway.wait(lambda: gateway.readings() > readings)


EATER = """
from asyncio import sleep_ms
from time import ticks_ms
class Source:
    lock = None
    def __init__(self, bus, sampler, clock):
        self.counters = {}
        self.beat = ticks_ms()
        self.eaten = None
    async def run(self):
        while True:
            for size in (4096, 512, 64, 16, 16):
                try:
                    while True:
                        self.eaten = (self.eaten, bytearray(size))
                except MemoryError:
                    pass
            self.beat = ticks_ms()
            await sleep_ms(50)
"""


def test_a_node_without_any_memory_left_resets_and_tells(nodes: Nodes, server: CountingServer) -> None:
    """One part eats all there is and more whenever there is some; the node must neither hang nor die."""
    _, gateway = nodes.node(with_ble(config(server)), {"/lib/gasan/node/ble.py": EATER.encode()}, bits=32)
    gateway.wait(lambda: gateway.of(CRASH), 60)
    assert gateway.of(BOOT)[-1].content[5] == RESET


FAILING = """
from asyncio import sleep_ms
from time import ticks_ms
from gasan.node.%s import %s as Part
failures = [0]
works = Part.%s
def fails(*args):
    failures[0] += 1
    if failures[0] <= %d:
        raise %s
    return works(*args)
Part.%s = fails
class Source:
    lock = None
    def __init__(self, bus, sampler, clock):
        self.counters = {}
        self.beat = ticks_ms()
    async def run(self):
        while True:
            self.beat = ticks_ms()
            await sleep_ms(500)
"""


def failing(module: str, part: str, method: str, times: int, error: str) -> dict[str, bytes]:
    """A radio that makes a method of another part of the node fail so many times."""
    return {"/lib/gasan/node/ble.py": (FAILING % (module, part, method, times, error, method)).encode()}


def test_a_trial_whose_confirmation_flash_refuses_at_first_is_confirmed_later(
    nodes: Nodes, server: CountingServer
) -> None:
    old, new = config(server), with_ble(config(server, name="press-2"))
    _, gateway = nodes.node(old, failing("orders", "Orders", "confirm", 2, "OSError(5)"))
    gateway.wait(lambda: gateway.readings())
    assert gateway.put(CONFIG, new).ok and gateway.command("activate", digest(new)).status == 0
    gateway.wait(lambda: any("confirmed" in line for line in gateway.text), 20)
    assert len(gateway.of(BOOT)) == 2 and gateway.of(BOOT)[1].content[8] == TRIAL


def test_a_node_that_can_write_no_batch_any_more_resets_and_tells(
    nodes: Nodes, server: CountingServer
) -> None:
    files = failing("batcher", "Batcher", "_flush", 1 << 20, "MemoryError")
    _, gateway = nodes.node(with_ble(config(server)), files)
    gateway.wait(lambda: gateway.of(CRASH), 30)
    assert "batcher fails" in gateway.of(CRASH)[0].content


def test_a_loop_that_hangs_again_and_again_ends_in_a_start_without_sources(
    nodes: Nodes, server: CountingServer
) -> None:
    """Two starts before this one ended by the watchdog; so does this one, and the next is a quiet one."""
    files = {"/lib/gasan/node/ble.py": broken("while True: pass"), "/crash": b"2\nthe watchdog"}
    board, gateway = nodes.node(with_ble(config(server)), files)
    gateway.wait(lambda: len(gateway.of(BOOT)) == 2, 30)
    gateway.wait(lambda: gateway.status.get(11, 0) > 9000, 20)
    assert [boot.content[5] for boot in gateway.of(BOOT)] == [POWER_ON, WATCHDOG]
    assert board.status()["boots"] == 2


def test_a_word_for_the_next_boot_that_has_rotted_stops_nothing(nodes: Nodes) -> None:
    _, gateway = nodes.node(config(), {"/reset": b"\xff\xfe"})
    gateway.wait(lambda: gateway.frames)


def test_a_node_that_cannot_be_loaded_tries_again_and_tells_when_it_can(nodes: Nodes) -> None:
    files = firmware_files()
    app = next(name for name in files if name.startswith("/lib/gasan/node/app."))
    stuck = (FIRMWARE / "gasan" / "node" / "stuck.py").read_bytes().replace(b"const(60)", b"0.2")
    given = {"/secret/key": SECRET, "/cfg/a": pack(config()), "/lib/gasan/node/stuck.py": stuck}
    board = nodes.board({**given, app: b"M"})
    board.wait(lambda status: status["boots"] >= 3, 20)
    board.off()
    assert "cannot be loaded" in (board.folder / "console.log").read_text()
    write_files(board.image, {app: files[app]}, board.settings.facts)
    board.on()
    gateway = nodes.gateway(board)
    gateway.wait(lambda: gateway.of(CRASH), 20)
    crash = gateway.of(CRASH)[0].content
    assert "ValueError" in crash and crash.count("Traceback") == 1
    gateway.wait(lambda: gateway.status.get(5) == 0)


def test_ctrl_c_leaves_the_console_of_a_node_that_cannot_be_loaded(nodes: Nodes) -> None:
    app = next(name for name in firmware_files() if name.startswith("/lib/gasan/node/app."))
    board = nodes.board({"/secret/key": SECRET, app: b"M"})
    console = os.open(board.console_path, os.O_RDWR | os.O_NOCTTY)
    try:
        while b"Ctrl-C" not in (board.folder / "console.log").read_bytes():
            assert board.wait(lambda status: status["boots"] == 1, 20)
        os.write(console, b"\x03")
        status = board.wait(lambda status: status["phase"] == "repl", 20)
    finally:
        os.close(console)
    assert not status["watchdog"] and status["boots"] == 1


def test_a_node_that_is_stopped_and_started_by_hand_has_not_crashed(
    nodes: Nodes, server: CountingServer, tmp_path: Path
) -> None:
    """Without a watchdog, as on a bench; machine.reset() of rp2 goes through the watchdog."""
    compiled = cbor.loads(config(server))
    compiled[2][4] = 0
    files = {"/secret/key": SECRET, "/cfg/a": pack(cbor.dumps(compiled)), "/crash": b"2\n"}
    board = nodes.board(files, start=False, kind="rpi_pico_w")
    board.start()
    log = board.folder / "console.log"
    told = 0
    for boots in (1, 2):
        while b"I spool:" not in log.read_bytes()[told:]:
            assert board.wait(lambda status, boots=boots: status["boots"] == boots, 20)
        told = log.stat().st_size
        console = os.open(board.console_path, os.O_RDWR | os.O_NOCTTY)
        os.write(console, b"\x03")
        board.wait(lambda status: status["phase"] == "repl", 20)
        os.write(console, b"import machine\rmachine.reset()\r")
        board.wait(lambda status, boots=boots: status["boots"] == boots + 1, 20)
        os.close(console)
    gateway = nodes.gateway(board)
    gateway.wait(lambda: gateway.readings(), 20)
    assert gateway.of(BOOT)[-1].content[5] == RESET


def test_outages_of_the_link_are_counted(nodes: Nodes) -> None:
    board = nodes.board({"/secret/key": SECRET, "/cfg/a": pack(config())})
    for outages in range(3):
        with BareGateway(board.console_path, NODE_ID, GENERATION, KEY) as gateway:
            gateway.wait(lambda: 30 in gateway.status, 20)  # noqa: B023
            assert gateway.status[30] == outages + 1


def test_what_ends_a_node_is_told_by_the_next_boot(nodes: Nodes, server: CountingServer) -> None:
    fatal = broken("self.beat = ticks_add(ticks_ms(), -40000); await sleep_ms(60000)")
    board, gateway = nodes.node(with_ble(config(server)), {"/lib/gasan/node/ble.py": fatal})
    gateway.wait(lambda: gateway.of(CRASH), 30)
    crash = gateway.of(CRASH)[0]
    assert "RuntimeError: radio hangs" in crash.content
    assert crash.boot == gateway.of(BOOT)[1].boot
    assert gateway.of(BOOT)[1].content[5] == RESET


def test_after_three_crashes_a_node_waits_without_sources(nodes: Nodes, server: CountingServer) -> None:
    board, gateway = nodes.node(config(server), {"/crash": b"3\nit was like this"})
    gateway.wait(lambda: gateway.of(CRASH) and gateway.status.get(11, 0) > 1500, 30)
    assert gateway.of(CRASH)[0].content == "it was like this"
    assert not server.served and gateway.status[1] == 0
    new = config(server, name="mended")
    assert gateway.put(CONFIG, new).ok and gateway.command("activate", digest(new)).status == 0
    gateway.wait(lambda: gateway.readings() > 0, 30)


def test_a_flush_ends_the_sampling_and_leaves_nothing_behind(nodes: Nodes, server: CountingServer) -> None:
    board, gateway = nodes.node(config(server, max_age_ms=60000))
    gateway.wait(lambda: gateway.status.get(1, 0) >= 9)
    assert gateway.command("flush").status == 0
    gateway.wait(lambda: gateway.status[1] == gateway.status[2] and gateway.status[5] == 0)
    served = len(server.served)
    assert gateway.readings() == gateway.status[1] and served - 1 <= gateway.readings() // 3 <= served
    assert gateway.status[3] == 0 and board.status()["boots"] == 1


def test_power_cuts_inside_flash_operations_lose_nothing_that_was_committed(
    nodes: Nodes, server: CountingServer, seed: int
) -> None:
    """Cuts at random operations of a start and of what follows. A conflict would raise in the gateway."""
    random = Random(seed)
    modes: list[Literal["before", "torn", "bits", "after"]] = ["before", "torn", "bits", "after"]
    board, gateway = nodes.node(config(server, max_age_ms=200))
    gateway.wait(lambda: gateway.readings() >= 9)
    for cuts in range(1, 6):
        board.kill(Cut(random.randrange(60), random.choice(modes), random.randrange(4096)))
        gateway.wait(lambda cuts=cuts: sum(event["event"] == "cut" for event in board.events()) == cuts, 20)
    gateway.wait(lambda: gateway.of(BOOT) and gateway.of(DATA, gateway.of(BOOT)[-1].boot), 20)
    gateway.command("flush")
    gateway.status = {}
    gateway.wait(lambda: gateway.status.get(5) == 0, 20)
    boots = gateway.of(BOOT)
    for boot in boots[1:]:
        _, before, last, count = (boot.content[key] for key in (1, 2, 3, 4))
        if last is None:  # it was cut before its boot frame was committed
            assert before not in [other.boot for other in boots]
            continue
        assert sorted(f.seq for f in gateway.frames if f.boot == before) == list(range(last + 1))
        assert sum(f.n_readings for f in gateway.of(DATA, before)) == count
    counts = [row[1] for row in readings(gateway.of(DATA))]
    assert len(set(counts)) == len(counts) and set(counts) <= set(server.served)
