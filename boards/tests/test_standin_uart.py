"""machine.UART on a terminal: throughput both ways, exact counts, no garbage, honest edges."""

import os
import termios
import threading
import tty
from collections.abc import Callable, Iterator

import pytest

OnVm = Callable[..., str]


class Echo:
    """A terminal whose other end sends everything back."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while data := os.read(self.master, 4096):
            if data == b"stop":
                return
            os.write(self.master, data)

    def speed(self) -> int:
        speed: int = termios.tcgetattr(self.master)[4]
        return speed

    def close(self) -> None:
        os.write(self._slave, b"stop")
        self._thread.join()
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def echo() -> Iterator[Echo]:
    terminal = Echo()
    yield terminal
    terminal.close()


def test_throughput_without_garbage(on_vm: OnVm, echo: Echo) -> None:
    us, allocated = map(int, on_vm("uart_loop.py", echo.path).split())
    print(f"200 bytes there and back in {us} us")
    assert allocated == 0
    assert us < 17_000  # what the line itself would take at 115200 baud, once
    assert echo.speed() == termios.B115200


def test_sending_time_overruns_and_silence(on_vm: OnVm, echo: Echo) -> None:
    assert on_vm("uart_edges.py", echo.path) == "end\n"
