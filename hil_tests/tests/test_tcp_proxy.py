"""The faults of a connection: each does what its name says, and between real sockets as in virtual time."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from gasan.hil.rs485 import MASTER, Fault, Kind, Responder
from gasan.hil.rs485.responder import tag
from gasan.hil.tcp import Stream, TcpFaultPlan, TcpProxy

REQUEST = bytes.fromhex("000700000006 01 03 0000 0002")
ANSWER = bytes.fromhex("000700000007 01 03 04") + tag(1, 0).to_bytes(2, "big") + b"\x00\x00"


def answers(faults: list[Fault], requests: int = 1, seed: int = 1) -> tuple[list[tuple[int, bytes]], Stream]:
    """What comes back at which time, and the stream."""
    stream = Stream(TcpFaultPlan.of(seed, faults), Responder())
    for i in range(requests):
        stream.send(MASTER, bytes([0, 7 + i]) + REQUEST[2:], i * 1_000_000)
    return [(one.time, one.data) for one in stream.run(10**12)], stream


def sure(kind: Kind, **options: float) -> list[Fault]:
    return [Fault(kind, frames=frozenset({0}), **options)]  # type: ignore[arg-type]


def test_a_clean_stream_answers() -> None:
    [(time_ns, data)], _ = answers([])
    assert data == ANSWER and time_ns == 200_000


def test_frames_are_found_in_any_pieces_of_a_request() -> None:
    for cut in range(1, len(REQUEST)):
        stream = Stream(None, Responder())
        stream.send(MASTER, REQUEST[:cut], 0)
        assert stream.run(10**9) == []
        stream.send(MASTER, REQUEST[cut:] + REQUEST, 10**9)
        assert [one.data[:9] for one in stream.run(10**10)] == [ANSWER[:9]] * 2


@pytest.mark.parametrize("seed_", range(10))
def test_each_fault_does_what_its_name_says(seed_: int, seed: int) -> None:
    seed += seed_
    assert answers(sure(Kind.DROP), seed=seed)[0] == []
    assert answers(sure(Kind.DOUBLE), seed=seed)[0][0][1] == ANSWER * 2
    assert answers(sure(Kind.NOISE), seed=seed)[0][0][1].endswith(ANSWER)
    [(_, data), *ends], _ = answers(sure(Kind.TRUNCATE), seed=seed)
    assert [data for _, data in ends] == [b"", b""]
    assert ANSWER.startswith(data) and 0 < len(data) < len(ANSWER)
    [(late, data)], _ = answers(sure(Kind.DELAY, low=30, high=40), seed=seed)
    assert data == ANSWER and 30e6 <= late <= 41e6
    pieces, _ = answers(sure(Kind.SPLIT, low=2, high=3), seed=seed)
    assert b"".join(data for _, data in pieces) == ANSWER and 2 <= len(pieces) <= 4
    assert 2e6 <= pieces[1][0] - pieces[0][0] <= 3e6
    [(_, data)], _ = answers(sure(Kind.WRONG_UNIT), seed=seed)
    assert data[:6] + data[7:] == ANSWER[:6] + ANSWER[7:] and data[6] != 1
    [(_, data)], _ = answers(sure(Kind.WRONG_ID), seed=seed)
    assert data[2:] == ANSWER[2:] and data[:2] != ANSWER[:2]
    [(_, data)], _ = answers(sure(Kind.STRAY), seed=seed)
    assert data.endswith(ANSWER) and len(data) in (2 * len(ANSWER), 3 * len(ANSWER), 4 * len(ANSWER))
    assert all(data[i : i + 2] != ANSWER[:2] for i in range(0, len(data) - len(ANSWER), len(ANSWER)))
    both, _ = answers(sure(Kind.REORDER), requests=2, seed=seed)
    assert [data[1] for _, data in both] == [8, 7]
    [(_, data), *_], stream = answers(sure(Kind.CLOSE), seed=seed)
    assert data == b"" and stream.closed
    nothing, stream = answers(sure(Kind.HALF_OPEN), requests=3, seed=seed)
    assert nothing == [] and stream.mute and not stream.closed


def test_bits_do_not_flip_on_tcp() -> None:
    with pytest.raises(ValueError, match="take it on a line"):
        TcpFaultPlan.of(1, [Fault(Kind.FLIP, 1e-4)])


@contextmanager
def client(proxy: TcpProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield end


def read(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := end.recv(size - len(data))):
        data += more
    return data


def test_the_proxy_does_to_sockets_what_the_stream_does_in_virtual_time() -> None:
    faults = [*sure(Kind.SPLIT, low=5, high=10), Fault(Kind.DELAY, frames=frozenset({1}), low=50, high=60)]
    with TcpProxy(responder=Responder(), faults=faults, seed=3) as proxy, client(proxy) as end:
        end.sendall(REQUEST)
        assert read(end, len(ANSWER)) == ANSWER
        start = time.monotonic()
        end.sendall(REQUEST)
        assert read(end, len(ANSWER))[:9] == ANSWER[:9]
        assert time.monotonic() - start >= 0.05
        done = [(one.direction, one.frame, one.kind) for one in proxy.injected()]
        assert len(proxy.served()) == 2
    assert done == [("answer", 0, Kind.SPLIT), ("answer", 1, Kind.DELAY)]


def test_the_proxy_stands_between_a_client_and_a_server() -> None:
    faults = sure(Kind.STRAY)
    with (
        TcpProxy(responder=Responder()) as server,
        TcpProxy(("127.0.0.1", server.port), faults=faults) as proxy,
        client(proxy) as end,
    ):
        end.sendall(REQUEST)
        data = read(end, 2 * len(ANSWER))
        while not data.endswith(ANSWER):
            data += read(end, len(ANSWER))
        assert len(server.served()) == 1 and proxy.connections == 1


def test_the_proxy_closes_and_goes_mute() -> None:
    with TcpProxy(responder=Responder(), faults=sure(Kind.CLOSE)) as proxy, client(proxy) as end:
        end.sendall(REQUEST)
        assert end.recv(100) == b""
    with TcpProxy(responder=Responder(), faults=sure(Kind.HALF_OPEN)) as proxy, client(proxy) as end:
        end.sendall(REQUEST * 3)
        end.settimeout(0.2)
        with pytest.raises(TimeoutError):
            end.recv(100)
        with client(proxy) as other:  # a new connection works
            other.sendall(REQUEST)
            assert read(other, len(ANSWER))[:9] == ANSWER[:9]


def test_a_server_that_is_not_there_shows_as_a_closed_connection() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with TcpProxy(("127.0.0.1", port)) as proxy, client(proxy) as end:
        assert end.recv(100) == b""
