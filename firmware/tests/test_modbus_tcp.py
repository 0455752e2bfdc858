"""The TCP client on the VM: against pymodbus, and against servers that misbehave."""

import asyncio
import contextlib
import socket
import struct
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from gasan.hil import equipment, vmrun
from gasan.hil.polling import Outcome, Row, block, poll_tcp
from gasan.hil.rs485 import Fault, Kind, Responder
from gasan.hil.rs485.faults import with_crc
from gasan.hil.rs485.responder import tag
from gasan.hil.tcp import TcpProxy
from gasan.wire import modbus_write
from gasan.wire.columns import U8, U32
from gasan.wire.modbus_read import read_request
from gasan.wire.quality import BAD_ANSWER, DISCONNECTED, EXCEPTION, GOOD, TIMEOUT
from pymodbus import FramerType, ModbusDeviceIdentification
from pymodbus.pdu.device import ModbusControlBlock
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def device(unit: int, *items: list[list[int]], timeout: int = 200) -> list[Any]:
    """Holes are not read, so that each block stays one."""
    return ["d", unit, timeout, 0, 125, {1: 0}, [item for some in items for item in some]]


def qualities(rows: list[Row]) -> list[int]:
    return [row.quality for row in rows]


def answer_to(request: bytes, serial: int, transaction: int | None = None) -> bytes:
    """The right answer: even registers hold their address, odd ones the serial number."""
    own, _, _, unit, function, register, count = struct.unpack(">HHHBBHH", request)
    words = [serial & 0xFFFF if at & 1 else at for at in range(register, register + count)]
    body = struct.pack(f">BBB{count}H", unit, function, 2 * count, *words)
    return struct.pack(">HHH", own if transaction is None else transaction, 0, len(body)) + body


class Scripted:
    """A server whose answers a test writes; counts connections and requests."""

    def __init__(
        self, client: "Callable[[Scripted, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]"
    ) -> None:
        self.connections = 0
        self.requests = 0
        self._client = client

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._client(self, reader, writer)
        writer.close()

    async def next(self, reader: asyncio.StreamReader) -> bytes:
        request = await reader.readexactly(12)
        self.requests += 1
        return request

    def poll(self, devices: list[list[Any]], ms: int, **options: Any) -> Outcome:
        async def scene() -> Outcome:
            server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
            async with server:
                port = server.sockets[0].getsockname()[1]
                return await asyncio.to_thread(poll_tcp, "127.0.0.1", port, devices, ms, **options)

        return asyncio.run(scene())


def check(rows: list[Row], register: int = 0) -> int:
    """Every good row is of its address, and no serial number comes twice or goes back."""
    latest = -1
    good = 0
    for row in rows:
        if row.quality == GOOD:
            words = struct.unpack(f">{len(row.data) // 2}H", row.data)
            assert all(word == at for at, word in enumerate(words, register) if not at & 1)
            serial = words[1 - register % 2]
            assert serial > latest
            latest = serial
            good += 1
    return good


@pytest.mark.parametrize(
    "bits",
    [64, pytest.param(32, marks=pytest.mark.skipif(bool(vmrun.missing(32)), reason=vmrun.missing(32)))],
)
def test_reads_units_of_a_pymodbus_server(bits: int) -> None:
    async def scene() -> Outcome:
        units = [
            SimDevice(
                unit, SimData(0, values=[unit * 100 + i for i in range(125)], datatype=DataType.REGISTERS)
            )
            for unit in (1, 2)
        ]
        server, port = await equipment.serve_tcp(units)
        devices = [
            device(1, [[i, 3, 2 * i, U32, 0, 100] for i in range(62)], block(62, 3, 124, 1, 100)),
            device(2, block(200, 4, 5, 2, 100), block(202, 4, 125, 1, 100)),
        ]
        try:
            return await asyncio.to_thread(poll_tcp, "127.0.0.1", port, devices, 1000, bits=bits)
        finally:
            await equipment.stop(server)

    outcome = asyncio.run(scene())
    assert {row.data for row in outcome.of(0)} == {struct.pack(">125H", *range(100, 225))}
    assert {row.data for row in outcome.of(200)} == {struct.pack(">2H", 205, 206)}
    assert set(qualities(outcome.of(202))) == {EXCEPTION + 2}
    for channel in (0, 200, 202):
        assert 9 <= len(outcome.of(channel)) <= 11


def test_stray_split_and_reordered_answers_are_sorted_out() -> None:
    async def client(server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held = b""
        while True:
            request = await server.next(reader)
            own = int.from_bytes(request[:2], "big")
            good = answer_to(request, server.requests)
            stray = answer_to(request, 0, (own + 1 + server.requests % 5000) & 0xFFFF)
            case = server.requests % 4
            if case == 0:
                writer.write(stray + good)
            elif case == 1:
                for at in range(0, len(good), 5):  # a pause takes several ms on a busy machine
                    writer.write(good[at : at + 5])
                    await writer.drain()
                    await asyncio.sleep(0.001)
            elif case == 2:
                held = good  # comes with the next one, so too late
            else:
                writer.write(good + held if server.requests % 8 == 3 else held + good)

    server = Scripted(client)
    outcome = server.poll([device(1, block(0, 3, 0, 10, 10), timeout=60)], 2500)
    assert check(outcome.of(0)) > 20
    assert set(qualities(outcome.of(0))) == {GOOD, TIMEOUT}
    assert server.connections == 1


def test_a_wrong_answer_is_not_taken() -> None:
    async def client(server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await server.next(reader)
            good = bytearray(answer_to(request, server.requests))
            if server.requests % 2:
                good[6] ^= 1  # another unit
            writer.write(good)

    outcome = Scripted(client).poll([device(1, block(0, 3, 0, 4, 20))], 800)
    assert check(outcome.of(0)) >= 10
    assert set(qualities(outcome.of(0))) == {GOOD, BAD_ANSWER}


def test_a_server_that_closes_after_each_answer_costs_no_reading() -> None:
    async def client(server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer_to(await server.next(reader), server.requests))

    server = Scripted(client)
    outcome = server.poll([device(1, block(0, 3, 0, 4, 50))], 1500)
    assert set(qualities(outcome.of(0))) == {GOOD}
    assert check(outcome.of(0)) >= 28
    assert server.connections >= 28


def test_a_stream_without_frames_is_given_up() -> None:
    async def client(server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await server.next(reader)
            writer.write(
                b"HTTP/1.1 400\r\n\r\n" if server.connections == 1 else answer_to(request, server.requests)
            )

    server = Scripted(client)
    outcome = server.poll([device(1, block(0, 3, 0, 4, 50))], 1000)
    assert qualities(outcome.of(0))[0] == BAD_ANSWER
    assert set(qualities(outcome.of(0))[1:]) == {GOOD}
    assert server.connections == 2


def test_a_half_open_connection_is_left_for_a_new_one() -> None:
    async def client(server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await server.next(reader)
            if server.connections > 1:
                writer.write(answer_to(request, server.requests))

    server = Scripted(client)
    outcome = server.poll([device(1, block(0, 3, 0, 4, 50), timeout=40)], 1500)
    found = qualities(outcome.of(0))
    assert found[:2] == [TIMEOUT] * 2 and found[-1] == GOOD
    assert server.connections == 2


def test_a_dead_unit_behind_the_server_does_not_stall_the_live_one() -> None:
    async def client(server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await server.next(reader)
            if request[6] == 1:
                writer.write(answer_to(request, server.requests))

    devices = [device(1, block(0, 3, 0, 4, 50), timeout=100), device(2, block(4, 3, 0, 4, 50), timeout=100)]
    outcome = Scripted(client).poll(devices, 3000)
    assert set(qualities(outcome.of(0))) == {GOOD} and len(outcome.of(0)) >= 50
    assert set(qualities(outcome.of(4))) == {TIMEOUT} and len(outcome.of(4)) >= 50


def test_nobody_there_is_bad_at_once_and_good_when_somebody_comes() -> None:
    async def client(server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(answer_to(await server.next(reader), server.requests))

    server = Scripted(client)

    async def scene() -> Outcome:
        listener = await asyncio.start_server(server._connected, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        listener.close()
        await listener.wait_closed()
        polling = asyncio.create_task(
            asyncio.to_thread(poll_tcp, "127.0.0.1", port, [device(1, block(0, 3, 0, 4, 50))], 3500)
        )
        await asyncio.sleep(1)
        listener = await asyncio.start_server(server._connected, "127.0.0.1", port)
        async with listener:
            return await polling

    outcome = asyncio.run(scene())
    found = qualities(outcome.of(0))
    assert set(found[:10]) == {DISCONNECTED}
    assert set(found[-20:]) == {GOOD}
    assert len(found) + outcome.missed_of(0) >= 69


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops what a full backlog cannot take")
def test_a_host_that_swallows_the_connect_costs_one_timeout() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        devices = [device(1, block(0, 3, 0, 4, 50)), device(2, block(4, 3, 0, 4, 50))]
        outcome = poll_tcp(*address, devices, 1500)
    for channel in (0, 4):  # 200 ms waiting for the connect, then at once
        assert set(qualities(outcome.of(channel))) == {DISCONNECTED}
        assert 26 <= len(outcome.of(channel)) <= 28
        assert 3 <= outcome.missed_of(channel) <= 4


def serve_fast(listener: socket.socket, ids: list[int]) -> None:
    """Answer one client as fast as can be; notes the transaction ids."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(ConnectionError):  # the client ends in the middle of a poll
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while request := connection.recv(12):
            ids.append(request[0] << 8 | request[1])
            connection.sendall(answer_to(request, len(ids)))


def poll_fast(ms: int, **options: Any) -> tuple[Outcome, list[int]]:
    """Poll two registers of `serve_fast`."""
    ids: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve_fast, args=(listener, ids))
        server.start()
        outcome = poll_tcp(*listener.getsockname(), [device(1, block(0, 3, 0, 2, 2))], ms, **options)
        server.join()
    return outcome, ids


def test_transaction_ids_wrap() -> None:
    """More requests than there are ids, one right after the other."""
    outcome, ids = poll_fast(1, burst=66_000, heap="64m", timeout=120)
    assert ids[:66_000] == [i & 0xFFFF for i in range(1, 66_001)]
    assert outcome.bad == 0
    for i, row in enumerate(outcome.rows[:66_000], 1):
        assert row.data == struct.pack(">HH", 0, i & 0xFFFF)


def test_a_request_leaves_nothing_on_the_heap() -> None:
    outcome, _ = poll_fast(500, keep=False, garbage=True, heap="8m")
    assert outcome.good > 200 and outcome.bad == 0
    assert outcome.garbage == 0


def test_coils_and_discrete_inputs_are_read_as_bits() -> None:
    coils = [bool(0b1011_0010_1101 >> i & 1) for i in range(12)]

    async def scene() -> Outcome:
        bits = SimData(0, values=coils, datatype=DataType.BITS)
        words = SimData(0, values=[7, 8], datatype=DataType.REGISTERS)
        unit = SimDevice(1, ([bits], [bits], [words], [words]))
        server, port = await equipment.serve_tcp([unit])
        items = [[i, 1 + i // 10, i, U8, 0, 100] for i in range(12)]
        try:
            return await asyncio.to_thread(poll_tcp, "127.0.0.1", port, [device(1, items)], 500)
        finally:
            await equipment.stop(server)

    outcome = asyncio.run(scene())
    assert outcome.bad == 0 and len(outcome.rows) >= 8
    found = {(row.channel, row.data) for row in outcome.rows if row.quality == GOOD}
    assert found == {(0, bytes(coils[:10])), (10, bytes(coils[10:]))}


@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu over tcp"])
def test_questions_of_every_reading_function_are_answered_between_polls(
    rtu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 to 4 and 43/14, as commissioning asks them; 23 as a write does. Then the polls go on."""
    # pymodbus keeps one identity for all servers of a process.
    monkeypatch.setattr(ModbusControlBlock, "_identity", ModbusDeviceIdentification())
    bits = [bool(0b1011_0010_1101 >> i & 1) for i in range(12)]
    identity = ModbusDeviceIdentification(
        info_name={"VendorName": "maker", "ProductCode": "P-1", "MajorMinorRevision": "2.7"}
    )
    questions = [
        read_request(1, 1, 0, 12),
        read_request(1, 2, 3, 9),
        read_request(1, 3, 10, 125),
        read_request(1, 4, 0, 1),
        modbus_write.identify(1),
        modbus_write.read_write(1, 0, 2, 1, b"\x12\x34"),
        read_request(1, 3, 190, 20),
    ]

    async def scene() -> Outcome:
        coils = SimData(0, values=bits, datatype=DataType.BITS)
        words = SimData(0, values=list(range(200)), datatype=DataType.REGISTERS)
        server = ModbusTcpServer(
            [SimDevice(1, ([coils], [coils], [words], [words]))],
            framer=FramerType.RTU if rtu else FramerType.SOCKET,
            identity=identity,
            address=("127.0.0.1", 0),
        )
        await server.serve_forever(background=True)
        port = server.transport.sockets[0].getsockname()[1]
        urgent = [(300 + 50 * i, one, 2000) for i, one in enumerate(questions)]
        devices = [device(1, block(0, 3, 100, 2, 20), timeout=400)]
        try:
            return await asyncio.to_thread(
                poll_tcp, "127.0.0.1", port, devices, 1500, urgent=urgent, general=True, rtu=rtu
            )
        finally:
            await server.shutdown()

    outcome = asyncio.run(scene())
    coils, inputs, most, one, identity_, written, beyond = outcome.urgent
    assert [one.quality for one in outcome.urgent[:-1]] == [GOOD] * 6
    assert coils.answer == b"\x01\x02" + bytes((0b0010_1101, 0b1011))
    assert inputs.answer == b"\x02\x02" + bytes((0b0110_0101, 0b1))
    assert most.answer == b"\x03\xfa" + struct.pack(">125H", *range(10, 135))
    assert one.answer == b"\x04\x02\x00\x00"
    found = modbus_write.objects(b"\x01" + identity_.answer, 0, 1 + len(identity_.answer))
    assert found == ({0: b"maker", 1: b"P-1", 2: b"2.7"}, 0)
    assert written.answer == b"\x17\x04\x00\x00\x12\x34", "written first, then read"
    assert beyond.quality == EXCEPTION + 2
    assert {row.data for row in outcome.of(0)} == {struct.pack(">2H", 100, 101)}
    assert outcome.of(0)[-1].ms > 1300, "the polls went on"


@pytest.mark.parametrize("swallows", [False, True], ids=["answers", "swallows the write"])
@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu over tcp"])
def test_a_write_to_a_server_that_closes_idle_connections_goes_out_once(rtu: bool, swallows: bool) -> None:
    """What was never sent on the old connection is sent on the new one, and what may have been is not."""
    heard: list[bytes] = []

    async def client(server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        more = True
        while more:
            frame = await reader.readexactly(8 if rtu else 12)
            body = frame[:6] if rtu else frame[6:]
            heard.append(body)
            if swallows and body[1] == 6:
                return
            answer = body[:2] + b"\x02\x00\x07" if body[1] == 3 else body
            head = frame[:4] + len(answer).to_bytes(2, "big")
            writer.write(with_crc(answer) if rtu else head + answer)
            more = swallows

    server = Scripted(client)
    write = b"\x01\x06\x00\x05\x00\x2a"
    urgent = [(500, b"\x01\x03\x00\x00\x00\x01", 2000), (1000, write, 2000)]
    polled = device(1, block(0, 3, 0, 1, 60_000), timeout=400)
    outcome = server.poll([polled], 1600, rtu=rtu, urgent=urgent, general=True)
    read, written = outcome.urgent
    assert (read.quality, read.sent, written.sent) == (GOOD, True, True)
    assert written.quality == (TIMEOUT if swallows else GOOD)
    assert heard.count(write) == 1 and server.connections == (2 if swallows else 3)


def test_a_server_that_floods_a_question_loses_its_connection_not_the_node() -> None:
    """More answers that nobody asked for than can be: as with a poll's."""
    flooded = 0

    async def client(server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal flooded
        while True:
            request = await reader.readexactly(12)
            if request[7] == 3:
                writer.write(answer_to(request, 1))
                continue
            stray = answer_to(request[:7] + b"\x03" + request[8:10] + b"\0\x02", 0, 0xABCD)
            until = time.monotonic() + 3
            while time.monotonic() < until:
                writer.write(stray * 40)
                flooded += 1
                await writer.drain()

    server = Scripted(client)
    urgent = [(300, b"\x01\x06\x00\x05\x00\x2a", 2000)]
    polled = device(1, block(0, 3, 0, 2, 20), timeout=300)
    outcome = server.poll([polled], 1500, urgent=urgent, general=True)
    (told,) = outcome.urgent
    assert flooded and told.sent and told.quality == BAD_ANSWER and told.ms < 300
    assert server.connections == 2 and outcome.of(0)[-1].quality == GOOD and outcome.of(0)[-1].ms > 1300


def test_a_server_behind_which_a_line_never_rests_costs_its_own_readings_only() -> None:
    """Over RTU over TCP: so much comes unasked that there is no moment for a request."""
    floods = [True]

    async def client(server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for serial in range(1000):
            frame = await reader.readexactly(8)
            writer.write(with_crc(frame[:2] + b"\x02" + serial.to_bytes(2, "big")))
            if serial == 9 and floods:
                floods.clear()
                until = time.monotonic() + 5
                while time.monotonic() < until:
                    writer.write(b"\x55" * 4096)
                    await writer.drain()

    server = Scripted(client)
    outcome = server.poll([device(1, block(0, 3, 0, 1, 20), timeout=100)], 2000, rtu=True)
    assert not floods and server.connections >= 2
    assert outcome.of(0)[-1].quality == GOOD and outcome.of(0)[-1].ms > 1800


def test_a_broadcast_behind_tcp_is_given_its_time_and_sent_once() -> None:
    heard: list[tuple[float, bytes]] = []

    async def client(server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            frame = await reader.readexactly(8)
            heard.append((time.monotonic(), frame))
            if frame[0]:
                writer.write(with_crc(frame[:2] + b"\x02\x00\x07"))

    polled = device(1, block(0, 3, 0, 1, 20), timeout=400)
    server = Scripted(client)
    urgent = [(300, b"\x00\x06\x00\x05\x00\x2a", 2000)]
    outcome = server.poll([polled], 1500, rtu=True, urgent=urgent, general=True)
    (told,) = outcome.urgent
    assert (told.quality, told.sent, told.answer) == (GOOD, True, b"") and told.ms >= 100
    (at,) = [i for i, (_, frame) in enumerate(heard) if not frame[0]]
    assert heard[at + 1][0] - heard[at][0] > 0.06, "100 ms, less what the test is late itself"
    assert set(qualities(outcome.of(0))) == {GOOD} and outcome.of(0)[-1].ms > 1300
    assert server.connections == 1


def test_rtu_over_tcp_is_told_apart_as_on_a_line(seed: int) -> None:
    faults = [
        Fault(Kind.SPLIT, 0.2, low=1, high=5),
        Fault(Kind.DELAY, 0.05, low=30, high=150),
        Fault(Kind.DROP, 0.02),
    ]
    with TcpProxy(responder=Responder(), faults=faults, seed=seed, rtu=True) as proxy:
        outcome = poll_tcp(
            "127.0.0.1", proxy.port, [device(1, block(0, 3, 0, 10, 20), timeout=50)], 3000, rtu=True
        )
        served = {one.serial for one in proxy.served()}
        unanswered = sum(quality != GOOD for quality in qualities(outcome.of(0)))
        assert proxy.connections <= 3 + unanswered, "asked again on another connection only after a silence"
    latest = -1
    for row in outcome.of(0):
        if row.quality == GOOD:
            words = struct.unpack(">10H", row.data)
            assert words[1] in served and words[1] > latest
            assert all(word == tag(1, at) for at, word in enumerate(words) if not at & 1)
            latest = words[1]
    assert sum(row.quality == GOOD for row in outcome.of(0)) >= 30
    assert TIMEOUT in qualities(outcome.of(0))
