"""The console behaves like a board's: cooked and raw output, the interrupt byte, full buffers, the cable."""

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator

import pytest
from gasan.boards.image import list_files
from gasan.boards.virtual import VirtualBoard

NewBoard = Callable[..., VirtualBoard]


class Host:
    """A host program that has the terminal open."""

    def __init__(self, board: VirtualBoard) -> None:
        self._fd = os.open(board.console_path, os.O_RDWR | os.O_NOCTTY)
        self.seen = b""

    def write(self, data: bytes) -> None:
        assert os.write(self._fd, data) == len(data)

    def read(self, seconds: float = 0) -> bytes:
        """What has come, waiting for the first byte."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return b""
        data = os.read(self._fd, 65536)
        self.seen += data
        return data

    def until(self, end: bytes, seconds: float = 10) -> bytes:
        """Everything up to and with ``end``."""
        limit = time.monotonic() + seconds
        while end not in self.seen:
            assert time.monotonic() < limit, self.seen[-300:]
            self.read(0.1)
        text, _, self.seen = self.seen.partition(end)
        return text + end

    def close(self) -> None:
        os.close(self._fd)


# Output is lost while nobody has the terminal open: a program that begins with this waits for the host.
_GATE = "import sys\nsys.stdin.read(1)\n"


@contextlib.contextmanager
def host(board: VirtualBoard, gate: bool = True) -> Iterator[Host]:
    opened = Host(board)
    try:
        board.wait(lambda s: s["console"]["present"] and s["phase"] == "main")
        if gate:
            opened.write(b"!")
        yield opened
    finally:
        opened.close()


def test_text_is_cooked_and_buffer_is_raw_in_order(new_board: NewBoard) -> None:
    board = new_board(
        _GATE
        + """
import micropython
for n in range(50):
    print("text", n)
    sys.stdout.buffer.write(b"\\n\\x00raw%d\\r" % n)
    sys.stdout.write("more\\n")
print("é", file=sys.stderr)
micropython.mem_info()
sys.print_exception(ValueError("x"))
print("end")
"""
    )
    with host(board) as h:
        text = h.until(b"end\r\n")
        expected = b"".join(b"text %d\r\n\n\x00raw%d\rmore\r\n" % (n, n) for n in range(50))
        expected += "é\r\n".encode()
        assert text.startswith(expected + b"mem: total=")
        assert b"\r\nValueError: x\r\nend\r\n" in text
        assert b"\n" not in text[len(expected) :].replace(b"\r\n", b"")


def test_stdin_waits_for_all_bytes_and_can_be_polled(new_board: NewBoard) -> None:
    board = new_board(
        _GATE
        + """
import select, sys
p = select.poll()
p.register(sys.stdin, select.POLLIN)
print("nothing", p.poll(20))
print("ready")
while not p.poll(1000): pass
b = bytearray(4)
print(sys.stdin.buffer.readinto(b), b, sys.stdin.read(2), sys.stdin.readline())
q = select.poll()
q.register(sys.stdout.buffer, select.POLLOUT)
print("out", len(q.poll(200)), "end")
"""
    )
    with host(board) as h:
        h.until(b"nothing []\r\nready\r\n")
        h.write(b"\x00\xff")
        h.write(b"\r\nxyline\n")
        assert h.until(b"end\r\n") == b"4 bytearray(b'\\x00\\xff\\r\\n') xy line\r\n\r\nout 1 end\r\n"


def test_the_interrupt_byte_interrupts_and_clears_the_ring(new_board: NewBoard) -> None:
    board = new_board(
        _GATE
        + """
import micropython, sys, time
try:
    print("waiting")
    time.sleep(20)
except KeyboardInterrupt:
    print("interrupted")
micropython.kbd_intr(-1)
print("got", sys.stdin.buffer.read(4))
micropython.kbd_intr(3)
try:
    print("looping")
    while True: pass
except KeyboardInterrupt:
    print("interrupted again")
"""
    )
    with host(board) as h:
        h.until(b"waiting\r\n")
        h.write(b"lost\x03kept")  # the bytes before it were in the ring
        assert h.until(b"looping\r\n") == b"interrupted\r\ngot b'kept'\r\nlooping\r\n"
        h.write(b"\x03")
        h.until(b"interrupted again\r\n")
    assert board.status()["console"]["interrupts"] == 2


def test_without_an_interrupt_byte_every_byte_is_data(new_board: NewBoard) -> None:
    board = new_board(
        _GATE
        + """
import micropython, sys
micropython.kbd_intr(-1)
print("go")
print(sum(sys.stdin.buffer.read(256)), "end")
"""
    )
    with host(board) as h:
        h.until(b"go\r\n")
        h.write(bytes(range(256)))
        assert h.until(b"end\r\n") == b"32640 end\r\n"


def test_interrupts_never_hit_the_file_system(new_board: NewBoard) -> None:
    """A hundred interrupts into a program that writes files most of the time."""
    board = new_board(
        _GATE
        + """
import os, sys, time
hits = 0
while hits < 100:
    try:
        sys.stdout.write("*")
        while True:
            with open("/new", "wb") as f: f.write(b"a" * 3000)
            os.rename("/new", "/file")
            time.sleep_ms(1)
    except KeyboardInterrupt:
        hits += 1
assert os.stat("/file")[6] == 3000
print("end")
"""
    )
    with host(board) as h:
        for _ in range(100):
            h.until(b"*")
            h.write(b"\x03")
        h.until(b"end\r\n")
    status = board.status()
    assert status["boots"] == 1 and status["flash"]["overwrites"] == 0
    board.stop()
    assert list_files(board.image)["/file"] == 3000


_SLEEPY_READER = (
    _GATE
    + """
import select, sys, time
print("asleep")
time.sleep_ms(300)
p = select.poll()
p.register(sys.stdin, select.POLLIN)
n = 0
while p.poll(300):
    sys.stdin.buffer.read(1)
    n += 1
print("read", n, "end")
"""
)


@pytest.mark.parametrize(("board_name", "ring"), [("esp32_generic", 260), ("virtual", 260)])
def test_a_full_ring_drops(new_board: NewBoard, board_name: str, ring: int) -> None:
    board = new_board(_SLEEPY_READER, board=board_name)
    with host(board) as h:
        h.until(b"asleep\r\n")
        h.write(b"x" * 1000)
        assert h.until(b"end\r\n") == b"read %d end\r\n" % (ring - 1)
    assert board.status()["console"]["in_lost"] == 1000 - (ring - 1)


def test_a_full_ring_holds_a_usb_host_back(new_board: NewBoard) -> None:
    board = new_board(_SLEEPY_READER, board="rpi_pico")
    with host(board) as h:
        h.until(b"asleep\r\n")
        h.write(b"x" * 2000)
        assert h.until(b"end\r\n") == b"read 2000 end\r\n"
    assert board.status()["console"]["in_lost"] == 0


def test_a_host_that_does_not_read_stalls_the_board_for_a_while(new_board: NewBoard) -> None:
    board = new_board(
        _GATE
        + """
import time
stalled = 0
while stalled < 300:
    t = time.ticks_ms()
    sys.stdout.buffer.write(b"x" * 1000)
    stalled = time.ticks_diff(time.ticks_ms(), t)
open("/go_on", "w").close()
time.sleep(1)
print("stalled", stalled)
""",
    )
    with host(board) as h:
        status = board.wait(lambda s: s["flash"]["programs"] > 0)  # the stalled write came through
        assert status["console"]["out_lost"] > 0
        h.until(b"stalled ")
        assert 300 <= int(h.until(b"\r\n")) < 1000


def test_without_a_host_output_is_lost_and_nothing_stalls(new_board: NewBoard) -> None:
    board = new_board("for n in range(300): print('x' * 1000)")
    start = time.monotonic()
    status = board.wait(lambda s: s["phase"] == "repl")
    assert time.monotonic() - start < 3
    assert status["console"]["out_lost"] > 300_000 and status["console"]["out"] == 0


def test_pulling_the_cable(new_board: NewBoard) -> None:
    board = new_board("import time\nwhile True:\n    print('tick')\n    time.sleep_ms(10)")
    with host(board, gate=False) as h:
        h.until(b"tick\r\n")
        board.unplug()
        assert not board.console_path.exists()
        with pytest.raises(OSError):
            while h.read(1):
                pass
            raise OSError
    board.plug()
    with host(board, gate=False) as h:
        h.until(b"tick\r\n")
    assert board.status()["boots"] == 1


def test_the_terminal_outlives_resets(new_board: NewBoard) -> None:
    board = new_board("import machine, time\nprint('life')\ntime.sleep_ms(50)\nmachine.reset()")
    with host(board, gate=False) as h:
        for _ in range(5):
            h.until(b"life\r\n")
