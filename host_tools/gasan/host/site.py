"""A site: the nodes, their lines and the devices on them, as one checked TOML file describes it."""

from dataclasses import dataclass
from pathlib import Path

from gasan.boards.facts import Board
from gasan.host.problems import Problem
from gasan.host.profiles import Profile, ProfileChannel

__all__ = [
    "BleBus",
    "BleDevice",
    "Bus",
    "ModbusDevice",
    "Node",
    "RtuBus",
    "Site",
    "SiteChannel",
    "TcpBus",
    "load",
]


@dataclass(frozen=True)
class SiteChannel:
    """A channel that is read: what the profile says of it, and how often (0: whenever it is heard)."""

    profile: ProfileChannel
    period_ms: int


@dataclass(frozen=True)
class ModbusDevice:
    """A device on an RTU line or behind a TCP address."""

    name: str
    unit: int
    profile: Profile
    timeout_ms: int
    gap_ms: int
    max_registers: int
    channels: tuple[SiteChannel, ...]


@dataclass(frozen=True)
class BleDevice:
    """A sensor that advertises; silent for `timeout_ms`, its channels turn bad.

    encrypted: only what was made with its key is believed; the key is in no site file, see `sensor_keys`.
    """

    name: str
    address: bytes
    profile: Profile
    timeout_ms: int
    encrypted: bool
    channels: tuple[SiteChannel, ...]


@dataclass(frozen=True)
class RtuBus:
    """A Modbus RTU line.

    `port` is what a virtual board's UART is connected to, None on a real board. `pins` are TX and RX of a
    real board, None on a virtual one.
    """

    name: str
    uart: int
    port: str | None
    baudrate: int
    parity: str
    stop_bits: int
    pins: tuple[int, int] | None
    de_re_pin: int | None
    devices: tuple[ModbusDevice, ...]

    @property
    def bits_per_character(self) -> int:
        return 1 + 8 + (self.parity != "none") + self.stop_bits


@dataclass(frozen=True)
class TcpBus:
    """One Modbus TCP server."""

    name: str
    host: str
    port: int
    devices: tuple[ModbusDevice, ...]


@dataclass(frozen=True)
class BleBus:
    """The radio.

    active: sensors are asked for their scan responses. air: where a virtual board's radio is played
    (host:port), None on a real board.
    """

    name: str
    scan_interval_ms: int
    scan_window_ms: int
    active: bool
    air: str | None
    devices: tuple[BleDevice, ...]


Bus = RtuBus | TcpBus | BleBus


@dataclass(frozen=True)
class Node:
    """One node. Without a `link` it is a virtual or an emulated board that the gateway starts itself."""

    name: str
    board: Board
    link: str | None
    emulated: bool
    batch_max_age_ms: int
    batch_max_bytes: int
    watchdog: bool
    buses: tuple[Bus, ...]


@dataclass(frozen=True)
class Site:
    """A whole site, and the warnings about its file."""

    file: Path
    name: str
    nodes: tuple[Node, ...]
    warnings: tuple[Problem, ...]


def load(file: Path) -> Site:
    """Reads and checks a site file.

    Raises InputError when it cannot be read and FileError with every mistake in it.
    """
    from gasan.host.site_rules import check_site  # it builds the classes above

    return check_site(file)
