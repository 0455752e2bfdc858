"""A site: the nodes, their lines and the devices on them, as one checked TOML file describes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gasan.boards.facts import Board
from gasan.host.edge_rules import Derived, Rules
from gasan.host.problems import Problem
from gasan.host.profiles import Profile, ProfileChannel
from gasan.host.write_rules import Writable

__all__ = [
    "BleBus",
    "BleDevice",
    "Bus",
    "ModbusDevice",
    "Node",
    "RtuBus",
    "RtuOverTcpBus",
    "Sender",
    "Site",
    "SiteChannel",
    "TcpBus",
    "load",
]


@dataclass(frozen=True)
class SiteChannel:
    """A channel that is read: what the profile says of it, how often (0: whenever it is heard), and what the
    node does with the samples.
    """

    profile: ProfileChannel
    period_ms: int
    rules: Rules | None = None


@dataclass(frozen=True)
class ModbusDevice:
    """A device on an RTU line or behind a TCP address."""

    name: str
    unit: int
    profile: Profile
    timeout_ms: int
    gap_ms: int
    max_registers: int
    max_hole: int
    channels: tuple[SiteChannel, ...]
    writes: Mapping[str, Writable]


@dataclass(frozen=True)
class Sender:
    """By what a sensor without an address is known: one of `kinds` and `needs` and the beginning of a name.

    kinds: what an AD structure begins with, and how many bytes it has, 0 for any. needs: what another begins
    with, b"" for nothing.
    """

    kinds: tuple[tuple[bytes, int], ...]
    needs: bytes
    name: bytes

    def may_be(self, other: "Sender") -> bool:
        """Whether one advertisement could be of both."""
        if self.name and other.name and not _begin_alike(self.name, other.name):
            return False
        if self.needs[:3] == other.needs[:3] and not _begin_alike(self.needs, other.needs):
            return False
        return any(_begin_alike(one, another) for one, _ in self.kinds for another, _ in other.kinds)


def _begin_alike(one: bytes, other: bytes) -> bool:
    return one.startswith(other) or other.startswith(one)


@dataclass(frozen=True)
class BleDevice:
    """A sensor that advertises or is connected to; silent for `timeout_ms`, its channels turn bad.

    encrypted: only what was made with its key is believed; the key is in no site file, see `sensor_keys`.
    period_ms, random_address, pair: of one that is connected to: between two visits, whether its address is
    a random one, and whether it is paired with. sender: of one that is known by what it sends; its address
    is zeros then.
    """

    name: str
    address: bytes
    profile: Profile
    timeout_ms: int
    encrypted: bool
    channels: tuple[SiteChannel, ...]
    period_ms: int = 0
    random_address: bool = False
    pair: bool = False
    sender: Sender | None = None


@dataclass(frozen=True)
class RtuBus:
    """A Modbus RTU line.

    `port` is what a virtual board's UART is connected to, None on a real board. `pins` are TX and RX of a
    real board, None on a virtual one. turnaround_ms: what a broadcast is given. de_delay_us: from DE to the
    first bit. echo: the adapter lets the node hear itself.
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
    turnaround_ms: int = 100
    de_delay_us: int = 0
    echo: bool = False

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
class RtuOverTcpBus(TcpBus):
    """A serial line behind a device server that passes RTU frames. turnaround_ms: for a broadcast."""

    turnaround_ms: int = 100


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
    """One node. Without a `link` it is a virtual or an emulated board that the gateway starts itself.

    backlog_share: percent of the link for what was kept through an outage, while there are live frames too.
    """

    name: str
    board: Board
    link: str | None
    emulated: bool
    batch_max_age_ms: int
    batch_max_bytes: int
    watchdog: bool
    buses: tuple[Bus, ...]
    derived: tuple[Derived, ...] = ()
    spool_bytes: int = 262_144
    spool_in_ram: bool = False
    drop_newest: bool = False
    backlog_share: int = 50


@dataclass(frozen=True)
class Site:
    """A whole site, and the warnings about its file.

    The gateway's database keeps readings for `keep_days`, and is of at most `max_bytes`. None: no bound.
    """

    file: Path
    name: str
    nodes: tuple[Node, ...]
    warnings: tuple[Problem, ...]
    keep_days: int | None = None
    max_bytes: int | None = None


def load(file: Path) -> Site:
    """Reads and checks a site file.

    Raises InputError when it cannot be read and FileError with every mistake in it.
    """
    from gasan.host.site_rules import check_site  # it builds the classes above

    return check_site(file)
