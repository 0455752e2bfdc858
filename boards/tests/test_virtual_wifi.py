"""A Wi-Fi that can be joined, lost and regained, and sockets that feel it."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from gasan.boards.virtual import VirtualBoard

NewBoard = Callable[..., VirtualBoard]

_JOIN = """
import network, socket, time
def reach():
    s = socket.socket()
    try:
        s.connect(socket.getaddrinfo("127.0.0.1", PORT)[0][-1])
        return s
    except OSError as e:
        return e.errno
w = network.WLAN(network.STA_IF)
def until(state):
    while w.isconnected() != state: time.sleep_ms(5)
"""


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A TCP server of the host that echoes for one client at a time."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                client, _ = server.accept()
                with client:
                    while data := client.recv(100):
                        if data == b"stop":
                            return
                        client.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        with socket.create_connection(server.getsockname()) as last:
            last.sendall(b"stop")
        thread.join()


def told(board: VirtualBoard) -> list[str]:
    text = (board.folder / "console.log").read_text()
    assert "Traceback" not in text, text
    return [line[1:] for line in text.splitlines() if line.startswith("=")]


def say(board: VirtualBoard, word: str) -> None:
    """Wait until the board has said a word."""
    board.wait(lambda _: word in told(board))


@pytest.mark.parametrize("name", ["rpi_pico_w", "esp32_generic"])
def test_join_lose_regain(new_board: NewBoard, echo_port: int, name: str) -> None:
    board = new_board(
        _JOIN.replace("PORT", str(echo_port))
        + """
assert reach() == -2                      # no name can be resolved
w.active(True)
assert w.scan()[0][0] == b"hall" and w.status() == network.STAT_IDLE
w.connect("hall", "wrong")
while w.status() == network.STAT_CONNECTING: time.sleep_ms(5)
assert w.status() == network.STAT_WRONG_PASSWORD
w.connect("cellar", "secret")
while w.status() == network.STAT_CONNECTING: time.sleep_ms(5)
assert w.status() == network.STAT_NO_AP_FOUND
w.connect("hall", "secret")
until(True)
assert w.status() == network.STAT_GOT_IP and w.ifconfig()[0] == "127.0.0.1" and w.status("rssi") == -50
s = reach()
s.settimeout(0.2)
s.send(b"ping")
assert s.recv(10) == b"ping"
print("=joined")
until(False)
try:
    s.send(b"ping")
    print("=sent without a network")
except OSError as e:
    print("=errno", e.errno)
s.setblocking(False)
assert s.readinto(bytearray(9)) is None   # nothing comes, as from a silent line
print("=lost")
while not w.scan(): time.sleep_ms(5)
if REJOINS:
    until(True)
else:
    time.sleep_ms(500)
    assert not w.isconnected()
    w.connect()
    until(True)
s.settimeout(1)
s.send(b"pong")
assert s.recv(10) == b"pong"              # the connection has outlived the outage
s.close()
print("=regained")
""".replace("REJOINS", str(name != "rpi_pico_w")),
        board=name,
        wifi=("hall", "secret"),
    )
    say(board, "joined")
    board.set(wifi=False)
    say(board, "lost")
    board.set(wifi=True)
    say(board, "regained")
    assert told(board) == ["joined", "errno 110", "lost", "regained"]


def test_asyncio_streams_over_wifi(new_board: NewBoard, echo_port: int) -> None:
    board = new_board(
        _JOIN.replace("PORT", str(echo_port))
        + """
import asyncio
w.active(True)
w.connect("hall")
until(True)
async def main():
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(b"hello")
    await writer.drain()
    print("=" + (await reader.readexactly(5)).decode())
    writer.close()
    await writer.wait_closed()
asyncio.run(main())
""".replace("PORT", str(echo_port)),
        board="rpi_pico_w",
        wifi=("hall", ""),
    )
    say(board, "hello")


def test_boards_without_wifi_have_none(new_board: NewBoard) -> None:
    board = new_board(
        """
try:
    import network
    print("=network")
except ImportError:
    print("=none")
""",
        board="rpi_pico",
    )
    say(board, "none")
