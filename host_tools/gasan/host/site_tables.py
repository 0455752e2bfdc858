"""The tables of a site file: their keys and forms. What goes with what is in `site_rules`."""

from typing import Annotated, Literal

from gasan.host.quantities import BleAddress, Duration, Exact, Name, within
from gasan.host.shape import Table
from gasan.wire.modbus_plan import MAX_HOLE
from pydantic import Field

__all__ = [
    "BAUDRATES",
    "BUS_TABLES",
    "BleBusTable",
    "BleDeviceTable",
    "BusTable",
    "ModbusDeviceTable",
    "NodeTable",
    "RtuBusTable",
    "RtuOverTcpBusTable",
    "SenderTable",
    "SiteTable",
    "StoreTable",
    "TcpBusTable",
    "WriteTable",
]

_DAY_MS = 24 * 3_600_000
_Turnaround = Annotated[Duration, within(0, 10_000)]
_Scan = Annotated[Duration, within(3, 10_240)]  # Core 5.4, Vol 4, Part E, 7.8.10: 2.5 ms to 10.24 s
_Age = Annotated[Duration, within(100, _DAY_MS)]  # gasan.node.config
_Silence = Annotated[Duration, within(100, _DAY_MS)]  # each makes a stale reading of every channel

BAUDRATES = (1200, 2400, 4800, 9600, 14400, 19200, 38400, 57600, 115200, 230400)


class SiteTable(Table):
    """[site]"""

    name: Name = Field(examples=["line-3"])


class StoreTable(Table):
    """[store]: what the gateway's database keeps."""

    keep_days: int | None = Field(default=None, ge=1, le=36_500, examples=[400])
    max_megabytes: int | None = Field(default=None, ge=16, le=10_000_000, examples=[8000])


class BatchTable(Table):
    """[node.batch]: when a batch of readings becomes a frame."""

    max_age: _Age = Field(default=60_000, examples=["60s"])
    max_bytes: int = Field(default=1600, ge=256, le=1900, examples=[1600])


class SpoolTable(Table):
    """[node.spool]: where frames wait for the gateway, and which go when it is full."""

    drop: Literal["oldest", "newest"] = Field(default="oldest", examples=["newest"])
    storage: Literal["flash", "ram"] = Field(default="flash", examples=["ram"])
    size: int | None = Field(default=None, ge=16_384, le=1 << 29, examples=[65536])
    backlog_share: int = Field(default=50, ge=5, le=100, examples=[50])


class NodeTable(Table):
    """[[node]], without its buses."""

    name: Name = Field(examples=["press-1"])
    board: str = Field(examples=["rpi_pico_w"])
    link: str | None = Field(default=None, examples=["serial:/dev/ttyACM0"])
    emulated: bool = Field(default=False, examples=[True])
    batch: BatchTable = Field(default=BatchTable(), examples=["…"])
    spool: SpoolTable = Field(default=SpoolTable(), examples=["…"])
    watchdog: bool = Field(default=True, examples=[True])


class BusTable(Table):
    """[[node.bus]], what all kinds have, without the devices."""

    name: Name = Field(examples=["cabinet"])


class RtuBusTable(BusTable):
    """Modbus RTU on a UART of the node."""

    type: Literal["modbus-rtu"] = Field(examples=["modbus-rtu"])
    uart: int | None = Field(default=None, ge=0, le=15, examples=[1])
    port: str | None = Field(default=None, min_length=1, examples=["/dev/ttyUSB0"])
    baudrate: int = Field(examples=[9600])
    parity: Literal["none", "even", "odd"] = Field(default="none", examples=["none"])
    stop_bits: Literal[1, 2] = Field(default=1, examples=[1])
    tx_pin: int | None = Field(default=None, ge=0, le=48, examples=[4])
    rx_pin: int | None = Field(default=None, ge=0, le=48, examples=[5])
    de_re_pin: int | None = Field(default=None, ge=0, le=48, examples=[2])
    de_delay: int = Field(default=0, ge=0, le=5000, examples=[50])
    echo: bool = Field(default=False, examples=[True])
    turnaround: _Turnaround = Field(default=100, examples=["200ms"])


class TcpBusTable(BusTable):
    """Modbus TCP over the node's network."""

    type: Literal["modbus-tcp"] = Field(examples=["modbus-tcp"])
    host: str = Field(min_length=1, max_length=253, examples=["192.168.0.20"])
    port: int = Field(default=502, ge=1, le=65535, examples=[502])


class RtuOverTcpBusTable(BusTable):
    """Modbus RTU frames over the node's network."""

    type: Literal["modbus-rtu-over-tcp"] = Field(examples=["modbus-rtu-over-tcp"])
    host: str = Field(min_length=1, max_length=253, examples=["192.168.0.21"])
    port: int = Field(ge=1, le=65535, examples=[4001])
    turnaround: _Turnaround = Field(default=100, examples=["200ms"])


class BleBusTable(BusTable):
    """Bluetooth LE advertisements heard by the node's radio."""

    type: Literal["ble"] = Field(examples=["ble"])
    scan_interval: _Scan = Field(default=100, examples=["100ms"])
    scan_window: _Scan = Field(default=50, examples=["50ms"])
    active: bool = Field(default=False, examples=[True])
    air: str | None = Field(default=None, examples=["127.0.0.1:7300"])


BUS_TABLES: dict[str, type[RtuBusTable | TcpBusTable | RtuOverTcpBusTable | BleBusTable]] = {
    "modbus-rtu": RtuBusTable,
    "modbus-tcp": TcpBusTable,
    "modbus-rtu-over-tcp": RtuOverTcpBusTable,
    "ble": BleBusTable,
}


class _DeviceTable(Table):
    name: Name = Field(examples=["main-meter"])
    profile: str = Field(min_length=1, examples=["eastron/sdm120"])
    channels: list[str] | None = Field(default=None, min_length=1, examples=[["voltage", "current"]])
    timeout: Duration | None = Field(default=None, examples=["500ms"])


class WriteTable(Table):
    """[node.bus.device.write.CHANNEL]: what may be written. min, max and step in the channel's unit.

    rate: the least time between two writes. who: accounts on the gateway; all, when none is named. broadcast:
    it goes to unit 0, so to all devices of the line at once.
    """

    min: Exact | None = Field(default=None, examples=[0])
    max: Exact | None = Field(default=None, examples=[60])
    step: Exact | None = Field(default=None, examples=["0.5"])
    rate: Duration = Field(default=1000, examples=["10s"])
    read_back: bool = Field(default=True, examples=[False])
    who: list[Name] = Field(default=[], examples=[["kim"]])
    function: Literal[5, 6, 15, 16, 22, 23] | None = Field(default=None, examples=[16])
    broadcast: bool = Field(default=False, examples=[True])


class ModbusDeviceTable(_DeviceTable):
    """[[node.bus.device]] on a Modbus bus."""

    unit: int = Field(ge=0, le=255, examples=[1])
    period: Duration | None = Field(default=None, examples=["1s"])
    periods: dict[str, Duration] = Field(default={}, examples=["…"])
    gap: Duration | None = Field(default=None, examples=["10ms"])
    max_registers: int | None = Field(default=None, ge=1, le=125, examples=[80])
    write_function: Literal[6, 16] | None = Field(default=None, examples=[16])
    max_hole: int | None = Field(default=None, ge=0, le=MAX_HOLE, examples=[0])
    write: dict[str, WriteTable] = Field(default={}, examples=["…"])


class SenderTable(Table):
    """[node.bus.device.match]: by what a sensor without an address is known, besides its profile."""

    name: str | None = Field(default=None, min_length=1, max_length=20, examples=["Tank-"])
    service: int | str | None = Field(default=None, examples=[0xFCD2])
    company: int | None = Field(default=None, ge=0, le=0xFFFF, examples=[0x004C])
    prefix: str = Field(default="", max_length=54, examples=["0215"])


class BleDeviceTable(_DeviceTable):
    """[[node.bus.device]] on a Bluetooth LE bus."""

    timeout: _Silence | None = Field(default=None, examples=["30s"])
    address: BleAddress | None = Field(default=None, examples=["A4:C1:38:01:02:03"])
    match: SenderTable | None = Field(default=None, examples=["…"])
    encrypted: bool | None = Field(default=None, examples=[True])
    period: Duration | None = Field(default=None, examples=["30s"])
    address_type: Literal["public", "random"] | None = Field(default=None, examples=["random"])
    pair: bool = Field(default=False, examples=[True])
