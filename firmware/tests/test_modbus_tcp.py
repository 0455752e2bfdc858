"""The TCP client on the VM: against pymodbus, and against servers that misbehave."""

import asyncio
import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from gasan.hil import equipment, vmrun
from gasan.hil.polling import Outcome, Row, block, poll_tcp
from gasan.wire.quality import BAD_ANSWER, DISCONNECTED, EXCEPTION, GOOD, TIMEOUT
from pymodbus.simulator import DataType, SimData, SimDevice

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def device(unit: int, *items: list[list[int]], timeout: int = 200) -> list[Any]:
    return ["d", unit, timeout, 0, 125, [item for some in items for item in some]]


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
            device(1, block(0, 3, 0, 125, 100)),
            device(2, block(200, 4, 5, 2, 100), block(202, 4, 124, 2, 100)),
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
                for byte in good:
                    writer.write(bytes([byte]))
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
