"""The facts of each board, from the TOML files in ``boards/`` (their format: boards/README.md)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from gasan.boards.places import BOARDS

__all__ = ["Board", "Clock", "Console", "Flash", "Flashing", "Uart", "Watchdog", "load", "names"]

Family = Literal["virtual", "rp2", "esp32"]


@dataclass(frozen=True)
class Flash:
    """The flash chip and the file system on it. All sizes in bytes."""

    size: int
    fs_offset: int
    fs_size: int
    block: int
    program: int
    endurance: int

    @property
    def blocks(self) -> int:
        """Erase blocks of the file system."""
        return self.fs_size // self.block


@dataclass(frozen=True)
class Uart:
    """Default pins of a UART that a bus can use."""

    tx: int
    rx: int


@dataclass(frozen=True)
class Console:
    """How the console behaves when one side does not read.

    ``ring``: bytes of the input ring, one of which stays free. ``when_full``: what happens to input then:
    ``wait`` (USB holds the host back) or ``drop``. ``stall_ms``: how long a write waits for a host that does
    not read before the bytes are lost; 0: it does not wait.
    """

    ring: int
    when_full: Literal["wait", "drop"]
    stall_ms: int


@dataclass(frozen=True)
class Watchdog:
    """Timeouts that the watchdog takes."""

    min_ms: int
    max_ms: int


@dataclass(frozen=True)
class Clock:
    """``epoch``: the year that time.time() counts from; ``rtc``: the year the clock says at power-on."""

    epoch: int
    rtc: int


@dataclass(frozen=True)
class Flashing:
    """How MicroPython gets onto the board."""

    download: str
    how: str


@dataclass(frozen=True)
class Board:
    """One board. ``heap``: bytes a node may use. ``capabilities``: some of tcp, wifi, ble, pairing.

    ``spool_bytes``: the default size of the spool. ``ble_connections``: that its radio keeps at a time.
    ``verified``: on what the file's facts have been tried.
    """

    name: str
    title: str
    mcu: str
    family: Family
    frequency: int
    heap: int
    spool_bytes: int
    flash: Flash
    console: Console
    watchdog: Watchdog
    clock: Clock
    verified: str
    sources: tuple[str, ...]
    capabilities: frozenset[str] = frozenset()
    ble_connections: int = 0
    uarts: Mapping[int, Uart] = field(default_factory=dict, hash=False)
    flashing: Flashing | None = None

    def reset_cause(self, kind: str, before: int = 1) -> int:
        """machine.reset_cause() after ``kind``: power-on, reset, watchdog, deepsleep or soft.

        ``before`` is the cause of the start before it, which a soft reset does not change on rp2.
        """
        if kind == "soft":
            return before if self.family == "rp2" else 5
        return _CAUSES[self.family][kind]


_ESP32 = {"power-on": 1, "reset": 2, "watchdog": 3, "deepsleep": 4}
# machine.reset() goes through the watchdog on rp2, and deep sleep ends with machine.reset().
_RP2 = {"power-on": 1, "reset": 3, "watchdog": 3, "deepsleep": 3}
_CAUSES: dict[str, dict[str, int]] = {"virtual": _ESP32, "esp32": _ESP32, "rp2": _RP2}


@cache
def names() -> tuple[str, ...]:
    """All boards, by name."""
    return tuple(sorted(path.stem for path in BOARDS.glob("*.toml")))


@cache
def load(name: str) -> Board:
    """The facts of a board. Raises KeyError for a name that no file has."""
    if name not in names():
        raise KeyError(name)
    data = tomllib.loads((BOARDS / f"{name}.toml").read_text())
    flash = dict(data.pop("flash"))
    flash["fs_offset"] = flash.get("fs_offset", flash["size"] - flash["fs_size"])
    uarts: dict[str, Any] = data.pop("uart", {})
    flashing = data.pop("flashing", None)
    return Board(
        name=name,
        flash=Flash(**flash),
        console=Console(**data.pop("console")),
        watchdog=Watchdog(**data.pop("watchdog")),
        clock=Clock(**data.pop("clock")),
        uarts={int(number): Uart(**pins) for number, pins in uarts.items()},
        capabilities=frozenset(data.pop("capabilities", ())),
        sources=tuple(data.pop("sources")),
        flashing=Flashing(**flashing) if flashing else None,
        **data,
    )
