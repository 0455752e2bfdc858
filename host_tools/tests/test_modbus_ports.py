"""Modbus TCP connections as they come: late and split answers, closed connections, nonsense."""

import os
import socket
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serial
from gasan.host.errors import InputError, TryAgainError
from gasan.host.modbus.frames import Kind
from gasan.host.modbus.ports import SerialLine, TcpLine, is_serial, parse_host
from gasan.host.modbus.settings import Setting

READ = bytes([3, 0, 0, 0, 1])
VALUE = bytes([3, 2, 0x12, 0x34])
Answer = Callable[[socket.socket, bytes], None]


def frame(number: bytes, unit: int, pdu: bytes) -> bytes:
    return number + bytes(2) + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit]) + pdu


@contextmanager
def server(*answers: Answer) -> Iterator[tuple[str, int]]:
    """Listens; the n-th request, over whatever connections, is handed to the n-th of `answers`."""
    waiting = list(answers)
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while waiting:
            try:
                connection, _address = listening.accept()
            except OSError:
                return
            with connection:
                while waiting:
                    try:
                        request = connection.recv(12)
                        if not request:
                            break
                        waiting.pop(0)(connection, request)
                    except ConnectionError:
                        break

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listening.getsockname()
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


def right(connection: socket.socket, request: bytes) -> None:
    connection.sendall(frame(request[:2], request[6], VALUE))


def late_one_first(connection: socket.socket, request: bytes) -> None:
    stale = (int.from_bytes(request[:2], "big") - 1 & 0xFFFF).to_bytes(2, "big")
    connection.sendall(frame(stale, 1, bytes([3, 2, 0xBA, 0xD0])) + frame(request[:2], request[6], VALUE))


def in_pieces(connection: socket.socket, request: bytes) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in frame(request[:2], request[6], VALUE):
        connection.sendall(bytes([byte]))


def closes(connection: socket.socket, request: bytes) -> None:
    raise ConnectionError


def silent(connection: socket.socket, request: bytes) -> None:
    pass


def nonsense(connection: socket.socket, request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def another_unit(connection: socket.socket, request: bytes) -> None:
    connection.sendall(frame(request[:2], request[6] + 1, VALUE))


@pytest.mark.parametrize("answer", [right, late_one_first, in_pieces])
def test_the_right_answer_is_taken(answer: Answer) -> None:
    with server(answer, right) as address, TcpLine(*address) as line:
        for _ in range(2):
            reply = line.ask(5, READ, 5)
            assert (reply.kind, reply.pdu) == (Kind.ANSWER, VALUE)


def test_a_closed_connection_is_made_anew() -> None:
    with server(right, closes, right) as address, TcpLine(*address) as line:
        assert [line.ask(5, READ, 5).kind for _ in range(2)] == [Kind.ANSWER, Kind.ANSWER]


def test_nonsense_and_other_units_are_no_answer() -> None:
    with server(nonsense, nonsense, another_unit, right) as address, TcpLine(*address) as line:
        assert line.ask(5, READ, 5).kind is Kind.SILENCE
        assert line.ask(5, READ, 5).kind is Kind.FOREIGN
        assert line.ask(5, READ, 5).kind is Kind.ANSWER


def test_silence_lasts_as_long_as_was_said() -> None:
    with server(silent, right) as address, TcpLine(*address) as line:
        reply = line.ask(5, READ, 0.1)
        assert reply.kind is Kind.SILENCE and 0.1 <= reply.seconds < 2
        assert line.ask(5, READ, 5).kind is Kind.ANSWER


def test_a_late_answer_is_handed_over_with_the_unit_that_was_asked() -> None:
    asked: list[bytes] = []

    def keeps(_connection: socket.socket, request: bytes) -> None:
        asked.append(request)

    def both(connection: socket.socket, request: bytes) -> None:
        right(connection, asked[0])
        connection.sendall(frame(asked[1][:2], asked[1][6], bytes([0x83, 11])))
        right(connection, request)

    with server(keeps, keeps, both, right) as address, TcpLine(*address) as line:
        for unit in (5, 6):
            assert line.ask(unit, READ, 0.05).kind is Kind.SILENCE
        reply = line.ask(7, READ, 5)
        assert (reply.kind, reply.pdu) == (Kind.ANSWER, VALUE)
        assert [(unit, late.kind, late.code) for unit, late in reply.late] == [
            (5, Kind.ANSWER, 0),
            (6, Kind.EXCEPTION, 11),
        ]
        assert reply.late[0][1].seconds >= 0.1
        assert line.ask(7, READ, 5).late == ()


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with pytest.raises(TryAgainError, match="nothing answers at"):
        TcpLine(*address)


class _Picky(serial.Serial):
    """A driver that knows neither even parity nor 57600 baud."""

    def _reconfigure_port(self, force_update: bool = False) -> None:
        if self._parity == "E" or self._baudrate == 57_600:
            raise termios.error(22, "Invalid argument")
        super()._reconfigure_port(force_update)


def test_a_setting_that_the_adapter_does_not_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "serial_for_url", _Picky)
    end, user = os.openpty()
    try:
        with SerialLine(os.ttyname(user), Setting(9600, "N")) as line:
            for setting, offered in (
                (Setting(9600, "E"), False),
                (Setting(19_200, "O"), True),
                (Setting(57_600, "N"), False),
                (Setting(57_600, "E"), False),
                (Setting(19_200, "N", 2), True),
            ):
                assert line.configure(setting) == offered
                assert (line.setting == setting) == offered
            attributes = termios.tcgetattr(user)
            assert attributes[4] == termios.B19200 and attributes[2] & termios.CSTOPB
    finally:
        os.close(end)
        os.close(user)


def test_a_port_that_does_not_offer_the_first_setting_is_a_port_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serial, "serial_for_url", _Picky)
    end, user = os.openpty()
    try:
        with SerialLine(os.ttyname(user), Setting(57_600, "N")) as line:
            assert not line.configure(Setting(57_600, "N")) and line.configure(Setting(19_200, "N"))
    finally:
        os.close(end)
        os.close(user)


def test_a_path_is_a_port_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    end, user = os.openpty()
    try:
        Path("oven").symlink_to(os.ttyname(user))
        for port in ("./oven", "oven"):
            SerialLine(port, Setting(9600, "N")).close()
        Path("notes").touch()
        with pytest.raises(InputError, match="notes is not a serial port"):
            SerialLine("notes", Setting(9600, "N"))
        for port in ("./none", "ttyNONE"):
            with pytest.raises(TryAgainError, match="no such port"):
                SerialLine(port, Setting(9600, "N"))
    finally:
        os.close(end)
        os.close(user)


def test_what_is_no_port_and_no_name_is_said() -> None:
    with pytest.raises(InputError, match="loop:// is not a serial port"):
        SerialLine("loop://", Setting(9600, "N"))
    for name in ("a..b", "x" * 300):
        assert not is_serial(name)
        with pytest.raises(InputError, match="neither a serial port nor an address"):
            TcpLine(*parse_host(name))


def test_a_line_that_is_never_quiet_is_asked_all_the_same() -> None:
    end, user = os.openpty()
    tty.setraw(end)
    over = threading.Event()

    def babble() -> None:
        while not over.wait(0.001):
            os.write(end, b"\x55")

    thread = threading.Thread(target=babble)
    with SerialLine(os.ttyname(user), Setting(9600, "N")) as line:
        thread.start()
        quiet = threading.Timer(8, over.set)  # so that it ends in any case
        quiet.start()
        try:
            assert line.listen(0.2)
            start = time.monotonic()
            reply = line.ask(1, READ, 0.1)
            assert time.monotonic() - start < 5 and not over.is_set()
            assert reply.stray and reply.kind is Kind.GARBAGE
        finally:
            quiet.cancel()
            over.set()
            thread.join()
            os.close(end)
            os.close(user)
