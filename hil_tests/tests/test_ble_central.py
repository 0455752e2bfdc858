"""The node's central on a VM: sensors with GATT services on the virtual air, from site file to columns."""

import asyncio
from pathlib import Path

import pytest
from gasan.boards.air import Air
from gasan.boards.air_link import PACES, Pace
from gasan.hil import vmrun
from gasan.hil.air import GattSensor
from gasan.hil.central_bench import play
from gasan.host.resources import profiles_folder

pytestmark = pytest.mark.skipif(bool(vmrun.missing(64)), reason=vmrun.missing(64))

CLIMATE, FEVER = "C4:7C:8D:6A:00:01", "C4:7C:8D:6A:00:02"
TEMPERATURE, HUMIDITY, BATTERY = (0x181A, 0x2A6E), (0x181A, 0x2A6F), (0x180F, 0x2A19)
MEASUREMENT = (0x1809, 0x2A1C)

CLIMATE_DEVICE = f"""
[[node.bus.device]]
name = "climate"
address = "{CLIMATE}"
profile = "bluetooth/environmental_sensing"
period = "1s"
timeout = "4s"
"""
FEVER_DEVICE = f"""
[[node.bus.device]]
name = "fever"
address = "{FEVER}"
profile = "bluetooth/health_thermometer"
"""


def test_a_sensor_is_read_every_period(tmp_path: Path) -> None:
    async def scene(air: Air) -> None:
        values = {TEMPERATURE: b"\xca\x09", HUMIDITY: b"\xbf\x13", BATTERY: b"\x58"}
        sensor = GattSensor(air, CLIMATE, values)
        await sensor.start()
        while sensor.reads < 3:  # noqa: ASYNC110 - bumble has no event for it
            await asyncio.sleep(0.05)
        sensor.set(TEMPERATURE, b"\x00\x80")  # "not known"
        sensor.set(HUMIDITY, b"\x10\x27")
        await asyncio.sleep(60)

    came = play(tmp_path, CLIMATE_DEVICE, 9, 20_000, scene)
    assert came.values["temperature"] == [25.06, None, None], came.lines
    assert came.values["humidity"] == [50.55, 100.0, 100.0]
    assert came.values["battery"] == [88, 88, 88]


def test_a_burst_of_indications_and_notifications_comes_whole(tmp_path: Path) -> None:
    """20 at the pace of connection events, after a disconnection; beside a sensor that is read."""
    said = [36.0 + n / 10 for n in range(20)]

    async def scene(air: Air) -> None:
        climate = GattSensor(air, CLIMATE, {TEMPERATURE: bytes(2), HUMIDITY: bytes(2), BATTERY: b"\x01"})
        fever = GattSensor(air, FEVER, {MEASUREMENT: b""}, notified=[MEASUREMENT])
        await climate.start()
        await fever.start()
        while not fever.subscribers:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        air.link.cut(FEVER)
        await asyncio.sleep(0.5)
        while not fever.subscribers:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.gather(
            *(
                fever.notify(MEASUREMENT, bytes([n % 2]) + round(10 * value).to_bytes(3, "little") + b"\xff")
                for n, value in enumerate(said)
            )
        )
        await asyncio.sleep(60)

    came = play(tmp_path, FEVER_DEVICE + CLIMATE_DEVICE, 64, 25_000, scene, PACES["esp32"])
    assert came.values["scale"] == [n % 2 for n in range(20)], came.lines
    fevers = [value for value in came.values["temperature"] if value]
    assert fevers == said
    assert came.dropped == 0
    assert len(came.values["battery"]) > 3


def test_as_many_as_the_radio_keeps_and_a_burst_of_each_at_the_smallest_interval(tmp_path: Path) -> None:
    """Three that notify keep a connection each, two that are read share the fourth; 7.5 ms is the smallest
    interval there is (Core 5.4, Vol 6, Part B, 4.5.1).
    """
    said = [36.0 + n / 10 for n in range(20)]
    fevers = [f"C4:7C:8D:6A:01:{n:02X}" for n in range(3)]
    climates = [f"C4:7C:8D:6A:02:{n:02X}" for n in range(2)]
    connected = []

    async def scene(air: Air) -> None:
        notifying = [GattSensor(air, it, {MEASUREMENT: b""}, notified=[MEASUREMENT]) for it in fevers]
        values = {TEMPERATURE: b"\0\0", HUMIDITY: b"\0\0", BATTERY: b"\1"}
        read = [GattSensor(air, it, values) for it in climates]
        for sensor in [*notifying, *read]:
            await sensor.start()
        while not all(it.subscribers for it in notifying) or not all(it.reads for it in read):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        for value in said:
            data = b"\0" + round(10 * value).to_bytes(3, "little") + b"\xff"
            await asyncio.gather(*(it.notify(MEASUREMENT, data) for it in notifying))
        while True:
            connected.append(sum(it.connections for it in [*notifying, *read]))
            await asyncio.sleep(0.02)

    devices = [FEVER_DEVICE.replace(FEVER, it).replace("fever", f"fever-{n}") for n, it in enumerate(fevers)]
    devices += [
        CLIMATE_DEVICE.replace(CLIMATE, it).replace("climate", f"climate-{n}")
        for n, it in enumerate(climates)
    ]
    came = play(tmp_path, "".join(devices), 120 + 48, 40_000, scene, Pace(7.5, 4, 251))
    for n in range(3):
        assert came.of[f"fever-{n}.temperature"] == said, came.lines
    for n in range(2):
        assert came.of[f"climate-{n}.battery"].count(1) >= 4, came.lines
    assert came.dropped == 0
    assert not [line for line in came.lines if "OSError" in line]
    assert max(connected) == 4


@pytest.mark.parametrize(
    ("about", "told"),
    [
        (
            {0x2A29: "가산\0\0", 0x2A26: "v1\n2", 0x2A24: "x" * 60},
            f"maker 가산, model {'x' * 40}, firmware v1?2",
        ),
        ({}, "it says nothing of itself"),
    ],
)
def test_what_a_sensor_says_of_itself_is_in_the_log_once(
    tmp_path: Path, about: dict[int, str], told: str
) -> None:
    profile = (profiles_folder() / "bluetooth" / "environmental_sensing.toml").read_text()
    changed = profile.replace('kind = "gatt"', 'kind = "gatt"\ndevice_information = true')
    (tmp_path / "mine.toml").write_text(changed)
    texts = {(0x180A, uuid): text.encode() for uuid, text in about.items()}

    async def scene(air: Air) -> None:
        sensor = GattSensor(air, CLIMATE, {TEMPERATURE: b"\0\0", HUMIDITY: b"\0\0", BATTERY: b"\1", **texts})
        await sensor.start()
        await asyncio.sleep(60)

    device = CLIMATE_DEVICE.replace("bluetooth/environmental_sensing", "mine.toml")
    came = play(tmp_path, device, 9, 30_000, scene)
    assert came.values["battery"] == [1, 1, 1]
    assert [line.split(" I ")[-1] for line in came.lines] == [f"ble: climate: {told}"]


def test_one_that_is_not_there_is_told_once_and_turns_stale(tmp_path: Path) -> None:
    async def scene(air: Air) -> None:
        await asyncio.sleep(60)

    came = play(tmp_path, CLIMATE_DEVICE, 6, 20_000, scene)
    assert came.values["temperature"] == [None, None]
    assert len([line for line in came.lines if "climate: it cannot be connected to" in line]) == 1, came.lines


def test_one_without_the_characteristic_is_told_so(tmp_path: Path) -> None:
    async def scene(air: Air) -> None:
        await GattSensor(air, CLIMATE, {TEMPERATURE: bytes(2), HUMIDITY: bytes(2)}).start()
        await asyncio.sleep(60)

    came = play(tmp_path, CLIMATE_DEVICE, 3, 9_000, scene)
    assert any("climate: it has no characteristic 2a19" in line for line in came.lines), came.lines
    assert came.values["temperature"] in ([None], [None, None])
