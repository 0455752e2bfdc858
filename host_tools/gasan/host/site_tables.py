"""The tables of a site file: their keys and forms. What goes with what is in `site_rules`."""

from typing import Literal

from gasan.host.quantities import BleAddress, Duration, Name
from gasan.host.shape import Table
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
    "SiteTable",
    "TcpBusTable",
]

BAUDRATES = (1200, 2400, 4800, 9600, 14400, 19200, 38400, 57600, 115200, 230400)


class SiteTable(Table):
    """[site]"""

    name: Name = Field(examples=["line-3"])


class BatchTable(Table):
    """[node.batch]: when a batch of readings becomes a frame."""

    max_age: Duration = Field(default=60_000, examples=["60s"])
    max_bytes: int = Field(default=1600, ge=256, le=1900, examples=[1600])


class NodeTable(Table):
    """[[node]], without its buses."""

    name: Name = Field(examples=["press-1"])
    board: str = Field(examples=["rpi_pico_w"])
    link: str | None = Field(default=None, examples=["serial:/dev/ttyACM0"])
    emulated: bool = Field(default=False, examples=[True])
    batch: BatchTable = Field(default=BatchTable(), examples=["…"])
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


class TcpBusTable(BusTable):
    """Modbus TCP over the node's network."""

    type: Literal["modbus-tcp"] = Field(examples=["modbus-tcp"])
    host: str = Field(min_length=1, max_length=253, examples=["192.168.0.20"])
    port: int = Field(default=502, ge=1, le=65535, examples=[502])


class BleBusTable(BusTable):
    """Bluetooth LE advertisements heard by the node's radio."""

    type: Literal["ble"] = Field(examples=["ble"])
    scan_interval: Duration = Field(default=100, examples=["100ms"])
    scan_window: Duration = Field(default=50, examples=["50ms"])
    active: bool = Field(default=False, examples=[True])
    air: str | None = Field(default=None, examples=["127.0.0.1:7300"])


BUS_TABLES: dict[str, type[RtuBusTable | TcpBusTable | BleBusTable]] = {
    "modbus-rtu": RtuBusTable,
    "modbus-tcp": TcpBusTable,
    "ble": BleBusTable,
}


class _DeviceTable(Table):
    name: Name = Field(examples=["main-meter"])
    profile: str = Field(min_length=1, examples=["eastron/sdm120"])
    channels: list[str] | None = Field(default=None, min_length=1, examples=[["voltage", "current"]])
    timeout: Duration | None = Field(default=None, examples=["500ms"])


class ModbusDeviceTable(_DeviceTable):
    """[[node.bus.device]] on a Modbus bus."""

    unit: int = Field(ge=0, le=255, examples=[1])
    period: Duration | None = Field(default=None, examples=["1s"])
    periods: dict[str, Duration] = Field(default={}, examples=["…"])
    gap: Duration | None = Field(default=None, examples=["10ms"])
    max_registers: int | None = Field(default=None, ge=1, le=125, examples=[80])


class BleDeviceTable(_DeviceTable):
    """[[node.bus.device]] on a Bluetooth LE bus."""

    address: BleAddress = Field(examples=["A4:C1:38:01:02:03"])
    encrypted: bool | None = Field(default=None, examples=[True])
